//! The whole application in the test's own process, called without a network.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use latchkey::accounts::{Accounts, Passwords, Registration, SetUpToken};
use latchkey::events::{EventLimits, Events};
use latchkey::jobs::Jobs;
use latchkey::keys::{self, Policy};
use latchkey::model::Timestamp;
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::security_log::limit::LogLimit;
use latchkey::server::router;
use latchkey::store::{Db, StoreError};
use latchkey::teams::Teams;
use latchkey::web::client_address::Peer;
use latchkey::web::{Services, Site};
use sqlx::{Connection, Executor};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// 2026-03-01T12:00:00Z, the time of the contract's examples.
pub const NOW: Timestamp = Timestamp(1_772_366_400_000);

/// The database engine of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// The settings of the application under test.
pub struct Settings {
    pub registration: Registration,
    pub needs_set_up_token: bool,
    pub policy: Policy,
    pub site: Site,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration: Registration::Open,
            needs_set_up_token: false,
            policy: Policy::default(),
            site: Site::default(),
        }
    }
}

/// The application under test.
pub struct TestApp {
    pub engine: Engine,
    pub router: Router,
    pub services: Services,
    pub db: Db,
    pub clock: Clock,
    pub set_up_token: Option<SetUpToken>,
    /// The database URL, for access past the application.
    pub url: String,
    folder: tempfile::TempDir,
}

impl TestApp {
    pub async fn new(engine: Engine, settings: Settings) -> Self {
        capture_log();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", folder.path().join("latchkey.db").display()),
            Engine::Postgres => postgres_schema().await,
        };
        // As a server opens it, so that the same caches are in use.
        let db = Db::open_to_serve(&url).await.expect("the database opens");
        db.migrate().await.expect("the schema is made");
        let clock = Clock::fixed(NOW);
        let entropy = Entropy::seeded(2026);
        let set_up_token = settings.needs_set_up_token.then(|| SetUpToken::new(&entropy));
        let accounts = Accounts::new(
            db.clone(),
            clock.clone(),
            entropy.clone(),
            Passwords::cheap(entropy.clone()),
            settings.registration,
            set_up_token.clone(),
        );
        let keys = keys::open(db.clone(), clock.clone(), entropy.clone(), settings.policy, None)
            .await
            .expect("the database answers");
        let accounts = Arc::new(accounts);
        let jobs = Jobs::new(db.clone(), clock.clone(), entropy.clone());
        let (issuing, people) = (Arc::clone(&keys.keys), Arc::clone(&accounts));
        let teams = Teams::new(db.clone(), clock.clone(), entropy.clone(), issuing, people, jobs);
        let events = Events::new(db.clone(), clock.clone(), entropy.clone(), EventLimits::default());
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
            site: Arc::new(settings.site),
            bodies: Arc::default(),
            log_limit: Arc::new(LogLimit::new(clock.clone())),
            clock: clock.clone(),
            entropy: entropy.clone(),
            stopping: CancellationToken::new(),
        };
        let router = router(services.clone(), db.clone(), clock.clone(), entropy);
        Self { engine, router, services, db, clock, set_up_token, url, folder }
    }

    /// Sends one request, from 192.0.2.10.
    pub async fn send(&self, request: Request<Body>) -> axum::response::Response {
        self.send_from("192.0.2.10:50000", request).await
    }

    pub async fn send_from(&self, peer: &str, mut request: Request<Body>) -> axum::response::Response {
        let peer: SocketAddr = peer.parse().expect("an address");
        request.extensions_mut().insert(Peer(peer));
        self.router.clone().oneshot(request).await.expect("the router always answers")
    }

    /// Reads a number from the database, past the application.
    pub async fn number(&self, statement: &'static str) -> i64 {
        match self.engine {
            Engine::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&self.url).await.expect("the file opens");
                sqlx::query_scalar(statement).fetch_one(&pool).await.expect("a number")
            }
            Engine::Postgres => {
                let pool = sqlx::PgPool::connect(&self.url).await.expect("the server answers");
                sqlx::query_scalar(statement).fetch_one(&pool).await.expect("a number")
            }
        }
    }

    /// Reads bytes from the database, past the application.
    pub async fn bytes(&self, statement: &'static str) -> Vec<Vec<u8>> {
        match self.engine {
            Engine::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&self.url).await.expect("the file opens");
                sqlx::query_scalar(statement).fetch_all(&pool).await.expect("bytes")
            }
            Engine::Postgres => {
                let pool = sqlx::PgPool::connect(&self.url).await.expect("the server answers");
                sqlx::query_scalar(statement).fetch_all(&pool).await.expect("bytes")
            }
        }
    }

    /// Executes a statement in the database, past the application.
    pub async fn execute(&self, statement: &str) {
        self.try_execute(statement).await.expect("a statement");
    }

    /// Executes a statement in the database, past the application, and returns its error.
    pub async fn try_execute(&self, statement: &str) -> sqlx::Result<()> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        match self.engine {
            Engine::Sqlite => {
                let mut db = sqlx::SqliteConnection::connect(&self.url).await.expect("the file opens");
                db.execute(statement).await.map(drop)
            }
            Engine::Postgres => {
                let mut db = sqlx::PgConnection::connect(&self.url).await.expect("the server answers");
                db.execute(statement).await.map(drop)
            }
        }
    }

    /// Copies every table, as a backup does.
    pub async fn back_up(&self) {
        for table in self.tables().await {
            self.execute(&format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}")).await;
        }
    }

    /// Restores the [copy](Self::back_up) under the running application. `more` is executed in the same transaction,
    /// before the application can read the database.
    pub async fn restore_and(&self, more: &str) {
        let (before, values) = match self.engine {
            Engine::Sqlite => ("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE;", ""),
            Engine::Postgres => ("BEGIN; SET LOCAL session_replication_role = replica;", "OVERRIDING SYSTEM VALUE"),
        };
        let restore =
            |table: &String| format!("DELETE FROM {table}; INSERT INTO {table} {values} SELECT * FROM backup_{table};");
        let all: String = self.tables().await.iter().map(restore).collect();
        self.execute(&format!("{before} {all} {more}; COMMIT")).await;
    }

    /// Removes the copy.
    pub async fn remove_back_up(&self) {
        for table in self.tables().await {
            self.execute(&format!("DROP TABLE backup_{table}")).await;
        }
    }

    async fn tables(&self) -> Vec<String> {
        let statement = match self.engine {
            Engine::Sqlite => "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
            Engine::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
        };
        let mut tables: Vec<String> = match self.engine {
            Engine::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&self.url).await.expect("the file opens");
                sqlx::query_scalar(statement).fetch_all(&pool).await.expect("tables")
            }
            Engine::Postgres => {
                let pool = sqlx::PgPool::connect(&self.url).await.expect("the server answers");
                sqlx::query_scalar(statement).fetch_all(&pool).await.expect("tables")
            }
        };
        tables.retain(|table| !table.starts_with('_') && !table.starts_with("backup_"));
        tables
    }

    /// Returns the folder of the SQLite files.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// Runs the whole clean-up of a component at once. A server has a job for each part.
