//! Rate limits that all nodes share: each check is one script in Redis, timed by the clock of Redis.

use std::sync::{Arc, LazyLock};

use redis::Script;
use sha2::{Digest, Sha256};

use super::redis::{Redis, RedisUnavailable};
use crate::model::{KeyId, RateLimit};

/// The script counts in millionths of a request.
const PARTS_PER_REQUEST: u128 = 1_000_000;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("limits.lua")));

static REFUND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("refund.lua")));

/// The decision on a request, and the state of the limit after it. A refused request has spent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Requests that would be admitted now.
    pub remaining: u64,
    /// Seconds until the full limit is available again, rounded up.
    pub reset: u64,
    /// For a refused request: seconds after which it would be admitted, rounded up.
    pub retry_after: Option<u64>,
}

/// The shared limits of one installation. Clones share one connection.
#[derive(Debug, Clone)]
pub struct SharedLimits {
    redis: Redis,
    namespace: Arc<str>,
}

impl SharedLimits {
    /// Creates the limits of an installation. `namespace` is part of each Redis key, so that installations can share a
    /// Redis.
    pub fn new(redis: Redis, namespace: &str) -> Self {
        Self { redis, namespace: namespace.into() }
    }

    /// Charges a cost to a key's rate limit, if enough is left. A cost of 0 only reads the state.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn spend(&self, key: KeyId, rate: RateLimit, cost: u32) -> Result<Decision, RedisUnavailable> {
        self.decide(&self.bucket(key), rate, cost, true).await
    }

    /// Returns the decision of [`spend`](Self::spend), without charging anything.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn peek(&self, key: KeyId, rate: RateLimit, cost: u32) -> Result<Decision, RedisUnavailable> {
        self.decide(&self.bucket(key), rate, cost, false).await
    }

    fn bucket(&self, key: KeyId) -> String {
        format!("latchkey:{}:rate:{:016x}", self.namespace, key.0)
    }

    /// Counts an attempt by a subject (an account or an address). Redis gets a hash of the subject only.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn attempt(&self, subject: &str, rate: RateLimit) -> Result<Decision, RedisUnavailable> {
        self.decide(&self.throttle(subject), rate, 1, true).await
    }

    /// Refunds an attempt that was counted.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn refund(&self, subject: &str) -> Result<(), RedisUnavailable> {
        self.redis.run::<u8>(&REFUND.key(self.throttle(subject))).await.map(drop)
    }

    fn throttle(&self, subject: &str) -> String {
        let hash = Sha256::new().chain_update(&*self.namespace).chain_update([0]).chain_update(subject).finalize();
        format!("latchkey:{}:throttle:{}", self.namespace, hex::encode(hash))
    }

    async fn decide(
        &self,
        bucket: &str,
        rate: RateLimit,
        cost: u32,
        charge: bool,
    ) -> Result<Decision, RedisUnavailable> {
        let mut script = SCRIPT.key(bucket);
        script.arg(rate.limit).arg(rate.window_seconds).arg(cost).arg(u8::from(charge));
        let (allowed, level) = self.redis.run::<(bool, u64)>(&script).await?;
        Ok(Decision::of(rate, cost, allowed, level))
    }
}

