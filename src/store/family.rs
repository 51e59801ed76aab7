//! Changes of a key and of its descendants: the keys that it created, the keys that those created, and so on.
//!
//! Each change is one transaction. The transaction locks the tree of the key ([`lock_trees`]), so that no new
//! descendant can be committed meanwhile, and then locks the rows of the family in the order of their ids. Revoked
//! descendants do not change, and there may be ten times as many, so they are left out. A key's parent never changes,
//! so a family has no cycle.

use super::audit::write_audit;
use super::db::{Db, StoreError, sql, writing};
use super::keys::{EDITABLE, KeyRow, bind_editable, lock_trees};
use super::new_changes::log_changes;
use crate::domain::{AuditEntry, Key, KeyHash, fold};
use crate::model::{KeyId, Timestamp, UserId};

/// A key that changes, or that may change because a key above it does.
#[derive(Debug)]
pub(crate) struct FamilyKey {
    pub(crate) id: KeyId,
    pub(crate) hash: KeyHash,
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl From<&Key> for FamilyKey {
    fn from(key: &Key) -> Self {
        Self { id: key.id, hash: key.hash, name: key.name.clone(), prefix: key.prefix.clone() }
    }
}

/// The outcome of a revocation.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// Whether this call revoked the key.
    pub(crate) ended: bool,
    /// The key and the descendants that this call revoked.
    pub(crate) family: Vec<(KeyId, KeyHash)>,
    /// The number of the last change in the log.
    pub(crate) number: i64,
}

/// The outcome of an edit.
#[derive(Debug)]
pub(crate) enum KeyEdit {
    /// The edit is stored.
    Done(Box<Edited>),
    /// The key does not exist, or is revoked.
    Revoked,
    /// The edit refused to change the key. Holds the stored key.
    Refused(Box<Key>),
}

/// A stored edit.
#[derive(Debug)]
pub(crate) struct Edited {
    /// The key after the edit.
    pub(crate) key: Key,
    /// The key and the descendants that changed with it.
    pub(crate) changed: Vec<(KeyId, KeyHash)>,
    /// The number of the last change in the log.
    pub(crate) number: i64,
}

/// Locks and returns a key, revoked or not, and its descendants that are not revoked.
macro_rules! lock_family {
    ($db:expr, $tx:ident, $id:expr) => {{
        lock_trees!($db, $tx, std::iter::once($id));
        let rows: Vec<(i64, Vec<u8>, String, String)> =
            sqlx::query_as(sql!($db, "keys_lock_family")).bind($id.0).fetch_all(&mut *$tx).await?;
        let key = |(id, hash, name, prefix): (_, Vec<u8>, _, _)| {
            Some(FamilyKey { id: KeyId(id), hash: KeyHash::from_slice(&hash)?, name, prefix })
        };
        rows.into_iter().filter_map(key).collect::<Vec<_>>()
    }};
}

/// The largest number of keys in one `UPDATE`: SQLite limits the parameters of a statement to 32,766.
const MAX_ROWS: usize = 1_000;

/// Writes the [`EDITABLE`] columns of some keys.
macro_rules! update_keys {
    ($tx:ident, $keys:expr) => {{
        let columns = EDITABLE.join(", ");
        let mut update = sqlx::QueryBuilder::new(format!("WITH edited (id, {columns}) AS ("));
        update.push_values($keys, |mut row, key| {
            row.push_bind(key.id.0);
            bind_editable!(row, key);
        });
        let set = EDITABLE.map(|column| format!("{column} = edited.{column}")).join(", ");
        update.push(format_args!(") UPDATE keys SET {set} FROM edited WHERE keys.id = edited.id"));
        update.build().persistent(false).execute(&mut *$tx).await?;
    }};
}

