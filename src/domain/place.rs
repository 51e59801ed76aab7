//! The place of a key: its organisation and environment.

use uuid::Uuid;

use crate::model::{EnvironmentId, Mode, OrganisationId};

/// The organisation and the environment of a key.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The organisation.
    pub organisation: OrganisationId,
    /// The id of the organisation in HookSentry's contract.
    pub organisation_uuid: Uuid,
    /// The environment.
    pub environment: EnvironmentId,
    /// The mode of the environment.
    pub mode: Mode,
}
