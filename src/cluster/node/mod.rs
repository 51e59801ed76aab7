//! A node: its lease, and the proof that all other nodes have applied a change.
//!
//! No clock is compared with that of another machine. A node counts its lease from before it sent the renewal; the others
//! count from when they first saw the renewal, which is later, and so honour the lease for longer than the node itself.
//! All count on clocks that go on while a machine sleeps. The one assumption is that these run about equally fast, to one
//! part in ten.

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

/// Other nodes honour a lease this long after the last renewal that they saw.
pub const LEASE: Duration = Duration::from_secs(5);
/// The node itself trusts its cache this long after it sent the renewal: a tenth less, for clocks that differ.
const OWN_LEASE: Duration = Duration::from_millis(4500);
/// Time between renewals.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);
/// A statement that takes longer is given up, and tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between readings of the registry by a request that waits for other nodes, when no notice wakes it.
const REREAD_EVERY: Duration = Duration::from_millis(100);
/// Renewals after which another identity of a node's Redis is an error. A Redis that was emptied gets a new identity,
/// which the rows of all nodes show within about 2 s.
const REDIS_ROUNDS: u64 = 8;
/// The row of a node that died is removed after this long.
const BURY_AFTER: Duration = Duration::from_mins(1);

/// A renewal of a node's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// The end of the lease, on [`Clock::boottime`]. The lease holds once every change is applied that was committed before
    /// the renewal was answered.
    pub until: u64,
    /// The reason why the node's cache may be of a state that the database has lost.
    pub doubt: Option<Doubt>,
}

/// The reason why commits may be lost that this node has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The database has fewer renewals of this node than were answered.
    WentBack,
    /// Another process than before serves the database.
    OtherServer,
    /// The database did not know this node; it is registered again.
    Unregistered,
}

/// The proof that no node uses the state before a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Nodes that might have used that state.
    pub nodes: u32,
    /// Nodes that have applied the change.
    pub acknowledged: u32,
    /// The names of the other nodes: their leases had to end instead.
    pub waited_out: Vec<String>,
}

impl Proof {
    /// The proof where there is one process.
    pub const ALONE: Self = Self { nodes: 1, acknowledged: 1, waited_out: Vec::new() };
}

/// A node, as another one sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its row in the registry.
    pub row: NodeRow,
    /// The rest of its lease, as other nodes have to honour it.
    pub lease_left: Duration,
}

impl Member {
    fn is_live(&self) -> bool {
        !self.lease_left.is_zero()
    }
}

/// The number of a node's renewals, and when this process first saw it.
#[derive(Debug, Clone, Copy)]
struct Observed {
    renewals: i64,
    since: u64,
}

/// All nodes, as they were read after the request with this number.
type Registry = (u64, Arc<Vec<Member>>);

/// This server among the others.
#[derive(Debug)]
pub struct Node {
    db: Db,
    clock: Clock,
    own: NodeRow,
    observed: Mutex<HashMap<i64, Observed>>,
    asked: AtomicU64,
    registry: AsyncMutex<Registry>,
    acknowledgements: watch::Sender<()>,
    redis: Option<Redis>,
    /// The state that the last renewal found.
    renewed: Mutex<Option<Renewed>>,
    /// Until when nothing is proved, on [`Clock::boottime`]: nodes that the database has forgotten may hold leases.
    distrusted_until: AtomicU64,
    /// Renewals in a row at which another node had another Redis.
    other_redis_rounds: AtomicU64,
}

impl Node {
    /// Compares the registry with earlier readings. `before` was read before the statement was sent.
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

