//! The servers of a database, and what they tell each other.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};

use super::changes::Position;
use super::db::{Db, StoreError, reading, sql, writing};

/// Registrations come one after the other. No file, because it is nothing to the other engine.
const REGISTERING: &str = "SELECT pg_advisory_xact_lock(1818325096, hashtext(current_schema()))";
const CHANNEL: &str = "SELECT 'latchkey_' || hashtext(current_schema())";

/// A connection on which nothing was heard for so long is asked whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// And is given up when it does not answer in this time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A server of a database.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeRow {
    /// Random, another one at each start.
    pub id: i64,
    /// Its name, which the operator chose.
    pub name: String,
    /// The program's.
    pub version: String,
    /// Not 0: it shares the database with no other.
    pub sole: i64,
    /// Which process of which machine it is.
    pub process: String,
    /// By its own clock, milliseconds since 1970.
    pub started_at: i64,
    /// Grows while it lives.
    pub renewals: i64,
    /// The last change that it has dropped from its memory.
    pub heard: i64,
    /// 1: its Redis answers; 0: it does not; `None`: it has none.
    pub redis: Option<i64>,
    /// Which Redis that is: a random number that is kept in it. `None` while it is not known.
    pub redis_identity: Option<i64>,
}

/// What a renewal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Renewed {
    /// The node's renewals, this one included.
    pub(crate) renewals: i64,
    /// When the database's server began, microseconds since 1970 by its own clock.
    pub(crate) server_began: i64,
}

/// What nodes are woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A change was committed.
    Changed,
    /// A node has dropped what changed.
    Acknowledged,
    /// Something may have been missed.
    Perhaps,
}

/// Hears what other nodes commit, the moment that they do.
#[derive(Debug)]
pub struct Notices(PgListener);

impl Notices {
    /// The next one. A connection that breaks off is made anew.
    ///
    /// # Errors
    /// When it leads nowhere, or none can be made.
    pub async fn next(&mut self) -> Result<Notice, StoreError> {
        let Ok(heard) = tokio::time::timeout(PROBE_AFTER, self.0.try_recv()).await else {
            // Nothing was said, or it does not arrive any more: a connection that only listens never finds out. It may
            // have been made anew for this.
            let asked = sqlx::query("SELECT 1").execute(&mut self.0);
            tokio::time::timeout(PROBE_TIMEOUT, asked).await.map_err(|_| StoreError::slow())??;
            return Ok(Notice::Perhaps);
        };
        // Without a notice the connection was lost, and has been made anew.
        Ok(heard?.map_or(Notice::Perhaps, |notice| match notice.payload() {
            "change" => Notice::Changed,
            _ => Notice::Acknowledged,
        }))
    }
}

impl Db {
    /// Registers a node beside those that `may_stay`, which sees all others; those that it returns are dead
    /// and are removed. `Err` names who is in the way.
    pub(crate) async fn register_node(
        &self,
        node: &NodeRow,
        look: impl FnOnce(Vec<NodeRow>) -> Result<Vec<NodeRow>, NodeRow>,
    ) -> Result<Result<(), NodeRow>, StoreError> {
        writing!(self, tx => {
            if matches!(self, Self::Postgres(_)) {
                sqlx::query(REGISTERING).execute(&mut *tx).await?;
            }
            let others: Vec<NodeRow> = sqlx::query_as(sql!("nodes")).fetch_all(&mut *tx).await?;
            let dead = match look(others) {
                Ok(dead) => dead,
                Err(in_the_way) => return Ok(Err(in_the_way)),
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

    /// Renews a node's lease; `None` when it is not registered.
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

    /// Tells the others that a node has dropped all that changed up to a position.
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

    /// All nodes, oldest first.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        Ok(reading!(self, connection => sqlx::query_as(sql!("nodes")).fetch_all(connection).await?))
    }

    /// A node stops.
    pub(crate) async fn remove_node(&self, id: i64) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("node_delete")).bind(id).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Removes a node that died, unless it has come back to life.
    pub(crate) async fn remove_dead_node(&self, node: &NodeRow) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("node_delete_dead")).bind(node.id).bind(node.renewals).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Listens to what other nodes commit; `None` where there are no others.
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
