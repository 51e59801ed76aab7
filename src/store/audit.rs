//! Audit entries, written in the transaction of the change that they are about.
//!
//! Every function of the store that changes the rights of a person or a key, or a setting, takes the entry, or a
//! function that builds it from the rows that the transaction reads. A refused change, and one without an effect,
//! writes none.
//!
//! The following writes have no entry. The contract test `every_writing_function_takes_an_entry_or_is_an_exception`
//! lists their functions:
//! - flushes of counts, spending and addresses of keys, and the parts of quotas that nodes take;
//! - jobs: their claims, outcomes and deletion;
//! - leases, registrations and acknowledgements of nodes, and the bookkeeping of the change log;
//! - the last use of a session, the messages that it holds for the next page, and the known networks of an account;
//! - the next tokens of a continued sign-in, and a new hash of an unchanged password;
//! - events, their sources and idempotency keys, which are data, and their deletion after the retention;
//! - the deletion of expired sessions, tokens, networks and invitations, which gave no access any more;
//! - the erasure of the rest of a deleted organisation, whose deletion has an entry;
//! - the probe that checks whether the database accepts writes.

use crate::domain::{AuditEntry, AuditFields};

/// The largest number of entries in one `INSERT`; a transaction with more makes several. PostgreSQL limits a JSON array
/// to 256 MB.
pub(super) const MAX_INSERTED: usize = 1_000;

/// Writes entries, given by reference, within a transaction.
macro_rules! write_audit {
    ($db:expr, $tx:ident, $entries:expr) => {
        for rows in $crate::store::audit::rows($entries)? {
            sqlx::query(sql!($db, "audit_insert")).bind(rows).execute(&mut *$tx).await?;
        }
    };
}

pub(super) use write_audit;

/// An entry with the field names that the statement uses.
#[derive(serde::Serialize)]
struct EntryRow<'a> {
    id: i64,
    organisation_id: Option<i64>,
    at: i64,
    actor_type: &'static str,
    actor_id: &'a str,
    actor_label: &'a str,
    action: &'static str,
    target_type: &'static str,
    target_id: &'a str,
    target_label: &'a str,
    address: Option<String>,
    user_agent: Option<&'a str>,
    request_id: Option<&'a str>,
    before: Option<String>,
    after: Option<String>,
}

impl<'a> EntryRow<'a> {
    fn of(entry: &'a AuditEntry) -> Self {
        Self {
            id: entry.id.0,
            organisation_id: entry.chain.organisation().map(|organisation| organisation.0),
            at: entry.at.0,
            actor_type: entry.actor.kind.as_str(),
            actor_id: &entry.actor.id,
            actor_label: &entry.actor.label,
            action: entry.action.as_str(),
            target_type: entry.target.kind.as_str(),
            target_id: &entry.target.id,
            target_label: &entry.target.label,
            address: entry.origin.address.map(|address| address.to_string()),
            user_agent: entry.origin.user_agent.as_deref(),
            request_id: entry.origin.request_id.as_deref(),
            before: entry.before.as_ref().map(AuditFields::to_json),
            after: entry.after.as_ref().map(AuditFields::to_json),
        }
    }
}

/// Encodes entries as parameters of `audit_insert`: JSON arrays, one for each statement.
pub(super) fn rows<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<EntryRow<'_>> = entries.into_iter().map(EntryRow::of).collect();
    let json = |rows| serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()));
    rows.chunks(MAX_INSERTED).map(json).collect()
}
