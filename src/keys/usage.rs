//! Counting the use of keys: merged into every answer at once, written down in batches.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard};

use super::{Key, Keys};
use crate::model::{KeyId, Timestamp};
use crate::store::{StoreError, Use};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Pending {
    requests: i64,
    last: Timestamp,
}

/// Uses that are not in the database yet.
#[derive(Debug, Default)]
pub struct Usage {
    pending: Mutex<HashMap<KeyId, Pending>>,
    /// Held for reading from before a key is read until the pending uses are added to it, and for
    /// writing while they move to the database: no use is seen twice, and none is missed.
    flushing: RwLock<()>,
}

impl Usage {
    fn add(&self, id: KeyId, requests: i64, at: Timestamp) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending
            .entry(id)
            .and_modify(|known| {
                known.requests += requests;
                known.last = known.last.max(at);
            })
            .or_insert(Pending { requests, last: at });
    }

    /// Counts one request that a key was good for.
    pub(super) fn count(&self, id: KeyId, at: Timestamp) {
        self.add(id, 1, at);
    }

    /// Keeps flushes away while keys are read.
    pub(super) async fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.flushing.read().await
    }

    /// Adds the uses that the database does not know yet. `_reading` was taken before the read.
    pub(super) fn complete(&self, keys: &mut [Key], _reading: &RwLockReadGuard<'_, ()>) {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(uses) = pending.get(&key.id) {
                key.request_count += uses.requests;
                key.last_used_at = key.last_used_at.max(Some(uses.last));
            }
        }
    }
}

impl Keys {
    /// Writes the counts down. On a failure they stay and are tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        let usage = &self.usage;
        let _flushing = usage.flushing.write().await;
        let taken = std::mem::take(&mut *usage.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.is_empty() {
            return Ok(());
        }
        let uses: Vec<Use> =
            taken.iter().map(|(id, uses)| Use { id: id.0, requests: uses.requests, at: uses.last.0 }).collect();
        let written = self.db.count_uses(&uses).await;
        if written.is_err() {
            for (id, uses) in taken {
                usage.add(id, uses.requests, uses.last);
            }
        }
        written
    }
}