    /// Returns all nodes, as they are now or later. Concurrent requests share one reading.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(&self) -> Result<Arc<Vec<Member>>, StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut registry = self.registry.lock().await;
        if registry.0 < ticket {
            // A reading that begins now serves all requests that have come by now.
            let served = self.asked.load(Ordering::Acquire);
            let before = self.clock.boottime();
            // Others wait for this one: a connection that hangs must not hold them up.
            let rows =
                tokio::time::timeout(STATEMENT_TIMEOUT, self.db.nodes()).await.map_err(|_| StoreError::slow())??;
            *registry = (served, Arc::new(self.observe(rows, before)));
        }
        Ok(Arc::clone(&registry.1))
    }

    /// The database, by connections that no request waits for.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The id of this node.
    pub fn id(&self) -> i64 {
        self.own.id
    }

    /// The Redis that it shares with other nodes.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    fn redis_answers(&self) -> Option<bool> {
        self.redis.as_ref().map(|redis| !redis.is_unavailable())
    }

    fn redis_identity(&self) -> Option<i64> {
        self.redis.as_ref().and_then(Redis::identity)
    }

    /// Reads the rows of the others, so that it is known since when each has not renewed its lease. Logs an error when one of
    /// them counts limits in another Redis.
    pub async fn watch_others(&self) {
        // After a failure the rows are read at the next renewal.
        let Ok(members) = self.members().await else { return };
        let other = members.iter().find(|member| member.is_live() && self.has_other_redis(&member.row));
        let Some(other) = other else {
            self.other_redis_rounds.store(0, Ordering::Relaxed);
            return;
        };
        if self.other_redis_rounds.fetch_add(1, Ordering::Relaxed) + 1 == REDIS_ROUNDS {
            tracing::error!(
                node = other.row.name,
                "another node counts limits in another Redis, so keys can use their rate limits twice: give every node \
                 the same --redis-url"
            );
        }
    }

    /// Renews the lease. `None` when another server has taken this one's place.
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
            // Others have removed this node, or the database is of a time before it joined. The node may join again,
            // unless another server has taken its place.
            let registered = self.register(false).await?.is_ok();
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            Ok::<_, StoreError>(registered.then_some(Some(Doubt::Unregistered)))
        };
        let renewed = tokio::time::timeout(STATEMENT_TIMEOUT, renewing).await.map_err(|_| StoreError::slow())??;
        let until = sent.saturating_add(u64::try_from(OWN_LEASE.as_nanos()).unwrap_or(u64::MAX));
        Ok(renewed.map(|doubt| Renewal { until, doubt }))
    }

    /// Compares a renewal with the one before.
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

    /// Gives no proof for as long as a node may hold a lease that the database has forgotten: called when the database has
    /// gone back. The next renewal is compared with none before.
    pub fn distrust_others(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let lease = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
        self.distrusted_until.store(self.clock.boottime().saturating_add(lease), Ordering::Release);
    }

    /// Tells the others that everything up to a position is applied here.
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

    /// Waits until no other node uses the state before a change: each has applied it, or its lease is over. Called after the
    /// commit, when this node has applied it.
    ///
    /// # Errors
    /// When the database fails: then it is not known.
    pub async fn prove(&self, number: i64) -> Result<Proof, StoreError> {
        let mut acknowledgements = self.acknowledgements.subscribe();
        // The nodes that are live now. A node that joins later reads the present state.
        let mut asked: Option<Vec<(i64, String)>> = None;
        loop {
            acknowledgements.mark_unchanged();
            let members = self.members().await?;
            let others = |member: &&Member| member.row.id != self.own.id;
            let asked = asked.get_or_insert_with(|| {
                let live = members.iter().filter(others).filter(|member| member.is_live());
                live.map(|member| (member.row.id, member.row.name.clone())).collect()
            });
            let find = |id: i64| members.iter().find(|member| member.row.id == id);
            // A node without a row has left, and its cache with it.
            let has_heard = |id: i64| find(id).is_none_or(|member| member.row.heard >= number);
            let is_waited_for = |id: i64| !has_heard(id) && find(id).is_some_and(Member::is_live);
            let distrusts = self.clock.boottime() < self.distrusted_until.load(Ordering::Acquire);
            if !distrusts && !asked.iter().any(|(id, _)| is_waited_for(*id)) {
                let (heard, waited_out): (Vec<_>, Vec<_>) = asked.drain(..).partition(|(id, _)| has_heard(*id));
                let acknowledged = u32::try_from(heard.len() + 1).unwrap_or(u32::MAX);
                return Ok(Proof {
                    nodes: acknowledged.saturating_add(u32::try_from(waited_out.len()).unwrap_or(u32::MAX)),
                    acknowledged,
                    waited_out: waited_out.into_iter().map(|(_, name)| name).collect(),
                });
            }
            // Neither a timeout nor a closed channel is a failure.
            let _ = tokio::time::timeout(REREAD_EVERY, acknowledgements.changed()).await;
        }
    }

    /// Removes the rows of nodes that died.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bury(&self) -> Result<(), StoreError> {
        let now = self.clock.boottime();
        let long_dead = |row: &NodeRow| {
            let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
            observed
                .get(&row.id)
                .is_some_and(|known| Duration::from_nanos(now.saturating_sub(known.since)) > BURY_AFTER)
        };
        for member in self.members().await?.iter().filter(|member| member.row.id != self.own.id) {
            if long_dead(&member.row) {
                tracing::warn!(node = member.row.name, "a node has not been heard of for a minute; it is struck off");
                self.db.remove_dead_node(&member.row).await?;
            }
        }
        Ok(())
    }

    /// Removes this node, which must not trust its cache any more.
    ///
    /// # Errors
    /// When the database fails; then the others wait for its lease.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.db.remove_node(self.own.id).await
    }
}
