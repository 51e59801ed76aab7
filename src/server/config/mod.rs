//! The command line: every flag has a `LATCHKEY_` variable of the same name.

mod values;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::accounts::{MAX_SESSIONS, Registration};
use crate::events::EventLimits;
use crate::keys::{Policy, WithoutRedis};
use values::{body_memory, network, node_name};

pub use values::{LimitsWithoutRedis, LogFilter, LogFormat, PublicUrl};

/// Self-hosted API keys: made in a dashboard, shown once, stored as a hash, revoked at once.
#[derive(Debug, Parser)]
#[command(name = "latchkey", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `serve`.
    #[command(flatten)]
    pub serve: Serve,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the dashboard and the API (what a bare `latchkey` does).
    Serve(Box<Serve>),
    /// Bring the database's schema up to date, and stop. `serve` does it as well.
    Migrate(Database),
    /// Copy everything from a SQLite file into an empty PostgreSQL database, compare every row, and stop. No server
    /// may run on either. The file keeps its data; interrupted, it leaves nothing behind.
    MigrateData(MigrateData),
    /// Add accounts and reset passwords.
    #[command(subcommand)]
    User(User),
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add an account, whatever `--registration` says. Asks for the password, or reads it from
    /// standard input.
    Add(Account),
    /// Give an account another password and end all its sessions. Asks for the password, or reads it
    /// from standard input.
    ResetPassword(Account),
}

/// Which account.
#[derive(Debug, Args)]
pub struct Account {
    /// Its e-mail address.
    pub email: String,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The lines that the log has.
    #[arg(long, env = "LATCHKEY_LOG", default_value = "warn,latchkey::security=info", value_name = "FILTER")]
    pub log: LogFilter,
    /// How the log looks, which goes to standard error.
    #[arg(long, env = "LATCHKEY_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// Where the data is.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// `sqlite:FILE` (made by `serve` and `migrate` if it is not there) or `postgres://USER@HOST/DATABASE`.
    #[arg(long, env = "LATCHKEY_DATABASE_URL", default_value = "sqlite:latchkey.db", hide_env_values = true)]
    pub database_url: String,
}

/// From where to where.
#[derive(Debug, Args)]
pub struct MigrateData {
    /// The file: `sqlite:FILE`.
    #[arg(long, env = "LATCHKEY_FROM", value_name = "URL", hide_env_values = true)]
    pub from: String,
    /// An empty database, or an empty schema of one: `postgres://USER@HOST/DATABASE`.
    #[arg(long, env = "LATCHKEY_TO", value_name = "URL", hide_env_values = true)]
    pub to: String,
}

