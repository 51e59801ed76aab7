//! Addresses that keys were used from, until the next flush.
//!
//! Separate from the ledgers: a flush holds their lock most of its time, and no request should wait for that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::model::{KeyId, OrganisationId, Timestamp};
use crate::store::UsedFrom;

/// Addresses of one key that are remembered.
pub(super) const ADDRESSES: usize = 10;
/// Keys with addresses that wait for a flush; the address of a further key is noted at its next use. Each key rewrites a page
/// of the database: at 2,000 keys a second that was a sixteenth of a busy server's work.
const KEYS: usize = 250;

/// Keys of one organisation that wait.
const ORGANISATION_KEYS: usize = KEYS / 2;

/// Addresses by key, at most [`ADDRESSES`] of each, so that a key that is used from everywhere takes no place from others.
pub(super) type ByKey = HashMap<KeyId, Vec<UsedFrom>>;

#[derive(Debug, Default)]
struct Waiting {
    keys: ByKey,
    /// The number of keys of each organisation that were added since the last flush.
    organisations: HashMap<OrganisationId, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    waiting: Mutex<Waiting>,
    /// The number of keys, about.
    keys: AtomicUsize,
}

impl Addresses {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the use of an organisation's key, if there is room. Returns whether there is.
    pub(super) fn note(&self, organisation: OrganisationId, id: KeyId, address: IpAddr, at: Timestamp) -> bool {
        if self.keys.load(Ordering::Relaxed) >= KEYS {
            return false;
        }
        let mut guard = self.waiting();
        let Waiting { keys, organisations } = &mut *guard;
        let from = UsedFrom { address, last_used_at: at };
        if let Some(known) = keys.get_mut(&id) {
            return note(known, from);
        }
        let used = organisations.entry(organisation).or_default();
        if *used >= ORGANISATION_KEYS {
            return false;
        }
        *used += 1;
        keys.insert(id, vec![from]);
        self.keys.store(keys.len(), Ordering::Relaxed);
        true
    }

    /// Adds the addresses of a key to `known`.
    pub(super) fn complete(&self, id: KeyId, known: &mut Vec<UsedFrom>) {
        for from in self.waiting().keys.get(&id).into_iter().flatten() {
            if !renew(known, *from) {
                known.push(*from);
            }
        }
    }

    /// Takes all addresses out.
    pub(super) fn take(&self) -> ByKey {
        let mut waiting = self.waiting();
        self.keys.store(0, Ordering::Relaxed);
        std::mem::take(&mut *waiting).keys
    }

    /// Puts back addresses that could not be saved.
    pub(super) fn keep(&self, taken: ByKey) {
        let mut waiting = self.waiting();
        for (id, seen) in taken {
            let known = waiting.keys.entry(id).or_default();
            for from in seen {
                note(known, from);
            }
        }
        self.keys.store(waiting.keys.len(), Ordering::Relaxed);
    }
}

fn note(known: &mut Vec<UsedFrom>, from: UsedFrom) -> bool {
    let noted = renew(known, from);
    let has_place = known.len() < ADDRESSES;
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
    fn one_key_takes_no_place_from_the_others() {
        let addresses = Addresses::default();
        // Two organisations: odd and even keys.
        let note = |id: i64, from: UsedFrom| {
            addresses.note(OrganisationId(id % 2), KeyId(id), from.address, from.last_used_at)
        };
        let everywhere = (0..1_000).filter(|n| note(1, from(*n, 5))).count();
        assert_eq!(everywhere, ADDRESSES);
        assert!(note(1, from(3, 7)), "known");
        for id in 2..=i64::try_from(KEYS).expect("a number") {
            assert!(note(id, from(0, 5)), "{id}");
        }
        assert!(!note(0, from(0, 5)), "full");

        let taken = addresses.take();
        assert_eq!(taken.len(), KEYS);
        assert_eq!(taken[&KeyId(1)][3], from(3, 7));
        assert!(note(1, from(77, 9)), "there is place again");
    }

    #[test]
    fn a_greedy_organisation_leaves_places_to_others() {
        let addresses = Addresses::default();
        let note = |organisation, id| {
            let UsedFrom { address, last_used_at } = from(1, 5);
            addresses.note(OrganisationId(organisation), KeyId(id), address, last_used_at)
        };
        assert_eq!((0..1_000).filter(|id| note(1, *id)).count(), ORGANISATION_KEYS);
        assert!(note(2, 1_000));
        assert!(note(1, 3), "a key that has a place keeps it");
        addresses.take();
        assert!(note(1, 999), "there is room again after a flush");
    }

    #[test]
    fn what_could_not_be_written_down_waits_again() {
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
