//! Invitations to organisations, by the hash of their token.

use super::accounts::{NewUser, insert_user};
use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::teams::{Held, hold_organisation};
use crate::domain::AuditEntry;
use crate::model::{InvitationId, OrganisationId, Role, Timestamp, UserId};

/// An open invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// The address that it is for.
    pub email: String,
    /// The role that it gives.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// The moment from which it is over.
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct InvitationRow {
    id: i64,
    email: String,
    role: String,
    created_at: i64,
    expires_at: i64,
}

impl InvitationRow {
    /// `None` for a role that the schema forbids.
    fn into_invitation(self) -> Option<Invitation> {
        Some(Invitation {
            id: InvitationId(self.id),
            email: self.email,
            role: Role::parse(&self.role)?,
            created_at: Timestamp(self.created_at),
            expires_at: Timestamp(self.expires_at),
        })
    }
}

/// An invitation as the holder of its token sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// Its id.
    pub id: InvitationId,
    /// The organisation.
    pub organisation: OrganisationId,
    /// The name of the organisation.
    pub organisation_name: String,
    /// The address that it is for.
    pub email: String,
    /// The role that it gives.
    pub role: Role,
    /// The account of the address, if it has one.
    pub account: Option<UserId>,
}

#[derive(sqlx::FromRow)]
struct InvitedRow {
    id: i64,
    organisation_id: i64,
    organisation_name: String,
    email: String,
    role: String,
    user_id: Option<i64>,
}

/// The acceptor of an invitation.
pub(crate) enum Accepting<'a> {
    /// A person with an account.
    Member(UserId),
    /// A new person: the account is made with the acceptance.
    New(NewUser<'a>),
}

impl Accepting<'_> {
    pub(crate) fn user(&self) -> UserId {
        match self {
            Self::Member(user) => *user,
            Self::New(new) => new.id,
        }
    }
}

/// The outcome of accepting an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// The person is a member; whether they became one by this.
    Done { has_joined: bool },
    /// The invitation is used, replaced, withdrawn or over.
    Gone,
    /// The address got an account meanwhile.
    EmailTaken,
}

/// Ends the invitations that a person made, of one organisation or of all, to the roles that they may no longer give:
/// part of each transaction that changes a role, removes a member or disables an account. Calls `$ended` with the
/// organisation, id and address of each.
macro_rules! end_invitations {
    ($tx:ident, $maker:expr, $organisation:expr, $roles:expr, $ended:expr) => {{
        let organisation: Option<$crate::model::OrganisationId> = $organisation;
        let mut each = $ended;
        for role in $roles {
            let ended: Vec<(i64, i64, String)> = sqlx::query_as(sql!("invitations_end_of_maker"))
                .bind($maker.0)
                .bind(organisation.map(|organisation| organisation.0))
                .bind(role.as_str())
                .fetch_all(&mut *$tx)
                .await?;
            for (id, of, email) in ended {
                each($crate::model::OrganisationId(of), $crate::model::InvitationId(id), email.as_str());
            }
        }
    }};
}

pub(super) use end_invitations;

/// The state of the organisation before a new invitation.
#[derive(Debug)]
pub(crate) struct BeforeInvitation {
    pub(crate) organisation: Held,
    /// Whether the address is a member's.
    pub(crate) is_member: bool,
    /// Open invitations of the organisation, without the replaced one.
    pub(crate) open: i64,
}

