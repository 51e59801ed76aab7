//! Places where keys are about to be stored: whether their environment and their maker may still have new keys.

use std::collections::HashMap;

use super::keys::{Inserted, MaxKeys, NewKey};
use crate::domain::Key;
use crate::model::{EnvironmentId, Role, UserId};

/// The place of a new key, and the standing of its maker there, when the key is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPlace {
    /// The role of the maker; `None` without a maker, or when they are no member.
    pub(crate) role: Option<Role>,
    /// Whether the environment is archived.
    pub(crate) is_archived: bool,
}

/// The rules that new keys are held against when they are stored, as their makers and places are then.
pub(crate) struct KeyRules<B, J> {
    pub(crate) max: MaxKeys,
    /// Compares a key with the key that makes it, which cannot change before the key is stored; false if that may not
    /// make it.
    pub(crate) bind: B,
    /// Judges the place of a key; `None` for an organisation that is deleted.
    pub(crate) judge: J,
}

/// The outcome of a transaction that stores keys.
pub(super) enum Attempt {
    /// The transaction is committed.
    Stored(Vec<Inserted>),
    /// The transaction is rolled back, because these keys are refused.
    Refused(Vec<Inserted>),
}

/// A row of `key_places`.
#[derive(sqlx::FromRow)]
pub(super) struct KeyPlaceRow {
    id: i64,
    user_id: Option<i64>,
    role: Option<String>,
    archived_at: Option<i64>,
    deleted_at: Option<i64>,
}

/// The places of some new keys, by environment and maker. A place in a deleted organisation is none.
pub(super) type KeyPlaces = HashMap<(EnvironmentId, Option<UserId>), KeyPlace>;

/// The places of new keys, as the parameter of `key_places`.
pub(super) fn places_of(keys: &[NewKey]) -> String {
    let mut places: Vec<(i64, Option<i64>)> =
        keys.iter().map(|new| (new.key.environment.0, new.key.created_by.map(|user| user.0))).collect();
    places.sort_unstable();
    places.dedup();
    serde_json::json!(places).to_string()
}

pub(super) fn read_places(rows: Vec<KeyPlaceRow>) -> KeyPlaces {
    let living = rows.into_iter().filter(|row| row.deleted_at.is_none());
    let place = |row: KeyPlaceRow| {
        let role = row.role.as_deref().and_then(Role::parse);
        let key = (EnvironmentId(row.id), row.user_id.map(UserId));
        (key, KeyPlace { role, is_archived: row.archived_at.is_some() })
    };
    living.map(place).collect()
}

/// Returns the keys that are refused because of their places, earlier refusals included.
pub(super) fn judge_places(
    keys: &[NewKey],
    outcomes: &[Inserted],
    refused: &[Inserted],
    places: &KeyPlaces,
    judge: impl Fn(&Key, Option<&KeyPlace>) -> Inserted,
) -> Vec<Inserted> {
    let all = keys.iter().zip(outcomes).zip(refused);
    all.map(|((new, outcome), refused)| match *outcome {
        Inserted::Done => judge(&new.key, places.get(&(new.key.environment, new.key.created_by))),
        _ => *refused,
    })
    .collect()
}
