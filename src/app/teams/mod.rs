//! Organisations and their people: the settings, invitations, and new organisations.

pub(crate) mod environment;
pub(crate) mod environments;
pub(crate) mod general;
pub(crate) mod invitations;
pub(crate) mod invite;
pub(crate) mod members;
pub(crate) mod members_post;
pub(crate) mod members_table;
pub(crate) mod new;
pub(crate) mod parts;
pub(crate) mod retention;
pub(crate) mod retention_post;
mod words;
