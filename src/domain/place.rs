//! Where a key belongs.

use uuid::Uuid;

use crate::model::{EnvironmentId, Mode, OrganisationId};

/// Where a key is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The organisation.
    pub organisation: OrganisationId,
    /// HookSentry's id of it.
    pub organisation_uuid: Uuid,
    /// The environment.
    pub environment: EnvironmentId,
    /// What that is for.
    pub mode: Mode,
}
