//! Sign-in is throttled per address, and per account and address together: guessing is slow, and
//! nobody can lock an owner out from somewhere else. With Redis, all nodes count together.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{NotUntil, Quota, RateLimiter};

use crate::accounts::EmailAddress;
use crate::clock::Clock;
use crate::cluster::limits::SharedLimits;
use crate::cluster::redis::Away;
use crate::model::RateLimit;

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, Clock, NoOpMiddleware<Duration>>;

/// Attempts from one address: 60 at once, and one more every ten seconds.
const PER_ADDRESS: RateLimit = RateLimit { limit: 60, window_seconds: 600 };
/// Attempts on one account from one address: 10 at once, and one more every thirty seconds.
const PER_ACCOUNT: RateLimit = RateLimit { limit: 10, window_seconds: 300 };

/// Bounds attempts to sign in.
pub struct Throttle {
    clock: Clock,
    shared: Option<SharedLimits>,
    by_address: Limiter<IpAddr>,
    /// By a hash of both, so that an attempt costs the same memory whatever was typed.
    by_account: Limiter<u64>,
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Throttle")
    }
}

impl Throttle {
    /// Nothing attempted yet.
    pub fn new(clock: Clock, shared: Option<SharedLimits>) -> Self {
        Self {
            shared,
            by_address: RateLimiter::new(quota(PER_ADDRESS), DashMapStateStore::default(), clock.clone()),
            by_account: RateLimiter::new(quota(PER_ACCOUNT), DashMapStateStore::default(), clock.clone()),
            clock,
        }
    }

    /// Counts an attempt: for all nodes together, or while Redis is away for this one.
    ///
    /// # Errors
    /// The seconds after which the next one is allowed, when this one is not.
    pub async fn attempt(&self, address: Option<IpAddr>, account: Option<&EmailAddress>) -> Result<(), u64> {
        let network = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        match self.attempt_shared(network, account).await {
            Ok(Some(seconds)) => Err(seconds),
            Ok(None) => {
                // Counted here as well: nobody has a new burst when Redis goes away.
                let _ = self.attempt_here(network, account);
                Ok(())
            }
            Err(Away) => self.attempt_here(network, account),
        }
    }

    /// The seconds after which the next one is allowed, when this one is not.
    async fn attempt_shared(&self, network: IpAddr, account: Option<&EmailAddress>) -> Result<Option<u64>, Away> {
        let shared = self.shared.as_ref().ok_or(Away)?;
        let refused = shared.attempt(&network.to_string(), PER_ADDRESS).await?.retry_after;
        match account {
            Some(account) if refused.is_none() => {
                Ok(shared.attempt(&format!("{network} {}", account.as_str()), PER_ACCOUNT).await?.retry_after)
            }
            _ => Ok(refused),
        }
    }

    fn attempt_here(&self, network: IpAddr, account: Option<&EmailAddress>) -> Result<(), u64> {
        self.by_address.check_key(&network).map_err(|until| self.seconds(&until))?;
        if let Some(account) = account {
            let mut hasher = DefaultHasher::new();
            (network, account).hash(&mut hasher);
            self.by_account.check_key(&hasher.finish()).map_err(|until| self.seconds(&until))?;
        }
        Ok(())
    }

    fn seconds(&self, until: &NotUntil<Duration>) -> u64 {
        let wait = until.wait_time_from(governor::clock::Clock::now(&self.clock));
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).div_ceil(1000).max(1)
    }

    /// Forgets who has not tried for long.
    pub fn forget_idle(&self) {
        self.by_address.retain_recent();
        self.by_account.retain_recent();
    }
}

fn quota(rate: RateLimit) -> Quota {
    let burst = NonZeroU32::new(rate.limit).unwrap_or(NonZeroU32::MIN);
    let every = Duration::from_secs(rate.window_seconds.into()) / burst.get();
    Quota::with_period(every).unwrap_or_else(|| Quota::per_minute(burst)).allow_burst(burst)
}

/// Whoever has one IPv6 address has the /64 around it.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn email(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    #[tokio::test]
    async fn an_owner_is_not_locked_out_by_a_stranger() {
        let clock = Clock::fixed(Timestamp(1_000_000));
        let throttle = Throttle::new(clock.clone(), None);
        let owner = email("owner@example.com");
        let (stranger, home): (IpAddr, IpAddr) = ("198.51.100.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for _ in 0..PER_ACCOUNT.limit {
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
        let throttle = Throttle::new(Clock::fixed(Timestamp(1_000_000)), None);
        let from = |host: u32| IpAddr::V6(format!("2001:db8::{host:x}").parse().unwrap());
        for attempt in 0..PER_ADDRESS.limit {
            let account = email(&format!("user{attempt}@example.com"));
            assert_eq!(throttle.attempt(Some(from(attempt)), Some(&account)).await, Ok(()));
        }
        assert_eq!(throttle.attempt(Some(from(999)), Some(&email("x@example.com"))).await, Err(10));
    }
}
