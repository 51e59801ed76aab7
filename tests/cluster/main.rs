//! Three nodes of the built program on one PostgreSQL and one Redis, which are broken while clients ask for
//! checks and revocations. Everything that was sent and answered is written down and judged afterwards
//! (`checker.rs`), because the promise is about what clients see, whatever breaks. docs/FAILURES.md says in
//! words what each of these tests shows.

mod beside;
mod checker;
mod client;
mod faults;
mod greedy;
mod history;
mod load;
mod log_pipe;
mod nodes;
mod postgres;
mod proxy;
mod redis;
mod restore;
#[path = "../served/mod.rs"]
mod served;
mod watch;

mod breaking_nodes;
mod breaking_postgres;
mod breaking_redis;
mod clocks;
mod limits;
mod memory;
mod rolling;
mod soak;
mod whole;
