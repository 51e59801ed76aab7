//! List: masked, newest first, a page at a time.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::Keys;
use super::limits::meters::QuotaState;
use super::usage::HOUR;
use super::usage::addresses::ADDRESSES;
use crate::domain::{Key, KeyFilter, KeyHash, Owner};
use crate::model::KeyId;
use crate::runtime::lists::Admission;
use crate::store::{HourlyUse, StoreError, UsedFrom};

/// Where a page begins: after the key with this UUID, which says when that was made. Its text is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(Uuid);

impl Cursor {
    /// Before the newest key.
    const START: Self = Self(Uuid::max());
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A text that no answer gave as a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorError;

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be the `next_cursor` of an earlier answer, unchanged")
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes: [u8; 16] = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(CursorError)?;
        Ok(Self(Uuid::from_bytes(bytes)))
    }
}

/// Which keys, and how many of them.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub owner: Owner,
    /// Which of them.
    pub filter: KeyFilter,
    /// At most so many.
    pub limit: u32,
    /// After this one.
    pub after: Option<Cursor>,
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct Page {
    /// Newest first; counts are exact as of now.
    pub keys: Vec<Key>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl Keys {
    /// A page of keys. Who may see which is the caller's to have decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, request: &Request, admission: &Admission<'_>) -> Result<Page, StoreError> {
        let core = &self.core;
        let limit = request.limit as usize;
        let (mut found, mut before) = (Vec::new(), request.after.unwrap_or(Cursor::START).0);
        // One more than the page has, to know whether there are older ones.
        while found.len() <= limit {
            let _place = admission.step().await;
            let wanted = limit + 1 - found.len();
            let step = core.db.list_step(request.owner, before, &request.filter, wanted, core.clock.now()).await?;
            found.extend(step.keys);
            match step.end {
                Some(end) => before = end,
                None => break,
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let _place = admission.step().await;
        let reading = core.usage.reading().await;
        let mut keys = core.db.keys_by_id(&found).await?;
        core.usage.complete(&mut keys, &core.cache, &reading);
        let next = keys.last().filter(|_| more).map(|key| Cursor(key.uuid));
        Ok(Page { keys, next })
    }

    /// The key of a hash, whatever its state, without its latest uses. Who may see it is the caller's to decide.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Key>, StoreError> {
        Ok(self.core.db.keys_by_hash(std::slice::from_ref(hash)).await?.pop())
    }

    /// One key, with its latest uses. Who may see it is the caller's to decide.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let reading = self.core.usage.reading().await;
        let Some(mut key) = self.core.db.key_by_id(id).await? else {
            return Ok(None);
        };
        self.core.usage.complete(std::slice::from_mut(&mut key), &self.core.cache, &reading);
        Ok(Some(key))
    }

    /// Counts the keys below a key, at any depth, that are not revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_descendants(&self, id: KeyId) -> Result<i64, StoreError> {
        self.core.db.count_descendants(id).await
    }
}

impl Keys {
    /// The keys among these that have made keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn makers_among(&self, keys: &[Key]) -> Result<HashSet<KeyId>, StoreError> {
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        self.core.db.keys_with_children(&ids).await
    }
}

/// How a key was used.
#[derive(Debug, Clone)]
pub struct KeyUsage {
    /// Outcomes by the hour, oldest first.
    pub hours: Vec<HourlyUse>,
    /// Where it was last used from, newest first.
    pub addresses: Vec<UsedFrom>,
    /// Requests of this month that its quota counts.
    pub quota: Option<QuotaState>,
}

impl Keys {
    /// How a key was used in the last hours. Who may see it is the caller's to decide.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage_of(&self, key: &Key, hours: i64) -> Result<KeyUsage, StoreError> {
        let core = &self.core;
        let reading = core.usage.reading().await;
        let since = core.clock.now().0 / HOUR - hours + 1;
        let mut counted = core.db.key_hours(key.id, since).await?;
        let mut addresses = core.db.key_addresses(key.id).await?;
        core.usage.complete_usage(key, &core.cache, &mut counted, &mut addresses, &reading);
        counted.retain(|hour| hour.hour >= since);
        counted.sort_by_key(|hour| (hour.hour, hour.code));
        addresses.sort_by_key(|from| std::cmp::Reverse(from.last_used_at));
        addresses.truncate(ADDRESSES);
        Ok(KeyUsage { hours: counted, addresses, quota: core.quota_of(key) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_printed() {
        let cursor = Cursor(Uuid::from_u128(0x019c_a708_4c00_7000_8000_0000_0000_0005));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in ["", "x", "00", &"0".repeat(33), &"g".repeat(32), "é"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }
}
