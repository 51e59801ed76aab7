//! The built program: its commands, the bytes on its connections, and how it fares among broken surroundings: a log that
//! nobody reads, files that were replaced, variables that are empty, signals. What it says, and that it goes on or ends
//! as it should.

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
