//! Tests of the clients, applications and gateways in `examples/`, and of the crate in `clients/rust/`, against the
//! built program.

mod applications;
mod client_crate;
mod examples;
mod gateways;
#[path = "../served/mod.rs"]
mod served;
