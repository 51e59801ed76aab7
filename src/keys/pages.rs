//! Pages of a tenant's keys by their numbers, in any order.
//!
//! Skipping half a million entries of an index takes a while. Whoever looks that deep into a list has it marked,
//! in the background: every [`EVERY`]th entry is remembered, and later looks begin at the mark before theirs.
//! Marks are good for as long as nothing moved within the list, which the counts tell that each look reads anyway;
//! so they need no invalidation, and several nodes need not tell each other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::Keys;
use crate::model::OrganisationId;
use crate::store::{KeyCounts, KeyList, KeyPage, ListedKey, Mark, StoreError};

/// Entries from one mark to the next.
const EVERY: i64 = 1_000;
/// A look that skips fewer entries is quick enough by itself.
const FAR: i64 = 10_000;
/// Lists whose marks are remembered: of a million keys one takes about 40 kB, or 100 with long names.
const LISTS: usize = 64;
/// A list that changes all the time is not marked more often than this.
const REST: Duration = Duration::from_secs(10);

/// Marks of one list.
#[derive(Debug)]
struct Marks {
    /// How the list was.
    counts: KeyCounts,
    entries: Vec<Mark>,
    /// The [generation](super::ChangeLog::generation) of what was read.
    generation: u64,
    /// When, on the monotonic clock.
    made_at: u64,
}

impl Marks {
    /// The last mark that is not after a place, and its own place.
    fn before(&self, place: i64) -> Option<(Mark, i64)> {
        let number = place / EVERY;
        Some((self.entries.get(usize::try_from(number).ok()?)?.clone(), number * EVERY))
    }
}

/// The lists that are marked.
#[derive(Debug)]
pub(super) struct MarkedLists {
    lists: Cache<KeyList, Arc<Marks>>,
    /// Lists are marked one at a time.
    turn: Arc<Semaphore>,
}

impl Default for MarkedLists {
    fn default() -> Self {
        Self { lists: Cache::new(LISTS), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Keys {
    /// A page of an organisation's keys by its number, in any order (HookSentry's way), and how
    /// many there are in all. Who may see them is the caller's to have decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(self: &Arc<Self>, page: &KeyPage) -> Result<(i64, Vec<ListedKey>), StoreError> {
        let begin = |list: KeyList, stretch: &Range<i64>, counts: &KeyCounts| {
            if page.environment.is_some() {
                return None;
            }
            let skipped = stretch.start.min(list.length(counts) - stretch.end);
            let is_current = |marks: &Arc<Marks>| skipped > EVERY && marks.generation == self.changes.generation();
            let marks = self.marked.lists.get(&list).filter(is_current);
            let good = marks.as_ref().filter(|marks| marks.counts == *counts);
            let mark = good.and_then(|marks| marks.before(stretch.start));
            if mark.is_none() && skipped > FAR {
                self.mark(list, marks.as_ref().map(|marks| marks.made_at));
            }
            mark
        };
        let (counts, keys) = self.db.key_page(page, begin).await?;
        Ok((page.total(&counts), keys))
    }

    /// How many lists of an organisation have marks that are good.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn marked_lists(&self, organisation: OrganisationId) -> Result<usize, StoreError> {
        let counts = self.db.key_counts(organisation).await?;
        let generation = self.changes.generation();
        let is_good =
            |marks: &Marks| (marks.generation, marks.counts) == (generation, counts) && !marks.entries.is_empty();
        let lists = self.marked.lists.iter().filter(|(list, _)| list.organisation() == organisation);
        Ok(lists.filter(|(_, marks)| is_good(marks)).count())
    }

    /// Marks a list in the background, unless that was done just now or another one is being marked.
    fn mark(self: &Arc<Self>, list: KeyList, made_before: Option<u64>) {
        let now = self.clock.monotonic();
        if made_before.is_some_and(|at| u128::from(now.saturating_sub(at)) < REST.as_nanos()) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.marked.turn).try_acquire_owned() else { return };
        let keys = Arc::clone(self);
        tokio::spawn(async move {
            match keys.marks_of(list).await {
                Ok(marks) => keys.marked.lists.insert(list, Arc::new(marks)),
                Err(error) => tracing::warn!(%error, "a list of keys could not be marked"),
            }
            drop(turn);
        });
    }

    async fn marks_of(&self, list: KeyList) -> Result<Marks, StoreError> {
        let generation = self.changes.generation();
        let counts = self.db.key_counts(list.organisation()).await?;
        let mut entries = self.db.key_marks(list, EVERY).await?;
        // Something moved meanwhile: these are good for nothing, and it is remembered that this was tried.
        if self.db.key_counts(list.organisation()).await? != counts {
            entries.clear();
        }
        Ok(Marks { counts, entries, generation, made_at: self.clock.monotonic() })
    }
}