pub trait Tidy {
    /// Returns the number of deleted events.
    async fn tidy(&self) -> Result<u64, StoreError>;
}

impl Tidy for Accounts {
    async fn tidy(&self) -> Result<u64, StoreError> {
        self.delete_old_networks().await?;
        self.delete_ended_tokens().await?;
        self.delete_ended_sessions().await?;
        Ok(0)
    }
}

impl Tidy for Events {
    async fn tidy(&self) -> Result<u64, StoreError> {
        let deleted = self.delete_old_events().await?;
        self.delete_old_idempotency_keys().await?;
        Ok(deleted)
    }
}

/// Creates a schema in the tests' PostgreSQL and returns its database URL.
pub async fn postgres_schema() -> String {
    static DROPPED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL")
        .expect("LATCHKEY_TEST_POSTGRES_URL names the tests' PostgreSQL: `make test` starts one and sets it");
    let admin = sqlx::PgPool::connect(&url).await.expect("the tests' PostgreSQL answers");
    DROPPED
        .get_or_init(async || {
            let left: Vec<String> =
                sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'contract\\_%'")
                    .fetch_all(&admin)
                    .await
                    .expect("schemas are listed");
            // Only schemas of processes that have ended: other test processes may be running.
            let process = |schema: &str| schema.split('_').nth(1).unwrap_or_default().to_owned();
            let gone = |schema: &String| !std::path::Path::new("/proc").join(process(schema)).exists();
            for schema in left.into_iter().filter(gone) {
                let drop = sqlx::AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE"));
                sqlx::query(drop).execute(&admin).await.expect("a schema of an earlier run is dropped");
            }
        })
        .await;
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let schema = format!("contract_{}_{number}", std::process::id());
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&admin).await.expect("a schema is made");
    admin.close().await;
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options[search_path]={schema}")
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the log of all tests together, at every level.
pub fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| LogWriter)
            .init();
    });
}

/// Runs a test body on both engines, as one test each.
macro_rules! on_both_engines {
    ($($(#[$doc:meta])* async fn $name:ident($app:ident $(, $settings:expr)?) $body:block)*) => {
        $(
            $(#[$doc])*
            mod $name {
                use super::*;

                async fn story($app: $crate::app::TestApp) $body

                async fn run(engine: $crate::app::Engine) {
                    #[allow(unused_mut, unused_assignments)]
                    let mut settings = $crate::app::Settings::default();
                    $(settings = $settings;)?
                    story($crate::app::TestApp::new(engine, settings).await).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    run($crate::app::Engine::Sqlite).await;
                }

                #[tokio::test]
                async fn postgres() {
                    run($crate::app::Engine::Postgres).await;
                }
            }
        )*
    };
}

pub(crate) use on_both_engines;
