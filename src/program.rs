//! The command `latchkey`: reads its settings, runs the command that they name, and prints what came of it.
//!
//! Here and not in `main.rs`, so that the code is generated once, with that of the library: an `async` function of the
//! binary would generate all that it awaits a second time.

use std::process::ExitCode;

use crate::server::config::{Cli, Command};
use crate::server::{Failure, commands, output, serve, settings};

/// Runs the program to its end. Returns its exit code.
#[tokio::main]
pub async fn main() -> ExitCode {
    match run(settings::read().unwrap_or_else(|error| error.exit())).await {
        Ok(said) => {
            if !said.is_empty() {
                output::print(std::io::stdout(), format!("{said}\n"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::print(std::io::stderr(), format!("latchkey: {error}\n"));
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
