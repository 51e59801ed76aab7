//! The judge of a history: for each key by itself, whether every check saw a state that the key can have
//! been in at some moment between question and answer (linearizability, of a register that clients set).
//!
//! So a check that was sent after a revocation was answered never sees a live key, whatever the node; and one
//! that was answered before anybody asked for a revocation never sees anything else. Requests without an answer
//! oblige nobody: a change of that kind may take effect at any time after it was sent.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Event, Moment, State, What};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The key was not in this state at any moment of the check.
    Impossible(Event),
    /// The same node had already said that the key is revoked.
    TakenBack(Event),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Impossible(event) | Self::TakenBack(event)) = self;
        let why = match (self, event.what) {
            (Self::TakenBack(_), _) => "which it had called revoked before",
            (_, What::Saw(Some(State::Live))) => "which had been ended before",
            (_, What::Saw(None)) => "which had been made before",
            _ => "which nobody had asked for, or which had been undone",
        };
        write!(
            f,
            "node {} asked at {:?}, answered at {:?}: key {} {:?}, {why}",
            event.node, event.start, event.end, event.key, event.what
        )
    }
}

/// What a history comes to.
#[derive(Debug, Default)]
pub struct Judgement {
    pub violations: Vec<Violation>,
    /// Checks that saw a live key on one node after another node had called it revoked. Allowed, as long as the
    /// revocation is not answered: nodes hear of it one after the other.
    pub overtaken: usize,
}

/// Judges a history, in whatever order its events are.
pub fn judge(events: &[Event]) -> Judgement {
    let mut keys: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    for event in events {
        keys.entry(event.key).or_default().push(*event);
    }
    let mut judgement = Judgement::default();
    for events in keys.values() {
        judge_key(events, &mut judgement);
    }
    judgement
}

/// A change that was asked for.
#[derive(Clone, Copy)]
struct Change {
    to: State,
    done: bool,
    start: Moment,
    end: Moment,
}

impl Change {
    /// Whether nothing of the other one is left at a moment, because of this one.
    fn has_replaced(self, other: Self, at: Moment) -> bool {
        let is_later = self.to == State::Revoked || (other.done && other.end < self.start);
        self.done && self.end < at && other.to != State::Revoked && is_later
    }
}