impl Db {
    /// Marks a key as revoked; with `descendants`, the keys below it as well. A key that is revoked already stays
    /// unchanged. `entry` builds the audit entry of each key that this call revokes.
    pub(crate) async fn revoke_key(
        &self,
        key: &Key,
        by: Option<UserId>,
        descendants: bool,
        at: Timestamp,
        entry: impl Fn(&FamilyKey) -> AuditEntry,
    ) -> Result<Revoked, StoreError> {
        let by = by.map(|user| user.0);
        Ok(writing!(self, tx => {
            let mut keys = vec![FamilyKey::from(key)];
            if descendants {
                keys = lock_family!(self, tx, key.id);
            }
            let family: Vec<(KeyId, KeyHash)> = keys.iter().map(|key| (key.id, key.hash)).collect();
            let ended =
                sqlx::query(sql!("key_revoke")).bind(key.id.0).bind(at.0).bind(by).execute(&mut *tx).await?.rows_affected();
            let mut revoked = ended;
            if family.len() > 1 {
                let query = sqlx::query(sql!(self, "keys_revoke")).bind(ids(family.iter().map(|(id, _)| *id))).bind(at.0).bind(by);
                revoked += query.execute(&mut *tx).await?.rows_affected();
            }
            sqlx::query(sql!("organisation_count_revoked"))
                .bind(key.organisation.0)
                .bind(i64::try_from(revoked).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
            // Locked descendants were not revoked.
            let ended_keys = keys.iter().filter(|revoked| revoked.id != key.id || ended == 1);
            write_audit!(self, tx, &ended_keys.map(&entry).collect::<Vec<_>>());
            // A key that was revoked before is logged again: the call that revoked it may have got no response. The
            // changes of descendants that it revoked have lower numbers, so a wait for this number covers them.
            let number = log_changes!(self, tx, key.organisation, &family, true, at);
            Revoked { ended: ended == 1, family, number }
        }))
    }

    /// Changes a key with `edit`, which gets the current key while no other call can change it. With `family`, `edit`
    /// also gets the descendants that are not revoked, and removes the unchanged ones from the list. `edit` returns the
    /// audit entries of the changes; with `None`, all keys stay unchanged.
    pub(crate) async fn edit_key(
        &self,
        id: KeyId,
        family: bool,
        at: Timestamp,
        edit: impl FnOnce(&mut Key, &mut Vec<Key>) -> Option<Vec<AuditEntry>>,
    ) -> Result<KeyEdit, StoreError> {
        Ok(writing!(self, tx => {
            let rows: Vec<KeyRow> = if family {
                let locked = lock_family!(self, tx, id);
                sqlx::query_as(sql!(self, "keys_by_id")).bind(ids(locked.iter().map(|key| key.id))).fetch_all(&mut *tx).await?
            } else {
                sqlx::query(sql!(self, "key_lock")).bind(id.0).execute(&mut *tx).await?;
                sqlx::query_as(sql!("key_by_id")).bind(id.0).fetch_all(&mut *tx).await?
            };
            let mut descendants = rows.into_iter().map(KeyRow::into_key).collect::<Result<Vec<_>, _>>()?;
            descendants.retain(|key| key.revoked_at.is_none());
            let Some(place) = descendants.iter().position(|key| key.id == id) else {
                return Ok(KeyEdit::Revoked);
            };
            let mut key = descendants.swap_remove(place);
            let stored = key.clone();
            let Some(entries) = edit(&mut key, &mut descendants) else {
                return Ok(KeyEdit::Refused(Box::new(stored)));
            };
            if key.name != stored.name {
                sqlx::query(sql!("key_rename"))
                    .bind(key.id.0)
                    .bind(&key.name)
                    .bind(fold(&key.name))
                    .execute(&mut *tx)
                    .await?;
            }
            let family: Vec<&Key> = std::iter::once(&key).chain(&descendants).collect();
            for some in family.chunks(MAX_ROWS) {
                update_keys!(tx, some.iter().copied());
            }
            write_audit!(self, tx, &entries);
            let changed: Vec<_> = std::iter::once(&key).chain(&descendants).map(|key| (key.id, key.hash)).collect();
            let number = log_changes!(self, tx, key.organisation, &changed, false, at);
            KeyEdit::Done(Box::new(Edited { key, changed, number }))
        }))
    }
}

/// Encodes ids as one parameter, a JSON array.
fn ids(keys: impl Iterator<Item = KeyId>) -> String {
    serde_json::json!(keys.map(|id| id.0).collect::<Vec<_>>()).to_string()
}
