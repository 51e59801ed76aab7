//! The command line. Every flag has a `LATCHKEY_` variable of the same name.

mod values;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;

use crate::accounts::{MAX_SESSIONS, Registration};
use crate::events::EventLimits;
use crate::keys::{Policy, WithoutRedis};
use values::{body_memory, network, node_name};

pub use values::{LimitsWithoutRedis, LogFilter, LogFormat, PublicUrl, Switch};

/// Self-hosted API keys: made in a dashboard, shown once, stored as a hash, revoked at once.
#[derive(Debug, Parser)]
#[command(name = "latchkey", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub struct Cli {
    /// The command; `serve` by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `serve`.
    #[command(flatten)]
    pub serve: Serve,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the dashboard and the API (the default command).
    Serve(Box<Serve>),
    /// Bring the database schema up to date, and stop. `serve` does this at start as well.
    Migrate(Database),
    /// Copy all data from a SQLite file into an empty PostgreSQL database, compare every row, and stop. No server may
    /// use either database. The file keeps its data. An interrupted copy leaves the target empty.
    MigrateData(MigrateData),
    /// List accounts, add them, reset passwords, disable and enable accounts, and make operators.
    #[command(subcommand)]
    User(User),
}

/// The commands for accounts.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add an account, even if `--registration` is closed. Asks for the password, or reads it from standard input.
    Add(Account),
    /// Set a new password for an account and end all its sessions. Asks for the password, or reads it from standard
    /// input.
    ResetPassword(Account),
    /// Print all accounts.
    List(ListAccounts),
    /// Make an account an operator of the server, who sees its nodes and accounts, or end that.
    Operator(OperatorAccount),
    /// End all sessions and tokens of an account and refuse its sign-ins. The keys that it made stay.
    Disable(Account),
    /// Accept the password of a disabled account again.
    Enable(Account),
}

impl User {
    /// Returns the settings that all of these commands have.
    pub fn administration(&self) -> &Administration {
        match self {
            Self::List(list) => &list.administration,
            Self::Operator(operator) => &operator.account.administration,
            Self::Add(account) | Self::ResetPassword(account) | Self::Disable(account) | Self::Enable(account) => {
                &account.administration
            }
        }
    }
}

/// The settings of `user list`.
#[derive(Debug, Args)]
pub struct ListAccounts {
    /// Print JSON, an object a line.
    #[arg(long)]
    pub json: bool,
    /// The database and the log.
    #[command(flatten)]
    pub administration: Administration,
}

/// The settings of `user operator`.
#[derive(Debug, Args)]
pub struct OperatorAccount {
    /// The account.
    #[command(flatten)]
    pub account: Account,
    /// Whether it operates the server.
    pub state: Switch,
}

/// The account, the database, and the log of a `user` command.
#[derive(Debug, Args)]
pub struct Account {
    /// The e-mail address of the account.
    pub email: String,
    /// The database and the log.
    #[command(flatten)]
    pub administration: Administration,
}

/// The settings of commands about accounts.
#[derive(Debug, Args)]
pub struct Administration {
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The log level, or levels per target.
    #[arg(long, env = "LATCHKEY_LOG", default_value = "warn,latchkey::security=info", value_name = "FILTER")]
    pub log: LogFilter,
    /// The format of the log, which is written to standard error.
    #[arg(long, env = "LATCHKEY_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// The database URL.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// `sqlite:FILE` (created by `serve` and `migrate` if it does not exist) or `postgres://USER@HOST/DATABASE`.
    #[arg(long, env = "LATCHKEY_DATABASE_URL", default_value = "sqlite:latchkey.db", hide_env_values = true)]
    pub database_url: String,
}

