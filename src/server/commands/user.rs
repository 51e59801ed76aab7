//! `latchkey user …`: accounts, by commands on the server's machine.

use std::fmt::Write;
use std::io::{IsTerminal, Read};

use serde_json::json;

use crate::accounts::{
    Account, AccountChange, Accounts, Changed, EmailAddress, Operator, Password, Passwords, RegisterError, Registration,
};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::runtime::time::seconds;
use crate::server::config::{Administration, User};
use crate::server::{Failure, setting_error, telemetry};
use crate::store::Db;

/// Accounts that `latchkey user list` reads at a time.
const PAGE: i64 = 1000;

/// `latchkey user …`. Works beside a running server.
///
/// # Errors
/// When the address or the password cannot be used, or the database fails.
pub async fn user(command: &User) -> Result<String, Failure> {
    let settings = command.administration();
    let _log = telemetry::init(settings.log_format, &settings.log)?;
    let email = match command {
        User::List(_) => None,
        User::Operator(operator) => Some(&operator.account.email),
        User::Add(account) | User::ResetPassword(account) | User::Disable(account) | User::Enable(account) => {
            Some(&account.email)
        }
    };
    let parse = |text: &String| EmailAddress::parse(text).map_err(|error| format!("{text}: {error}"));
    let email = email.map(parse).transpose()?;
    let (accounts, db) = open(settings).await?;
    let outcome = run(command, &accounts, email.as_ref()).await;
    db.close().await;
    outcome
}

async fn run(command: &User, accounts: &Accounts, email: Option<&EmailAddress>) -> Result<String, Failure> {
    let Some(email) = email else {
        return list(accounts, matches!(command, User::List(settings) if settings.json)).await;
    };
    let address = email.as_str();
    let (change, name, done) = match command {
        User::List(_) => return Ok(String::new()),
        User::Add(_) => return add(accounts, email).await,
        User::ResetPassword(_) => return reset_password(accounts, email).await,
        User::Operator(operator) if operator.state.is_on() => {
            (AccountChange::Operator(true), "latchkey user operator", "operates this server")
        }
        User::Operator(_) => (AccountChange::Operator(false), "latchkey user operator", "does not operate this server"),
        User::Disable(_) => (AccountChange::Disable, "latchkey user disable", "is disabled"),
        User::Enable(_) => (AccountChange::Enable, "latchkey user enable", "is enabled"),
    };
    match accounts.change(email, change, Operator::command(name)).await? {
        Changed::NoSuchAccount => Err(no_account(email)),
        Changed::Unchanged => Ok(format!("{address} {done} already: nothing was changed.")),
        Changed::Done if change == AccountChange::Disable => Ok(format!(
            "{address} {done}: its sessions and tokens are over. The API keys that it made stay valid; see the pages of \
             its organisations to revoke them."
        )),
        Changed::Done => Ok(format!("{address} {done} now.")),
    }
}

fn no_account(email: &EmailAddress) -> Failure {
    format!("{} has no account; see `latchkey user list` and `latchkey user add`", email.as_str()).into()
}

async fn add(accounts: &Accounts, email: &EmailAddress) -> Result<String, Failure> {
    match accounts.add(email, ask_password()?).await {
        Ok(_) => Ok(format!("{} has an account now.", email.as_str())),
        Err(RegisterError::EmailTaken) => {
            Err(format!("{} has an account already; see `latchkey user reset-password`", email.as_str()).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn reset_password(accounts: &Accounts, email: &EmailAddress) -> Result<String, Failure> {
    if !accounts.reset_password(email, ask_password()?).await? {
        return Err(no_account(email));
    }
    Ok(format!("{} has a new password, and all its sessions are over.", email.as_str()))
}

/// All accounts, as a table or as JSON, an object a line.
async fn list(accounts: &Accounts, as_json: bool) -> Result<String, Failure> {
    let mut all: Vec<Account> = Vec::new();
    loop {
        let after = all.last().map_or("", |last| last.email.as_str());
        let page = accounts.list(after, "", PAGE).await?;
        let is_last = i64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
        all.extend(page);
        if is_last {
            break;
        }
    }
    let text = if as_json { json_lines(&all) } else { table(&all) };
    Ok(text.trim_end().to_owned())
}

fn json_lines(accounts: &[Account]) -> String {
    let line = |account: &Account| {
        let object = json!({
            "id": account.id.to_string(),
            "email": account.email,
            "operator": account.is_operator,
            "disabled_at": account.disabled_at.map(seconds),
            "organisations": account.organisations,
            "created_at": seconds(account.created_at),
        });
        format!("{object}\n")
    };
    accounts.iter().map(line).collect()
}

fn table(accounts: &[Account]) -> String {
    let width = accounts.iter().map(|account| account.email.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!("{:width$}  {:20}  operator  state     organisations  created\n", "email", "id");
    for account in accounts {
        let operator = if account.is_operator { "yes" } else { "no" };
        let state = if account.disabled_at.is_some() { "disabled" } else { "enabled" };
        let (id, created) = (account.id.to_string(), seconds(account.created_at));
        // Writing to a `String` does not fail.
        let _ = writeln!(
            text,
            "{:width$}  {id:20}  {operator:8}  {state:8}  {:13}  {created}",
            account.email, account.organisations
        );
    }
    text
}

async fn open(settings: &Administration) -> Result<(Accounts, Db), Failure> {
    let db = Db::open_existing(&settings.database.database_url)
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