impl Decision {
    fn of(rate: RateLimit, cost: u32, allowed: bool, level: u64) -> Self {
        let (level, whole) = (u128::from(level), u128::from(rate.limit) * PARTS_PER_REQUEST);
        let seconds_until = |target: u128| {
            let parts_and_windows = level.saturating_sub(target) * u128::from(rate.window_seconds);
            u64::try_from(parts_and_windows.div_ceil(whole.max(1))).unwrap_or(u64::MAX)
        };
        Self {
            remaining: u64::try_from(whole.saturating_sub(level) / PARTS_PER_REQUEST).unwrap_or(u64::MAX),
            reset: seconds_until(0),
            retry_after: (!allowed)
                .then(|| seconds_until(whole.saturating_sub(u128::from(cost) * PARTS_PER_REQUEST)).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The script, with the time as arguments. The test's windows are long, so that Redis, which expires buckets by its
    /// own clock, deletes none during the test.
    fn timed() -> Script {
        let source = include_str!("limits.lua");
        let timed = source.replace("redis.call('TIME')", "{ARGV[5], ARGV[6]}");
        assert_ne!(source, timed);
        Script::new(&timed)
    }

    /// The leaky bucket in whole numbers, without rounding: requests × microseconds of the window.
    #[derive(Default)]
    struct Exact {
        debt: u128,
        at: u64,
    }

    impl Exact {
        fn drain(&mut self, rate: RateLimit, now: u64) {
            self.debt = self.debt.saturating_sub(u128::from(now - self.at) * u128::from(rate.limit));
            self.at = now;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_script_is_exact_to_a_millionth_of_a_request(
            limit in 1u32..2_000,
            window_seconds in 4_000u32..=86_400,
            steps in prop::collection::vec((0u64..40_000_000, 0u32..4), 1..150),
        ) {
            let rate = RateLimit { limit, window_seconds };
            let window = u128::from(window_seconds) * PARTS_PER_REQUEST;
            let whole = u128::from(limit) * window;
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let url = std::env::var("LATCHKEY_TEST_REDIS_URL")
                    .expect("LATCHKEY_TEST_REDIS_URL names the tests' Redis: `make test` starts one and sets it");
                let redis = Redis::open(&url).await.unwrap();
                let script = timed();
                let bucket = format!("latchkey:test:{:x}", crate::runtime::entropy::Entropy::System.id());
                let (mut exact, mut now, mut spent) = (Exact::default(), 1_772_366_400_000_000u64, 0u128);
                for (step, cost) in steps {
                    now += step;
                    exact.drain(rate, now);
                    let mut asked = script.key(&bucket);
                    asked.arg(limit).arg(window_seconds).arg(cost).arg(1).arg(now / 1_000_000).arg(now % 1_000_000);
                    let (allowed, level) = redis.run::<(bool, u64)>(&asked).await.unwrap();
                    let added = u128::from(cost) * window;
                    // The largest sum of all rounding so far.
                    let rounded = (spent + 1) * window / PARTS_PER_REQUEST;
                    if allowed {
                        let max = whole + window / PARTS_PER_REQUEST;
                        prop_assert!(exact.debt + added <= max, "never more than the limit");
                        exact.debt += added;
                        spent += u128::from(cost > 0);
                    } else {
                        prop_assert!(exact.debt + added + rounded > whole, "never less than the limit");
                    }
                    let counted = u128::from(level) * window / PARTS_PER_REQUEST;
                    prop_assert!(counted + window / PARTS_PER_REQUEST >= exact.debt && counted <= exact.debt + rounded);
                    let decision = Decision::of(rate, cost, allowed, level);
                    let remaining = u64::try_from((whole.saturating_sub(exact.debt)) / window).unwrap();
                    let reset = u64::try_from(exact.debt.div_ceil(u128::from(limit) * PARTS_PER_REQUEST)).unwrap();
                    prop_assert!(decision.remaining.abs_diff(remaining) <= 1);
                    prop_assert!(decision.reset.abs_diff(reset) <= 1);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn a_decision_has_the_remaining_requests_and_the_seconds_to_wait() {
        let rate = RateLimit { limit: 3, window_seconds: 10 };
        let of = |cost, allowed, level| Decision::of(rate, cost, allowed, level);
        assert_eq!(of(1, true, 1_000_000), Decision { remaining: 2, reset: 4, retry_after: None });
        assert_eq!(of(1, false, 3_000_000), Decision { remaining: 0, reset: 10, retry_after: Some(4) });
        assert_eq!(of(1, false, 2_000_001), Decision { remaining: 0, reset: 7, retry_after: Some(1) });
        // A cost above the limit never fits: the request may retry after a second, and is refused again.
        assert_eq!(of(4, false, 0), Decision { remaining: 3, reset: 0, retry_after: Some(1) });
        // The limit was higher before an edit.
        assert_eq!(of(0, false, 4_500_000), Decision { remaining: 0, reset: 15, retry_after: Some(5) });
        assert_eq!(of(1, false, u64::MAX).remaining, 0);
    }
}
