//! List: pages of keys, newest first, with only the prefix of each key string.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::Keys;
use crate::domain::{Key, KeyFilter, KeyHash, Owner};
use crate::model::KeyId;
use crate::runtime::lists::Admission;
use crate::store::{KeyPage, ListedKey, StoreError};

/// The position of a page: after the key with this UUID, which contains its time. The text is opaque to clients.
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

/// The error for a text that is no cursor.
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

/// A request for a page of keys.
#[derive(Debug, Clone)]
pub struct Request {
    /// The owner of the keys.
    pub owner: Owner,
    /// The filter on the owner's keys.
    pub filter: KeyFilter,
    /// The maximal number of keys of a page.
    pub limit: u32,
    /// The end of the previous page.
    pub after: Option<Cursor>,
}

/// A page of keys.
#[derive(Debug, Clone)]
pub struct Page {
    /// The keys, newest first, with up-to-date request counts.
    pub keys: Vec<Key>,
    /// The position of the next page, if there is one.
    pub next: Option<Cursor>,
}

impl Keys {
    /// Returns a page of keys. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, request: &Request, admission: &Admission<'_>) -> Result<Page, StoreError> {
        let limit = request.limit as usize;
        let (mut found, mut before) = (Vec::new(), request.after.unwrap_or(Cursor::START).0);
        // One key more than a page has, to know whether there is a next page.
        while found.len() <= limit {
            let _place = admission.step().await;
            let wanted = limit + 1 - found.len();
            let step = self.db.list_step(request.owner, before, &request.filter, wanted, self.clock.now()).await?;
            found.extend(step.keys);
            match step.end {
                Some(end) => before = end,
                None => break,
            }
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let _place = admission.step().await;
        let reading = self.usage.reading().await;
        let mut keys = self.db.keys_by_id(&found).await?;
        self.usage.complete(&mut keys, &reading);
        let next = keys.last().filter(|_| more).map(|key| Cursor(key.uuid));
        Ok(Page { keys, next })
    }

    /// Returns a page of an organisation's keys by page number, in any order (as HookSentry pages), and the number of
    /// keys on all pages. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(&self, page: &KeyPage) -> Result<(i64, Vec<ListedKey>), StoreError> {
        let (counts, keys) = self.db.key_page(page).await?;
        Ok((page.total(&counts), keys))
    }

    /// Returns the key of a hash in any state, without its latest uses. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, hash: &KeyHash) -> Result<Option<Key>, StoreError> {
        Ok(self.db.keys_by_hash(std::slice::from_ref(hash)).await?.pop())
    }

    /// Returns a key with its latest uses. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let reading = self.usage.reading().await;
        let Some(mut key) = self.db.key_by_id(id).await? else {
            return Ok(None);
        };
        self.usage.complete(std::slice::from_mut(&mut key), &reading);
        Ok(Some(key))
    }

    /// Counts the keys below a key, at any depth, that are not revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_descendants(&self, id: KeyId) -> Result<i64, StoreError> {
        self.db.count_descendants(id).await
    }

    /// Returns the ids of the keys in `keys` that have made keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn makers_among(&self, keys: &[Key]) -> Result<HashSet<KeyId>, StoreError> {
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        self.db.keys_with_children(&ids).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_parsed_from_its_text() {
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
