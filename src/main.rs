//! The command `latchkey`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use latchkey::server::config::{Cli, Command};
use latchkey::server::{Failure, commands, serve};

/// A request allocates and frees some dozens of times, most of it on another thread than the last one did.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(said) => {
            if !said.is_empty() {
                // Whoever closed the pipe does not want to hear it.
                let _ = writeln!(std::io::stdout(), "{said}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "latchkey: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<String, Failure> {
    match &cli.command {
        None => serve(&cli.serve).await.map(|()| String::new()),
        Some(Command::Serve(settings)) => serve(settings).await.map(|()| String::new()),
        Some(Command::Migrate(database)) => commands::migrate(database).await,
        Some(Command::MigrateData(databases)) => commands::migrate_data(databases).await,
        Some(Command::User(command)) => commands::user(command).await,
    }
}
