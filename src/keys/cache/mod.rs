//! The cache of keys, by the hash of their strings.
//!
//! Reading takes no lock and copies nothing. The cache is bounded in bytes. When it is full, the CLOCK algorithm evicts
//! records that were not used since its last round, so that many keys that are used once do not evict frequently used
//! keys. Negative entries (strings that are no keys) are stored separately, for a short time and in bounded space.

pub(super) mod record;

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::size_of;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::KeyHash;
use crate::model::Timestamp;
use record::{ALLOCATION, Record};

/// The lifetime of a negative entry, milliseconds.
const UNKNOWN_LIFETIME: i64 = 10_000;
/// The capacity for negative entries: beyond it, the least used ones are evicted.
const UNKNOWN_CAPACITY: usize = 65_536;
/// Bytes of a record without its extras: the record itself, and its slots in the map and the clock queue.
const RECORD_BYTES: usize = size_of::<(u64, Record)>() + ALLOCATION + MAP_SLOT + size_of::<u64>() * 2;
// Two cache lines, because processors prefetch lines in pairs.
const _: () = assert!(size_of::<(u64, Record)>() <= 128);
/// Bytes of the map's table for each record, at the lowest load (just after the table has grown).
const MAP_SLOT: usize = 36;

/// The key of the map: 64 bits of a SHA-256, which need no further hashing. The record has the whole hash.
pub(in crate::keys) type Slot = u64;

pub(in crate::keys) fn slot(hash: &KeyHash) -> Slot {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    Slot::from_le_bytes(first)
}

/// A hasher for keys that are uniformly random already.
#[derive(Debug, Default, Clone)]
pub struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
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
        // The length prefix of a hash, which is constant.
    }
}

type Identity = BuildHasherDefault<IdentityHasher>;

/// The slots in the order of eviction. A caller with exclusive access to the queue has the right to change the cache.
pub(in crate::keys) type ClockQueue = VecDeque<Slot>;

/// A cache of keys, bounded in bytes.
pub struct Cache {
    records: papaya::HashMap<Slot, Record, Identity>,
    bytes: AtomicUsize,
    max_bytes: usize,
    unknown: quick_cache::sync::Cache<[u8; 32], Timestamp>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("keys", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Creates an empty cache of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            records: papaya::HashMap::with_hasher(Identity::default()),
            bytes: AtomicUsize::new(0),
            max_bytes,
            unknown: quick_cache::sync::Cache::new(UNKNOWN_CAPACITY),
        }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether the cache has no keys.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The approximate bytes of all records.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Finds a key that is about to be used, and marks it as used.
    pub(in crate::keys) fn with<R>(&self, hash: &KeyHash, found: impl FnOnce(&Record) -> R) -> Option<R> {
        self.peek(hash, |record| {
            // Written only when it changes, so that the processor cores keep sharing the cache line.
            if !record.touched.load(Ordering::Relaxed) {
                record.touched.store(true, Ordering::Relaxed);
            }
            found(record)
        })
    }

    /// Finds a key without marking it as used.
    pub(in crate::keys) fn peek<R>(&self, hash: &KeyHash, found: impl FnOnce(&Record) -> R) -> Option<R> {
        let records = self.records.pin();
        records.get(&slot(hash)).filter(|record| record.hash == *hash).map(found)
    }

    /// Finds the key that has a slot.
    pub(in crate::keys) fn at<R>(&self, slot: Slot, found: impl FnOnce(&Record) -> R) -> Option<R> {
        self.records.pin().get(&slot).map(found)
    }

    /// Returns whether a string has a negative entry.
    pub(in crate::keys) fn is_unknown(&self, hash: &KeyHash, now: Timestamp) -> bool {
        self.unknown.peek(hash.as_bytes()).is_some_and(|until| now < until && until.since(now) <= UNKNOWN_LIFETIME)
    }

    /// Inserts a negative entry.
    pub(in crate::keys) fn insert_unknown(&self, hash: &KeyHash, now: Timestamp) {
        self.unknown.insert(*hash.as_bytes(), now.plus(UNKNOWN_LIFETIME));
    }

    /// Inserts a key, and evicts others if the cache is full. `retire` takes out the uses of a record before its
    /// removal. Never runs concurrently with another insertion or [`remove`](Self::remove): the lock of `SingleFlight`,
    /// which guards `queue`, serialises them.
    pub(in crate::keys) fn insert(&self, queue: &mut ClockQueue, record: Record, retire: impl Fn(&Record) + Copy) {
        let (hash, size) = (record.hash, RECORD_BYTES + record.extra_bytes());
        // There may be an older record of the key, or of a key with the same slot, which is unlikely among 2³² keys.
        self.remove_slot(slot(&hash), retire);
        self.records.pin().insert(slot(&hash), record);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        queue.push_back(slot(&hash));
        self.make_room(queue, retire);
        // Compact the queue, because removed keys leave their slots in it.
        if queue.len() > 2 * self.records.len() + 1024 {
            let records = self.records.pin();
            let mut retained = std::collections::HashSet::new();
            queue.retain(|slot| records.contains_key(slot) && retained.insert(*slot));
        }
    }

    fn make_room(&self, queue: &mut ClockQueue, retire: impl Fn(&Record) + Copy) {
        // Two rounds: the first one spares records that were used.
        for _ in 0..2 * queue.len() {
            if self.bytes() <= self.max_bytes {
                return;
            }
            let Some(slot) = queue.pop_front() else {
                return;
            };
            let is_spared =
                self.records.pin().get(&slot).is_some_and(|record| record.touched.swap(false, Ordering::Relaxed));
            if is_spared {
                queue.push_back(slot);
            } else {
                self.remove_slot(slot, retire);
            }
        }
    }

    /// Removes a key, or its negative entry. `retire` takes out the uses of the key.
    pub(in crate::keys) fn remove(&self, hash: &KeyHash, retire: impl Fn(&Record) + Copy) {
        self.unknown.remove(hash.as_bytes());
        if self.peek(hash, |_| ()).is_some() {
            self.remove_slot(slot(hash), retire);
        }
    }

    /// Removes all keys and negative entries. `retire` takes out the uses of each key.
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
            // Before the removal, so that a reader finds its uses at any time.
            retire(record);
            if let Some(record) = records.remove(&slot) {
                self.bytes.fetch_sub(RECORD_BYTES + record.extra_bytes(), Ordering::Relaxed);
            }
        }
    }
}
