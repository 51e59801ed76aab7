//! What was committed, here or by another node, is dropped from memory and told on, in its order.
//!
//! A change is logged in the transaction that makes it. One task follows that log, whoever wrote it: so the
//! feed has the order of the commits, and a node that was away catches up by reading on where it stopped. On
//! a node the same task renews the lease, which holds only once everything has been read that was committed
//! before the renewal was answered.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::Core;
use crate::cluster::{Node, Proof, RENEW_EVERY};
use crate::store::{Db, Notice, StoreError};

/// Changes of one reading at the most.
const MOST: i64 = 1000;
/// How often the log is looked at when nothing wakes the task.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A reading that takes longer is given up, and tried again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// A change that is not heard of for so long is not going to be before its caller gives up.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// A change is on disk, but nobody knows whether every node has heard of it. Whoever asks again waits for
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the change is stored, but it is not known whether every node has heard of it")]
pub struct Unproven;

/// How far the log was followed.
#[derive(Debug)]
pub(super) struct Hearing {
    /// Not the one that checks wait for: a node must be able to renew its lease under any load.
    db: Db,
    heard: watch::Sender<i64>,
    woken: Notify,
}

impl Hearing {
    /// Nothing after `last` was heard yet.
    pub(super) fn new(db: Db, last: i64) -> Self {
        Self { db, heard: watch::Sender::new(last), woken: Notify::new() }
    }

    /// The number of the last change that is dropped here.
    pub(super) fn heard(&self) -> i64 {
        *self.heard.borrow()
    }
}

impl Core {
    /// Reads what was committed since, and drops it.
    async fn hear(&self) -> Result<(), StoreError> {
        loop {
            let heard = self.hearing.heard();
            let reading = self.hearing.db.changes_after(heard, MOST);
            let changes = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| StoreError::slow())??;
            let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return Ok(()) };
            if first.number != heard + 1 {
                tracing::warn!("this node was away for so long that it forgets all that it remembered");
                self.forget();
            }
            for change in &changes {
                self.invalidate(change.hash);
                self.feed.tell(*change);
            }
            self.hearing.heard.send_replace(last.number);
        }
    }

    /// Waits until no check anywhere goes by what was before a change.
    pub(super) async fn effective(&self, number: i64) -> Result<Proof, Unproven> {
        self.hearing.woken.notify_one();
        let mut heard = self.hearing.heard.subscribe();
        let here = tokio::time::timeout(HEARD_WITHIN, heard.wait_for(|heard| *heard >= number));
        if !matches!(here.await, Ok(Ok(_))) {
            return Err(Unproven);
        }
        match &self.node {
            None => Ok(Proof::ALONE),
            Some(node) => node.prove(number).await.map_err(|error| {
                tracing::error!(%error, "it cannot be known whether every node has heard of a change");
                Unproven
            }),
        }
    }

    /// Renews the lease of this node, and hears what was committed before that was answered.
    async fn renew(&self, node: &Node) -> Result<(), StoreError> {
        let heard = self.hearing.heard();
        let Some(until) = node.renew(heard).await? else {
            tracing::error!("another server has taken this one's place: every check reads the database");
            return Ok(());
        };
        self.hear_and_acknowledge(node).await?;
        self.trusted_until.store(until, Ordering::Release);
        Ok(())
    }

    async fn hear_and_acknowledge(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.hearing.heard();
        self.hear().await?;
        let heard = self.hearing.heard();
        if heard > before {
            let acknowledging = node.acknowledge(heard);
            tokio::time::timeout(PATIENCE, acknowledging).await.map_err(|_| StoreError::slow())??;
        }
        Ok(())
    }
}

/// Follows the log, until nobody needs it any more.
pub(super) async fn follow(core: Weak<Core>, hearing: Arc<Hearing>, node: Option<Arc<Node>>) {
    let _listening = node.clone().map(|node| AbortOnDrop(tokio::spawn(listen(Arc::clone(&hearing), node))));
    let mut tick = tokio::time::interval(if node.is_some() { RENEW_EVERY } else { LOOK_EVERY });
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_well = true;
    loop {
        let is_time = tokio::select! {
            _ = tick.tick() => true,
            () = hearing.woken.notified() => false,
        };
        let Some(core) = core.upgrade() else { return };
        let done = match &node {
            Some(node) if is_time => core.renew(node).await,
            Some(node) => core.hear_and_acknowledge(node).await,
            None => core.hear().await,
        };
        match &done {
            Ok(()) if !is_well => tracing::info!("what changes is heard again"),
            // Once: it goes on for as long as the database is away.
            Err(error) if is_well => tracing::error!(%error, "what changes cannot be heard"),
            _ => {}
        }
        is_well = done.is_ok();
        if let Some(node) = node.as_ref().filter(|_| is_time && is_well) {
            // A lease is counted from when its renewal was seen: whoever looks only when a key is revoked waits for
            // all of it. Beside this loop, which has its own lease to think of.
            let node = Arc::clone(node);
            tokio::spawn(async move { node.members().await });
        }
        if !is_well {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// Passes on what other nodes say.
async fn listen(hearing: Arc<Hearing>, node: Arc<Node>) {
    loop {
        // What cannot be heard is read at the next renewal.
        if let Ok(Some(mut notices)) = node.notices().await {
            hearing.woken.notify_one();
            while let Ok(notice) = notices.next().await {
                if notice != Notice::Acknowledged {
                    hearing.woken.notify_one();
                }
                if notice != Notice::Changed {
                    node.acknowledged();
                }
            }
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
