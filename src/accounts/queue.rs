//! The queue in front of Argon2. A stranger's flood of requests must not lock others out.
//!
//! There are two lanes: one for accounts that signed in from this network lately, one for all others. The known lane
//! goes first, but at most [`MAX_KNOWN_IN_A_ROW`] times in a row while others wait. Within a lane, networks take turns
//! (start-time fair queueing): the tag of a ticket is the lane's virtual time, or lies behind the pending tickets of
//! its network. The smallest tag is served first. A full lane sheds the ticket with the largest tag, which belongs to
//! the network with the most tickets.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::runtime::Network;

/// Concurrent password hashes: each takes 19 MiB and a processor.
pub(super) const SLOTS: usize = 2;
/// Pending tickets in one lane: a further one sheds a ticket, and its request gets 503.
const LANE_CAPACITY: usize = 64;
/// Pending tickets of one narrow network in one lane: further requests get 503.
const NETWORK_CAPACITY: usize = 32;
/// The largest number of turns of the known lane in a row while the other lane waits.
const MAX_KNOWN_IN_A_ROW: u8 = 3;
/// Virtual time between two tickets of one narrow network.
const NARROW_STEP: u64 = 8;
/// Virtual time between two tickets of one wide network: a wide network has the share of eight narrow ones.
const WIDE_STEP: u64 = 1;

/// Seconds after which the client of a shed request may retry.
pub const RETRY_AFTER: u64 = 5;

/// The queue is full, and no other network has more tickets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sign-in queue is full")]
pub struct Busy;

/// The lane in which a ticket waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The account signed in from this network lately.
    Known,
    /// Any other account or network.
    Unknown,
}

/// The queue. Clones share one state.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<State>>);

struct State {
    free: usize,
    known: Tickets,
    unknown: Tickets,
    known_in_a_row: u8,
}

impl Default for State {
    fn default() -> Self {
        Self { free: SLOTS, known: Tickets::default(), unknown: Tickets::default(), known_in_a_row: 0 }
    }
}

/// The right to hash. Dropping it passes it to the next ticket.
pub(super) struct Slot(Queue);

impl Queue {
    /// Waits for a slot.
    ///
    /// # Errors
    /// [`Busy`], immediately or when the ticket is shed.
    pub(super) async fn enter(&self, network: Network, lane: Lane) -> Result<Slot, Busy> {
        let served = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot(self.clone()));
            }
            let tickets = match lane {
                Lane::Known => &mut state.known,
                Lane::Unknown => &mut state.unknown,
            };
            tickets.admit(network).ok_or(Busy)?
        };
        served.await.map_err(|_| Busy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of free slots.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.lock().free
    }

    /// Returns whether a ticket waits in the known lane.
    #[cfg(test)]
    pub(super) fn known_waits(&self) -> bool {
        !self.lock().known.waiting.is_empty()
    }

    /// Returns the number of pending tickets.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.known.waiting.len() + state.unknown.waiting.len()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let next = self.0.lock().next();
        if let Some(ticket) = next {
            // Sent outside the lock: if the request was cancelled meanwhile, its slot is dropped here, and this
            // function runs again.
            let _ = ticket.send(Slot(self.0.clone()));
        }
    }
}

impl State {
    /// Returns the ticket that gets the returned slot; without a ticket, the slot becomes free.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        self.known.remove_cancelled();
        self.unknown.remove_cancelled();
        let others_wait = !self.unknown.waiting.is_empty();
        let known_first = self.known_in_a_row < MAX_KNOWN_IN_A_ROW || !others_wait;
        if known_first && let Some(ticket) = self.known.serve() {
            self.known_in_a_row = if others_wait { self.known_in_a_row + 1 } else { 0 };
            return Some(ticket);
        }
        self.known_in_a_row = 0;
        let ticket = self.unknown.serve();
        self.free += usize::from(ticket.is_none());
        ticket
    }
}

