//! The server program: settings, the router with its layers, the listener, and the shutdown.

mod api_docs;
pub mod assets;
pub mod commands;
pub mod config;
mod health;
mod layers;
mod listen;
mod log_writer;
mod open_files;
pub mod output;
mod page_handler;
pub mod pages;
mod refusals;
mod request_head;
mod router;
mod server_function;
pub mod settings;
mod telemetry;
mod upkeep;

pub use router::router;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::accounts::{Accounts, Passwords, Registration, SetUpToken};
use crate::cluster::Node;
use crate::cluster::redis::Redis;
use crate::events::Events;
use crate::jobs::Jobs;
use crate::keys;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::runtime::tasks::Tasks;
use crate::security_log::limit::LogLimit;
use crate::store::Db;
use crate::teams::Teams;
use crate::web::body::BodyMemory;
use crate::web::{Services, Site};
use config::Serve;

/// The error of a command, with a text for the operator.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `latchkey serve`: opens the database, listens, and serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the database, the address or a setting cannot be used.
pub async fn serve(config: &Serve) -> Result<(), Failure> {
    // Kept until the end, so that lines of the shutdown are written.
    let _log = telemetry::init(config.log_format, &config.log)?;
    let max_connections = open_files::connections(config.max_connections);
    // Locks a SQLite file: the cached keys would be wrong if another process changed keys.
    let db =
        Db::open_to_serve(&config.database.database_url).await.map_err(|error| setting_error("database-url", error))?;
    db.migrate().await?;
    db.check_writable().await.map_err(|error| {
        setting_error("database-url", format!("the database takes no writes: {} ({error})", error.public_reason()))
    })?;

    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| setting_error("listen", format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr()?;

    let (clock, entropy) = (Clock::System, Entropy::System);
    // Also on a loopback address: an unknown proxy on this machine may forward requests of others.
    let set_up_token = (config.registration == Registration::First).then(|| SetUpToken::new(&entropy));
    let passwords = Passwords::new(entropy.clone());
    let accounts =
        Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, config.registration, set_up_token.clone())
            .with_max_sessions(config.max_sessions_per_account);
    let node = join(config, &db, address, &clock, &entropy).await?;
    let keys = keys::open(db.clone(), clock.clone(), entropy.clone(), config.policy(), node).await?;
    let accounts = match keys.limits.shared() {
        Some(limits) => accounts.with_shared_limits(limits.clone()),
        None => accounts,
    };
    keys.usage.recall().await?;
    let site = Site {
        public_url: config.public_url.as_ref().map(ToString::to_string),
        address: Some(address),
        trusted_proxies: config.trusted_proxies.clone(),
    };
    let events = Events::new(db.clone(), clock.clone(), entropy.clone(), config.event_limits());
    let accounts = Arc::new(accounts);
    let jobs = Jobs::new(db.clone(), clock.clone(), entropy.clone());
    let teams = Teams::new(
        db.clone(),
        clock.clone(),
        entropy.clone(),
        Arc::clone(&keys.keys),
        Arc::clone(&accounts),
        jobs.clone(),
    );
    let services = Services {
        keys: keys.keys,
        changes: keys.changes,
        checks: keys.checks,
        usage: keys.usage,
        limits: keys.limits,
        accounts,
        teams: Arc::new(teams),
        events: Arc::new(events),
        lists: Arc::new(db.list_places()),
        site: Arc::new(site),
        bodies: Arc::new(BodyMemory::new(config.body_bytes())),
        log_limit: Arc::new(LogLimit::new(clock.clone())),
        clock: clock.clone(),
        entropy: entropy.clone(),
        stopping: CancellationToken::new(),
    };

    let router = router(services.clone(), db.clone(), clock, entropy);
    let mut periodic = Tasks::default();
    periodic.spawn(|stop| keep_flushing(services.clone(), stop));
    upkeep::start(&mut periodic, &services, &jobs);
    // Stopped after the last write: these tasks maintain the database file.
    let mut file_tasks = Tasks::default();
    file_tasks.spawn_until_stopped({
        let db = db.clone();
        async move { db.keep_checkpointing().await }
    });
    file_tasks.spawn_until_stopped({
        let db = db.clone();
        async move { db.keep_watching().await }
    });
    ignore_hangups()?;

    // Installs the signal handlers before announcing readiness: a script may stop the server right after that.
    let stop = stop_signal(services.stopping.clone(), Duration::from_secs(config.drain_seconds))?;
    announce(config, address, &services, set_up_token).await?;
    let for_fast_path = Arc::new(services.clone());
    listen::serve(listener, for_fast_path, router, max_connections, stop).await;

    tracing::info!("stopping");
    services.log_limit.write_all();
    // Stops the tasks without aborting them: counts that are being written must reach the database.
    periodic.stop().await?;
    // Every step runs even if an earlier one failed. The exit code tells whether something was lost.
    let flushed = services.usage.flush().await;
    let given_back = services.limits.give_back_quotas(true).await;
    if let Err(error) = services.changes.leave().await {
        tracing::warn!(%error, "cannot remove this node from the database; other nodes wait until its lease ends");
    }
    let stopped = file_tasks.stop().await;
    db.close().await;
    flushed.map_err(|error| format!("cannot flush the last usage counts and spent limits: {error}"))?;
    given_back.map_err(|error| format!("cannot return unused quota leases: {error}"))?;
    Ok(stopped?)
}

