//! Sign-in by password.

pub(in crate::accounts) mod password;
pub(in crate::accounts) mod step;
pub(in crate::accounts) mod throttle;

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::accounts::email::EmailAddress;
use crate::accounts::error::SignInError;
use crate::accounts::queue::Lane;
use crate::cluster::limits::SharedLimits;
use crate::domain::Verified;
use crate::model::{Timestamp, UserId};
use crate::runtime::Network;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::{Actor, SecurityEvent, authenticated};
use crate::store::{Db, StoreError, StoredUser};
use password::{Comparison, Passwords};
use step::{SecondFactor, SignIn};
use throttle::Throttle;

/// A network stays known for 30 days after a sign-in from it, in milliseconds.
pub(in crate::accounts) const KNOWN_FOR: i64 = 30 * DAY;
/// A known network is stored again only after a day, in milliseconds.
const KNOWN_PRECISION: i64 = DAY;
const DAY: i64 = 24 * 3600 * 1000;
/// The largest number of known networks of an account: a further one replaces the least recently used.
const MAX_KNOWN_NETWORKS: i64 = 10;

/// An attempt to sign in.
struct Attempt<'a> {
    email: &'a EmailAddress,
    typed: Zeroizing<String>,
    network: Network,
    lane: Lane,
}

/// Signs persons in: verifies passwords, and limits the attempts.
#[derive(Debug)]
pub struct Authenticator {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    pub(in crate::accounts) passwords: Passwords,
    pub(in crate::accounts) throttle: Throttle,
}

impl Authenticator {
    pub(in crate::accounts) fn new(db: Db, clock: Clock, entropy: Entropy, passwords: Passwords) -> Self {
        let throttle = Throttle::new(clock.clone(), None);
        Self { db, clock, entropy, passwords, throttle }
    }

    /// Counts attempts across all nodes.
    pub(in crate::accounts) fn with_shared_limits(self, shared: SharedLimits) -> Self {
        Self { throttle: Throttle::new(self.clock.clone(), Some(shared)), ..self }
    }

    /// Compares an address and a password with the stored account, and returns the next step. Takes the same time
    /// for an account that does not exist.
    ///
    /// # Errors
    /// When there is no such account, the password is wrong, there were too many attempts, or the database fails.
    pub async fn sign_in(&self, email: &str, password: String, from: Option<IpAddr>) -> Result<SignIn, SignInError> {
        let mut account = None;
        let outcome = self.try_sign_in(email, Zeroizing::new(password), from, &mut account).await;
        let actor = match &outcome {
            Ok(SignIn::Done(verified)) => Actor::Person(verified.user),
            _ => Actor::None,
        };
        let entry = SecurityEvent::SignIn.entry(actor, account.into());
        match &outcome {
            Ok(SignIn::Done(_)) => {
                authenticated();
                entry.write();
            }
            Ok(SignIn::SecondStep(_)) => entry.refused("second_step").write(),
            Err(SignInError::Wrong) => entry.failed("credentials").write(),
            Err(SignInError::Disabled) => entry.refused("disabled").write(),
            Err(SignInError::Throttled(_)) => entry.refused("throttled").write(),
            Err(SignInError::Busy(_)) => entry.refused("busy").write(),
            Err(SignInError::Store(_) | SignInError::Session(_)) => {}
        }
        outcome
    }

    /// Signs in, and sets `account` once the account is known.
    async fn try_sign_in(
        &self,
        email: &str,
        typed: Zeroizing<String>,
        from: Option<IpAddr>,
        account: &mut Option<UserId>,
    ) -> Result<SignIn, SignInError> {
        let email = EmailAddress::parse(email).ok();
        self.throttle.attempt(from, email.as_ref()).await.map_err(SignInError::Throttled)?;
        let network = Network::of(from);
        let Some(email) = email else {
            self.passwords.compare(typed, None, network, Lane::Unknown).await?;
            return Err(SignInError::Wrong);
        };
        let user = self.db.user_by_email(email.as_str(), Some(&network.narrow.to_string())).await?;
        *account = user.as_ref().map(StoredUser::id);
        let unknown_for = user.as_ref().and_then(|user| user.known_at).map(|at| self.clock.now().since(Timestamp(at)));
        let lane = if unknown_for.is_some_and(|age| age < KNOWN_FOR) { Lane::Known } else { Lane::Unknown };
        if lane == Lane::Unknown {
            self.throttle.attempt_from_elsewhere(&email).await.map_err(SignInError::Throttled)?;
        }
        let is_disabled = user.as_ref().is_some_and(|user| user.disabled_at.is_some());
        let verified = self.verify(user, Attempt { email: &email, typed, network, lane }).await?;
        // After the password, so that only its owner learns that the account is disabled.
        if is_disabled {
            return Err(SignInError::Disabled);
        }
        let factors = second_factors(verified.user);
        let step = SignIn::after_password(verified, factors, &self.entropy);
        // Only a complete sign-in is refunded its attempt and makes its network known.
        if let SignIn::Done(verified) = &step {
            self.throttle.refund(from, Some(&email), lane == Lane::Unknown).await;
            if unknown_for.is_none_or(|age| age >= KNOWN_PRECISION) {
                self.remember_network(verified, from).await?;
            }
        }
        Ok(step)
    }

