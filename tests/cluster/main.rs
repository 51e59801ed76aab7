//! What can break. Three nodes of the built program on one PostgreSQL and one Redis, which are broken while clients ask
//! for checks and revocations. Everything that was sent and answered is written down and judged afterwards
//! (`checker.rs`), because the promise is about what clients see, whatever breaks. docs/FAILURES.md says in
//! words what each of these tests shows. Beside them one server on a SQLite file that is killed or whose disk is full,
//! and the limits in Redis. The tests under load run one at a time (`turn.rs`).

mod beside;
mod checker;
mod client;
mod faults;
mod greedy;
mod history;
mod keys;
mod load;
mod log_pipe;
mod nodes;
mod outcome;
mod postgres;
mod proxy;
mod redis;
mod restore;
#[path = "../served/mod.rs"]
mod served;
mod turn;
mod watch;

mod breaking_nodes;
mod breaking_postgres;
mod breaking_redis;
mod clocks;
mod crash;
mod full_disk;
mod limits;
mod memory;
mod revocation;
mod rolling;
mod shared_limits;
mod soak;
mod whole;
