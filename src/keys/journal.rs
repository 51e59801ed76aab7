//! What was counted since the last flush, in the order in which it came.
//!
//! A flush should not have to look at every record that was used: with a million keys, each of them is in memory that no
//! cache of the processor has. So the first use of a key since the last flush is noted here, and so is, as a slot, that there were more of them:
//! how many, the record knows (see [`Record::note`](super::record::Record)).

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Code;
use super::cache::Slot;
use crate::model::{KeyId, Timestamp};

/// Checks of one key with one outcome in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) id: KeyId,
    pub(super) code: Code,
    pub(super) count: u64,
    /// When the last of them was.
    pub(super) at: Timestamp,
}

impl Counted {
    /// Hours since 1970.
    pub(super) fn hour(&self) -> i64 {
        self.at.hour()
    }
}

/// In the order of keys, hours and outcomes, each of them once.
pub(super) fn merge(counted: &mut Vec<Counted>) {
    let order = |counted: &Counted| (counted.id, counted.hour(), counted.code);
    counted.sort_unstable_by_key(order);
    counted.dedup_by(|next, kept| {
        let belongs = order(next) == order(kept);
        if belongs {
            kept.count += next.count;
            kept.at = kept.at.max(next.at);
        }
        belongs
    });
}

/// What one thread has noted.
#[derive(Debug, Default)]
struct Page {
    counted: Vec<Counted>,
    /// Records that have counted more.
    again: Vec<Slot>,
}

/// Of one thread, with lines of memory of its own, so that none waits for another one's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place {
    page: Mutex<Page>,
    /// What a flush has read and gives back: memory that has been used is cheaper than new one.
    spare: Mutex<Page>,
}

fn lock(page: &Mutex<Page>) -> MutexGuard<'_, Page> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    places: [Place; 16],
    /// How many flushes there were.
    flushes: AtomicU32,
}

impl Journal {
    /// This thread's page.
    fn page(&self) -> MutexGuard<'_, Page> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        let place = PLACE.with(|place| place % self.places.len());
        lock(&self.places[place].page)
    }

    /// How many flushes there were. What was noted before the last one began is not here any more.
    pub(super) fn flushes(&self) -> u32 {
        self.flushes.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, counted: Counted) {
        self.page().counted.push(counted);
    }

    /// A record has counted more than was noted of it.
    pub(super) fn note_again(&self, slot: Slot) {
        self.page().again.push(slot);
    }

    /// These could not be written down, and wait again.
    pub(super) fn put_back(&self, counted: &[Counted]) {
        self.page().counted.extend_from_slice(counted);
    }

    /// Everything, taken out: a flush begins. It is added to what is in these.
    pub(super) fn take(&self, counted: &mut Vec<Counted>, again: &mut Vec<Slot>) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        for place in &self.places {
            let mut taken = lock(&place.spare);
            std::mem::swap(&mut *taken, &mut *lock(&place.page));
            empty(&mut taken.counted, |noted| counted.extend_from_slice(noted));
            empty(&mut taken.again, |noted| again.extend_from_slice(noted));
        }
    }
}

/// Nothing is left in it after it was used, but room for as much again. What is not needed goes little by little.
pub(super) fn empty<T>(list: &mut Vec<T>, used: impl FnOnce(&[T])) {
    used(list);
    list.shrink_to((2 * list.len()).max(list.capacity() / 2));
    list.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = Timestamp::HOUR;

    fn of(id: i64, code: Code, count: u64, at: i64) -> Counted {
        Counted { id: KeyId(id), code, count, at: Timestamp(at) }
    }

    #[test]
    fn what_belongs_together_is_one_count() {
        let mut noted = vec![
            of(2, Code::Valid, 1, 7),
            of(1, Code::Valid, 2, HOUR + 5),
            of(1, Code::Valid, 3, HOUR - 1),
            of(1, Code::Revoked, 1, 3),
            of(2, Code::Valid, 4, 5),
            of(1, Code::Valid, 1, HOUR),
        ];
        let merged = [
            of(1, Code::Revoked, 1, 3),
            of(1, Code::Valid, 3, HOUR - 1),
            of(1, Code::Valid, 3, HOUR + 5),
            of(2, Code::Valid, 5, 7),
        ];
        merge(&mut noted);
        assert_eq!(noted, merged);
    }

    #[test]
    fn what_several_threads_note_is_taken_once() {
        let journal = Journal::default();
        std::thread::scope(|scope| {
            for thread in 0..40 {
                let journal = &journal;
                scope.spawn(move || {
                    journal.note(of(thread, Code::Valid, 1, 1));
                    journal.note_again(7);
                });
            }
        });
        for (flushes, taken) in [(1, 40), (2, 0)] {
            let (mut counted, mut again) = (Vec::new(), Vec::new());
            journal.take(&mut counted, &mut again);
            merge(&mut counted);
            assert_eq!((counted.len(), again.len(), journal.flushes()), (taken, taken, flushes));
        }
    }
}
