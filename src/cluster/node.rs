//! A node: its lease, and the proof that all the others have dropped what changed.
//!
//! No clock is compared with another's. A node counts its lease from before it asked for it; the others count
//! from when they first saw that it was renewed, which is later, and so believe in it for longer than it does
//! itself. All count on clocks that go on while a machine sleeps; that those run about equally fast (to one
//! part in ten) is all that is assumed of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing_mutex::stdsync::Mutex;

use super::process;
use super::redis::Redis;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, NodeRow, Notices, Position, Renewed, StoreError};

/// How long others believe that a node answers from its memory, after the last renewal that they saw.
pub const LEASE: Duration = Duration::from_secs(5);
/// How long a node does, after it asked for the renewal: a tenth less, for clocks that do not run alike.
const OWN_LEASE: Duration = Duration::from_millis(4500);
/// How often it renews.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);
/// A question to the database that takes longer is given up, and asked again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long whoever waits for others goes without looking again, when nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// After so many renewals another node really has another Redis: one that was emptied gets a new identity, which the
/// rows of all nodes show within about 2 s.
const REDIS_ROUNDS: u64 = 8;
/// The row of a node that died is removed after this long.
const BURY_AFTER: Duration = Duration::from_mins(1);

/// Why a server did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another server is there, and one of the two is meant to be alone.
    #[error(
        "the database is served by another process, the node {0}: stop it, or give every node the same --redis-url"
    )]
    Served(String),
    /// The other nodes count limits in another Redis.
    #[error(
        "the node {0} counts limits in another Redis than the one at this node's --redis-url, so keys could use their \
         rate limits twice: give every node the same --redis-url"
    )]
    OtherRedis(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A renewal of a node's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Until when the lease holds, on [`Clock::boottime`], once everything has been heard that was committed before
    /// the renewal was answered.
    pub until: u64,
    /// Why what the node has cached may be of a state that the database has lost.
    pub doubt: Option<Doubt>,
}

/// Why commits may be lost that this node has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The database has fewer renewals of this node than were answered.
    WentBack,
    /// Another process than before serves the database.
    OtherServer,
    /// The database did not know this node; it is registered again.
    Unregistered,
}

/// Who had to hear of a change, and how it is known that none of them goes by what was before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Nodes that might have gone by it.
    pub nodes: u32,
    /// Those that have dropped it.
    pub acknowledged: u32,
    /// Those whose lease was waited for instead, by name.
    pub waited_out: Vec<String>,
}

impl Proof {
    /// Where there is one process.
    pub const ALONE: Self = Self { nodes: 1, acknowledged: 1, waited_out: Vec::new() };
}

/// A node, as another sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it says of itself.
    pub row: NodeRow,
    /// How long others still have to believe that it goes by its memory.
    pub lease_left: Duration,
}

impl Member {
    fn is_live(&self) -> bool {
        !self.lease_left.is_zero()
    }
}

/// A node's renewals, and since when this process has seen that many.
#[derive(Debug, Clone, Copy)]
struct Observed {
    renewals: i64,
    since: u64,
}

/// All nodes as they were read at some time after the question with this number was asked.
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
    /// What the last renewal found.
    renewed: Mutex<Option<Renewed>>,
    /// Until when nothing is proved, on [`Clock::boottime`]: nodes that the database has forgotten may hold leases.
    distrusted_until: AtomicU64,
    /// Renewals in a row at which another node had another Redis.
    other_redis_rounds: AtomicU64,
}

