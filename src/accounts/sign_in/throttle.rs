//! Rate limits on attempts to sign in: guessing is slow, and a stranger cannot lock an owner out from another network.
//! A right password refunds its attempt. With Redis, all nodes count together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::accounts::email::EmailAddress;
use crate::cluster::limits::SharedLimits;
use crate::model::RateLimit;
use crate::runtime::Network;
use crate::runtime::clock::Clock;

/// Buckets of one kind in memory; the least used are evicted first.
const MAX_BUCKETS: usize = 32_768;

/// The kind of a bucket: attempts are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    WideNetwork,
    Network,
    AccountAndNetwork,
    Account,
}

impl Kind {
    /// The rate limit of a kind: a burst of `limit`, and one more every `window_seconds / limit`. Further attempts get
    /// 429.
    const fn rate(self) -> RateLimit {
        match self {
            Self::WideNetwork => RateLimit { limit: 600, window_seconds: 600 },
            Self::Network => RateLimit { limit: 60, window_seconds: 600 },
            Self::AccountAndNetwork => RateLimit { limit: 10, window_seconds: 300 },
            Self::Account => RateLimit { limit: 100, window_seconds: 3600 },
        }
    }

    /// Returns the milliseconds in which a bucket regains one attempt.
    const fn interval(self) -> u64 {
        let rate = self.rate();
        rate.window_seconds as u64 * 1000 / rate.limit as u64
    }
}

/// A bucket, with its name in Redis.
struct Bucket {
    kind: Kind,
    name: String,
}

impl Bucket {
    fn of_networks(network: Network, account: Option<&EmailAddress>) -> Vec<Self> {
        let Network { narrow, wide } = network;
        let mut buckets = vec![
            Self { kind: Kind::WideNetwork, name: format!("wide {wide}") },
            Self { kind: Kind::Network, name: narrow.to_string() },
        ];
        buckets.extend(
            account
                .map(|account| Self { kind: Kind::AccountAndNetwork, name: format!("{narrow} {}", account.as_str()) }),
        );
        buckets
    }

    fn of_account(account: &EmailAddress) -> Self {
        Self { kind: Kind::Account, name: format!("account {}", account.as_str()) }
    }

    /// Returns a hash, so that the memory of an attempt does not depend on the typed text.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.kind, &self.name).hash(&mut hasher);
        hasher.finish()
    }
}

/// Limits attempts to sign in.
pub struct Throttle {
    clock: Clock,
    shared: Option<SharedLimits>,
    /// The moment when each bucket will be full again, in milliseconds of the monotonic clock.
    full_at: [Cache<u64, Arc<AtomicU64>>; 4],
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    /// Creates a throttle without attempts.
    pub fn new(clock: Clock, shared: Option<SharedLimits>) -> Self {
        Self { clock, shared, full_at: std::array::from_fn(|_| Cache::new(MAX_BUCKETS)) }
    }

    /// Counts an attempt by its network, and by account and network together: across all nodes, or on this node while
    /// Redis is unreachable.
    ///
    /// # Errors
    /// The seconds until the next attempt is allowed, when this one is not.
    pub async fn attempt(&self, address: Option<IpAddr>, account: Option<&EmailAddress>) -> Result<(), u64> {
        for bucket in Bucket::of_networks(Network::of(address), account) {
            self.take(&bucket).await?;
        }
        Ok(())
    }

    /// Counts an attempt on an account from a network without a recent sign-in to it. All such networks share one
    /// bucket, so that many of them together guess no faster.
    ///
    /// # Errors
    /// The seconds until the next attempt is allowed, when this one is not.
    pub async fn attempt_from_elsewhere(&self, account: &EmailAddress) -> Result<(), u64> {
        self.take(&Bucket::of_account(account)).await
    }

