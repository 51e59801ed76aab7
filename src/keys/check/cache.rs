//! The keys that are in use, by the hash of their strings: what a check finds without a database.
//!
//! Reading takes no lock and copies nothing. The cache is bounded in bytes; when it is full, it goes
//! round and throws out what was not touched since it last came by (the CLOCK algorithm), so one pass of
//! many keys that are used once does not push out those that are used again and again. Only keys that
//! exist get in. Strings that are no keys are remembered apart, briefly and in a fixed space.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::size_of;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::record::{ALLOCATION, Record};
use crate::domain::KeyHash;
use crate::model::Timestamp;

/// How long a string that is no key is remembered, milliseconds.
const UNKNOWN_FOR: i64 = 10_000;
/// How many of them.
const UNKNOWN: usize = 65_536;
/// What a record takes beside its extras: itself, its place in the map and in the round.
const EACH: usize = size_of::<(u64, Record)>() + ALLOCATION + MAP_SLOT + size_of::<u64>() * 2;
// Two lines of memory, which a processor fetches together.
const _: () = assert!(size_of::<(u64, Record)>() <= 128);
/// Of the map's table, at its emptiest (just after it has grown).
const MAP_SLOT: usize = 36;

/// The map's own key: 64 bits of a SHA-256, which need no further hashing. The record has all of it.
pub(in crate::keys) type Slot = u64;

pub(in crate::keys) fn slot(hash: &KeyHash) -> Slot {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    Slot::from_le_bytes(first)
}

/// Bits that are random already.
#[derive(Debug, Default, Clone)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a hash, which is always the same.
    }
}

type Identity = BuildHasherDefault<AsItIs>;

/// Slots in the order in which they are looked at for eviction. Whoever changes the cache has it, and so is alone.
pub(in crate::keys) type ClockQueue = VecDeque<Slot>;

/// The cache.
pub struct Cache {
    records: papaya::HashMap<Slot, Record, Identity>,
    bytes: AtomicUsize,
    most_bytes: usize,
    unknown: quick_cache::sync::Cache<[u8; 32], Timestamp>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("keys", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Cache {
    /// An empty cache of at most so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            records: papaya::HashMap::with_hasher(Identity::default()),
            bytes: AtomicUsize::new(0),
            most_bytes,
            unknown: quick_cache::sync::Cache::new(UNKNOWN),
        }
    }

    /// How many keys are in it.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The bytes that they take, about.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Finds a key that is about to be used.
    pub(in crate::keys) fn with<R>(&self, hash: &KeyHash, found: impl FnOnce(&Record) -> R) -> Option<R> {
        self.peek(hash, |record| {
            // Written only when it changes: a line of memory that all cores read stays theirs.
            if !record.touched.load(Ordering::Relaxed) {
                record.touched.store(true, Ordering::Relaxed);
            }
            found(record)
        })
    }

    /// Finds a key without saying that it is needed.
    pub(in crate::keys) fn peek<R>(&self, hash: &KeyHash, found: impl FnOnce(&Record) -> R) -> Option<R> {
        let records = self.records.pin();
        records.get(&slot(hash)).filter(|record| record.hash == *hash).map(found)
    }

    /// Finds the key that has a slot.
    pub(in crate::keys) fn at<R>(&self, slot: Slot, found: impl FnOnce(&Record) -> R) -> Option<R> {
        self.records.pin().get(&slot).map(found)
    }

    /// Brings the records of some slots into the processor's caches. No look-up here waits for the one before, as it would
    /// where each record is changed before the next one is looked for: so they wait for memory together.
    pub(in crate::keys) fn prefetch(&self, slots: impl IntoIterator<Item = Slot>) {
        let records = self.records.pin();
        for slot in slots {
            std::hint::black_box(records.get(&slot).map(|record| record.pending.load(Ordering::Relaxed)));
        }
    }

    /// Whether a string was lately found to be no key.
    pub(in crate::keys) fn is_unknown(&self, hash: &KeyHash, now: Timestamp) -> bool {
        self.unknown.peek(hash.as_bytes()).is_some_and(|until| now < until && until.since(now) <= UNKNOWN_FOR)
    }

    /// Remembers that a string is no key.
    pub(in crate::keys) fn insert_unknown(&self, hash: &KeyHash, now: Timestamp) {
        self.unknown.insert(*hash.as_bytes(), now.plus(UNKNOWN_FOR));
    }

    /// Puts a key in, and others out if there is no room: `retire` takes the uses of a record before it leaves. One at a time, and never beside
    /// [`remove`](Self::remove): the lock of `Lookups` sees to that, which `queue` is behind.
    pub(in crate::keys) fn insert(&self, queue: &mut ClockQueue, record: Record, retire: impl Fn(&Record) + Copy) {
        let (hash, size) = (record.hash, EACH + record.extra_bytes());
        // The same key, or one that shares its slot (which none of 2³² keys does): the newer one stays.
        self.remove_slot(slot(&hash), retire);
        self.records.pin().insert(slot(&hash), record);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        queue.push_back(slot(&hash));
        self.make_room(queue, retire);
        // Keys that were removed leave their slots behind.
        if queue.len() > 2 * self.records.len() + 1024 {
            let records = self.records.pin();
            let mut kept = std::collections::HashSet::new();
            queue.retain(|slot| records.contains_key(slot) && kept.insert(*slot));
        }
    }

    fn make_room(&self, queue: &mut ClockQueue, retire: impl Fn(&Record) + Copy) {
        // Twice round: the first time, those that were touched are let off.
        for _ in 0..2 * queue.len() {
            if self.bytes() <= self.most_bytes {
                return;
            }
            let Some(slot) = queue.pop_front() else {
                return;
            };
            let let_off =
                self.records.pin().get(&slot).is_some_and(|record| record.touched.swap(false, Ordering::Relaxed));
            if let_off {
                queue.push_back(slot);
            } else {
                self.remove_slot(slot, retire);
            }
        }
    }

    /// Takes a key out, and forgets that it was none. Its uses are kept.
    pub(in crate::keys) fn remove(&self, hash: &KeyHash, retire: impl Fn(&Record) + Copy) {
        self.unknown.remove(hash.as_bytes());
        if self.peek(hash, |_| ()).is_some() {
            self.remove_slot(slot(hash), retire);
        }
    }

    /// Takes all out. Their uses are kept.
    pub(in crate::keys) fn clear(&self, queue: &mut ClockQueue, retire: impl Fn(&Record) + Copy) {
        self.unknown.clear();
        let slots: Vec<Slot> = self.records.pin().keys().copied().collect();
        for slot in slots {
            self.remove_slot(slot, retire);
        }
        queue.clear();
    }

    fn remove_slot(&self, slot: Slot, retire: impl Fn(&Record) + Copy) {
        let records = self.records.pin();
        if let Some(record) = records.get(&slot) {
            // First, so that there is no moment in which a reader finds its uses nowhere.
            retire(record);
            if let Some(record) = records.remove(&slot) {
                self.bytes.fetch_sub(EACH + record.extra_bytes(), Ordering::Relaxed);
            }
        }
    }
}
