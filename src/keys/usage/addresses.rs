//! The addresses that keys were used from, until the next flush.
//!
//! Separate from the ledgers, because a flush holds their lock most of the time and no request should wait for that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::model::{KeyId, OrganisationId, Timestamp};
use crate::store::UsedFrom;

/// Addresses that are stored of one key.
pub(super) const MAX_ADDRESSES: usize = 10;
/// Keys with pending addresses; the address of a further key is recorded at its next use. Each key rewrites a page of
/// the database: at 2,000 keys a second that was a sixteenth of a busy server's work.
const MAX_KEYS: usize = 250;

/// Keys of one organisation with pending addresses.
const MAX_KEYS_OF_ORGANISATION: usize = MAX_KEYS / 2;

/// Addresses by key, at most [`MAX_ADDRESSES`] of each, so that a key with many addresses leaves room for other keys.
pub(super) type ByKey = HashMap<KeyId, Vec<UsedFrom>>;

#[derive(Debug, Default)]
struct Pending {
    keys: ByKey,
    /// The number of keys of each organisation that were added since the last flush.
    organisations: HashMap<OrganisationId, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    pending: Mutex<Pending>,
    /// The approximate number of keys, which is read without the lock.
    keys: AtomicUsize,
}

impl Addresses {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the use of an organisation's key, if there is room. Returns whether there is.
    pub(super) fn note(&self, organisation: OrganisationId, id: KeyId, address: IpAddr, at: Timestamp) -> bool {
        if self.keys.load(Ordering::Relaxed) >= MAX_KEYS {
            return false;
        }
        let mut guard = self.pending();
        let Pending { keys, organisations } = &mut *guard;
        let from = UsedFrom { address, last_used_at: at };
        if let Some(known) = keys.get_mut(&id) {
            return note(known, from);
        }
        let used = organisations.entry(organisation).or_default();
        if *used >= MAX_KEYS_OF_ORGANISATION {
            return false;
        }
        *used += 1;
        keys.insert(id, vec![from]);
        self.keys.store(keys.len(), Ordering::Relaxed);
        true
    }

    /// Adds the pending addresses of a key to `known`.
    pub(super) fn complete(&self, id: KeyId, known: &mut Vec<UsedFrom>) {
        for from in self.pending().keys.get(&id).into_iter().flatten() {
            if !renew(known, *from) {
                known.push(*from);
            }
        }
    }

    /// Takes out all addresses.
    pub(super) fn take(&self) -> ByKey {
        let mut pending = self.pending();
        self.keys.store(0, Ordering::Relaxed);
        std::mem::take(&mut *pending).keys
    }

    /// Puts back addresses that could not be saved.
    pub(super) fn keep(&self, taken: ByKey) {
        let mut pending = self.pending();
        for (id, seen) in taken {
            let known = pending.keys.entry(id).or_default();
            for from in seen {
                note(known, from);
            }
        }
        self.keys.store(pending.keys.len(), Ordering::Relaxed);
    }
}

fn note(known: &mut Vec<UsedFrom>, from: UsedFrom) -> bool {
    let noted = renew(known, from);
    let has_place = known.len() < MAX_ADDRESSES;
    if !noted && has_place {
        known.push(from);
    }
    noted || has_place
}

/// Updates a known address. Returns whether there is one.
fn renew(known: &mut [UsedFrom], from: UsedFrom) -> bool {
    let same = known.iter_mut().find(|known| known.address == from.address);
    same.map(|known| known.last_used_at = known.last_used_at.max(from.last_used_at)).is_some()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn from(last: u32, at: i64) -> UsedFrom {
        UsedFrom { address: Ipv4Addr::from_bits(last).into(), last_used_at: Timestamp(at) }
    }

    #[test]
    fn a_key_with_many_addresses_leaves_room_for_other_keys() {
        let addresses = Addresses::default();
        // Two organisations, with the odd and the even keys.
        let note = |id: i64, from: UsedFrom| {
            addresses.note(OrganisationId(id % 2), KeyId(id), from.address, from.last_used_at)
        };
        let recorded = (0..1_000).filter(|n| note(1, from(*n, 5))).count();
        assert_eq!(recorded, MAX_ADDRESSES);
        assert!(note(1, from(3, 7)), "known");
        for id in 2..=i64::try_from(MAX_KEYS).expect("a number") {
            assert!(note(id, from(0, 5)), "{id}");
        }
        assert!(!note(0, from(0, 5)), "full");

        let taken = addresses.take();
        assert_eq!(taken.len(), MAX_KEYS);
        assert_eq!(taken[&KeyId(1)][3], from(3, 7));
        assert!(note(1, from(77, 9)), "there is room again");
    }

    #[test]
    fn a_greedy_organisation_leaves_places_to_others() {
        let addresses = Addresses::default();
        let note = |organisation, id| {
            let UsedFrom { address, last_used_at } = from(1, 5);
            addresses.note(OrganisationId(organisation), KeyId(id), address, last_used_at)
        };
        assert_eq!((0..1_000).filter(|id| note(1, *id)).count(), MAX_KEYS_OF_ORGANISATION);
        assert!(note(2, 1_000));
        assert!(note(1, 3), "a known key stays");
        addresses.take();
        assert!(note(1, 999), "there is room again after a flush");
    }

    #[test]
    fn addresses_of_a_failed_flush_are_pending_again() {
        let addresses = Addresses::default();
        assert!(addresses.note(OrganisationId(1), KeyId(1), from(1, 5).address, Timestamp(5)));
        let taken = addresses.take();
        assert!(addresses.note(OrganisationId(1), KeyId(1), from(1, 6).address, Timestamp(6)));
        assert!(addresses.note(OrganisationId(1), KeyId(2), from(2, 6).address, Timestamp(6)));
        addresses.keep(taken);
        let mut known = vec![from(1, 1), from(3, 1)];
        addresses.complete(KeyId(1), &mut known);
        assert_eq!(known, [from(1, 6), from(3, 1)]);
        addresses.complete(KeyId(2), &mut known);
        assert_eq!(known, [from(1, 6), from(3, 1), from(2, 6)]);
    }
}
