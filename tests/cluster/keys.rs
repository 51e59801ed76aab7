//! The keys of the load.

use std::collections::VecDeque;
use std::sync::Arc;

/// A key that a client created.
pub struct Key {
    pub number: usize,
    pub id: String,
    pub plain: String,
}

#[derive(Default)]
pub struct Keys {
    pub all: Vec<Arc<Key>>,
    pub live: Vec<Arc<Key>>,
    /// Keys that clients are revoking or changing, or have done so recently.
    pub recent: VecDeque<Arc<Key>>,
}
