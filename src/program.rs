//! The command `latchkey`: reads the settings, runs the command that they name, and prints the result.
//!
//! The code is here and not in `main.rs`, so that it is generated once, with the library: an `async` function of the
//! binary would generate everything that it awaits a second time.

use std::process::ExitCode;

use crate::server::config::{Cli, Command};
use crate::server::{Failure, commands, output, serve, settings};

/// Runs the program and returns its exit code.
#[tokio::main]
pub async fn main() -> ExitCode {
    match run(settings::read().unwrap_or_else(|error| error.exit())).await {
        Ok(message) => {
            if !message.is_empty() {
                output::print(std::io::stdout(), format!("{message}\n"));
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
