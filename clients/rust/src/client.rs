//! The client: asks the server, caches outcomes, counts uses.

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

/// Time between two reports of counts.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A client of a Latchkey server. Create one for the whole application; a clone shares its cache and connections.
///
/// Call [`close`](Self::close) before the application exits. Otherwise, the counts of the last second are lost.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

pub(crate) struct Shared {
    pub(crate) transport: Transport,
    /// The cache; `None` if it is turned off.
    pub(crate) memory: Option<Memory>,
    usage: Usage,
    /// Held during a report, so that [`Client::close`] also waits for the report before its own.
    reporting: tokio::sync::Mutex<()>,
}

/// The background tasks, aborted with the last clone of the client.
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Client {
    /// Creates a client with the application's own key, which needs the scope `keys:verify` and no other.
    ///
    /// # Errors
    /// See [`Builder::build`].
    pub fn new(url: &str, own_key: &str) -> Result<Self, BuildError> {
        Self::builder(url, own_key).build()
    }

    /// Returns a builder with further settings.
    pub fn builder(url: &str, own_key: &str) -> Builder {
        Builder::new(url, own_key)
    }

    pub(crate) fn start(transport: Transport, capacity: usize, runtime: &Handle) -> Self {
        let memory = (capacity > 0).then(|| Memory::new(capacity));
        let shared =
            Arc::new(Shared { transport, memory, usage: Usage::default(), reporting: tokio::sync::Mutex::default() });
        let mut tasks = Vec::new();
        if shared.memory.is_some() {
            tasks.push(runtime.spawn(feed::follow(Arc::clone(&shared))).abort_handle());
            tasks.push(runtime.spawn(report(Arc::downgrade(&shared))).abort_handle());
        }
        Self { shared, tasks: Arc::new(Tasks(tasks)) }
    }

    /// Checks a key. A valid outcome counts as one request of the key, from the cache as well as from the server.
    ///
    /// # Errors
    /// When the server gives no outcome. Refuse the request then.
    pub async fn verify(&self, check: &Check<'_>) -> Result<Outcome, Error> {
        let check = Check { key: check.key.trim(), ..*check };
        let Some(memory) = &self.shared.memory else {
            return self.shared.transport.verify(&check).await.map(|(outcome, _)| outcome);
        };
        let (hash, now) = (KeyHash::of(check.key), Moment::now());
        let cached = memory.with(&hash, now, |outcome| {
            let is_counted = outcome.answers(&check, now.wall)
                && outcome.key_id.as_ref().is_some_and(|id| self.shared.usage.count(id, now.wall));
            is_counted.then(|| Outcome::clone(outcome))
        });
        if let Some(outcome) = cached {
            return Ok(outcome);
        }
        let ticket = memory.begin(hash, now);
        let (outcome, is_cacheable) = self.shared.transport.verify(&check).await?;
        if let Some(ticket) = ticket {
            memory.finish(ticket, &outcome, is_cacheable);
        }
        Ok(outcome)
    }

    /// Reports the last counts to the server, and stops the background tasks. Later checks all ask the server.
    ///
    /// # Errors
    /// When the report fails. The counts are kept, and `close` may be called again.
    pub async fn close(&self) -> Result<(), Error> {
        if let Some(memory) = &self.shared.memory {
            // First, so that no check is counted after the report.
            memory.close();
        }
        let reported = self.shared.report().await;
        self.tasks.0.iter().for_each(AbortHandle::abort);
        reported
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
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match shared.report().await {
            Ok(()) => failing = false,
            // Logged once per outage, not every second.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "cannot report usage counts to Latchkey; they are kept and will be retried");
            }
            Err(_) => {}
        }
    }
}
