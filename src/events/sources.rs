//! The limit on the number of sources of an environment.

use std::collections::HashSet;

use quick_cache::unsync::Cache;

use crate::model::EnvironmentId;
use crate::store::{Db, NewEvent, StoreError};

/// The cache of existing sources, in entries; a source that is not in it is looked up before its event is written.
const CACHE_CAPACITY: usize = 16_384;

type Source = (EnvironmentId, String);

/// Decides which events may be written. Used by the one task that writes them, which stores the admitted sources before
/// it looks up others, so that they are counted.
#[derive(Debug)]
pub(super) struct Sources {
    db: Db,
    max: i64,
    /// Existing sources, which are never deleted.
    known: Cache<Source, ()>,
}

impl Sources {
    /// Limits an environment to `max` sources. If several nodes write, each may exceed the limit by the new sources of
    /// one transaction.
    pub(super) fn new(db: Db, max: i64) -> Self {
        Self { db, max, known: Cache::new(CACHE_CAPACITY) }
    }

    /// The maximal number of sources of one environment.
    pub(super) fn max(&self) -> i64 {
        self.max
    }

    /// Returns for each event whether its source exists or may be created.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn admit(
        &mut self,
        events: impl Iterator<Item = &NewEvent> + Clone,
    ) -> Result<Vec<bool>, StoreError> {
        let source = |event: &NewEvent| (event.environment, event.source.clone());
        let unknown: HashSet<Source> =
            events.clone().map(source).filter(|source| self.known.get(source).is_none()).collect();
        let mut refused: HashSet<Source> = HashSet::new();
        if !unknown.is_empty() {
            let mut unknown: Vec<Source> = unknown.into_iter().collect();
            unknown.sort_unstable();
            let (existing, mut counts) = self.db.known_sources(&unknown).await?;
            let existing: HashSet<Source> = existing.into_iter().collect();
            for source in unknown {
                let count: &mut i64 = counts.entry(source.0).or_default();
                if existing.contains(&source) {
                    self.known.insert(source, ());
                } else if *count < self.max {
                    *count += 1;
                } else {
                    refused.insert(source);
                }
            }
        }
        Ok(events.map(|event| refused.is_empty() || !refused.contains(&source(event))).collect())
    }

    /// Caches the sources of these events, which have been written.
    pub(super) fn mark_known<'a>(&mut self, events: impl Iterator<Item = &'a NewEvent>) {
        for event in events {
            let source = (event.environment, event.source.clone());
            if self.known.get(&source).is_none() {
                self.known.insert(source, ());
            }
        }
    }
}