impl Db {
    /// Stores an invitation, if `judge` allows it. Deletes expired invitations of the organisation, and replaces an
    /// invitation of the same address; `entry` gets the id of the replaced one.
    pub(crate) async fn insert_invitation<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        new: &Invitation,
        token_hash: &[u8; 32],
        judge: impl FnOnce(&BeforeInvitation) -> Result<(), E>,
        entry: impl FnOnce(Option<InvitationId>) -> AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            let members: i64 = sqlx::query_scalar(sql!("user_is_member"))
                .bind(organisation.0)
                .bind(&new.email)
                .fetch_one(&mut *tx)
                .await?;
            let deleted: Vec<(i64, String)> = sqlx::query_as(sql!("invitations_delete_replaced"))
                .bind(organisation.0)
                .bind(&new.email)
                .bind(new.created_at.0)
                .fetch_all(&mut *tx)
                .await?;
            let open = sqlx::query_scalar(sql!("invitations_count")).bind(organisation.0).fetch_one(&mut *tx).await?;
            if let Err(refused) = judge(&BeforeInvitation { organisation: held, is_member: members > 0, open }) {
                return Ok(Err(refused));
            }
            sqlx::query(sql!("invitation_insert"))
                .bind(new.id.0)
                .bind(organisation.0)
                .bind(&new.email)
                .bind(new.role.as_str())
                .bind(token_hash.as_slice())
                .bind(person.0)
                .bind(new.created_at.0)
                .bind(new.expires_at.0)
                .execute(&mut *tx)
                .await?;
            let replaced = deleted.iter().find(|(_, email)| *email == new.email).map(|(id, _)| InvitationId(*id));
            write_audit!(self, tx, &[entry(replaced)]);
        });
        Ok(Ok(()))
    }

    /// Reads open invitations of an organisation after a moment and an id, oldest first.
    pub(crate) async fn invitations(
        &self,
        organisation: OrganisationId,
        after: (i64, i64),
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<Invitation>, StoreError> {
        let rows: Vec<InvitationRow> = reading!(self, connection => {
            sqlx::query_as(sql!("invitations"))
                .bind(organisation.0)
                .bind(after.0)
                .bind(after.1)
                .bind(limit)
                .bind(now.0)
                .fetch_all(connection)
                .await?
        });
        Ok(rows.into_iter().filter_map(InvitationRow::into_invitation).collect())
    }

    /// Withdraws an invitation, if `judge` allows it, which gets `None` when there is no such invitation.
    pub(crate) async fn delete_invitation<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        id: InvitationId,
        judge: impl FnOnce(&Held, Option<&Invitation>) -> Result<(), E>,
        now: Timestamp,
        entry: impl FnOnce(&Invitation) -> AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            let row: Option<InvitationRow> = sqlx::query_as(sql!("invitation_of_organisation"))
                .bind(id.0)
                .bind(organisation.0)
                .bind(now.0)
                .fetch_optional(&mut *tx)
                .await?;
            let invitation = row.and_then(InvitationRow::into_invitation);
            if let Err(refused) = judge(&held, invitation.as_ref()) {
                return Ok(Err(refused));
            }
            let Some(invitation) = invitation else {
                return Ok(Ok(()));
            };
            sqlx::query(sql!("invitation_delete")).bind(id.0).execute(&mut *tx).await?;
            write_audit!(self, tx, &[entry(&invitation)]);
        });
        Ok(Ok(()))
    }

    /// Finds the invitation of a token.
    pub(crate) async fn invitation_of_token(
        &self,
        token_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Invited>, StoreError> {
        let row: Option<InvitedRow> = reading!(self, connection => {
            sqlx::query_as(sql!("invitation_of_token"))
                .bind(token_hash.as_slice())
                .bind(now.0)
                .fetch_optional(connection)
                .await?
        });
        Ok(row.and_then(|row| {
            Some(Invited {
                id: InvitationId(row.id),
                organisation: OrganisationId(row.organisation_id),
                organisation_name: row.organisation_name,
                email: row.email,
                role: Role::parse(&row.role)?,
                account: row.user_id.map(UserId),
            })
        }))
    }

    /// Uses an invitation up: makes the person a member, and their account if they have none. `entries` makes the audit
    /// entries; it is told whether the person was no member before.
    pub(crate) async fn accept_invitation(
        &self,
        invited: &Invited,
        token_hash: &[u8; 32],
        accepting: &Accepting<'_>,
        now: Timestamp,
        entries: impl FnOnce(bool) -> Vec<AuditEntry>,
    ) -> Result<Accepted, StoreError> {
        match self.try_accept_invitation(invited, token_hash, accepting, now, entries).await {
            Err(error) if error.is_conflict() => Ok(Accepted::EmailTaken),
            outcome => outcome,
        }
    }

    async fn try_accept_invitation(
        &self,
        invited: &Invited,
        token_hash: &[u8; 32],
        accepting: &Accepting<'_>,
        now: Timestamp,
        entries: impl FnOnce(bool) -> Vec<AuditEntry>,
    ) -> Result<Accepted, StoreError> {
        let user = accepting.user();
        let has_joined = writing!(self, tx => {
            let _held: Held = hold_organisation!(self, tx, invited.organisation, user);
            let role: Option<String> = sqlx::query_scalar(sql!("invitation_take"))
                .bind(invited.id.0)
                .bind(token_hash.as_slice())
                .bind(now.0)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(role) = role else {
                return Ok(Accepted::Gone);
            };
            if let Accepting::New(new) = accepting {
                insert_user!(tx, new, false);
            }
            let has_joined = sqlx::query(sql!("membership_join"))
                .bind(user.0)
                .bind(invited.organisation.0)
                .bind(role)
                .bind(now.0)
                .execute(&mut *tx)
                .await?
                .rows_affected() > 0;
            write_audit!(self, tx, &entries(has_joined));
            has_joined
        });
        Ok(Accepted::Done { has_joined })
    }

    /// Deletes invitations that are over.
    pub(crate) async fn delete_ended_invitations(&self, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("invitations_delete_ended")).bind(now.0).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