/// The settings of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The address of the dashboard and the API; port 0 picks a free one and prints it.
    #[arg(long, env = "LATCHKEY_LISTEN", default_value = "127.0.0.1:3000")]
    pub listen: String,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The Redis (or Valkey) that several nodes on one PostgreSQL share: `redis://HOST:6379` (without TLS:
    /// `rediss://` is refused). Without it there is one server.
    #[arg(long, env = "LATCHKEY_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// What this node is called in logs and on the page of the cluster; the machine's name and the port,
    /// unless said.
    #[arg(long, env = "LATCHKEY_NODE_NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// What becomes of keys with a rate limit while Redis is away: each node counts by itself (`open`), or they
    /// are refused (`closed`).
    #[arg(long, env = "LATCHKEY_LIMITS_WITHOUT_REDIS", default_value = "open")]
    pub limits_without_redis: LimitsWithoutRedis,
    /// How long after SIGTERM requests are still taken, while `/readyz` says no: until whatever balances the load
    /// has noticed.
    #[arg(long, env = "LATCHKEY_DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=300))]
    pub drain_seconds: u64,
    /// Who may register.
    #[arg(long, env = "LATCHKEY_REGISTRATION", default_value = "first")]
    pub registration: Registration,
    /// Where people open the dashboard, if that is not `--listen`: `https://keys.example.com`.
    /// `https` turns on `Secure` cookies with `__Host-` names, and HSTS.
    #[arg(long, env = "LATCHKEY_PUBLIC_URL")]
    pub public_url: Option<PublicUrl>,
    /// Networks of proxies whose `X-Forwarded-For` is believed, separated by commas.
    #[arg(long, env = "LATCHKEY_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a key whose scopes name `api-keys:write` may create, list and revoke keys in its own
    /// environment.
    #[arg(
        long,
        env = "LATCHKEY_KEYS_MAY_MANAGE_KEYS",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    pub keys_may_manage_keys: bool,
    /// The most keys that an organisation may have, revoked ones not counted.
    #[arg(
        long,
        env = "LATCHKEY_MAX_KEYS_PER_ORGANISATION",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_keys_per_organisation: i64,
    /// The most revoked keys that an organisation may have; with so many, it makes no further keys (403) until old ones
    /// are deleted.
    #[arg(
        long,
        env = "LATCHKEY_MAX_REVOKED_KEYS_PER_ORGANISATION",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_revoked_keys_per_organisation: i64,
    /// Days after which a revoked key is deleted, at least. Its hash is kept for ever, so that it never comes back.
    #[arg(
        long,
        env = "LATCHKEY_KEEP_REVOKED_KEYS_DAYS",
        default_value_t = 400,
        value_parser = clap::value_parser!(i64).range(1..=36_500)
    )]
    pub keep_revoked_keys_days: i64,
    /// The most sources of events that an environment may have; an event of a further one is refused (400).
    #[arg(
        long,
        env = "LATCHKEY_MAX_SOURCES_PER_ENVIRONMENT",
        default_value_t = 1000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_sources_per_environment: i64,
    /// The most bytes of events that an environment keeps; beyond, the oldest are deleted within a minute.
    #[arg(long, env = "LATCHKEY_MAX_EVENT_BYTES_PER_ENVIRONMENT", default_value = "10GiB")]
    pub max_event_bytes_per_environment: bytesize::ByteSize,
    /// The most sessions of an account, and the most sign-ins with tokens; one more ends the oldest.
    #[arg(
        long,
        env = "LATCHKEY_MAX_SESSIONS_PER_ACCOUNT",
        default_value_t = MAX_SESSIONS,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_sessions_per_account: i64,
    /// The most memory for keys that are in use: `256MiB`, `1GiB`. About 210 bytes a key.
    #[arg(long, env = "LATCHKEY_CACHE_BYTES", default_value = "256MiB")]
    pub cache_bytes: bytesize::ByteSize,
    /// Bytes that stay free on the file system of the SQLite file: below, events are refused (503) while revocations
    /// still find room. 0 turns it off. Not for PostgreSQL, whose disk its operator watches.
    #[arg(long, env = "LATCHKEY_DISK_RESERVE", default_value = "64MiB")]
    pub disk_reserve: bytesize::ByteSize,
    /// The most memory for request bodies that are arriving: `256MiB`, `1GiB`. Beyond it there is a 503; an
    /// organisation that uses more than an eighth of it gets 429.
    #[arg(long, env = "LATCHKEY_BODY_MEMORY", default_value = "256MiB", value_parser = body_memory)]
    pub body_memory: bytesize::ByteSize,
    /// The most connections at once; more wait.
    #[arg(
        long,
        env = "LATCHKEY_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections: u32,
    /// The lines that the log has: a level, or levels of single targets (`latchkey=debug,warn`).
    #[arg(long, env = "LATCHKEY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: LogFilter,
    /// How the log looks, which goes to standard error.
    #[arg(long, env = "LATCHKEY_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

impl Serve {
    /// The most bytes for request bodies that are arriving.
    pub fn body_bytes(&self) -> usize {
        usize::try_from(self.body_memory.0).unwrap_or(usize::MAX)
    }

    /// What the operator decides about keys.
    pub fn policy(&self) -> Policy {
        Policy {
            most_per_organisation: self.max_keys_per_organisation,
            most_revoked: self.max_revoked_keys_per_organisation,
            revoked_days: self.keep_revoked_keys_days,
            keys_may_manage_keys: self.keys_may_manage_keys,
            cache_bytes: usize::try_from(self.cache_bytes.0).unwrap_or(usize::MAX),
            without_redis: match self.limits_without_redis {
                LimitsWithoutRedis::Open => WithoutRedis::Open,
                LimitsWithoutRedis::Closed => WithoutRedis::Closed,
            },
        }
    }

    /// The bounds of what events may take.
    pub fn event_limits(&self) -> EventLimits {
        EventLimits {
            disk_reserve: self.disk_reserve.0,
            max_sources: self.max_sources_per_environment,
            max_bytes: i64::try_from(self.max_event_bytes_per_environment.0).unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_call_serves_with_flags_and_without() {
        let cli = Cli::parse_from(["latchkey", "--listen", "[::1]:0", "--keys-may-manage-keys"]);
        assert!(cli.command.is_none() && cli.serve.keys_may_manage_keys);
        let cli = Cli::parse_from(["latchkey", "serve", "--keys-may-manage-keys=false"]);
        assert!(matches!(cli.command, Some(Command::Serve(serve)) if !serve.keys_may_manage_keys));
    }

    #[test]
    fn every_flag_has_a_variable_of_the_same_name() {
        let command = Cli::command();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let long = argument.get_long().unwrap();
            if ["help", "version"].contains(&long) {
                continue;
            }
            let variable = format!("LATCHKEY_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn blanks_in_a_list_of_networks_do_no_harm() {
        let cli = Cli::parse_from(["latchkey", "--trusted-proxies", "10.0.0.0/8, ::1 ,192.0.2.7"]);
        let networks: Vec<String> = cli.serve.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128", "192.0.2.7/32"]);
    }
}