/// The tickets of a lane, by tag and then in the order of arrival.
#[derive(Default)]
struct Tickets {
    waiting: BTreeMap<(u64, u64), Ticket>,
    /// The tag of the ticket that was served last.
    virtual_time: u64,
    /// The number of the next ticket.
    number: u64,
    /// The earliest tag for the next ticket of each network, where it lies ahead of the virtual time.
    narrow: HashMap<IpAddr, u64>,
    wide: HashMap<IpAddr, u64>,
}

struct Ticket {
    network: IpAddr,
    served: oneshot::Sender<Slot>,
}

impl Tickets {
    /// Adds a ticket, if there is room or another network has more tickets than this one.
    fn admit(&mut self, network: Network) -> Option<oneshot::Receiver<Slot>> {
        self.remove_cancelled();
        let from = |next: Option<&u64>| next.copied().unwrap_or_default().max(self.virtual_time);
        let (narrow, wide) = (from(self.narrow.get(&network.narrow)), from(self.wide.get(&network.wide)));
        let tag = narrow.max(wide);
        let own = self.waiting.values().filter(|ticket| ticket.network == network.narrow).count();
        if own >= NETWORK_CAPACITY {
            return None;
        }
        if self.waiting.len() >= LANE_CAPACITY {
            let last = self.waiting.last_entry().filter(|last| last.key().0 > tag)?;
            // Drops the sender, so that its request gets `Busy`.
            last.remove();
        }
        self.narrow.insert(network.narrow, narrow + NARROW_STEP);
        self.wide.insert(network.wide, wide + WIDE_STEP);
        let (served, receiver) = oneshot::channel();
        self.waiting.insert((tag, self.number), Ticket { network: network.narrow, served });
        self.number += 1;
        Some(receiver)
    }

    fn serve(&mut self) -> Option<oneshot::Sender<Slot>> {
        let ((tag, _), ticket) = self.waiting.pop_first()?;
        self.virtual_time = tag;
        self.narrow.retain(|_, next| *next > tag);
        self.wide.retain(|_, next| *next > tag);
        if self.waiting.is_empty() {
            self.narrow.clear();
            self.wide.clear();
        }
        Some(ticket.served)
    }

