//! Signing in and out, and registering.

pub(crate) mod fields;
pub(crate) mod post;
pub(crate) mod register;
pub(crate) mod sign_in;
