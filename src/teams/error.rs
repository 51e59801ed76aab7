//! The reasons why a change of an organisation is refused.

use crate::accounts::Busy;
use crate::domain::Unavailable;
use crate::keys::ProofError;
use crate::store::StoreError;

/// The reason why an organisation was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    /// There is no such organisation for the person.
    #[error("no such organisation")]
    NotFound,
    /// The role of the person does not allow it.
    #[error("the role does not allow it")]
    NotAllowed,
    /// The organisation has no such environment.
    #[error("no such environment")]
    NoEnvironment,
    /// The organisation has no such member.
    #[error("no such member")]
    NoMember,
    /// The organisation has no such invitation.
    #[error("no such invitation")]
    NoInvitation,
    /// The person owns the maximal number of organisations.
    #[error("the person owns as many organisations as they may: {0}")]
    TooManyOrganisations(i64),
    /// The organisation has the maximal number of environments.
    #[error("the organisation has as many environments as it may: {0}")]
    TooManyEnvironments(i64),
    /// The organisation has the maximal number of open invitations.
    #[error("the organisation has as many open invitations as it may: {0}")]
    TooManyInvitations(i64),
    /// The name that confirms a deletion is another.
    #[error("the name is not that of the organisation")]
    OtherName,
    /// The environment has this number of keys that are not revoked.
    #[error("the environment has {0} keys that are not revoked")]
    EnvironmentHasKeys(u64),
    /// The environment is the only open one.
    #[error("an organisation needs an environment")]
    LastEnvironment,
    /// The member is the only owner.
    #[error("an organisation needs an owner")]
    LastOwner,
    /// The member made this number of keys that are not revoked, and the request does not decide about them.
    #[error("the member made {0} keys that are not revoked")]
    LeaverHasKeys(u64),
    /// The address is a member's.
    #[error("a member already")]
    AlreadyMember,
    /// Keys are created as fast as they are revoked.
    #[error("keys are created all the time")]
    KeysAreCreated,
    /// The change is stored, and a node may not have applied it yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ProofError> for TeamError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Unavailable(error) => error.into(),
            ProofError::Store(error) => error.into(),
        }
    }
}

/// The reason why an invitation was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The token is unknown, used, replaced or over.
    #[error("no such invitation")]
    NotFound,
    /// The invitation is for another address than that of the signed-in person.
    #[error("the invitation is for another address")]
    OtherAddress,
    /// The address has an account: its owner signs in first.
    #[error("the address has an account")]
    HasAccount,
    /// Too many attempts; the caller may try again after this many seconds.
    #[error("too many attempts")]
    Throttled(u64),
    /// Too many sign-ins and registrations at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