fn judge_key(events: &[Event], judgement: &mut Judgement) {
    let changes: Vec<Change> = events
        .iter()
        .filter_map(|event| match event.what {
            What::Set { to, done } => Some(Change { to, done, start: event.start, end: event.end }),
            What::Saw(_) => None,
        })
        .collect();
    // When each node first said that the key is revoked.
    let mut revoked: BTreeMap<usize, Moment> = BTreeMap::new();
    for event in events.iter().filter(|event| event.what == What::Saw(Some(State::Revoked))) {
        let said = revoked.entry(event.node).or_insert(event.end);
        *said = event.end.min(*said);
    }
    for event in events {
        let What::Saw(saw) = event.what else { continue };
        let possible = changes.iter().any(|change| {
            Some(change.to) == saw
                && change.start <= event.end
                && !changes.iter().any(|later| later.has_replaced(*change, event.start))
        });
        if !possible {
            judgement.violations.push(Violation::Impossible(*event));
        } else if saw != Some(State::Revoked) {
            if revoked.get(&event.node).is_some_and(|said| *said < event.start) {
                judgement.violations.push(Violation::TakenBack(*event));
            } else if revoked.values().any(|said| *said < event.start) {
                judgement.overtaken += 1;
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

    fn event(node: usize, start: u64, end: u64, what: What) -> Event {
        Event { key: 1, node, start: Moment::from_millis(start), end: Moment::from_millis(end), what }
    }

    fn set(start: u64, end: u64, to: State) -> Event {
        event(0, start, end, What::Set { to, done: true })
    }

    fn asked(start: u64, end: u64, to: State) -> Event {
        event(0, start, end, What::Set { to, done: false })
    }

    fn saw(node: usize, start: u64, end: u64, state: Option<State>) -> Event {
        event(node, start, end, What::Saw(state))
    }

    fn made() -> Event {
        set(0, 10, State::Live)
    }

    #[track_caller]
    fn accepted(history: &[Event]) -> usize {
        let judgement = judge(history);
        assert_eq!(judgement.violations, []);
        judgement.overtaken
    }

    /// The last event, and nothing else, is what is wrong with it.
    #[track_caller]
    fn rejected(history: &[Event], why: fn(Event) -> Violation) {
        let last = *history.last().expect("an event");
        assert_eq!(judge(history).violations, [why(last)]);
        let backwards: Vec<Event> = history.iter().rev().copied().collect();
        assert_eq!(judge(&backwards).violations, [why(last)], "the order of the records does not matter");
        accepted(&history[..history.len() - 1]);
    }

    #[test]
    fn what_happens_while_a_revocation_is_under_way_may_go_either_way() {
        let overtaken = accepted(&[
            made(),
            saw(1, 11, 12, LIVE),
            set(20, 40, State::Revoked),
            saw(1, 21, 22, LIVE),
            saw(2, 22, 23, REVOKED),
            // Another node has not heard of it yet.
            saw(1, 30, 31, LIVE),
            // Sent before the answer, answered long after it.
            saw(1, 39, 500, LIVE),
            saw(1, 41, 42, REVOKED),
        ]);
        assert_eq!(overtaken, 2);
    }

    #[test]
    fn a_live_key_after_its_revocation_was_answered_is_rejected() {
        rejected(&[made(), set(20, 40, State::Revoked), saw(2, 41, 42, LIVE)], Violation::Impossible);
        // However late, and whoever has seen it revoked meanwhile.
        let history = [made(), set(20, 40, State::Revoked), saw(1, 41, 42, REVOKED), saw(2, 9_000, 9_001, LIVE)];
        rejected(&history, Violation::Impossible);
        // A first request that was never answered changes nothing about the second.
        let history = [made(), asked(20, 30, State::Revoked), set(35, 40, State::Revoked), saw(2, 41, 42, LIVE)];
        rejected(&history, Violation::Impossible);
        // Nor does an enabling whose fate is not known: nothing undoes a revocation.
        let history = [made(), asked(12, 13, State::Live), set(20, 40, State::Revoked), saw(2, 41, 42, LIVE)];
        rejected(&history, Violation::Impossible);
    }

    #[test]
    fn a_refusal_before_anybody_asked_for_it_is_rejected() {
        rejected(&[made(), saw(1, 11, 12, REVOKED)], Violation::Impossible);
        rejected(&[made(), set(20, 40, State::Revoked), saw(1, 11, 19, REVOKED)], Violation::Impossible);
        rejected(&[made(), saw(1, 11, 12, DISABLED)], Violation::Impossible);
    }

    #[test]
    fn a_key_that_was_made_is_never_unknown() {
        rejected(&[made(), saw(1, 11, 12, None)], Violation::Impossible);
        rejected(&[made(), set(20, 40, State::Revoked), saw(1, 50, 51, None)], Violation::Impossible);
    }

    #[test]
    fn a_revocation_without_an_answer_obliges_nobody() {
        accepted(&[
            made(),
            asked(20, 40, State::Revoked),
            saw(1, 50, 51, LIVE),
            saw(2, 60, 61, REVOKED),
            saw(1, 70, 71, LIVE),
            saw(1, 80, 81, REVOKED),
        ]);
    }

    #[test]
    fn a_node_does_not_take_back_that_a_key_is_revoked() {
        let history = [made(), asked(20, 40, State::Revoked), saw(1, 50, 51, REVOKED), saw(1, 52, 53, LIVE)];
        rejected(&history, Violation::TakenBack);
        // Two checks beside each other have no order.
        accepted(&[made(), asked(20, 40, State::Revoked), saw(1, 50, 60, REVOKED), saw(1, 55, 56, LIVE)]);
    }

    #[test]
    fn what_is_disabled_and_enabled_again_is_what_was_asked_for_last() {
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
        let late = [made(), asked(20, 30, State::Disabled), set(40, 50, State::Live)];
        accepted(&[&late[..], &[saw(1, 60, 61, DISABLED), saw(2, 60, 61, LIVE)]].concat());
    }

    #[test]
    fn keys_are_judged_each_by_itself() {
        let mut other = saw(1, 50, 51, LIVE);
        other.key = 2;
        let mut other_made = made();
        other_made.key = 2;
        accepted(&[made(), other_made, set(20, 40, State::Revoked), other]);
    }
}
