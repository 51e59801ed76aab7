//! Judges a history, for each key separately: every check must see a state that the key can have had at some time
//! between request and response (linearizability of a register that clients set).
//!
//! A check that was sent after a revocation was answered therefore never sees a live key, on any node. A check that was
//! answered before a revocation was requested never sees another state. A change without a response may take effect at
//! any time after its request, or never.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Event, Moment, Operation, State};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The key cannot have had this state at any time during the check.
    Impossible(Event),
    /// This node had already reported the key as revoked.
    TakenBack(Event),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Impossible(event) | Self::TakenBack(event)) = self;
        let why = match (self, event.operation) {
            (Self::TakenBack(_), _) => "although this node had reported it as revoked before",
            (_, Operation::Check(Some(State::Live))) => "although another state had been set before",
            (_, Operation::Check(None)) => "although it had been created before",
            _ => "although no client had requested this, or it had been undone",
        };
        write!(
            f,
            "node {}, requested at {:?}, answered at {:?}: key {} {:?}, {why}",
            event.node, event.start, event.end, event.key, event.operation
        )
    }
}

/// The verdict on a history.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Checks that saw a live key on one node after another node had reported it as revoked. Allowed until the
    /// revocation is answered, because nodes learn of it at different times.
    pub overtaken: usize,
}

/// Judges a history; the order of the events does not matter.
pub fn judge(events: &[Event]) -> Verdict {
    let mut keys: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    for event in events {
        keys.entry(event.key).or_default().push(*event);
    }
    let mut verdict = Verdict::default();
    for events in keys.values() {
        judge_key(events, &mut verdict);
    }
    verdict
}

/// A requested change.
#[derive(Clone, Copy)]
struct Change {
    to: State,
    done: bool,
    start: Moment,
    end: Moment,
}

impl Change {
    /// Returns whether this change has certainly replaced the other one at this time.
    fn has_replaced(self, other: Self, at: Moment) -> bool {
        let is_later = self.to == State::Revoked || (other.done && other.end < self.start);
        self.done && self.end < at && other.to != State::Revoked && is_later
    }
}

