//! Tests of failures. Three nodes of the built program run on one PostgreSQL and one Redis, which break while clients
//! ask for checks and revocations. The history of all requests and answers is judged afterwards (`checker.rs`), because
//! the promise is about the answers that clients get. docs/FAILURES.md describes the result of each of these tests.
//! Further tests: a server on a SQLite file that is killed or has a full disk, and limits in Redis. Tests under load
//! run one at a time (`turn.rs`).

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