    /// Verifies a password. A stored hash of a password that was not in NFC is replaced by the hash of its NFC.
    async fn verify(&self, mut user: Option<StoredUser>, attempt: Attempt<'_>) -> Result<Verified, SignInError> {
        let Attempt { email, typed, network, lane } = attempt;
        // Two attempts: a concurrent sign-in may have replaced the hash.
        for _ in 0..2 {
            let stored = user.as_ref().map(|user| user.password_hash.clone());
            let comparison = self.passwords.compare(typed.clone(), stored, network, lane).await?;
            let Some(found) = user else { break };
            match comparison {
                Comparison::Wrong => break,
                Comparison::Right => return Ok(found.verified()),
                Comparison::RightAsTyped(hash) => {
                    if self.db.replace_password_hash(found.id(), &found.password_hash, &hash).await? {
                        return Ok(Verified { password_hash: hash, ..found.verified() });
                    }
                }
            }
            user = self.db.user_by_email(email.as_str(), None).await?;
        }
        Err(SignInError::Wrong)
    }

    /// Stores that a person signed in from a network, so that a flood of sign-ins from other networks does not delay
    /// the person.
    pub(in crate::accounts) async fn remember_network(
        &self,
        verified: &Verified,
        from: Option<IpAddr>,
    ) -> Result<(), StoreError> {
        // Requests without an address have no network.
        if from.is_none() {
            return Ok(());
        }
        let network = Network::of(from).narrow.to_string();
        self.db.note_network(verified, &network, self.clock.now(), MAX_KNOWN_NETWORKS).await
    }
}

/// Returns the second factors of an account. No account can have one yet.
fn second_factors(_user: UserId) -> Vec<SecondFactor> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::accounts::queue::SLOTS;
    use crate::accounts::{Accounts, Password, RegisterError, Registration, SetUpRight};

    const PASSWORD: &str = "correct horse battery";

    async fn accounts(folder: &std::path::Path) -> Arc<Accounts> {
        let db = Db::open(&format!("sqlite:{}", folder.join("test.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let (clock, entropy) = (Clock::fixed(Timestamp(1_772_366_400_000)), Entropy::seeded(1));
        let passwords = Passwords::cheap(entropy.clone());
        Arc::new(Accounts::new(db, clock, entropy, passwords, Registration::Open, None))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as sign-in takes it")]
    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    async fn register(accounts: &Accounts, email: &str, from: &str) {
        let email = EmailAddress::parse(email).unwrap();
        let password = Password::new(PASSWORD.to_owned()).unwrap();
        accounts.register(&email, password, SetUpRight::SameMachine, address(from)).await.unwrap();
    }

    /// Starts 25 addresses × 60 sign-ins while all slots are held: the queue sheds strangers, and the owner has the
    /// next turn.
    #[tokio::test]
    async fn a_flood_of_sign_ins_refuses_no_owner_in_a_known_network() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path()).await;
        register(&accounts, "ada@example.com", "192.0.2.1").await;
        let network = Network::of(address("203.0.113.1"));
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            slots.push(accounts.authenticator.passwords.queue.enter(network, Lane::Unknown).await.unwrap());
        }
        let flood: Vec<_> = (0..25 * 60)
            .map(|n| {
                let accounts = Arc::clone(&accounts);
                tokio::spawn(async move {
                    let from = address(&format!("198.51.{}.7", n % 25));
                    accounts.authenticator.sign_in("ada@example.com", "a guess".to_owned(), from).await.err()
                })
            })
            .collect();
        while accounts.authenticator.passwords.queue.waiting() < 60 {
            tokio::task::yield_now().await;
        }
        let owner = tokio::spawn({
            let accounts = Arc::clone(&accounts);
            async move { accounts.authenticator.sign_in("ada@example.com", PASSWORD.to_owned(), address("192.0.2.1")).await }
        });
        while !accounts.authenticator.passwords.queue.known_waits() {
            tokio::task::yield_now().await;
        }
        drop(slots.pop());
        assert!(!accounts.authenticator.passwords.queue.known_waits(), "the first turn is the owner's");
        assert!(owner.await.unwrap().is_ok());
        drop(slots);
        let mut refused = [0, 0, 0];
        for attempt in flood {
            match attempt.await.unwrap() {
                Some(SignInError::Wrong) => refused[0] += 1,
                Some(SignInError::Busy(_)) => refused[1] += 1,
                Some(SignInError::Throttled(_)) => refused[2] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(refused.iter().sum::<i32>() == 1500 && refused[0] <= 100, "{refused:?}");
    }

    /// A registration waits in the queue of the sign-ins.
    #[tokio::test]
    async fn a_registration_from_a_network_with_a_full_share_of_the_queue_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path()).await;
        let from = address("198.51.100.7");
        let mut tickets = Vec::new();
        for _ in 0..SLOTS + 32 {
            tickets.push(Box::pin(accounts.authenticator.passwords.queue.enter(Network::of(from), Lane::Unknown)));
        }
        for ticket in &mut tickets {
            let waker = std::task::Waker::noop();
            let _ = Future::poll(ticket.as_mut(), &mut std::task::Context::from_waker(waker)).map(std::mem::forget);
        }
        let email = EmailAddress::parse("eve@example.com").unwrap();
        let password = Password::new(PASSWORD.to_owned()).unwrap();
        let outcome = accounts.register(&email, password, SetUpRight::SameMachine, from).await;
        assert!(matches!(outcome, Err(RegisterError::Busy(_))), "{outcome:?}");
    }
}