/// Joins the other servers of a PostgreSQL database; a SQLite file has one server.
async fn join(
    config: &Serve,
    db: &Db,
    address: std::net::SocketAddr,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Option<Arc<Node>>, Failure> {
    match db {
        Db::Sqlite(..) if config.redis_url.is_some() => {
            let reason = "Redis is for several nodes on one PostgreSQL; a SQLite file has one server";
            Err(setting_error("redis-url", reason))
        }
        Db::Sqlite(..) => Ok(None),
        Db::Postgres(_) => {
            let name = config.node_name.clone().unwrap_or_else(|| node_name(address.port()));
            let redis = match &config.redis_url {
                Some(url) => Some(Redis::open(url).await.map_err(|error| setting_error("redis-url", error))?),
                None => None,
            };
            Ok(Some(Arc::new(Node::join(db, clock.clone(), entropy, name, redis).await?)))
        }
    }
}

async fn announce(
    config: &Serve,
    address: std::net::SocketAddr,
    services: &Services,
    set_up_token: Option<SetUpToken>,
) -> Result<(), Failure> {
    let open = match &config.public_url {
        Some(url) => url.to_string(),
        None => format!("http://{address}"),
    };
    tracing::info!(%address, "listening");
    let mut message = format!("Latchkey is ready. Open {open}\n");
    if let Some(token) = set_up_token
        && services.accounts.registration_is_open().await?
    {
        // Printed and not logged: the log may be filtered, and the first account needs this token.
        let token = token.reveal();
        message
            .push_str("To create the first account from another machine or through a proxy, use this set-up token:\n");
        message.extend(["    ", token, "\n"]);
    }
    output::print_beside(std::io::stdout(), message);
    Ok(())
}

/// Prefixes an error with the setting that caused it.
fn setting_error(setting: &str, error: impl std::fmt::Display) -> Failure {
    format!("{}: {error}", settings::name(setting)).into()
}

/// Ignores SIGHUP. A closing terminal sends it, and it would end the process at once and lose usage counts. There is
/// nothing to reload.
fn ignore_hangups() -> Result<(), Failure> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP is ignored: settings are read at the start");
        }
    });
    Ok(())
}

/// Returns the default name of a node: the host name and the port.
fn node_name(port: u16) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{port}")
}

/// Resolves `after` a SIGTERM or SIGINT, or at a second signal. `/readyz` answers 503 from the first signal on.
fn stop_signal(stopping: CancellationToken, after: Duration) -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Flushes usage counts and returns unused quota leases periodically, until `stop` is cancelled.
async fn keep_flushing(services: Services, stop: CancellationToken) {
    let mut flush = tokio::time::interval(keys::FLUSH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = flush.tick() => {
                services.log_limit.write_due();
                flush_usage(&services).await;
                if let Err(error) = services.limits.give_back_quotas(false).await {
                    tracing::error!(%error, "cannot return unused quota leases; will retry");
                }
            }
            () = services.usage.flush_is_urgent() => flush_usage(&services).await,
        }
    }
}

async fn flush_usage(services: &Services) {
    if let Err(error) = services.usage.flush().await {
        tracing::error!(%error, "cannot flush usage counts; will retry");
    }
}
