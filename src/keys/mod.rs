//! The heart: issue, list, edit, revoke and verify keys.
//!
//! Rules only. How they are stored is `store`'s, how they are asked for and answered is each
//! contract's in `api`.

mod changes;
mod check;
mod descendants;
mod edit;
mod issue;
mod limits;
mod list;
mod pages;
mod revoke;
mod usage;

pub use changes::follower::Unproven;
pub use changes::subscribers::{ChangeId, Start, SubscribeError, Subscription, Told};
pub use check::cache::Cache;
pub use check::record::Record;
pub use check::single_flight::Unanswered;
pub use check::{Pass, Purpose, Verdict};
pub use edit::{Edit, EditError};
pub use issue::{Draft, IssueError, Issued, KeyStringForm, NotStored};
pub use limits::meters::{LimitState, Limited, QuotaState, RateState};
pub use limits::shared::WithoutRedis;
pub use list::{Cursor, CursorError, KeyUsage, Page, Request};
pub use revoke::{RevokeError, RevokeOnceError};
pub use usage::flush::FLUSH_EVERY;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tracing_mutex::stdsync::Mutex;

use crate::cluster::Node;
use crate::cluster::limits::SharedLimits;
use crate::domain::{Key, KeyHash, Place};
use crate::model::{EnvironmentId, KeyId, Timestamp};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, Most, StoreError};
use changes::follower::Hearing;
use changes::subscribers::Feed;
use check::single_flight::Lookups;
use issue::Issuing;
use limits::meters::Limiter;
use limits::shared::Together;
use pages::Marked;
use usage::Usage;

/// Changes are kept for an hour, milliseconds: a node or a listener that was away for less misses none.
const CHANGES_KEPT: i64 = 3_600_000;
/// Outcomes by the hour are kept for so many hours: a year and a month.
const HOURS_KEPT: i64 = 24 * 396;

/// What the operator decides about keys.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The most keys that an organisation may have that are not revoked.
    pub most_per_organisation: i64,
    /// The most revoked keys that an organisation may have: with so many, it makes no further keys.
    pub most_revoked: i64,
    /// Days after which a revoked key is deleted; its hash stays, so that it never comes back.
    pub revoked_days: i64,
    /// Whether a key may manage keys (CONTRACTS, "Keys must not make keys").
    pub keys_may_manage_keys: bool,
    /// The most bytes of the keys that are kept in memory.
    pub cache_bytes: usize,
    /// What becomes of keys with a rate limit while the Redis that counts them for all nodes is away.
    pub without_redis: WithoutRedis,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            most_per_organisation: 100_000,
            most_revoked: 1_000_000,
            revoked_days: 400,
            keys_may_manage_keys: false,
            cache_bytes: 256 << 20,
            without_redis: WithoutRedis::Open,
        }
    }
}

/// The keys, and all that is done with them.
#[derive(Debug)]
pub struct Keys {
    core: Arc<Core>,
    issuing: Issuing,
    entropy: Entropy,
    policy: Policy,
    opened_at: Timestamp,
    following: tokio::task::JoinHandle<()>,
}

/// What checks and changes share.
#[derive(Debug)]
struct Core {
    db: Db,
    clock: Clock,
    cache: Cache,
    /// Until when checks may go by it, on [`Clock::boottime`]; the largest number for always.
    trusted_until: AtomicU64,
    lookups: Lookups,
    usage: Usage,
    limiter: Limiter,
    /// Limits that all nodes count together, where there are several.
    together: OnceLock<Together>,
    feed: Arc<Feed>,
    hearing: Arc<Hearing>,
    /// This server among others, where there may be any.
    node: Option<Arc<Node>>,
    /// Lists that pages far inside were asked of.
    marked: Marked,
    /// An environment's keys share what is said of it; environments do not change.
    places: Mutex<HashMap<EnvironmentId, Arc<Place>>>,
}

