//! A node: its lease, and the proof that all other nodes have applied a change.
//!
//! No clock is compared with the clock of another machine. A node counts its lease from before it sends the renewal.
//! The others count from the moment they first see the renewal, which is later: so they honour the lease longer than
//! the node uses it. All use clocks that continue during suspend. The one assumption is that these clocks run at the
//! same rate, to one part in ten.

mod join;

pub use join::JoinError;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing_mutex::stdsync::Mutex;

use super::redis::Redis;
use crate::runtime::clock::Clock;
use crate::store::{Db, NodeRow, Notices, Position, Renewed, StoreError};

/// Other nodes honour a lease for this long after the last renewal that they saw.
pub const LEASE: Duration = Duration::from_secs(5);
/// The node itself trusts its cache for this long after it sent the renewal: a tenth less, because clock rates differ.
const OWN_LEASE: Duration = Duration::from_millis(4500);
/// Time between renewals.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);
/// The timeout of a statement, after which it fails; a renewal is tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between readings of the registry by a request that waits for other nodes, when no notice wakes it.
const REREAD_EVERY: Duration = Duration::from_millis(100);
/// Consecutive renewals (4 s) with different Redis identities after which the difference is an error. A Redis that was
/// emptied gets a new identity, and the rows of all nodes show it within about 2 s.
const REDIS_CONFLICT_RENEWALS: u64 = 8;
/// The row of a node without renewals is removed after this long.
const REMOVE_AFTER: Duration = Duration::from_mins(1);

/// A renewal of a node's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The end of the lease, on [`Clock::boottime`]. The lease holds once the node has applied every change that was
    /// committed before the renewal was answered.
    pub until: u64,
    /// The reason why the node's cache may contain commits that the database has lost.
    pub doubt: Option<Doubt>,
}

/// The reason why the database may have lost commits that this node has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The database has lost renewals of this node that it had confirmed.
    WentBack,
    /// The database server was restarted or replaced.
    OtherServer,
    /// The database did not have this node's row; the node has registered again.
    Unregistered,
}

/// The proof that no node uses the state before a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// The number of nodes that might have used that state.
    pub nodes: u32,
    /// The number of nodes that have applied the change.
    pub acknowledged: u32,
    /// The names of the other nodes, which did not apply the change before their leases expired.
    pub waited_out: Vec<String>,
}

impl Proof {
    /// The proof of a server that is the only one of its database.
    pub const ALONE: Self = Self { nodes: 1, acknowledged: 1, waited_out: Vec::new() };
}

/// A node, as this one sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its row in the registry.
    pub row: NodeRow,
    /// The rest of its lease, which other nodes honour.
    pub lease_left: Duration,
}

impl Member {
    fn is_live(&self) -> bool {
        !self.lease_left.is_zero()
    }
}

/// A node's number of renewals, and the time when this process first saw it.
#[derive(Debug, Clone, Copy)]
struct Observed {
    renewals: i64,
    since: u64,
}

/// The last reading of all nodes, and the number of the last request that it serves.
type Registry = (u64, Arc<Vec<Member>>);

/// This server, as a node of a cluster.
#[derive(Debug)]
pub struct Node {
    db: Db,
    clock: Clock,
    own: NodeRow,
    observed: Mutex<HashMap<i64, Observed>>,
    /// The number of requests for the registry.
    requested: AtomicU64,
    registry: AsyncMutex<Registry>,
    acknowledgements: watch::Sender<()>,
    redis: Option<Redis>,
    /// The result of the last renewal.
    renewed: Mutex<Option<Renewed>>,
    /// No proof is given before this time, on [`Clock::boottime`]: nodes that the database has lost may hold leases.
    distrusted_until: AtomicU64,
    /// Consecutive renewals at which another node had another Redis.
    redis_conflict_renewals: AtomicU64,
}

