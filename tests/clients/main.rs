//! The clients, applications and gateways of `examples/`, and the crate in `clients/rust/`, each against the built program.

mod applications;
mod client_crate;
mod examples;
mod gateways;
#[path = "../served/mod.rs"]
mod served;
