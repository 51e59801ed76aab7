//! Monthly quotas, of which each node leases parts.

use super::db::{Db, StoreError, sql, writing};
use crate::model::{KeyId, Quota};

/// A part of a quota that one node may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaPart {
    /// The granted requests; 0 when fewer are left than wanted.
    pub granted: u64,
    /// The requests that all nodes have taken so far, with these.
    pub taken: u64,
}

/// The largest part, in requests. A part is a sixteenth of the remaining quota: a crashed node loses little, and the
/// database gets few requests.
const MAX_PART: u64 = 1000;

/// Returns the part of the `left` requests for a node that needs `wanted`.
fn part(left: u64, wanted: u64) -> u64 {
    if left < wanted { 0 } else { (left / 16).clamp(1, MAX_PART).max(wanted).min(left) }
}

impl Db {
    /// Takes a part of a key's quota of a month: at least `wanted` requests, or none.
    pub(crate) async fn take_quota(
        &self,
        id: KeyId,
        month: i32,
        quota: Quota,
        wanted: u64,
    ) -> Result<QuotaPart, StoreError> {
        Ok(writing!(self, tx => {
            sqlx::query(sql!(self, "key_lock")).bind(id.0).execute(&mut *tx).await?;
            let row: Option<(Option<i64>, i64)> =
                sqlx::query_as(sql!("quota_read")).bind(id.0).fetch_optional(&mut *tx).await?;
            let taken = match row {
                Some((Some(of), used)) if of == i64::from(month) => u64::try_from(used).unwrap_or_default(),
                _ => 0,
            };
            let granted = part(quota.limit.saturating_sub(taken), wanted);
            if granted > 0 {
                sqlx::query(sql!("quota_take"))
                    .bind(id.0)
                    .bind(i64::from(month))
                    .bind(i64::try_from(taken + granted).unwrap_or(i64::MAX))
                    .execute(&mut *tx)
                    .await?;
            }
            QuotaPart { granted, taken: taken + granted }
        }))
    }

    /// Returns the unspent rest of parts: key, month, requests.
    pub(crate) async fn give_back_quotas(&self, parts: &[(KeyId, i32, u64)]) -> Result<(), StoreError> {
        let row = |(id, month, requests): &(KeyId, i32, u64)| serde_json::json!({ "id": id.0, "month": month, "requests": requests });
        let rows = parts.iter().map(row).collect::<serde_json::Value>().to_string();
        writing!(self, tx => {
            sqlx::query(sql!(self, "quotas_give_back")).bind(rows).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_shrink_with_the_remaining_quota_and_never_exceed_it() {
        assert_eq!(part(1_000_000, 1), 1000);
        assert_eq!(part(1_600, 1), 100);
        assert_eq!(part(1_600, 200), 200);
        assert_eq!(part(15, 1), 1);
        assert_eq!(part(1, 1), 1);
        assert_eq!(part(3, 4), 0);
        assert_eq!(part(0, 1), 0);
    }
}
