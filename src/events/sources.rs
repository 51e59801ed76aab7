//! The bound on the sources of an environment.

use std::collections::HashSet;

use quick_cache::unsync::Cache;

use crate::model::EnvironmentId;
use crate::store::{Db, NewEvent, StoreError};

/// Sources that are known to be there; others are looked up before an event of theirs is written.
const KNOWN: usize = 16_384;

type Source = (EnvironmentId, String);

/// Says which events may be written. Of one task, which writes them: so what it admits is counted when it looks again.
#[derive(Debug)]
pub(super) struct Sources {
    db: Db,
    most: i64,
    /// None of them ever ceases to be there.
    known: Cache<Source, ()>,
}

impl Sources {
    /// At most `most` sources an environment. Where several nodes write, each may add those of one transaction to that.
    pub(super) fn new(db: Db, most: i64) -> Self {
        Self { db, most, known: Cache::new(KNOWN) }
    }

    /// Sources of one environment at the most.
    pub(super) fn most(&self) -> i64 {
        self.most
    }

    /// Whether each event's source is there, or may be made.
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
            let (there, mut counts) = self.db.known_sources(&unknown).await?;
            let there: HashSet<Source> = there.into_iter().collect();
            for source in unknown {
                let count: &mut i64 = counts.entry(source.0).or_default();
                if there.contains(&source) {
                    self.known.insert(source, ());
                } else if *count < self.most {
                    *count += 1;
                } else {
                    refused.insert(source);
                }
            }
        }
        Ok(events.map(|event| refused.is_empty() || !refused.contains(&source(event))).collect())
    }

    /// The sources of these events are there now.
    pub(super) fn are_there<'a>(&mut self, events: impl Iterator<Item = &'a NewEvent>) {
        for event in events {
            let source = (event.environment, event.source.clone());
            if self.known.get(&source).is_none() {
                self.known.insert(source, ());
            }
        }
    }
}