impl Node {
    /// Registers this server. Several need a Redis that they share: where this one has none, or another one
    /// has not, there must be no other whose lease holds; one that died is waited for.
    ///
    /// # Errors
    /// When another server is in the way, or the database fails.
    pub async fn join(
        db: &Db,
        clock: Clock,
        entropy: &Entropy,
        name: String,
        redis: Option<Redis>,
    ) -> Result<Self, JoinError> {
        let own = NodeRow {
            id: entropy.id(),
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sole: i64::from(redis.is_none()),
            process: process::identity(),
            started_at: clock.now().0,
            renewals: 1,
            heard: 0,
            redis: None,
            redis_identity: None,
        };
        let node = Self {
            db: db.aside(),
            clock,
            own,
            observed: Mutex::default(),
            asked: AtomicU64::new(0),
            registry: AsyncMutex::default(),
            acknowledgements: watch::Sender::default(),
            redis,
            renewed: Mutex::default(),
            distrusted_until: AtomicU64::new(0),
            other_redis_rounds: AtomicU64::new(0),
        };
        let mut first_seen = None;
        loop {
            let Err(other) = node.register(true).await? else { return Ok(node) };
            // Renewed while we looked: it lives. The same one that others have to wait for, otherwise.
            let is_redis = node.has_other_redis(&other);
            match first_seen {
                Some((id, renewals)) if id == other.id && is_redis => {
                    if other.renewals.saturating_sub(renewals).unsigned_abs() >= REDIS_ROUNDS {
                        return Err(JoinError::OtherRedis(other.name));
                    }
                }
                Some(seen) if !is_redis && seen != (other.id, other.renewals) => {
                    return Err(JoinError::Served(other.name));
                }
                Some((id, _)) if id == other.id => {}
                _ => {
                    tracing::info!(node = other.name, "another server was here: waiting until its lease is over");
                    first_seen = Some((other.id, other.renewals));
                }
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    /// Writes the row. `Err` names a node that is in the way: of one that is `joining`, also another that has another
    /// Redis.
    async fn register(&self, joining: bool) -> Result<Result<(), NodeRow>, StoreError> {
        let before = self.clock.boottime();
        let row = NodeRow {
            redis: self.redis_answers().map(i64::from),
            redis_identity: self.redis_identity(),
            ..self.own.clone()
        };
        self.db
            .register_node(&row, |others| {
                let (mut dead, mut in_the_way) = (Vec::new(), None);
                for other in self.observe(others, before) {
                    // For one that is to be alone, which nobody else relies on: machines that were copied while
                    // they ran take each other's processes for their own.
                    if self.own.sole != 0 && other.row.sole != 0 && process::has_ended(&other.row.process) {
                        dead.push(other.row);
                    } else if (other.row.sole != 0 || self.own.sole != 0) && other.row.id != self.own.id {
                        if other.is_live() { in_the_way = Some(other.row) } else { dead.push(other.row) }
                    } else if joining && other.is_live() && self.has_other_redis(&other.row) {
                        in_the_way = Some(other.row);
                    }
                }
                in_the_way.map_or(Ok(dead), Err)
            })
            .await
    }

    /// Whether another node counts limits elsewhere.
    fn has_other_redis(&self, other: &NodeRow) -> bool {
        other.id != self.own.id
            && matches!((self.redis_identity(), other.redis_identity), (Some(own), Some(other)) if own != other)
    }

    /// What the registry says, held against what it said before. `before` was read before the question was sent.
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

    /// All nodes, as they are now or later. However many ask at once share one reading.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(&self) -> Result<Arc<Vec<Member>>, StoreError> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut registry = self.registry.lock().await;
        if registry.0 < ticket {
            // All who have asked by now are served by what is read from now on.
            let served = self.asked.load(Ordering::Acquire);
            let before = self.clock.boottime();
            // Others wait for this one: a connection that leads nowhere must not hold them up.
            let rows =
                tokio::time::timeout(STATEMENT_TIMEOUT, self.db.nodes()).await.map_err(|_| StoreError::slow())??;
            *registry = (served, Arc::new(self.observe(rows, before)));
        }
        Ok(Arc::clone(&registry.1))
    }

    /// The connections that are kept for this.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Which of the members this one is.
    pub fn id(&self) -> i64 {
        self.own.id
    }

    /// The Redis that it shares with others.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    fn redis_answers(&self) -> Option<bool> {
        self.redis.as_ref().map(|redis| !redis.is_away())
    }

    fn redis_identity(&self) -> Option<i64> {
        self.redis.as_ref().and_then(Redis::identity)
    }

    /// Looks at the others, so that it is known since when each has not renewed its lease, and says so when one of
    /// them counts limits in another Redis.
    pub async fn watch_others(&self) {
        // What cannot be read now is read at the next renewal.
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
            // Others have buried this node, or the database is of a time before it came. It may come back, unless
            // one of them is there instead.
            let registered = self.register(false).await?.is_ok();
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            Ok::<_, StoreError>(registered.then_some(Some(Doubt::Unregistered)))
        };
        let renewed = tokio::time::timeout(STATEMENT_TIMEOUT, renewing).await.map_err(|_| StoreError::slow())??;
        let until = sent.saturating_add(u64::try_from(OWN_LEASE.as_nanos()).unwrap_or(u64::MAX));
        Ok(renewed.map(|doubt| Renewal { until, doubt }))
    }

    /// What a renewal says about the database, held against the one before.
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

    /// Proves nothing for as long as a node may hold a lease that the database does not know of any more: called when
    /// the database has gone back. The next renewal is held against none before.
    pub fn distrust_others(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let lease = u64::try_from(LEASE.as_nanos()).unwrap_or(u64::MAX);
        self.distrusted_until.store(self.clock.boottime().saturating_add(lease), Ordering::Release);
    }

    /// Tells the others that everything up to a position is dropped here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn acknowledge(&self, heard: Position) -> Result<(), StoreError> {
        self.db.acknowledge_changes(self.own.id, heard).await
    }

    /// Hears what others commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices(&self) -> Result<Option<Notices>, StoreError> {
        self.db.notices().await
    }

    /// Somebody has acknowledged something.
    pub fn acknowledged(&self) {
        self.acknowledgements.send_replace(());
    }

    /// Waits until no other node goes by what was before a change: each has dropped it, or its lease is over.
    /// Called after the commit. This node counts as one that has.
    ///
    /// # Errors
    /// When the database fails: then nobody knows.
    pub async fn prove(&self, number: i64) -> Result<Proof, StoreError> {
        let mut acknowledgements = self.acknowledgements.subscribe();
        // Those that live now. Whoever comes (or comes back) later reads what was committed before.
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
            // One whose row is gone has left, and with it all that it remembered.
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
            // Neither the closing of the channel nor the time that it took is a failure.
            let _ = tokio::time::timeout(LOOK_AGAIN, acknowledgements.changed()).await;
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

    /// Stops being one. By now it must not go by its memory any more.
    ///
    /// # Errors
    /// When the database fails; then the others wait for its lease.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.db.remove_node(self.own.id).await
    }
}
