//! The commands other than `serve`.

use std::io::{IsTerminal, Read, Write};

use super::config::{Account, Database, MigrateData, User};
use super::{Failure, setting_error, telemetry};
use crate::accounts::{Accounts, EmailAddress, Password, Passwords, RegisterError, Registration};
use crate::cluster::Node;
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditContext, AuditFields, AuditTarget, RequestOrigin};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, MigrateDataError, Progress, open_both};

/// `latchkey migrate`: brings the schema up to date.
///
/// # Errors
/// When the database cannot be opened or migrated.
pub async fn migrate(database: &Database) -> Result<String, Failure> {
    let db = Db::open(&database.database_url).await.map_err(|error| setting_error("database-url", error))?;
    db.migrate().await?;
    db.close().await;
    Ok("The database is up to date.".to_owned())
}

/// `latchkey migrate-data`: copies all rows, and prints its progress, table by table.
///
/// # Errors
/// When one of the databases is unusable or in use by a server, the target is not empty, or the copy differs.
pub async fn migrate_data(databases: &MigrateData) -> Result<String, Failure> {
    let (from, to) = open_both(&databases.from, &databases.to).await.map_err(with_setting)?;
    from.prepare_to_migrate(&to).await.map_err(with_setting)?;
    // Joins as the target's only node, so that no server starts on it during the copy.
    let name = "latchkey migrate-data".to_owned();
    let joined = Node::join(&to, Clock::System, &Entropy::System, name, None).await;
    let node = joined.map_err(|error| setting_error("to", error))?;
    let context = AuditContext::new(
        &Entropy::System,
        Clock::System.now(),
        AuditActor::cli("latchkey migrate-data"),
        RequestOrigin::default(),
    );
    let entry = |rows: u64| {
        let entry = context.entry(AuditChain::Server, AuditAction::DataMigrated, AuditTarget::server());
        entry.after(AuditFields::default().with("rows", rows))
    };
    let copied = from.migrate_data(&to, entry, print_progress).await;
    node.leave().await?;
    let rows = copied.map_err(with_setting)?;
    from.close().await;
    to.close().await;
    Ok(format!(
        "{rows} rows were copied, and every one is the same. Serve the new database with --database-url from now on; \
         the file keeps its data."
    ))
}

fn with_setting(error: MigrateDataError) -> Failure {
    match error.setting() {
        Some(setting) => setting_error(setting, error),
        None => error.into(),
    }
}

fn print_progress(progress: Progress<'_>) {
    let line = match progress {
        Progress::Copying(table, done, all) => format!("copying {table}: {done} of {all}"),
        Progress::Comparing(table, done, all) => format!("comparing {table}: {done} of {all}"),
        Progress::Same(table, rows) => format!("{table}: {rows} rows"),
    };
    // A failed write is ignored: the reader has closed the pipe.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// `latchkey user …`: adds an account or resets a password. A server may be running.
///
/// # Errors
/// When the address or the password is invalid, or the database fails.
pub async fn user(command: &User) -> Result<String, Failure> {
    let (User::Add(account) | User::ResetPassword(account)) = command;
    let _log = telemetry::init(account.log_format, &account.log)?;
    let email = EmailAddress::parse(&account.email).map_err(|error| format!("{}: {error}", account.email))?;
    let (accounts, db) = open(account).await?;
    let password = ask_password()?;
    let outcome = match command {
        User::Add(_) => add(&accounts, &email, password).await,
        User::ResetPassword(_) => reset_password(&accounts, &email, password).await,
    };
    db.close().await;
    outcome
}

async fn add(accounts: &Accounts, email: &EmailAddress, password: Password) -> Result<String, Failure> {
    match accounts.add(email, password).await {
        Ok(_) => Ok(format!("{} has an account now.", email.as_str())),
        Err(RegisterError::EmailTaken) => {
            Err(format!("{} has an account already; see `latchkey user reset-password`", email.as_str()).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn reset_password(accounts: &Accounts, email: &EmailAddress, password: Password) -> Result<String, Failure> {
    if !accounts.reset_password(email, password).await? {
        return Err(format!("{} has no account; see `latchkey user add`", email.as_str()).into());
    }
    Ok(format!("{} has a new password, and all its sessions are over.", email.as_str()))
}

async fn open(account: &Account) -> Result<(Accounts, Db), Failure> {
    let db = Db::open_existing(&account.database.database_url)
        .await
        .map_err(|error| setting_error("database-url", error))?;
    db.migrate().await?;
    let entropy = Entropy::System;
    let passwords = Passwords::new(entropy.clone());
    let accounts = Accounts::new(db.clone(), Clock::System, entropy, passwords, Registration::Closed, None);
    Ok((accounts, db))
}

/// Asks for a password without echo on a terminal; otherwise reads the first line of standard input.
fn ask_password() -> Result<Password, Failure> {
    let typed = if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("New password: ")?;
        if rpassword::prompt_password("Repeat the password: ")? != first {
            return Err("the two passwords differ".into());
        }
        first
    } else {
        let mut text = String::new();
        std::io::stdin().take(4096).read_to_string(&mut text)?;
        text.lines().next().unwrap_or_default().to_owned()
    };
    Password::new(typed).map_err(|error| format!("the password {error}").into())
}
