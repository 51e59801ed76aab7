//! Bounds on attempts to sign in: guessing is slow, and nobody can lock an owner out from somewhere else. A right
//! password gives back what it took. With Redis, all nodes count together.

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

/// Buckets of one kind that are kept; the ones that were used least are forgotten first.
const BUCKETS: usize = 32_768;

/// What attempts are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    WideNetwork,
    Network,
    AccountAndNetwork,
    Account,
}

impl Kind {
    /// A burst of `limit`, and one more every `window_seconds / limit`: further attempts get 429.
    const fn rate(self) -> RateLimit {
        match self {
            Self::WideNetwork => RateLimit { limit: 600, window_seconds: 600 },
            Self::Network => RateLimit { limit: 60, window_seconds: 600 },
            Self::AccountAndNetwork => RateLimit { limit: 10, window_seconds: 300 },
            Self::Account => RateLimit { limit: 100, window_seconds: 3600 },
        }
    }

    /// Milliseconds in which a bucket regains one attempt.
    const fn interval(self) -> u64 {
        let rate = self.rate();
        rate.window_seconds as u64 * 1000 / rate.limit as u64
    }
}

/// One bucket, by the text that names it in Redis.
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

    /// A hash, so that an attempt costs the same memory whatever was typed.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.kind, &self.name).hash(&mut hasher);
        hasher.finish()
    }
}

/// Bounds attempts to sign in.
pub struct Throttle {
    clock: Clock,
    shared: Option<SharedLimits>,
    /// When each bucket will be whole again, in milliseconds of the monotonic clock.
    whole_at: [Cache<u64, Arc<AtomicU64>>; 4],
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    /// Nothing attempted yet.
    pub fn new(clock: Clock, shared: Option<SharedLimits>) -> Self {
        Self { clock, shared, whole_at: std::array::from_fn(|_| Cache::new(BUCKETS)) }
    }

    /// Counts an attempt by its network, and by account and network together: for all nodes, or while Redis is away
    /// for this one.
    ///
    /// # Errors
    /// The seconds after which the next one is allowed, when this one is not.
    pub async fn attempt(&self, address: Option<IpAddr>, account: Option<&EmailAddress>) -> Result<(), u64> {
        for bucket in Bucket::of_networks(Network::of(address), account) {
            self.take(&bucket).await?;
        }
        Ok(())
    }

    /// Counts an attempt on an account from a network that did not sign in to it lately. All such networks share one
    /// bucket, so that many of them guess no faster together.
    ///
    /// # Errors
    /// The seconds after which the next one is allowed, when this one is not.
    pub async fn attempt_from_elsewhere(&self, account: &EmailAddress) -> Result<(), u64> {
        self.take(&Bucket::of_account(account)).await
    }

    /// Gives back an attempt whose password was right; `from_elsewhere` when it was counted for the account alone, too.
    pub async fn refund(&self, address: Option<IpAddr>, account: &EmailAddress, from_elsewhere: bool) {
        let mut buckets = Bucket::of_networks(Network::of(address), Some(account));
        buckets.extend(from_elsewhere.then(|| Bucket::of_account(account)));
        for bucket in buckets {
            if let Some(shared) = &self.shared {
                // Without Redis there is nothing to give back.
                let _ = shared.refund(&bucket.name).await;
            }
            let whole_at = self.bucket(&bucket);
            let _ = whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
                Some(whole_at.saturating_sub(bucket.kind.interval()))
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
                // Counted here as well: nobody has a new burst when Redis goes away.
                let _ = self.take_here(bucket);
                Ok(())
            }
            None => self.take_here(bucket),
        }
    }

    fn take_here(&self, bucket: &Bucket) -> Result<(), u64> {
        let now = self.clock.monotonic() / 1_000_000;
        let full = now + bucket.kind.interval() * u64::from(bucket.kind.rate().limit);
        let after = |whole_at: u64| whole_at.max(now) + bucket.kind.interval();
        self.bucket(bucket)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
                Some(after(whole_at)).filter(|after| *after <= full)
            })
            .map(drop)
            .map_err(|whole_at| (after(whole_at) - full).div_ceil(1000))
    }

    fn bucket(&self, bucket: &Bucket) -> Arc<AtomicU64> {
        let buckets = &self.whole_at[bucket.kind as usize];
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
    async fn an_address_is_bounded_whatever_accounts_it_tries() {
        let (throttle, _) = throttle();
        let from = |host: u32| IpAddr::V6(format!("2001:db8::{host:x}").parse().unwrap());
        for attempt in 0..Kind::Network.rate().limit {
            let account = email(&format!("user{attempt}@example.com"));
            assert_eq!(throttle.attempt(Some(from(attempt)), Some(&account)).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some(from(999)), Some(&email("x@example.com"))).await, Err(10));
    }

    #[tokio::test]
    async fn a_wide_network_is_bounded_whatever_addresses_it_uses() {
        let (throttle, _) = throttle();
        for attempt in 0..Kind::WideNetwork.rate().limit {
            let from = format!("2001:db8:0:{attempt:x}::1").parse().unwrap();
            assert_eq!(throttle.attempt(Some(from), None).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some("2001:db8:0:ffff::1".parse().unwrap()), None).await, Err(1));
        assert_eq!(throttle.attempt(Some("2001:db8:1::1".parse().unwrap()), None).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_taken_again_and_no_more() {
        let (throttle, _) = throttle();
        let (home, owner) = (Some("192.0.2.1".parse().unwrap()), email("owner@example.com"));
        for _ in 0..1000 {
            assert_eq!(throttle.attempt(home, Some(&owner)).await, Ok(()));
            assert_eq!(throttle.attempt_from_elsewhere(&owner).await, Ok(()));
            throttle.refund(home, &owner, true).await;
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
