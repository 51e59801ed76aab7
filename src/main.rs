//! The command `latchkey`.

use std::process::ExitCode;

use latchkey::server::config::{Cli, Command};
use latchkey::server::{Failure, commands, output, serve, settings};

/// A request allocates and frees some dozens of times, most of it on another thread than the last one did.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
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
