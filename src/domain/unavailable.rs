//! Errors of parts of the service that do not answer at the moment.

/// A part of the service that a request needs does not answer. The cause is logged where it occurs; a client may send
/// the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The look-up of a key: the database failed, or too many look-ups wait.
    #[error("the key could not be looked up")]
    KeyLookup,
    /// The quota that all nodes share: the database failed.
    #[error("the quota could not be charged")]
    Quota,
    /// The look-up of a session: the database failed, or too many look-ups wait.
    #[error("the session could not be looked up")]
    Session,
    /// The storage of a key: the database failed, or too many new keys wait. The key is not stored, unless the database
    /// failed in the middle of a commit.
    #[error("the key was not stored")]
    KeyStorage,
    /// The acknowledgements of the other nodes: the change is stored, and a node may not have applied it yet. A
    /// repeated request waits for them.
    #[error("the change is stored, but it is not known whether every node has applied it")]
    Acknowledgements,
}
