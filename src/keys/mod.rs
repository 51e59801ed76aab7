//! The heart: issue, list, edit, revoke and verify keys.
//!
//! Rules only. How they are stored is `store`'s, how they are asked for and answered is each
//! contract's in `api`.

mod cache;
mod edit;
mod feed;
mod flush;
#[cfg(test)]
mod interleavings;
mod issue;
mod issuing;
mod key;
mod ledger;
mod limiter;
mod list;
mod lookups;
mod record;
mod revoke;
mod token;
mod usage;
mod verify;

pub use cache::Cache;
pub use edit::{Edit, EditError};
pub use feed::{Change, Subscription};
pub use flush::FLUSH_EVERY;
pub use issue::{Draft, IssueError, Issued, KeyStringForm};
pub use issuing::NotStored;
pub use key::{Ask, Code, Cost, Key, KeyState, Limits, Spent};
pub use limiter::{LimitState, Limited, QuotaState, RateState, SpentRow};
pub use list::{Cursor, CursorError, KeyUsage, Page, Request};
pub use lookups::Unanswered;
pub use record::Record;
pub use revoke::{RevokeError, RevokeOnceError};
pub use token::{KeyHash, PlainKey, PresentedKey};
pub use verify::{Pass, Purpose, Verdict};

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::accounts::Place;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{EnvironmentId, KeyId, OrganisationId};
pub use crate::store::KeyFilter;
use crate::store::{Db, StoreError};
use feed::Feed;
use issuing::Issuing;
use limiter::Limiter;
use lookups::Lookups;
use usage::Usage;

/// Outcomes by the hour are kept for so many hours: a year and a month.
const HOURS_KEPT: i64 = 24 * 396;

/// What the operator decides about keys.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The most keys that an organisation may have that are not revoked.
    pub most_per_organisation: i64,
    /// Whether a key may manage keys (CONTRACTS, "Keys must not make keys").
    pub keys_may_manage_keys: bool,
    /// The most bytes of the keys that are kept in memory.
    pub cache_bytes: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { most_per_organisation: 100_000, keys_may_manage_keys: false, cache_bytes: 256 << 20 }
    }
}

/// The keys, and all that is done with them.
#[derive(Debug)]
pub struct Keys {
    core: Arc<Core>,
    issuing: Issuing,
    entropy: Entropy,
    policy: Policy,
}

/// What checks and changes share.
#[derive(Debug)]
struct Core {
    db: Db,
    clock: Clock,
    cache: Cache,
    /// Whether checks may go by it.
    remembers: AtomicBool,
    lookups: Lookups,
    usage: Usage,
    limiter: Limiter,
    feed: Feed,
    /// An environment's keys share what is said of it; environments do not change.
    places: Mutex<HashMap<EnvironmentId, Arc<Place>>>,
}

impl Keys {
    /// The keys of a database. Needs a Tokio runtime, which the look-ups run on.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, policy: Policy) -> Self {
        let (lookups, asked) = Lookups::new();
        let core = Arc::new(Core {
            db,
            clock,
            cache: Cache::new(policy.cache_bytes),
            remembers: AtomicBool::new(true),
            lookups,
            usage: Usage::default(),
            limiter: Limiter::default(),
            // Not from `entropy`: a test's is for what a test looks at.
            feed: Feed::new(u64::from_le_bytes(Entropy::System.bytes())),
            places: Mutex::default(),
        });
        tokio::spawn(lookups::read(Arc::downgrade(&core), asked));
        let issuing = Issuing::new(Arc::clone(&core), policy.most_per_organisation);
        Self { core, issuing, entropy, policy }
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

    /// Whether checks may go by what is in memory: only while nobody else changes keys.
    pub fn remember(&self, allowed: bool) {
        self.core.remember(allowed);
    }

    /// What ends or changes from now on, and what did after the change `(epoch, number)`.
    pub fn changes(&self, after: Option<(u64, u64)>) -> Subscription {
        self.core.feed.subscribe(after)
    }

    /// How many listen to that.
    pub fn listeners(&self) -> usize {
        self.core.feed.listeners()
    }

    /// Forgets what is no longer needed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        self.core.limiter.tidy(self.core.clock.monotonic());
        self.core.db.delete_hours_before(self.core.clock.now().0 / usage::HOUR - HOURS_KEPT).await
    }

    /// Does something that must not stop half-way when whoever asked for it goes away: between a
    /// commit and the invalidation that belongs to it, the cache is wrong.
    async fn to_the_end<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<Core>) -> F) -> T
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

    /// Some keys are not any more what they were, by whatever cause: the one function that all changes
    /// go through, after the commit and before the answer.
    fn changed(&self, organisation: OrganisationId, keys: &[(KeyId, KeyHash)], revoked: bool) {
        for (id, hash) in keys {
            self.invalidate(*hash);
            self.feed.tell(organisation, *id, *hash, revoked);
        }
    }
}
