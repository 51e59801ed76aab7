//! The outcome of a load: the events that clients saw, and the judgement.

use std::sync::Arc;

use crate::checker::Judgement;
use crate::history::{Event, Moment, Revocation, State, What};
use crate::load::Shared;

/// The outcome of a load.
pub struct Outcome {
    pub events: Vec<Event>,
    pub revocations: Vec<Revocation>,
    pub judgement: Judgement,
    pub shared: Arc<Shared>,
}

impl Outcome {
    /// What was answered with anything but success, or not at all, and how often.
    pub fn failures(&self) -> Vec<String> {
        let fine = ["200", "201", "VALID", "DISABLED", "REVOKED"];
        let counts = self.shared.history.counts().into_iter();
        counts
            .filter(|(what, _)| !fine.iter().any(|fine| what.ends_with(&format!(" {fine}"))))
            .map(|(what, count)| format!("{what}: {count}"))
            .collect()
    }

    /// Checks of a node that were sent in a stretch of time.
    pub fn checks(&self, node: usize, from: Moment, to: Moment) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| {
            matches!(event.what, What::Saw(_)) && event.node == node && event.start > from && event.start < to
        })
    }

    /// How many of them saw a live key, and were answered in that stretch.
    pub fn let_in(&self, node: usize, from: Moment, to: Moment) -> usize {
        let let_in = |event: &&Event| event.what == What::Saw(Some(State::Live)) && event.end < to;
        self.checks(node, from, to).filter(let_in).count()
    }

    /// Revocations that were asked for and answered in a stretch of time.
    pub fn revocations(&self, from: Moment, to: Moment) -> Vec<&Revocation> {
        self.revocations.iter().filter(|revocation| revocation.start > from && revocation.end < to).collect()
    }
}