    /// Refunds a successful attempt; `from_elsewhere` when it was also counted for the account alone.
    pub async fn refund(&self, address: Option<IpAddr>, account: Option<&EmailAddress>, from_elsewhere: bool) {
        let mut buckets = Bucket::of_networks(Network::of(address), account);
        buckets.extend(account.filter(|_| from_elsewhere).map(Bucket::of_account));
        for bucket in buckets {
            if let Some(shared) = &self.shared {
                // Without Redis there is nothing to refund.
                let _ = shared.refund(&bucket.name).await;
            }
            let full_at = self.bucket(&bucket);
            let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.saturating_sub(bucket.kind.interval()))
            });
        }
    }

    async fn take(&self, bucket: &Bucket) -> Result<(), u64> {
        let shared = match &self.shared {
            Some(shared) => shared.attempt(&bucket.name, bucket.kind.rate()).await.ok(),
            None => None,
        };
        match shared.map(|decision| decision.retry_after) {
            Some(Some(seconds)) => Err(seconds),
            Some(None) => {
                // Counted on this node as well, so that the loss of Redis grants no new burst.
                let _ = self.take_here(bucket);
                Ok(())
            }
            None => self.take_here(bucket),
        }
    }

    fn take_here(&self, bucket: &Bucket) -> Result<(), u64> {
        let now = self.clock.monotonic() / 1_000_000;
        let latest = now + bucket.kind.interval() * u64::from(bucket.kind.rate().limit);
        let after = |full_at: u64| full_at.max(now) + bucket.kind.interval();
        self.bucket(bucket)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(after(full_at)).filter(|after| *after <= latest)
            })
            .map(drop)
            .map_err(|full_at| (after(full_at) - latest).div_ceil(1000))
    }

    fn bucket(&self, bucket: &Bucket) -> Arc<AtomicU64> {
        let buckets = &self.full_at[bucket.kind as usize];
        let new = || Ok::<_, std::convert::Infallible>(Arc::default());
        match buckets.get_or_insert_with(&bucket.key(), new) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn email(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    fn throttle() -> (Throttle, Clock) {
        let clock = Clock::fixed(Timestamp(1_000_000));
        (Throttle::new(clock.clone(), None), clock)
    }

    #[tokio::test]
    async fn an_owner_is_not_locked_out_by_a_stranger() {
        let (throttle, clock) = throttle();
        let owner = email("owner@example.com");
        let (stranger, home): (IpAddr, IpAddr) = ("198.51.100.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for _ in 0..Kind::AccountAndNetwork.rate().limit {
            assert_eq!(throttle.attempt(Some(stranger), Some(&owner)).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some(stranger), Some(&owner)).await, Err(30));
        assert_eq!(throttle.attempt(Some(stranger), Some(&email("other@example.com"))).await, Ok(()));
        assert_eq!(throttle.attempt(Some(home), Some(&owner)).await, Ok(()));
        clock.advance(30_000);
        assert_eq!(throttle.attempt(Some(stranger), Some(&owner)).await, Ok(()));
        assert_eq!(throttle.attempt(Some(stranger), Some(&owner)).await, Err(30));
    }

    #[tokio::test]
    async fn a_network_is_limited_across_accounts() {
        let (throttle, _) = throttle();
        let from = |host: u32| IpAddr::V6(format!("2001:db8::{host:x}").parse().unwrap());
        for attempt in 0..Kind::Network.rate().limit {
            let account = email(&format!("user{attempt}@example.com"));
            assert_eq!(throttle.attempt(Some(from(attempt)), Some(&account)).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some(from(999)), Some(&email("x@example.com"))).await, Err(10));
    }

    #[tokio::test]
    async fn a_wide_network_is_limited_across_addresses() {
        let (throttle, _) = throttle();
        for attempt in 0..Kind::WideNetwork.rate().limit {
            let from = format!("2001:db8:0:{attempt:x}::1").parse().unwrap();
            assert_eq!(throttle.attempt(Some(from), None).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some("2001:db8:0:ffff::1".parse().unwrap()), None).await, Err(1));
        assert_eq!(throttle.attempt(Some("2001:db8:1::1".parse().unwrap()), None).await, Ok(()));
    }

    #[tokio::test]
    async fn a_refund_returns_one_attempt_and_no_more() {
        let (throttle, _) = throttle();
        let (home, owner) = (Some("192.0.2.1".parse().unwrap()), email("owner@example.com"));
        for _ in 0..1000 {
            assert_eq!(throttle.attempt(home, Some(&owner)).await, Ok(()));
            assert_eq!(throttle.attempt_from_elsewhere(&owner).await, Ok(()));
            throttle.refund(home, Some(&owner), true).await;
        }
        for _ in 0..Kind::AccountAndNetwork.rate().limit {
            assert_eq!(throttle.attempt(home, Some(&owner)).await, Ok(()));
        }
        assert_eq!(throttle.attempt(home, Some(&owner)).await, Err(30));
        for _ in 0..Kind::Account.rate().limit {
            assert_eq!(throttle.attempt_from_elsewhere(&owner).await, Ok(()));
        }
        assert_eq!(throttle.attempt_from_elsewhere(&owner).await, Err(36));
    }
}
