//! How often keys were let through without asking, until the server is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Keys of one report, as many as the server takes.
pub(crate) const BATCH: usize = 500;
/// Uses of one key in a report at the most.
const MAX_COUNT: u32 = 1_000_000_000;
/// Uses of one report at the most, of all of its keys together.
const MAX_TOTAL: u64 = 10_000_000_000;
/// Keys that wait at the most.
const WAITING: usize = 100_000;

/// How often one key was let through, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) count: u32,
    pub(crate) last: SystemTime,
}

type Uses = HashMap<Arc<str>, Use>;

#[derive(Debug, Default)]
pub(crate) struct Usage {
    waiting: Mutex<Uses>,
}

impl Usage {
    fn waiting(&self) -> MutexGuard<'_, Uses> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one. `false` when there is no room: the server has to be asked, and counts by itself.
    pub(crate) fn count(&self, key: &Arc<str>, at: SystemTime) -> bool {
        let mut waiting = self.waiting();
        if let Some(used) = waiting.get_mut(key) {
            if used.count >= MAX_COUNT {
                return false;
            }
            *used = Use { count: used.count + 1, last: used.last.max(at) };
        } else if waiting.len() < WAITING {
            waiting.insert(Arc::clone(key), Use { count: 1, last: at });
        } else {
            return false;
        }
        true
    }

    /// Takes all that waits, in batches for one report each. What is not [sent](Batch::sent) waits again when
    /// the batch is dropped.
    pub(crate) fn take(&self) -> Vec<Batch<'_>> {
        let mut uses = std::mem::take(&mut *self.waiting()).into_iter().peekable();
        std::iter::from_fn(|| {
            uses.peek()?;
            let (mut batch, mut total) = (Vec::new(), 0);
            while batch.len() < BATCH
                && let Some(next) = uses.next_if(|(_, used)| total + u64::from(used.count) <= MAX_TOTAL)
            {
                total += u64::from(next.1.count);
                batch.push(next);
            }
            Some(Batch { usage: self, uses: batch })
        })
        .collect()
    }
}

/// Counts on their way to the server.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    usage: &'a Usage,
    pub(crate) uses: Vec<(Arc<str>, Use)>,
}

impl Batch<'_> {
    /// The server has them.
    pub(crate) fn sent(mut self) {
        self.uses.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.uses.is_empty() {
            return;
        }
        let mut waiting = self.usage.waiting();
        for (key, used) in self.uses.drain(..) {
            let since = waiting.entry(key).or_insert(Use { count: 0, last: used.last });
            *since =
                Use { count: since.count.saturating_add(used.count).min(MAX_COUNT), last: since.last.max(used.last) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn all(usage: &Usage) -> Vec<(Arc<str>, Use)> {
        usage.take().iter().flat_map(|batch| batch.uses.clone()).collect()
    }

    #[test]
    fn counts_are_taken_once_they_are_sent_and_kept_otherwise() {
        let (usage, key) = (Usage::default(), Arc::from("ak_1"));
        assert!(usage.count(&key, at(7)) && usage.count(&key, at(5)));
        let batches = usage.take();
        assert!(usage.count(&key, at(6)), "one while they are on their way");
        drop(batches);
        assert_eq!(all(&usage), [(key, Use { count: 3, last: at(7) })]);
        usage.take().into_iter().for_each(Batch::sent);
        assert_eq!(all(&usage), []);
    }

    #[test]
    fn a_report_is_small_enough_for_the_server() {
        let usage = Usage::default();
        for number in 0..1201 {
            usage.count(&format!("ak_{number:016x}").into(), at(0));
        }
        assert_eq!(usage.take().iter().map(|batch| batch.uses.len()).collect::<Vec<_>>(), [500, 500, 201]);
    }

    #[test]
    fn counts_that_nobody_takes_are_bounded() {
        let usage = Usage::default();
        let keys: Vec<Arc<str>> = (0..=WAITING).map(|number| number.to_string().into()).collect();
        assert_eq!(keys.iter().filter(|key| usage.count(key, at(0))).count(), WAITING);
        assert!(usage.count(&keys[0], at(1)), "one that waits already has its place");
        let full = Usage::default();
        full.waiting().insert(Arc::clone(&keys[0]), Use { count: u32::MAX, last: at(0) });
        assert!(!full.count(&keys[0], at(1)));
    }
}
