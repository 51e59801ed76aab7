//! The ground that everything else stands on: time, randomness, and how work is queued and shared out.

pub mod clock;
pub mod entropy;
pub mod lists;
