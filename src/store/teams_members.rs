//! Members of organisations: their roles, and their end.

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::teams::{Held, hold_organisation};
use super::teams_invitations::end_invitations;
use crate::domain::AuditEntry;
use crate::model::{InvitationId, OrganisationId, Role, Timestamp, UserId};

/// A member of an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The person.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their role.
    pub role: Role,
    /// When they became a member.
    pub joined_at: Timestamp,
    /// The last use of a session or a token, in any organisation, to the minute.
    pub last_seen_at: Option<Timestamp>,
    /// Keys of the organisation that they made and that are not revoked.
    pub active_keys: i64,
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    user_id: i64,
    email: String,
    role: String,
    created_at: i64,
    seen_at: Option<i64>,
    active_keys: i64,
}

impl MemberRow {
    /// `None` for a role that the schema forbids.
    fn into_member(self) -> Option<Member> {
        Some(Member {
            user: UserId(self.user_id),
            email: self.email,
            role: Role::parse(&self.role)?,
            joined_at: Timestamp(self.created_at),
            last_seen_at: self.seen_at.map(Timestamp),
            active_keys: self.active_keys,
        })
    }
}

/// A member of an organisation, and the asker: the person of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberOf {
    pub(crate) organisation: OrganisationId,
    pub(crate) asker: UserId,
    pub(crate) user: UserId,
}

/// A member, with the organisation held.
#[derive(Debug)]
pub(crate) struct HeldMember {
    pub(crate) organisation: Held,
    /// `None` for no member.
    pub(crate) member: Option<Member>,
    pub(crate) owners: i64,
}

/// Holds an organisation, and reads one of its members.
macro_rules! hold_member {
    ($db:expr, $tx:ident, $of:expr) => {{
        let of: MemberOf = $of;
        let held = hold_organisation!($db, $tx, of.organisation, of.asker);
        let row: Option<MemberRow> =
            sqlx::query_as(sql!("member")).bind(of.organisation.0).bind(of.user.0).fetch_optional(&mut *$tx).await?;
        let owners = sqlx::query_scalar(sql!("members_with_role"))
            .bind(of.organisation.0)
            .bind(Role::Owner.as_str())
            .fetch_one(&mut *$tx)
            .await?;
        HeldMember { organisation: held, member: row.and_then(MemberRow::into_member), owners }
    }};
}

impl Db {
    /// Reads members of an organisation after a moment and a person, in the order in which they joined.
    pub(crate) async fn members(
        &self,
        organisation: OrganisationId,
        after: (i64, i64),
        limit: i64,
    ) -> Result<Vec<Member>, StoreError> {
        let rows: Vec<MemberRow> = reading!(self, connection => {
            sqlx::query_as(sql!("members"))
                .bind(organisation.0)
                .bind(after.0)
                .bind(after.1)
                .bind(limit)
                .fetch_all(connection)
                .await?
        });
        Ok(rows.into_iter().filter_map(MemberRow::into_member).collect())
    }

    /// Reads a member, and the number of owners of the organisation.
    pub(crate) async fn member(
        &self,
        organisation: OrganisationId,
        user: UserId,
    ) -> Result<(Option<Member>, i64), StoreError> {
        Ok(reading!(self, connection => {
            let row: Option<MemberRow> = sqlx::query_as(sql!("member"))
                .bind(organisation.0)
                .bind(user.0)
                .fetch_optional(&mut *connection)
                .await?;
            let owners = sqlx::query_scalar(sql!("members_with_role"))
                .bind(organisation.0)
                .bind(Role::Owner.as_str())
                .fetch_one(connection)
                .await?;
            (row.and_then(MemberRow::into_member), owners)
        }))
    }

    /// Gives a member another role, if `judge` allows it, and ends the invitations that they made to the roles that
    /// `judge` returns. `entry` makes the audit entry of the change, `ended` that of each invitation.
    pub(crate) async fn change_role<E>(
        &self,
        of: MemberOf,
        role: Role,
        judge: impl FnOnce(&HeldMember) -> Result<Vec<Role>, E>,
        entry: impl FnOnce(&Member) -> AuditEntry,
        ended: impl Fn(InvitationId, &str) -> AuditEntry,
    ) -> Result<Result<Option<Member>, E>, StoreError> {
        let changed = writing!(self, tx => {
            let held = hold_member!(self, tx, of);
            let lost = match judge(&held) {
                Ok(lost) => lost,
                Err(refused) => return Ok(Err(refused)),
            };
            let Some(member) = held.member.filter(|member| member.role != role) else {
                return Ok(Ok(None));
            };
            sqlx::query(sql!("membership_set_role"))
                .bind(of.user.0)
                .bind(of.organisation.0)
                .bind(role.as_str())
                .execute(&mut *tx)
                .await?;
            let mut entries = vec![entry(&member)];
            end_invitations!(tx, of.user, Some(of.organisation), lost, |_, id, email: &str| entries.push(ended(id, email)));
            write_audit!(self, tx, &entries);
            Member { role, ..member }
        });
        Ok(Ok(Some(changed)))
    }

    /// Reads a member as a change of them would, without one.
    pub(crate) async fn member_to_change(&self, of: MemberOf) -> Result<HeldMember, StoreError> {
        Ok(reading!(self, connection => {
            let name = String::new();
            let role: Option<String> = sqlx::query_scalar(sql!("membership_role"))
                .bind(of.asker.0)
                .bind(of.organisation.0)
                .fetch_optional(&mut *connection)
                .await?;
            let row: Option<MemberRow> = sqlx::query_as(sql!("member"))
                .bind(of.organisation.0)
                .bind(of.user.0)
                .fetch_optional(&mut *connection)
                .await?;
            let owners = sqlx::query_scalar(sql!("members_with_role"))
                .bind(of.organisation.0)
                .bind(Role::Owner.as_str())
                .fetch_one(&mut *connection)
                .await?;
            let organisation = Held { name, role: role.and_then(|role| Role::parse(&role)) };
            HeldMember { organisation, member: row.and_then(MemberRow::into_member), owners }
        }))
    }

    /// Ends a membership, if `judge` allows it, with the invitations that the person made and the tokens that they have
    /// for the organisation. The keys that they made stay. `entry` makes the audit entry of the change, `ended` that of
    /// each invitation.
    pub(crate) async fn remove_member<E>(
        &self,
        of: MemberOf,
        judge: impl FnOnce(&HeldMember) -> Result<(), E>,
        entry: impl FnOnce(&Member) -> AuditEntry,
        ended: impl Fn(InvitationId, &str) -> AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_member!(self, tx, of);
            if let Err(refused) = judge(&held) {
                return Ok(Err(refused));
            }
            let Some(member) = held.member else {
                return Ok(Ok(()));
            };
            let entry = entry(&member);
            sqlx::query(sql!("membership_delete")).bind(of.user.0).bind(of.organisation.0).execute(&mut *tx).await?;
            let families = sqlx::query(sql!("token_families_end_of_member"))
                .bind(of.user.0)
                .bind(of.organisation.0)
                .bind(entry.at.0)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let mut entries = vec![entry.counting("token_families_ended", families)];
            end_invitations!(tx, of.user, Some(of.organisation), Role::ALL, |_, id, email: &str| entries.push(ended(id, email)));
            write_audit!(self, tx, &entries);
        });
        Ok(Ok(()))
    }
}
