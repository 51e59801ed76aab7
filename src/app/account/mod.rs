//! Sign-in, sign-out and registration.

pub(crate) mod fields;
pub(crate) mod post;
pub(crate) mod register;
pub(crate) mod sign_in;