/// The source and the target of `migrate-data`.
#[derive(Debug, Args)]
pub struct MigrateData {
    /// The source: `sqlite:FILE`.
    #[arg(long, env = "LATCHKEY_FROM", value_name = "URL", hide_env_values = true)]
    pub from: String,
    /// The target, an empty database or schema: `postgres://USER@HOST/DATABASE`.
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
    /// `rediss://` is refused). Without Redis there can be only one server.
    #[arg(long, env = "LATCHKEY_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// The name of this node in logs and on the cluster page. The default is the host name and the port.
    #[arg(long, env = "LATCHKEY_NODE_NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// Keys with a rate limit while Redis is unreachable: each node counts on its own (`open`), or refuses these keys
    /// (`closed`).
    #[arg(long, env = "LATCHKEY_LIMITS_WITHOUT_REDIS", default_value = "open")]
    pub limits_without_redis: LimitsWithoutRedis,
    /// Seconds after SIGTERM during which `/readyz` answers 503 while other requests are still served, so that the load
    /// balancer stops sending new ones.
    #[arg(long, env = "LATCHKEY_DRAIN_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=300))]
    pub drain_seconds: u64,
    /// Registration of accounts by their users.
    #[arg(long, env = "LATCHKEY_REGISTRATION", default_value = "first")]
    pub registration: Registration,
    /// The URL of the dashboard, if it differs from `--listen`: `https://keys.example.com`. `https` turns on `Secure`
    /// cookies with `__Host-` names, and HSTS.
    #[arg(long, env = "LATCHKEY_PUBLIC_URL")]
    pub public_url: Option<PublicUrl>,
    /// Networks of trusted proxies, separated by commas. Their `X-Forwarded-For` determines the client address.
    #[arg(long, env = "LATCHKEY_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Allow a key with the scope `api-keys:write`, named explicitly, to create, list and revoke keys in its own
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
    /// The maximum number of keys per organisation, without revoked ones. Creating further keys gets 403.
    #[arg(
        long,
        env = "LATCHKEY_MAX_KEYS_PER_ORGANISATION",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_keys_per_organisation: i64,
    /// The maximum number of revoked keys per organisation. At the maximum, creating keys gets 403 until old revoked
    /// keys are deleted.
    #[arg(
        long,
        env = "LATCHKEY_MAX_REVOKED_KEYS_PER_ORGANISATION",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_revoked_keys_per_organisation: i64,
    /// The minimum number of days before a revoked key is deleted. Its hash is kept for ever, so that the key string
    /// never becomes valid again.
    #[arg(
        long,
        env = "LATCHKEY_KEEP_REVOKED_KEYS_DAYS",
        default_value_t = 400,
        value_parser = clap::value_parser!(i64).range(1..=36_500)
    )]
    pub keep_revoked_keys_days: i64,
    /// The maximum number of event sources per environment. Events of further sources get 400.
    #[arg(
        long,
        env = "LATCHKEY_MAX_SOURCES_PER_ENVIRONMENT",
        default_value_t = 1000,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_sources_per_environment: i64,
    /// The maximum bytes of stored events per environment. Above it the oldest events are deleted within a minute.
    #[arg(long, env = "LATCHKEY_MAX_EVENT_BYTES_PER_ENVIRONMENT", default_value = "10GiB")]
    pub max_event_bytes_per_environment: bytesize::ByteSize,
    /// The maximum number of sessions per account, and of sign-ins with tokens. One more ends the oldest.
    #[arg(
        long,
        env = "LATCHKEY_MAX_SESSIONS_PER_ACCOUNT",
        default_value_t = MAX_SESSIONS,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub max_sessions_per_account: i64,
    /// The memory for the cache of keys: `256MiB`, `1GiB`. A key takes about 210 bytes.
    #[arg(long, env = "LATCHKEY_CACHE_BYTES", default_value = "256MiB")]
    pub cache_bytes: bytesize::ByteSize,
    /// Disk space to keep free on the file system of the SQLite file. With less, events get 503, so that revocations
    /// can still be written. 0 turns this off. Not for PostgreSQL: monitor its disk separately.
    #[arg(long, env = "LATCHKEY_DISK_RESERVE", default_value = "64MiB")]
    pub disk_reserve: bytesize::ByteSize,
    /// The memory for request bodies that are arriving: `256MiB`, `1GiB`. Further bodies get 503; an organisation that
    /// uses more than an eighth gets 429.
    #[arg(long, env = "LATCHKEY_BODY_MEMORY", default_value = "256MiB", value_parser = body_memory)]
    pub body_memory: bytesize::ByteSize,
    /// The maximum number of open connections. Further connections wait.
    #[arg(
        long,
        env = "LATCHKEY_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_connections: u32,
    /// The log level, or levels per target (`latchkey=debug,warn`).
    #[arg(long, env = "LATCHKEY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: LogFilter,
    /// The format of the log, which is written to standard error.
    #[arg(long, env = "LATCHKEY_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

impl Serve {
    /// Returns the memory for request bodies, in bytes.
    pub fn body_bytes(&self) -> usize {
        usize::try_from(self.body_memory.0).unwrap_or(usize::MAX)
    }

    /// Returns the operator's settings for keys.
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

    /// Returns the limits of events.
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
    fn clap_accepts_the_command_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_command() {
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
    fn spaces_in_a_list_of_networks_are_ignored() {
        let cli = Cli::parse_from(["latchkey", "--trusted-proxies", "10.0.0.0/8, ::1 ,192.0.2.7"]);
        let networks: Vec<String> = cli.serve.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128", "192.0.2.7/32"]);
    }
}