    /// Removes the tickets of cancelled requests.
    fn remove_cancelled(&mut self) {
        self.waiting.retain(|_, ticket| !ticket.served.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Result<Slot, Busy>>>>;

    /// Enters the queue without waiting.
    fn enter(queue: &Queue, address: &str, lane: Lane) -> Waiting {
        let (queue, network) = (queue.clone(), Network::of(Some(address.parse().unwrap())));
        let mut waiting: Waiting = Box::pin(async move { queue.enter(network, lane).await });
        // The first poll takes the ticket; the test polls the result later.
        match poll(&mut waiting) {
            Poll::Pending => waiting,
            Poll::Ready(answer) => Box::pin(std::future::ready(answer)),
        }
    }

    fn poll(waiting: &mut Waiting) -> Poll<Result<Slot, Busy>> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn take_all_slots(queue: &Queue) -> Vec<Slot> {
        (0..SLOTS)
            .map(|_| match poll(&mut enter(queue, "203.0.113.1", Lane::Unknown)) {
                Poll::Ready(Ok(slot)) => slot,
                _ => panic!("a slot is free"),
            })
            .collect()
    }

    /// Lets turns pass, and returns the turn in which this ticket was served; `None` if it was shed. Tickets of the
    /// flood keep their slots for one turn.
    fn turns_until(mut mine: Waiting, slots: &mut Vec<Slot>, flood: &mut Vec<Waiting>) -> Option<usize> {
        for turn in 1..1000 {
            drop(slots.pop());
            match poll(&mut mine) {
                Poll::Ready(Ok(_)) => return Some(turn),
                Poll::Ready(Err(Busy)) => return None,
                Poll::Pending => {}
            }
            flood.retain_mut(|ticket| match poll(ticket) {
                Poll::Pending => true,
                Poll::Ready(Ok(slot)) => {
                    slots.push(slot);
                    false
                }
                Poll::Ready(Err(Busy)) => false,
            });
            assert!(!slots.is_empty(), "a slot was lost");
        }
        panic!("never served")
    }

    /// Enters 25 addresses × 60 sign-ins.
    fn flood(queue: &Queue) -> Vec<Waiting> {
        let addresses = (0..60).flat_map(|_| (0..25).map(|n| format!("198.51.{n}.7")));
        addresses.map(|address| enter(queue, &address, Lane::Unknown)).collect()
    }

    #[test]
    fn a_known_network_has_the_next_turn_in_a_full_queue() {
        let queue = Queue::default();
        let mut slots = take_all_slots(&queue);
        let mut flood = flood(&queue);
        assert_eq!(queue.waiting(), LANE_CAPACITY);
        let owner = enter(&queue, "192.0.2.1", Lane::Known);
        assert_eq!(turns_until(owner, &mut slots, &mut flood), Some(1));
    }

    #[test]
    fn a_newcomer_sheds_a_ticket_of_the_network_with_the_most_and_waits_one_round() {
        let queue = Queue::default();
        let mut slots = take_all_slots(&queue);
        let mut flood = flood(&queue);
        let newcomer = enter(&queue, "192.0.2.1", Lane::Unknown);
        let turns = turns_until(newcomer, &mut slots, &mut flood).expect("it is not shed");
        assert!(turns <= 26, "{turns}");
    }

    #[test]
    fn networks_of_one_wide_network_share_its_turns() {
        let queue = Queue::default();
        let mut slots = take_all_slots(&queue);
        let addresses = (0..LANE_CAPACITY).map(|n| format!("2001:db8:1:{n:x}::1"));
        let mut flood: Vec<Waiting> = addresses.map(|address| enter(&queue, &address, Lane::Unknown)).collect();
        assert_eq!(queue.waiting(), LANE_CAPACITY);
        let newcomer = enter(&queue, "2001:db8:2::1", Lane::Unknown);
        assert_eq!(turns_until(newcomer, &mut slots, &mut flood), Some(2));
    }

    #[test]
    fn one_network_has_a_limited_share_of_a_lane() {
        let queue = Queue::default();
        let _slots = take_all_slots(&queue);
        let mut flood: Vec<Waiting> = (0..100).map(|_| enter(&queue, "198.51.100.1", Lane::Unknown)).collect();
        assert_eq!(queue.waiting(), NETWORK_CAPACITY);
        assert!(matches!(poll(&mut flood[NETWORK_CAPACITY]), Poll::Ready(Err(Busy))));
    }

    #[test]
    fn the_known_lane_lets_others_have_every_fourth_turn() {
        let queue = Queue::default();
        let mut slots = take_all_slots(&queue);
        let mut known: Vec<Waiting> = (0..20).map(|n| enter(&queue, &format!("198.51.{n}.1"), Lane::Known)).collect();
        let other = enter(&queue, "192.0.2.1", Lane::Unknown);
        assert_eq!(turns_until(other, &mut slots, &mut known), Some(4));
    }

    #[test]
    fn cancelled_requests_take_no_place_in_the_queue() {
        let queue = Queue::default();
        let _slots = take_all_slots(&queue);
        let waiting =
            |count| -> Vec<Waiting> { (0..count).map(|_| enter(&queue, "198.51.100.1", Lane::Unknown)).collect() };
        drop(waiting(NETWORK_CAPACITY));
        assert!(poll(&mut waiting(1)[0]).is_pending());
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn cancelled_requests_leave_room_and_lose_no_slot() {
        let queue = Queue::default();
        let slots = take_all_slots(&queue);
        let waiting: Vec<Waiting> = (0..30).map(|_| enter(&queue, "198.51.100.1", Lane::Unknown)).collect();
        // One request has its slot already when it is cancelled.
        drop(slots);
        drop(waiting);
        assert_eq!((queue.waiting(), queue.free()), (0, SLOTS));
    }
}