impl Node {
    /// Compares the registry with earlier readings. `before` is the time before the statement was sent.
    fn observe(&self, rows: Vec<NodeRow>, before: u64) -> Vec<Member> {
        let now = self.clock.boottime();
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.retain(|id, _| rows.iter().any(|row| row.id == *id));
        let member = |row: NodeRow| {
            let new = Observed { renewals: row.renewals, since: now };
            let known = observed.entry(row.id).or_insert(new);
            if known.renewals != row.renewals {
                *known = new;
            }
            let unchanged = Duration::from_nanos(before.saturating_sub(known.since));
            Member { lease_left: LEASE.saturating_sub(unchanged), row }
        };
        rows.into_iter().map(member).collect()
    }

    /// Reads all nodes; the reading begins after this call. Concurrent requests share one reading.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(&self) -> Result<Arc<Vec<Member>>, StoreError> {
        let ticket = self.requested.fetch_add(1, Ordering::AcqRel) + 1;
        let mut registry = self.registry.lock().await;
        if registry.0 < ticket {
            // A reading that begins now serves all requests that were made until now.
            let served = self.requested.load(Ordering::Acquire);
            let before = self.clock.boottime();
            // Other requests wait for this one: a connection that hangs must not hold them up.
            let rows =
                tokio::time::timeout(STATEMENT_TIMEOUT, self.db.nodes()).await.map_err(|_| StoreError::slow())??;
            *registry = (served, Arc::new(self.observe(rows, before)));
        }
        Ok(Arc::clone(&registry.1))
    }

    /// The database, with dedicated connections that requests do not use.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The id of this node.
    pub fn id(&self) -> i64 {
        self.own.id
    }

    /// The Redis that this node shares with other nodes.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    fn redis_answers(&self) -> Option<bool> {
        self.redis.as_ref().map(|redis| !redis.is_unavailable())
    }

    fn redis_identity(&self) -> Option<i64> {
        self.redis.as_ref().and_then(Redis::identity)
    }

    /// Reads the rows of the other nodes, to record the time of each node's last renewal. Logs an error if one of them
    /// counts limits in another Redis.
    pub async fn watch_others(&self) {
        // After a failure, the next renewal reads the rows again.
        let Ok(members) = self.members().await else { return };
        let other = members.iter().find(|member| member.is_live() && self.has_other_redis(&member.row));
        let Some(other) = other else {
            self.redis_conflict_renewals.store(0, Ordering::Relaxed);
            return;
        };
        if self.redis_conflict_renewals.fetch_add(1, Ordering::Relaxed) + 1 == REDIS_CONFLICT_RENEWALS {
            tracing::error!(
                node = other.row.name,
                "another node counts limits in another Redis, so keys can use their rate limits twice: give every node \
                 the same --redis-url"
            );
        }
    }

    /// Renews the lease. Returns `None` if another server has replaced this one in the registry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew(&self, heard: Position) -> Result<Option<Renewal>, StoreError> {
        let sent = self.clock.boottime();
        let renewing = async {
            let (answers, identity) = (self.redis_answers(), self.redis_identity());
            if let Some(renewed) = self.db.renew_node(self.own.id, heard, answers, identity).await? {
                return Ok(Some(self.doubt(renewed)));
            }
            // Another node has removed this node's row, or the database was restored to a state before this node
            // joined. The node may register again, unless another server has replaced it.
            let registered = self.register(false).await?.is_ok();
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            Ok::<_, StoreError>(registered.then_some(Some(Doubt::Unregistered)))
        };
        let renewed = tokio::time::timeout(STATEMENT_TIMEOUT, renewing).await.map_err(|_| StoreError::slow())??;
        let until = sent.saturating_add(u64::try_from(OWN_LEASE.as_nanos()).unwrap_or(u64::MAX));
        Ok(renewed.map(|doubt| Renewal { until, doubt }))
    }

    /// Compares a renewal with the previous one.
    fn doubt(&self, renewed: Renewed) -> Option<Doubt> {
        let before = self.renewed.lock().unwrap_or_else(PoisonError::into_inner).replace(renewed)?;
        if renewed.renewals <= before.renewals {
            Some(Doubt::WentBack)
        } else if renewed.server_began != before.server_began {
            Some(Doubt::OtherServer)
        } else {
            None
        }
    }

    /// Gives no proof for the time of a lease. Called when the database may have lost commits: nodes that it has lost
    /// as well may hold leases. The next renewal is not compared with an earlier one.
    pub fn distrust_others(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let lease = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
        self.distrusted_until.store(self.clock.boottime().saturating_add(lease), Ordering::Release);
    }

    /// Tells the other nodes that this node has applied all changes up to a position.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn acknowledge(&self, heard: Position) -> Result<(), StoreError> {
        self.db.acknowledge_changes(self.own.id, heard).await
    }

    /// Listens for notices of other nodes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices(&self) -> Result<Option<Notices>, StoreError> {
        self.db.notices().await
    }

    /// Wakes requests that wait for acknowledgements.
    pub fn acknowledged(&self) {
        self.acknowledgements.send_replace(());
    }

    /// Waits until no other node uses the state before a change: each node has applied it, or its lease has expired.
    /// Called after the commit, when this node has applied the change.
    ///
    /// # Errors
    /// When the database fails; another node may then still use the old state.
    pub async fn prove(&self, number: i64) -> Result<Proof, StoreError> {
        let mut acknowledgements = self.acknowledgements.subscribe();
        // The nodes that are live now. A node that joins later reads the present state.
        let mut waited_for: Option<Vec<(i64, String)>> = None;
        loop {
            acknowledgements.mark_unchanged();
            let members = self.members().await?;
            let others = |member: &&Member| member.row.id != self.own.id;
            let waited_for = waited_for.get_or_insert_with(|| {
                let live = members.iter().filter(others).filter(|member| member.is_live());
                live.map(|member| (member.row.id, member.row.name.clone())).collect()
            });
            let find = |id: i64| members.iter().find(|member| member.row.id == id);
            // A node without a row has left, and has dropped its cache.
            let has_heard = |id: i64| find(id).is_none_or(|member| member.row.heard >= number);
            let is_waited_for = |id: i64| !has_heard(id) && find(id).is_some_and(Member::is_live);
            let distrusts = self.clock.boottime() < self.distrusted_until.load(Ordering::Acquire);
            if !distrusts && !waited_for.iter().any(|(id, _)| is_waited_for(*id)) {
                let (heard, waited_out): (Vec<_>, Vec<_>) = waited_for.drain(..).partition(|(id, _)| has_heard(*id));
                let acknowledged = u32::try_from(heard.len() + 1).unwrap_or(u32::MAX);
                return Ok(Proof {
                    nodes: acknowledged.saturating_add(u32::try_from(waited_out.len()).unwrap_or(u32::MAX)),
                    acknowledged,
                    waited_out: waited_out.into_iter().map(|(_, name)| name).collect(),
                });
            }
            // A timeout is no failure: the registry is read again. The channel cannot close before this returns.
            let _ = tokio::time::timeout(REREAD_EVERY, acknowledgements.changed()).await;
        }
    }

    /// Removes the rows of dead nodes, which have not renewed their leases for a minute.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_dead_nodes(&self) -> Result<(), StoreError> {
        let now = self.clock.boottime();
        let is_dead = |row: &NodeRow| {
            let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
            observed
                .get(&row.id)
                .is_some_and(|known| Duration::from_nanos(now.saturating_sub(known.since)) > REMOVE_AFTER)
        };
        for member in self.members().await?.iter().filter(|member| member.row.id != self.own.id) {
            if is_dead(&member.row) {
                tracing::warn!(
                    node = member.row.name,
                    "a node has not renewed its lease for a minute; its row is removed"
                );
                self.db.remove_dead_node(&member.row).await?;
            }
        }
        Ok(())
    }

    /// Removes this node's row. The node must not trust its cache any more.
    ///
    /// # Errors
    /// When the database fails; the other nodes then wait until the lease expires.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.db.remove_node(self.own.id).await
    }
}
