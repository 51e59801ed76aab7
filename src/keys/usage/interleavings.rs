//! Tests of counting under concurrency: requests, evictions, flushes and readers at the same time.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize};

use super::*;
use crate::domain::key;
use crate::keys::cache::ClockQueue;
use crate::keys::cache::record::Record;

const REQUESTS_PER_THREAD: i64 = 200_000;

impl Usage {
    /// Takes out the number of accepted requests that are not in the database.
    fn take_accepted(&self) -> i64 {
        let counted = self.take_counted().into_iter().filter_map(|slot| self.take_uses(slot));
        let counted: i64 = counted.map(|uses| i64::from(uses.count)).sum();
        counted + self.take_pending().counts.values().sum::<i64>()
    }

    fn insert(&self, queue: &mut ClockQueue, key: &Key) {
        self.cache.insert(queue, record(key), |record| self.retire(record));
    }
}

fn record(key: &Key) -> Record {
    Record::new(key, Arc::new(key.place()), None)
}

/// Creates a [`Usage`] with a database that is never used.
async fn usage() -> Usage {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("none.db").display());
    let db = Db::open(&url).await.expect("a database");
    let clock = Clock::fixed(Timestamp(1_000));
    let limits = Arc::new(Limits::new(db.clone(), clock.clone(), None));
    Usage::new(db, clock, Arc::new(Cache::new(1 << 20)), limits)
}

/// Two threads check, a third one keeps evicting the key, and a fourth one takes the counts. No count is lost or
/// doubled.
#[tokio::test]
async fn no_count_is_lost_between_the_record_the_ledger_and_the_database() {
    let (usage, key) = (usage().await, key());
    let mut queue = ClockQueue::default();
    usage.insert(&mut queue, &key);
    let (written, done) = (AtomicI64::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (usage, key, done) = (&usage, &key, &done);
            scope.spawn(move || {
                for n in 0..REQUESTS_PER_THREAD {
                    // Every 50,000 requests an hour later, so that the hour changes while the other thread counts.
                    let now = Timestamp(1_000 + (n + thread) / 50_000 * HOUR);
                    let counted = usage.cache.peek(&key.hash, |record| usage.count(record, None, now));
                    if counted.is_none() {
                        usage.count(&record(key).uncached(), None, now);
                    }
                }
                done.fetch_add(1, SeqCst);
            });
        }
        scope.spawn(|| {
            while done.load(SeqCst) < 2 {
                usage.cache.remove(&key.hash, |record| usage.retire(record));
                usage.insert(&mut queue, &key);
            }
        });
        scope.spawn(|| {
            while done.load(SeqCst) < 2 {
                written.fetch_add(usage.take_accepted(), SeqCst);
            }
        });
    });
    let pending = usage.take_accepted();
    assert_eq!(written.into_inner() + pending, 2 * REQUESTS_PER_THREAD);
}

/// A reader sees each use once, while checks run and evictions move counts from records to the ledger.
#[tokio::test]
async fn a_reader_sees_each_use_once_while_records_are_evicted() {
    let (usage, key) = (usage().await, key());
    let mut queue = ClockQueue::default();
    usage.insert(&mut queue, &key);
    let (begun, ended, is_over) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    let reading = usage.reading().await;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..REQUESTS_PER_THREAD {
                begun.fetch_add(1, SeqCst);
                let now = Timestamp(1_000 + n / 50_000 * HOUR);
                if usage.cache.peek(&key.hash, |record| usage.count(record, None, now)).is_none() {
                    usage.count_reported(key.id, 1, now);
                }
                ended.fetch_add(1, SeqCst);
            }
            is_over.store(true, SeqCst);
        });
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                usage.cache.remove(&key.hash, |record| usage.retire(record));
                usage.insert(&mut queue, &key);
            }
        });
        while !is_over.load(SeqCst) {
            let least = ended.load(SeqCst);
            let (mut listed, mut hours) = ([key.clone()], Vec::new());
            usage.complete(&mut listed, &reading);
            usage.complete_usage(&key, &mut hours, &mut Vec::new(), &reading);
            let most = begun.load(SeqCst);
            let [by_hour, shown] = [hours.iter().map(|hour| hour.count).sum(), listed[0].request_count];
            assert!((least..=most).contains(&shown), "{least} to {most} uses, shown as {shown}");
            assert!((least..=most).contains(&by_hour), "{least} to {most} uses, by the hour {by_hour}");
        }
    });
}
