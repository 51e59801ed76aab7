//! Verify: is this string a key, and is it good for what is asked?

use super::token::PresentedKey;
use super::{Ask, Judgement, Key, Keys};
use crate::store::StoreError;

/// The outcome of a check. An outcome is data; an error means that the service itself failed.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// No such key.
    Unknown,
    /// A key, but not good for what was asked.
    Refused(Box<Key>, Judgement),
    /// A good key.
    Valid(Box<Key>),
}

impl Keys {
    /// Checks a presented string and, if it is good, counts the request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn verify(&self, presented: &str, ask: &Ask) -> Result<Verdict, StoreError> {
        let verdict = self.check(presented, ask).await?;
        if let Verdict::Valid(key) = &verdict {
            self.count(key);
        }
        Ok(verdict)
    }

    /// Counts one request that a key was good for.
    pub fn count(&self, key: &Key) {
        self.usage.count(key.id, self.clock.now());
    }

    /// Checks a presented string without counting: for calls that are about keys themselves.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check(&self, presented: &str, ask: &Ask) -> Result<Verdict, StoreError> {
        let Some(presented) = PresentedKey::parse(presented) else {
            return Ok(Verdict::Unknown);
        };
        let Some(key) = self.look_up(presented).await? else {
            return Ok(Verdict::Unknown);
        };
        Ok(match key.judge(self.clock.now(), ask) {
            Judgement::Valid => Verdict::Valid(Box::new(key)),
            refusal => Verdict::Refused(Box::new(key), refusal),
        })
    }

    /// The seam for a cache: everything about a key that a check needs, by the hash of its string.
    async fn look_up(&self, presented: PresentedKey) -> Result<Option<Key>, StoreError> {
        self.db.key_by_hash(&presented.hash).await
    }
}
