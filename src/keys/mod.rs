//! Issues, lists, edits, revokes and verifies keys.
//!
//! This module has the domain rules only: `store` has the SQL statements, and each contract in `api` has its own wire
//! types. Five types share the work, and each uses the types after it: [`Keys`], [`ChangeLog`], [`Checks`], [`Usage`],
//! [`Limits`].

mod cache;
mod changes;
mod check;
mod descendants;
mod edit;
mod issue;
mod limits;
mod list;
mod revoke;
mod revoke_all;
mod usage;

pub use cache::Cache;
pub use cache::record::Record;
pub use changes::ChangeLog;
pub use changes::change_id::ChangeId;
pub use changes::subscribers::SubscribeError;
pub use changes::subscription::{Notification, Start, Subscription};
pub use check::{Checks, Pass, Purpose, Verdict};
pub use edit::{Edit, EditError};
pub use issue::{Draft, IssueError, Issued, KeyStringForm};
pub use limits::Limits;
pub use limits::shared::WithoutRedis;
pub use limits::spending::{LimitState, Limited, QuotaState, RateState};
pub use list::{Cursor, CursorError, Page, Request};
pub use revoke::{RevokeError, RevokeOnceError};
pub use revoke_all::ProofError;
pub use usage::flush::FLUSH_EVERY;
pub use usage::{KeyUsage, Usage};

use std::sync::Arc;

use crate::cluster::Node;
use crate::cluster::limits::SharedLimits;
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditContext, AuditFields, AuditTarget, RequestOrigin};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, MaxKeys, StoreError};
use issue::IssueQueue;
use limits::shared::SharedCounters;

/// The operator's settings for keys.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The maximal number of keys of an organisation that are not revoked.
    pub most_per_organisation: i64,
    /// The maximal number of revoked keys of an organisation: at this number, it can make no further keys.
    pub most_revoked: i64,
    /// Days after which a revoked key is deleted; its hash stays, so that it never comes back.
    pub revoked_days: i64,
    /// Whether a key may manage keys (docs/CONTRACTS.md, "Keys must not make keys").
    pub keys_may_manage_keys: bool,
    /// The capacity of the key cache in bytes.
    pub cache_bytes: usize,
    /// The policy for keys with a rate limit while the shared Redis does not answer.
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

/// The services for the keys of a database.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Issues, lists, edits and revokes keys.
    pub keys: Arc<Keys>,
    /// Follows the change log.
    pub changes: Arc<ChangeLog>,
    /// Checks keys.
    pub checks: Arc<Checks>,
    /// Counts the use of keys.
    pub usage: Arc<Usage>,
    /// Charges requests to the rate limits and quotas of keys.
    pub limits: Arc<Limits>,
}

/// Opens the keys of a database. This process serves it alone, or as one `node` of several. Needs a Tokio runtime.
///
/// # Errors
/// When the database fails.
pub async fn open(
    db: Db,
    clock: Clock,
    entropy: Entropy,
    policy: Policy,
    node: Option<Arc<Node>>,
) -> Result<Opened, StoreError> {
    // Read before anything is cached, so that the follower sees each change that is committed from now on.
    let position = db.changes_end().await?;
    let shared = node.as_ref().and_then(|node| node.redis()).map(|redis| {
        let limits = SharedLimits::new(redis.clone(), &format!("{:016x}", position.epoch));
        SharedCounters::new(limits, policy.without_redis)
    });
    let cache = Arc::new(Cache::new(policy.cache_bytes));
    let limits = Arc::new(Limits::new(db.clone(), clock.clone(), shared));
    let usage = Arc::new(Usage::new(db.clone(), clock.clone(), Arc::clone(&cache), Arc::clone(&limits)));
    let (checks, look_ups) =
        Checks::new(db.clone(), clock.clone(), cache, Arc::clone(&limits), Arc::clone(&usage), node.is_some());
    let checks = Arc::new(checks);
    tokio::spawn(check::single_flight::read(Arc::downgrade(&checks), look_ups));
    let changes =
        ChangeLog::follow(db.clone(), clock.clone(), Arc::clone(&checks), Arc::clone(&limits), node, position);
    let most = MaxKeys { keys: policy.most_per_organisation, revoked: policy.most_revoked };
    let keys = Arc::new(Keys {
        queue: IssueQueue::new(db.clone(), Arc::clone(&checks), entropy.clone(), most),
        db,
        clock,
        entropy,
        policy,
        changes: Arc::clone(&changes),
        checks: Arc::clone(&checks),
        usage: Arc::clone(&usage),
    });
    Ok(Opened { keys, changes, checks, usage, limits })
}

/// Issues, lists, edits and revokes keys.
#[derive(Debug)]
pub struct Keys {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    policy: Policy,
    changes: Arc<ChangeLog>,
    checks: Arc<Checks>,
    usage: Arc<Usage>,
    queue: IssueQueue,
}

impl Keys {
    /// The settings of the operator.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Deletes keys that were revoked long ago. Their hashes stay, so that a deleted key never comes back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_revoked(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let actor = AuditActor::system("purge of revoked keys");
        let context = AuditContext::new(&self.entropy, now, actor, RequestOrigin::default());
        let entry = |organisation, name: &str, keys| {
            let target = AuditTarget::organisation(organisation, name);
            let entry = context.entry(AuditChain::Organisation(organisation), AuditAction::KeysPurged, target);
            entry.after(AuditFields::default().with("keys", keys))
        };
        let deleted = self.db.purge_revoked_keys(now, self.policy.revoked_days, entry).await?;
        if deleted > 0 {
            tracing::info!(keys = deleted, "keys that were revoked long ago are deleted; their hashes are kept");
        }
        Ok(())
    }

    /// Runs work in a task of its own, so that it completes even if its request is dropped: between a commit and its
    /// invalidations, the cache is out of date.
    async fn run_detached<T: Send + 'static, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        match tokio::spawn(work(Arc::clone(self))).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