impl Keys {
    /// The keys of a database, which this process alone serves, or as one `node` of several. Needs a Tokio
    /// runtime.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(
        db: Db,
        clock: Clock,
        entropy: Entropy,
        policy: Policy,
        node: Option<Arc<Node>>,
    ) -> Result<Self, StoreError> {
        let (lookups, asked) = Lookups::new();
        // Before anything is remembered: what is committed from now on is heard.
        let position = db.changes_end().await?;
        let redis = node.as_ref().and_then(|node| node.redis());
        let together = match redis {
            Some(redis) => {
                let limits = SharedLimits::new(redis.clone(), &format!("{:016x}", position.epoch));
                Together::new(limits, policy.without_redis).into()
            }
            None => OnceLock::new(),
        };
        let opened_at = clock.now();
        let hearing =
            Arc::new(Hearing::new(node.as_ref().map_or_else(|| db.clone(), |node| node.db().clone()), position));
        let core = Arc::new(Core {
            db,
            clock,
            cache: Cache::new(policy.cache_bytes),
            trusted_until: AtomicU64::new(if node.is_some() { 0 } else { u64::MAX }),
            lookups,
            usage: Usage::default(),
            limiter: Limiter::default(),
            together,
            feed: Arc::default(),
            hearing: Arc::clone(&hearing),
            node: node.clone(),
            marked: Marked::default(),
            places: Mutex::default(),
        });
        tokio::spawn(check::single_flight::read(Arc::downgrade(&core), asked));
        let following = tokio::spawn(changes::follower::follow(Arc::downgrade(&core), hearing, node));
        let most = Most { keys: policy.most_per_organisation, revoked: policy.most_revoked };
        let issuing = Issuing::new(Arc::clone(&core), entropy.clone(), most);
        Ok(Self { core, issuing, entropy, policy, opened_at, following })
    }

    /// What the operator decided.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The time, as every rule about keys sees it.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// The keys that are in memory.
    pub fn cache(&self) -> &Cache {
        &self.core.cache
    }

    /// The limits that all nodes count together, where there are several.
    pub fn shared_limits(&self) -> Option<&SharedLimits> {
        self.core.together.get().map(Together::limits)
    }

    /// Stops going by what is in memory, and being a node.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.following.abort();
        // It must not renew what is given back here.
        while !self.following.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.core.trusted_until.store(0, Ordering::Release);
        match &self.core.node {
            None => Ok(()),
            Some(node) => node.leave().await,
        }
    }

    /// Whether everything is heard here that other nodes commit: then what no [`Subscription`] has told has not
    /// happened, but for the last moments, in which nobody was told yet that it has.
    pub fn hears(&self) -> bool {
        self.core.remembers()
    }

    /// Drops from memory what no key needs any more, and strikes off nodes that this one has not heard of for long.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        self.core.limiter.tidy(self.core.clock.monotonic());
        match &self.core.node {
            Some(node) => node.bury().await,
            None => Ok(()),
        }
    }

    /// Deletes changes that no subscriber may resume after any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_changes(&self) -> Result<(), StoreError> {
        self.core.db.delete_changes_before(self.core.clock.now().plus(-CHANGES_KEPT)).await
    }

    /// Deletes outcomes by the hour that are kept no longer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_outcomes(&self) -> Result<(), StoreError> {
        self.core.db.delete_hours_before(self.core.clock.now().0 / usage::HOUR - HOURS_KEPT).await
    }

    /// Deletes keys that were revoked long ago; their hashes are kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_revoked(&self) -> Result<(), StoreError> {
        let deleted = self.core.db.purge_revoked_keys(self.core.clock.now(), self.policy.revoked_days).await?;
        if deleted > 0 {
            tracing::info!(keys = deleted, "keys that were revoked long ago are deleted; their hashes are kept");
        }
        Ok(())
    }

    /// Does something that must not stop half-way when whoever asked for it goes away: between a
    /// commit and the invalidation that belongs to it, the cache is wrong.
    async fn run_detached<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<Core>) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        match tokio::spawn(work(Arc::clone(&self.core))).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Core {
    /// A key, as the cache keeps it.
    fn record(&self, key: &Key) -> Record {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(key.environment).or_insert_with(|| Arc::new(key.place())))
        };
        Record::new(key, place, self.limiter.meter(key, self.clock.both()))
    }

    /// Some keys are not any more what they were, by whatever cause: called after the commit and before the
    /// answer. What other nodes commit comes by way of [`Core::hear`].
    fn changed(&self, keys: &[(KeyId, KeyHash)]) {
        for (_, hash) in keys {
            self.invalidate(*hash);
        }
    }
}
