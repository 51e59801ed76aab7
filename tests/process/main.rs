//! Tests of the built program: its commands, the bytes on its connections, and its behaviour under external faults (a
//! blocked log, a replaced database file, empty variables, signals). Each test checks the output and whether the
//! process continues or ends.

mod batches;
mod cli;
mod database_file;
mod jobs;
mod log_output;
mod migrate_data;
mod program;
mod security_log;
#[path = "../served/mod.rs"]
mod served;
mod settings;
mod signals;
mod urls;
mod wire;
