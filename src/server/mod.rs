//! The program: settings, the router with its layers, the listener, and how it all ends.

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
use crate::web::body::BodyMemory;
use crate::web::{Services, Site};
use config::Serve;

/// Anything that keeps a command from doing its work; its text is for the operator.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `latchkey serve`: opens the database, listens, and serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the database, the address or a setting cannot be used.
pub async fn serve(config: &Serve) -> Result<(), Failure> {
    // Until the end: what is logged while the server stops is written.
    let _log = telemetry::init(config.log_format, &config.log)?;
    let max_connections = open_files::connections(config.max_connections);
    // What a server has in memory is only right while nobody else changes keys.
    let db = Db::open_to_serve(&config.database.database_url).await.map_err(|error| of("database-url", error))?;
    db.migrate().await?;
    db.check_writable().await.map_err(|error| {
        of("database-url", format!("the database takes no writes: {} ({error})", error.public_reason()))
    })?;

    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| of("listen", format!("cannot listen on {}: {error}", config.listen)))?;
    let address = listener.local_addr()?;

    let (clock, entropy) = (Clock::System, Entropy::System);
    // Also where only this machine can come: a proxy that we are not told of may let others in.
    let set_up_token = (config.registration == Registration::First).then(|| SetUpToken::new(&entropy));
    let passwords = Passwords::new(entropy.clone());
    let accounts =
        Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, config.registration, set_up_token.clone())
            .with_max_sessions(config.max_sessions_per_account);
    let node = match &db {
        Db::Sqlite(..) if config.redis_url.is_some() => {
            return Err(of("redis-url", "Redis is for several nodes on one PostgreSQL; a SQLite file has one server"));
        }
        Db::Sqlite(..) => None,
        Db::Postgres(_) => {
            let name = config.node_name.clone().unwrap_or_else(|| node_name(address.port()));
            let redis = match &config.redis_url {
                Some(url) => Some(Redis::open(url).await.map_err(|error| of("redis-url", error))?),
                None => None,
            };
            Some(Arc::new(Node::join(&db, clock.clone(), &entropy, name, redis).await?))
        }
    };
    let keys = keys::open(db.clone(), clock.clone(), entropy.clone(), config.policy(), node).await?;
    let accounts = match keys.limits.shared() {
        Some(limits) => accounts.with_shared_limits(limits.clone()),
        None => accounts,
    };
    keys.usage.recall().await?;
    let site = Site {
        public_url: config.public_url.as_ref().map(ToString::to_string),
        trusted_proxies: config.trusted_proxies.clone(),
    };
    let events = Events::new(db.clone(), clock.clone(), entropy.clone(), config.event_limits());
    let services = Services {
        keys: keys.keys,
        changes: keys.changes,
        checks: keys.checks,
        usage: keys.usage,
        limits: keys.limits,
        accounts: Arc::new(accounts),
        events: Arc::new(events),
        lists: Arc::new(db.list_places()),
        site: Arc::new(site),
        bodies: Arc::new(BodyMemory::new(config.body_bytes())),
        log_limit: Arc::new(LogLimit::new(clock.clone())),
        clock: clock.clone(),
        entropy: entropy.clone(),
        stopping: CancellationToken::new(),
    };

    let jobs = Jobs::new(db.clone(), clock.clone(), entropy.clone());
    let router = router(services.clone(), db.clone(), clock, entropy);
    let mut periodic = Tasks::default();
    periodic.spawn(|stop| keep_flushing(services.clone(), stop));
    upkeep::start(&mut periodic, &services, jobs);
    // Until the last write: they look after the database file.
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

    // Whoever reads that it is ready may stop it at once.
    let stop = stop_signal(services.stopping.clone(), Duration::from_secs(config.drain_seconds))?;
    announce(config, address, &services, set_up_token).await?;
    let for_fast_path = Arc::new(services.clone());
    listen::serve(listener, for_fast_path, router, max_connections, stop).await;

    tracing::info!("stopping");
    services.log_limit.write_all();
    // Asked and not aborted: counts that are on their way to the database must arrive.
    periodic.stop().await?;
    // Each is done whatever became of the one before; the exit code says whether something was lost.
    let flushed = services.usage.flush().await;
    let given_back = services.limits.give_back_quotas(true).await;
    if let Err(error) = services.changes.leave().await {
        tracing::warn!(%error, "cannot remove this node from the database; the others wait until its lease ends");
    }
    let stopped = file_tasks.stop().await;
    db.close().await;
    flushed.map_err(|error| format!("cannot save the last counts of uses, and what was spent of limits: {error}"))?;
    given_back.map_err(|error| format!("cannot give back what is left of quotas: {error}"))?;
    Ok(stopped?)
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
    let mut said = format!("Latchkey is ready. Open {open}\n");
    if let Some(token) = set_up_token
        && services.accounts.registration_is_open().await?
    {
        // Not by way of the log, which may be filtered: without this token nobody can begin.
        let token = token.reveal();
        said.push_str("To create the first account from another machine or through a proxy, use this set-up token:\n");
        said.extend(["    ", token, "\n"]);
    }
    output::print_beside(std::io::stdout(), said);
    Ok(())
}

/// Names the setting that an error is about.
fn of(setting: &str, error: impl std::fmt::Display) -> Failure {
    format!("{}: {error}", settings::name(setting)).into()
}

/// A terminal that closes sends SIGHUP, which would end the process at once and lose counts. There is nothing to reload.
fn ignore_hangups() -> Result<(), Failure> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP is ignored: settings are read at the start");
        }
    });
    Ok(())
}

/// What a node is called when its operator has not said.
fn node_name(port: u16) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{port}")
}

/// Resolves at SIGTERM or SIGINT, `after` `/readyz` has begun to say no. A second signal does not wait.
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

/// Saves the counts of uses, and gives back parts of quotas, until it is told to `stop`.
async fn keep_flushing(services: Services, stop: CancellationToken) {
    let mut flush = tokio::time::interval(keys::FLUSH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = flush.tick() => {
                services.log_limit.write_due();
                flush_usage(&services).await;
                if let Err(error) = services.limits.give_back_quotas(false).await {
                    tracing::error!(%error, "parts of quotas could not be given back");
                }
            }
            () = services.usage.flush_is_urgent() => flush_usage(&services).await,
        }
    }
}

async fn flush_usage(services: &Services) {
    if let Err(error) = services.usage.flush().await {
        tracing::error!(%error, "could not flush usage counts; will retry");
    }
}
