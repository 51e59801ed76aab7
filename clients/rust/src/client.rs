//! The client: asks, remembers, counts.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::builder::{BuildError, Builder};
use crate::check::Check;
use crate::error::Error;
use crate::feed;
use crate::memory::{KeyHash, Memory};
use crate::moment::Moment;
use crate::outcome::Outcome;
use crate::transport::Transport;
use crate::usage::Usage;

/// How often counts are told.
const REPORTS: Duration = Duration::from_secs(1);

/// A Latchkey server, as an application sees it. One for the whole application: a clone is the same client.
///
/// [`close`](Self::close) it in the end: without, the counts of the last second are lost.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

pub(crate) struct Shared {
    pub(crate) transport: Transport,
    /// `None` where nothing is to be remembered.
    pub(crate) memory: Option<Memory>,
    usage: Usage,
    /// One report at a time, so that whoever waits for the last one waits for those before it.
    reporting: tokio::sync::Mutex<()>,
}

/// What goes on in the background, until nobody has the client any more.
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Client {
    /// A client with the application's own key, which needs the scope `keys:verify` and no other.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn new(url: &str, own_key: &str) -> Result<Self, BuildError> {
        Self::builder(url, own_key).build()
    }

    /// The same, with more to say.
    pub fn builder(url: &str, own_key: &str) -> Builder {
        Builder::new(url, own_key)
    }

    pub(crate) fn start(transport: Transport, remembered: usize, runtime: &Handle) -> Self {
        let memory = (remembered > 0).then(|| Memory::new(remembered));
        let shared =
            Arc::new(Shared { transport, memory, usage: Usage::default(), reporting: tokio::sync::Mutex::default() });
        let mut tasks = Vec::new();
        if shared.memory.is_some() {
            tasks.push(runtime.spawn(feed::follow(Arc::clone(&shared))).abort_handle());
            tasks.push(runtime.spawn(report(Arc::downgrade(&shared))).abort_handle());
        }
        Self { shared, tasks: Arc::new(Tasks(tasks)) }
    }

    /// Checks a key. A good one is counted as one request of it, wherever the answer comes from.
    ///
    /// # Errors
    /// When there is no outcome. Whoever cannot know lets nobody in.
    pub async fn verify(&self, check: &Check<'_>) -> Result<Outcome, Error> {
        let check = Check { key: check.key.trim(), ..*check };
        let Some(memory) = &self.shared.memory else {
            return self.shared.transport.verify(&check).await.map(|(outcome, _)| outcome);
        };
        let (hash, now) = (KeyHash::of(check.key), Moment::now());
        let remembered = memory.with(&hash, now, |outcome| {
            let is_counted = outcome.answers(&check, now.wall)
                && outcome.key_id.as_ref().is_some_and(|id| self.shared.usage.count(id, now.wall));
            is_counted.then(|| Outcome::clone(outcome))
        });
        if let Some(outcome) = remembered {
            return Ok(outcome);
        }
        let ticket = memory.ask(hash, now);
        let (outcome, may_remember) = self.shared.transport.verify(&check).await?;
        if let Some(ticket) = ticket {
            memory.answered(ticket, &outcome, may_remember);
        }
        Ok(outcome)
    }

    /// Tells the server the last counts, and stops what goes on in the background. Afterwards every check is
    /// asked from the server.
    ///
    /// # Errors
    /// When the server cannot be told. The counts are kept, and this may be called again.
    pub async fn close(&self) -> Result<(), Error> {
        if let Some(memory) = &self.shared.memory {
            // First: what is not believed is not counted either.
            memory.close();
        }
        let told = self.shared.report().await;
        self.tasks.0.iter().for_each(AbortHandle::abort);
        told
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.shared.transport.server()).finish_non_exhaustive()
    }
}

impl Shared {
    async fn report(&self) -> Result<(), Error> {
        let _alone = self.reporting.lock().await;
        for batch in self.usage.take() {
            self.transport.report(&batch.uses).await?;
            batch.sent();
        }
        Ok(())
    }
}

async fn report(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(REPORTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match shared.report().await {
            Ok(()) => failing = false,
            // Once, and not every second.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the use of keys could not be reported; it is kept");
            }
            Err(_) => {}
        }
    }
}
