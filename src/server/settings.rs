//! Reads settings from the command line, or else from environment variables. An empty variable counts as unset.

use std::env;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches};

use super::config::Cli;

/// Reads the settings of this process.
///
/// # Errors
/// When a setting is invalid. The message names the flag or the variable that holds it.
pub fn read() -> Result<Cli, clap::Error> {
    let mut command = without_empty_variables(Cli::command());
    let read = command.clone().try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    read.map_err(|error| name_variable(error.format(&mut command), &mut command))
}

/// Returns the name by which a setting was given, for messages: `--listen` or `LATCHKEY_LISTEN`.
pub fn name(setting: &str) -> String {
    let (flag, variable) = names(setting);
    let is_variable = !is_given(&flag) && env::var_os(&variable).is_some_and(|value| !value.is_empty());
    if is_variable { variable } else { flag }
}

fn names(setting: &str) -> (String, String) {
    (format!("--{setting}"), format!("LATCHKEY_{}", setting.replace('-', "_").to_uppercase()))
}

fn is_given(flag: &str) -> bool {
    env::args_os().any(|argument| {
        let rest = argument.to_str().and_then(|argument| argument.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

fn without_empty_variables(command: Command) -> Command {
    command
        .mut_args(|argument| {
            let is_empty = argument.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
            if is_empty { argument.env(None::<&str>) } else { argument }
        })
        .mut_subcommands(without_empty_variables)
}

/// Names the variable, not the flag, in an error about the value of a variable.
fn name_variable(mut error: clap::Error, command: &mut Command) -> clap::Error {
    match error.kind() {
        ErrorKind::InvalidUtf8 => {
            let is_unreadable = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
                name.to_str().is_some_and(|name| name.starts_with("LATCHKEY_")) && value.to_str().is_none()
            };
            match env::vars_os().find(is_unreadable) {
                Some((name, _)) => {
                    command.error(ErrorKind::InvalidUtf8, format!("{} is not valid UTF-8", name.display()))
                }
                None => error,
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals => {
            let setting = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::String(argument)) => {
                    argument.strip_prefix("--").and_then(|argument| argument.split(['=', ' ', '[']).next()).map(names)
                }
                _ => None,
            };
            if let Some((flag, variable)) = setting
                && !is_given(&flag)
            {
                error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
            }
            error
        }
        _ => error,
    }
}
