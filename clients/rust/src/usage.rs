//! Counts of accepted requests that the server does not know yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Largest number of keys in one report, the limit of the server.
pub(crate) const MAX_REPORT_KEYS: usize = 500;
/// Largest count of one key in a report.
const MAX_COUNT: u32 = 1_000_000_000;
/// Largest sum of the counts of one report.
const MAX_TOTAL: u64 = 10_000_000_000;
/// Largest number of keys with pending counts; for further keys, the server is asked.
const MAX_PENDING_KEYS: usize = 100_000;

/// The number of accepted requests of one key, and the time of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) count: u32,
    pub(crate) last: SystemTime,
}

type Uses = HashMap<Arc<str>, Use>;

#[derive(Debug, Default)]
pub(crate) struct Usage {
    pending: Mutex<Uses>,
}

impl Usage {
    fn pending(&self) -> MutexGuard<'_, Uses> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request. `false` if a limit is reached: the caller then asks the server, which counts the request.
    pub(crate) fn count(&self, key: &Arc<str>, at: SystemTime) -> bool {
        let mut pending = self.pending();
        if let Some(used) = pending.get_mut(key) {
            if used.count >= MAX_COUNT {
                return false;
            }
            *used = Use { count: used.count + 1, last: used.last.max(at) };
        } else if pending.len() < MAX_PENDING_KEYS {
            pending.insert(Arc::clone(key), Use { count: 1, last: at });
        } else {
            return false;
        }
        true
    }

    /// Takes all pending counts, in batches of one report each. A batch that is dropped before [`sent`](Batch::sent)
    /// puts its counts back.
    pub(crate) fn take(&self) -> Vec<Batch<'_>> {
        let mut uses = std::mem::take(&mut *self.pending()).into_iter().peekable();
        std::iter::from_fn(|| {
            uses.peek()?;
            let (mut batch, mut total) = (Vec::new(), 0);
            while batch.len() < MAX_REPORT_KEYS
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
    /// Discards the counts after the server has accepted them.
    pub(crate) fn sent(mut self) {
        self.uses.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.uses.is_empty() {
            return;
        }
        let mut pending = self.usage.pending();
        for (key, used) in self.uses.drain(..) {
            let since = pending.entry(key).or_insert(Use { count: 0, last: used.last });
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
    fn counts_are_kept_until_they_are_sent() {
        let (usage, key) = (Usage::default(), Arc::from("ak_1"));
        assert!(usage.count(&key, at(7)) && usage.count(&key, at(5)));
        let batches = usage.take();
        assert!(usage.count(&key, at(6)), "a use during the report is counted");
        drop(batches);
        assert_eq!(all(&usage), [(key, Use { count: 3, last: at(7) })]);
        usage.take().into_iter().for_each(Batch::sent);
        assert_eq!(all(&usage), []);
    }

    #[test]
    fn a_report_has_at_most_500_keys() {
        let usage = Usage::default();
        for number in 0..1201 {
            usage.count(&format!("ak_{number:016x}").into(), at(0));
        }
        assert_eq!(usage.take().iter().map(|batch| batch.uses.len()).collect::<Vec<_>>(), [500, 500, 201]);
    }

    #[test]
    fn pending_counts_are_bounded() {
        let usage = Usage::default();
        let keys: Vec<Arc<str>> = (0..=MAX_PENDING_KEYS).map(|number| number.to_string().into()).collect();
        assert_eq!(keys.iter().filter(|key| usage.count(key, at(0))).count(), MAX_PENDING_KEYS);
        assert!(usage.count(&keys[0], at(1)), "a key with pending counts keeps its entry");
        let full = Usage::default();
        full.pending().insert(Arc::clone(&keys[0]), Use { count: u32::MAX, last: at(0) });
        assert!(!full.count(&keys[0], at(1)));
    }
}
