//! Audit entries, written in the transaction of the change that they are about.
//!
//! Every function of the store that changes what a person, a key or a setting may do takes the entry, or a function that
//! makes it of what the transaction finds. A change that is refused, or changes nothing, writes none.
//!
//! These write without an entry. The contract test `every_writing_function_takes_an_entry_or_is_an_exception` has them by
//! name:
//! - flushes of counts, spending and addresses of keys, and the parts of quotas that nodes take;
//! - jobs: their claims, outcomes and deletion;
//! - leases, registrations and acknowledgements of nodes, and the bookkeeping of the change log;
//! - when a session was last seen, the messages that it holds for the next page, and the networks that an account is known
//!   in;
//! - the next tokens of a sign-in that goes on, and another hash of the same password;
//! - events, their sources and idempotency keys, which are data, and their deletion as the retention says;
//! - the deletion of sessions, tokens and networks that have expired, which opened nothing any more;
//! - the probe of whether the database takes a write.

use crate::domain::{AuditEntry, AuditFields};

/// Entries of one `INSERT`; a transaction with more makes several. PostgreSQL bounds a JSON array to 256 MB.
pub(super) const MAX_INSERTED: usize = 1_000;

/// Writes entries, which come by reference, within a transaction.
macro_rules! write_audit {
    ($db:expr, $tx:ident, $entries:expr) => {
        for rows in $crate::store::audit::rows($entries)? {
            sqlx::query(sql!($db, "audit_insert")).bind(rows).execute(&mut *$tx).await?;
        }
    };
}

pub(super) use write_audit;

/// An entry as a statement reads it.
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

/// Entries as parameters of `audit_insert`: JSON arrays, one for each statement.
pub(super) fn rows<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> Result<Vec<String>, sqlx::Error> {
    let rows: Vec<EntryRow<'_>> = entries.into_iter().map(EntryRow::of).collect();
    let json = |rows| serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()));
    rows.chunks(MAX_INSERTED).map(json).collect()
}
