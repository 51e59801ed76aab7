//! The keys that clients have made.

use std::collections::VecDeque;
use std::sync::Arc;

/// A key that a client made.
pub struct Key {
    pub number: usize,
    pub id: String,
    pub plain: String,
}

#[derive(Default)]
pub struct Keys {
    pub all: Vec<Arc<Key>>,
    pub live: Vec<Arc<Key>>,
    /// Keys that clients are ending or have ended lately.
    pub ended: VecDeque<Arc<Key>>,
}
