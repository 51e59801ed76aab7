//! The nodes of a database, and the notifications between them.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};

use super::changes::Position;
use super::db::{Db, StoreError, reading, sql, writing};

/// Serializes registrations with a lock. Not in a file of `sql/`, because SQLite has no such statement.
const REGISTRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(1818325096, hashtext(current_schema()))";
const CHANNEL: &str = "SELECT 'latchkey_' || hashtext(current_schema())";

/// A connection without a notification for this time is pinged.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// A connection that does not answer a ping in this time is closed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A node: a server of a database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeRow {
    /// The id: random, drawn anew at each start.
    pub id: i64,
    /// The name that the operator chose.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// Not 0 for a node that must be the only one of its database.
    pub sole: i64,
    /// The process and the machine of the node.
    pub process: String,
    /// The moment of the start on the node's clock, milliseconds since 1970.
    pub started_at: i64,
    /// A counter that grows while the node is alive.
    pub renewals: i64,
    /// The last change that the node has applied to its cache.
    pub heard: i64,
    /// The state of the node's Redis. 1: reachable; 0: unreachable; `None`: not configured.
    pub redis: Option<i64>,
    /// The identity of that Redis: a random number that is stored in it. `None` while unknown.
    pub redis_identity: Option<i64>,
}

/// The result of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Renewed {
    /// The renewals of the node, with this one.
    pub(crate) renewals: i64,
    /// The start of the database server, microseconds since 1970 on its own clock.
    pub(crate) server_began: i64,
}

/// A notification that wakes a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A change was committed.
    Changed,
    /// A node has applied changes to its cache.
    Acknowledged,
    /// A notification may have been missed.
    MaybeMissed,
}

/// Receives notifications of the commits of other nodes.
#[derive(Debug)]
pub struct Notices(PgListener);

impl Notices {
    /// Waits for the next notification. Replaces a broken connection.
    ///
    /// # Errors
    /// When the connection is dead, or cannot be replaced.
    pub async fn next(&mut self) -> Result<Notice, StoreError> {
        let Ok(heard) = tokio::time::timeout(PROBE_AFTER, self.0.try_recv()).await else {
            // Either there was no notification, or the connection is dead: a connection that only listens never
            // notices. The ping may have replaced the connection.
            let asked = sqlx::query("SELECT 1").execute(&mut self.0);
            tokio::time::timeout(PROBE_TIMEOUT, asked).await.map_err(|_| StoreError::slow())??;
            return Ok(Notice::MaybeMissed);
        };
        // `None`: the connection was lost and has been replaced.
        Ok(heard?.map_or(Notice::MaybeMissed, |notice| match notice.payload() {
            "change" => Notice::Changed,
            _ => Notice::Acknowledged,
        }))
    }
}

impl Db {
    /// Registers a node. `decide` gets all other nodes and returns the dead ones, which are removed, or as `Err` a node
    /// that prevents the registration.
    pub(crate) async fn register_node(
        &self,
        node: &NodeRow,
        decide: impl FnOnce(Vec<NodeRow>) -> Result<Vec<NodeRow>, NodeRow>,
    ) -> Result<Result<(), NodeRow>, StoreError> {
        writing!(self, tx => {
            if matches!(self, Self::Postgres(_)) {
                sqlx::query(REGISTRATION_LOCK).execute(&mut *tx).await?;
            }
            let others: Vec<NodeRow> = sqlx::query_as(sql!("nodes")).fetch_all(&mut *tx).await?;
            let dead = match decide(others) {
                Ok(dead) => dead,
                Err(blocking) => return Ok(Err(blocking)),
            };
            for dead in dead {
                sqlx::query(sql!("node_delete_dead")).bind(dead.id).bind(dead.renewals).execute(&mut *tx).await?;
            }
            sqlx::query(sql!("node_insert"))
                .bind(node.id)
                .bind(&node.name)
                .bind(&node.version)
                .bind(node.sole)
                .bind(&node.process)
                .bind(node.started_at)
                .bind(node.heard)
                .bind(node.redis)
                .bind(node.redis_identity)
                .execute(&mut *tx)
                .await?;
        });
        Ok(Ok(()))
    }

    /// Renews the lease of a node; returns `None` when the node is not registered.
    pub(crate) async fn renew_node(
        &self,
        id: i64,
        heard: Position,
        redis: Option<bool>,
        redis_identity: Option<i64>,
    ) -> Result<Option<Renewed>, StoreError> {
        Ok(writing!(self, tx => {
            sqlx::query_as(sql!(self, "node_renew"))
                .bind(id)
                .bind(heard.number)
                .bind(redis.map(i64::from))
                .bind(redis_identity)
                .bind(heard.token)
                .fetch_optional(&mut *tx)
                .await?
        }))
    }

    /// Tells the other nodes that a node has applied all changes up to a position.
    pub(crate) async fn acknowledge_changes(&self, id: i64, heard: Position) -> Result<(), StoreError> {
        reading!(self, connection => {
            sqlx::query(sql!(self, "node_acknowledge"))
                .bind(id)
                .bind(heard.number)
                .bind(heard.token)
                .execute(connection)
                .await?;
        });
        Ok(())
    }

    /// Returns all nodes, oldest first.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        Ok(reading!(self, connection => sqlx::query_as(sql!("nodes")).fetch_all(connection).await?))
    }

    /// Removes a node that stops.
    pub(crate) async fn remove_node(&self, id: i64) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("node_delete")).bind(id).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes a dead node, unless it has renewed its lease since.
    pub(crate) async fn remove_dead_node(&self, node: &NodeRow) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("node_delete_dead")).bind(node.id).bind(node.renewals).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Listens to notifications of other nodes; `None` on SQLite, which has no other nodes.
    pub(crate) async fn notices(&self) -> Result<Option<Notices>, StoreError> {
        let Self::Postgres(connections) = self else { return Ok(None) };
        let channel: String = reading!(self, connection => sqlx::query_scalar(CHANNEL).fetch_one(connection).await?);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PROBE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(connections.options().clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(&channel).await?;
        Ok(Some(Notices(listener)))
    }
}