fn judge_key(events: &[Event], verdict: &mut Verdict) {
    let changes: Vec<Change> = events
        .iter()
        .filter_map(|event| match event.operation {
            Operation::Set { to, done } => Some(Change { to, done, start: event.start, end: event.end }),
            Operation::Check(_) => None,
        })
        .collect();
    // The time at which each node first reported the key as revoked.
    let mut revoked: BTreeMap<usize, Moment> = BTreeMap::new();
    for event in events.iter().filter(|event| event.operation == Operation::Check(Some(State::Revoked))) {
        let said = revoked.entry(event.node).or_insert(event.end);
        *said = event.end.min(*said);
    }
    for event in events {
        let Operation::Check(seen) = event.operation else { continue };
        let possible = changes.iter().any(|change| {
            Some(change.to) == seen
                && change.start <= event.end
                && !changes.iter().any(|later| later.has_replaced(*change, event.start))
        });
        if !possible {
            verdict.violations.push(Violation::Impossible(*event));
        } else if seen != Some(State::Revoked) {
            if revoked.get(&event.node).is_some_and(|said| *said < event.start) {
                verdict.violations.push(Violation::TakenBack(*event));
            } else if revoked.values().any(|said| *said < event.start) {
                verdict.overtaken += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Option<State> = Some(State::Live);
    const DISABLED: Option<State> = Some(State::Disabled);
    const REVOKED: Option<State> = Some(State::Revoked);

    fn event(node: usize, start: u64, end: u64, operation: Operation) -> Event {
        Event { key: 1, node, start: Moment::from_millis(start), end: Moment::from_millis(end), operation }
    }

    fn set(start: u64, end: u64, to: State) -> Event {
        event(0, start, end, Operation::Set { to, done: true })
    }

    fn unanswered(start: u64, end: u64, to: State) -> Event {
        event(0, start, end, Operation::Set { to, done: false })
    }

    fn saw(node: usize, start: u64, end: u64, state: Option<State>) -> Event {
        event(node, start, end, Operation::Check(state))
    }

    fn made() -> Event {
        set(0, 10, State::Live)
    }

    #[track_caller]
    fn accepted(history: &[Event]) -> usize {
        let verdict = judge(history);
        assert_eq!(verdict.violations, []);
        verdict.overtaken
    }

    /// Asserts that the last event, and no other, is a violation.
    #[track_caller]
    fn rejected(history: &[Event], why: fn(Event) -> Violation) {
        let last = *history.last().expect("an event");
        assert_eq!(judge(history).violations, [why(last)]);
        let backwards: Vec<Event> = history.iter().rev().copied().collect();
        assert_eq!(judge(&backwards).violations, [why(last)], "the order of the records does not matter");
        accepted(&history[..history.len() - 1]);
    }

    #[test]
    fn checks_during_a_revocation_may_see_either_state() {
        let overtaken = accepted(&[
            made(),
            saw(1, 11, 12, LIVE),
            set(20, 40, State::Revoked),
            saw(1, 21, 22, LIVE),
            saw(2, 22, 23, REVOKED),
            // Another node does not know of the revocation yet.
            saw(1, 30, 31, LIVE),
            // A check that was sent before the revocation was answered, and answered long after it.
            saw(1, 39, 500, LIVE),
            saw(1, 41, 42, REVOKED),
        ]);
        assert_eq!(overtaken, 2);
    }

    #[test]
    fn a_live_key_after_its_revocation_was_answered_is_rejected() {
        rejected(&[made(), set(20, 40, State::Revoked), saw(2, 41, 42, LIVE)], Violation::Impossible);
        // Also much later, and after another node reported it as revoked.
        let history = [made(), set(20, 40, State::Revoked), saw(1, 41, 42, REVOKED), saw(2, 9_000, 9_001, LIVE)];
        rejected(&history, Violation::Impossible);
        // An unanswered first request does not weaken the second.
        let history = [made(), unanswered(20, 30, State::Revoked), set(35, 40, State::Revoked), saw(2, 41, 42, LIVE)];
        rejected(&history, Violation::Impossible);
        // Nor does an unanswered re-enabling, because a revocation is final.
        let history = [made(), unanswered(12, 13, State::Live), set(20, 40, State::Revoked), saw(2, 41, 42, LIVE)];
        rejected(&history, Violation::Impossible);
    }

    #[test]
    fn a_refusal_before_it_was_requested_is_rejected() {
        rejected(&[made(), saw(1, 11, 12, REVOKED)], Violation::Impossible);
        rejected(&[made(), set(20, 40, State::Revoked), saw(1, 11, 19, REVOKED)], Violation::Impossible);
        rejected(&[made(), saw(1, 11, 12, DISABLED)], Violation::Impossible);
    }

    #[test]
    fn a_created_key_is_never_unknown() {
        rejected(&[made(), saw(1, 11, 12, None)], Violation::Impossible);
        rejected(&[made(), set(20, 40, State::Revoked), saw(1, 50, 51, None)], Violation::Impossible);
    }

    #[test]
    fn an_unanswered_revocation_may_take_effect_at_any_time() {
        accepted(&[
            made(),
            unanswered(20, 40, State::Revoked),
            saw(1, 50, 51, LIVE),
            saw(2, 60, 61, REVOKED),
            saw(1, 70, 71, LIVE),
            saw(1, 80, 81, REVOKED),
        ]);
    }

    #[test]
    fn a_node_that_reported_a_revoked_key_never_accepts_it_again() {
        let history = [made(), unanswered(20, 40, State::Revoked), saw(1, 50, 51, REVOKED), saw(1, 52, 53, LIVE)];
        rejected(&history, Violation::TakenBack);
        // Two concurrent checks have no order.
        accepted(&[made(), unanswered(20, 40, State::Revoked), saw(1, 50, 60, REVOKED), saw(1, 55, 56, LIVE)]);
    }

    #[test]
    fn a_key_that_is_disabled_and_enabled_has_the_last_requested_state() {
        let history = [
            made(),
            set(20, 30, State::Disabled),
            saw(1, 31, 32, DISABLED),
            set(40, 50, State::Live),
            saw(1, 45, 46, DISABLED),
            saw(2, 51, 52, LIVE),
        ];
        accepted(&history);
        rejected(&[&history[..2], &[saw(1, 31, 32, LIVE)]].concat(), Violation::Impossible);
        rejected(&[&history[..], &[saw(1, 51, 52, DISABLED)]].concat(), Violation::Impossible);
        // An unanswered disabling may still take effect after the enabling.
        let late = [made(), unanswered(20, 30, State::Disabled), set(40, 50, State::Live)];
        accepted(&[&late[..], &[saw(1, 60, 61, DISABLED), saw(2, 60, 61, LIVE)]].concat());
    }

    #[test]
    fn each_key_is_judged_separately() {
        let mut other = saw(1, 50, 51, LIVE);
        other.key = 2;
        let mut other_made = made();
        other_made.key = 2;
        accepted(&[made(), other_made, set(20, 40, State::Revoked), other]);
    }
}
