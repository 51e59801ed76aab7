//! Signing in.

pub(super) mod password;
pub(super) mod throttle;

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::queue::{Busy, Lane};
use super::sessions::store::SessionError;
use super::{Accounts, EmailAddress};
use crate::domain::Verified;
use crate::model::{Timestamp, UserId};
use crate::runtime::Network;
use crate::security_log::{Actor, SecurityEvent, authenticated};
use crate::store::{StoreError, StoredUser};
use password::Comparison;

/// A network is known for so long after a sign-in from it: 30 days, in milliseconds.
pub(super) const KNOWN_FOR: i64 = 30 * DAY;
/// How exactly it is known when somebody last signed in from a network; so rarely is it written.
const KNOWN_PRECISION: i64 = DAY;
const DAY: i64 = 24 * 3600 * 1000;
/// Known networks of an account: one more replaces the one that was used least recently.
const MAX_KNOWN_NETWORKS: i64 = 10;

/// Why somebody was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such account, another password, or a password that was changed during the sign-in: which of them is never
    /// said.
    #[error("unknown account or wrong password")]
    Wrong,
    /// Too many attempts; try again after so many seconds.
    #[error("too many attempts")]
    Throttled(u64),
    /// Too many sign-ins and registrations at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session store failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// An attempt to sign in.
struct Attempt<'a> {
    email: &'a EmailAddress,
    typed: Zeroizing<String>,
    network: Network,
    lane: Lane,
}

impl Accounts {
    /// Whose address and password these are. Takes as long when there is no such account.
    ///
    /// # Errors
    /// When they are nobody's, or there were too many attempts.
    pub async fn sign_in(&self, email: &str, password: String, from: Option<IpAddr>) -> Result<Verified, SignInError> {
        let mut account = None;
        let outcome = self.try_sign_in(email, Zeroizing::new(password), from, &mut account).await;
        let actor = outcome.as_ref().map_or(Actor::None, |verified| Actor::Person(verified.user));
        let entry = SecurityEvent::SignIn.entry(actor, account.into());
        match &outcome {
            Ok(_) => {
                authenticated();
                entry.write();
            }
            Err(SignInError::Wrong) => entry.failed("credentials").write(),
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
    ) -> Result<Verified, SignInError> {
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
        let verified = self.verify(user, Attempt { email: &email, typed, network, lane }).await?;
        self.throttle.refund(from, &email, lane == Lane::Unknown).await;
        if unknown_for.is_none_or(|age| age >= KNOWN_PRECISION) {
            self.remember_network(&verified, from).await?;
        }
        Ok(verified)
    }

    /// Verifies a password. One that is right as it was typed, and not in NFC, is stored in NFC from now on.
    async fn verify(&self, mut user: Option<StoredUser>, attempt: Attempt<'_>) -> Result<Verified, SignInError> {
        let Attempt { email, typed, network, lane } = attempt;
        // Twice: a sign-in at the same time may have replaced the hash meanwhile.
        for _ in 0..2 {
            let stored = user.as_ref().map(|user| user.password_hash.clone());
            let comparison = self.passwords.compare(typed.clone(), stored, network, lane).await?;
            let Some(found) = user else { break };
            match comparison {
                Comparison::Wrong => break,
                Comparison::Right => return Ok(Verified { user: found.id(), password_hash: found.password_hash }),
                Comparison::RightAsTyped(hash) => {
                    if self.db.replace_password_hash(found.id(), &found.password_hash, &hash).await? {
                        return Ok(Verified { user: found.id(), password_hash: hash });
                    }
                }
            }
            user = self.db.user_by_email(email.as_str(), None).await?;
        }
        Err(SignInError::Wrong)
    }

    /// Notes that somebody signed in from a network, which a flood of strangers does not keep them out of then.
    pub(super) async fn remember_network(&self, verified: &Verified, from: Option<IpAddr>) -> Result<(), StoreError> {
        // Requests without an address are no network.
        if from.is_none() {
            return Ok(());
        }
        let network = Network::of(from).narrow.to_string();
        self.db.note_network(verified, &network, self.clock.now(), MAX_KNOWN_NETWORKS).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::accounts::queue::SLOTS;
    use crate::accounts::{Password, Passwords, RegisterError, Registration, SetUpRight};
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;
    use crate::store::Db;

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

    /// 25 addresses × 60 sign-ins at once, while the slots are held: the queue sheds strangers, never the owner, who has
    /// the next turn.
    #[tokio::test]
    async fn a_flood_of_sign_ins_refuses_no_owner_in_a_known_network() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path()).await;
        register(&accounts, "ada@example.com", "192.0.2.1").await;
        let network = Network::of(address("203.0.113.1"));
        let mut slots = Vec::new();
        for _ in 0..SLOTS {
            slots.push(accounts.passwords.queue.enter(network, Lane::Unknown).await.unwrap());
        }
        let flood: Vec<_> = (0..25 * 60)
            .map(|n| {
                let accounts = Arc::clone(&accounts);
                tokio::spawn(async move {
                    let from = address(&format!("198.51.{}.7", n % 25));
                    accounts.sign_in("ada@example.com", "a guess".to_owned(), from).await.err()
                })
            })
            .collect();
        while accounts.passwords.queue.waiting() < 60 {
            tokio::task::yield_now().await;
        }
        let owner = tokio::spawn({
            let accounts = Arc::clone(&accounts);
            async move { accounts.sign_in("ada@example.com", PASSWORD.to_owned(), address("192.0.2.1")).await }
        });
        while !accounts.passwords.queue.known_waits() {
            tokio::task::yield_now().await;
        }
        drop(slots.pop());
        assert!(!accounts.passwords.queue.known_waits(), "the first turn is the owner's");
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

    /// A registration waits in the same queue.
    #[tokio::test]
    async fn a_registration_from_a_network_with_a_full_part_of_the_queue_is_shed() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = accounts(folder.path()).await;
        let from = address("198.51.100.7");
        let mut tickets = Vec::new();
        for _ in 0..SLOTS + 32 {
            tickets.push(Box::pin(accounts.passwords.queue.enter(Network::of(from), Lane::Unknown)));
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
