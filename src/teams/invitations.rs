//! Invitations: made, listed, withdrawn.

use super::{INVITATION_LIFETIME, MAX_INVITATIONS, PageStart, TeamError, TeamPage, Teams, allowed, chain, judge};
use crate::accounts::{EmailAddress, PlainToken};
use crate::domain::{Action, AuditAction, AuditFields, AuditTarget, Person};
use crate::model::{InvitationId, OrganisationId, Role};
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::store::{BeforeInvitation, Held, Invitation};

/// The prefix of the token of an invitation.
const TOKEN_PREFIX: &str = "lki_";

/// An invitation with its token, for the one answer that shows it.
#[derive(Debug)]
pub struct NewInvitation {
    /// The invitation.
    pub invitation: Invitation,
    /// Its token.
    pub token: PlainToken,
}

impl Teams {
    /// Invites an address to a role. An earlier invitation of the address is replaced.
    ///
    /// # Errors
    /// When the person may not, the address is a member's, there are too many invitations, or when the database fails.
    pub async fn invite(
        &self,
        person: &Person,
        organisation: OrganisationId,
        email: &EmailAddress,
        role: Role,
    ) -> Result<NewInvitation, TeamError> {
        allowed(person, organisation, Action::on_members(role))?;
        let now = self.clock.now();
        let invitation = Invitation {
            id: InvitationId(self.entropy.id()),
            email: email.as_str().to_owned(),
            role,
            created_at: now,
            expires_at: now.plus(INVITATION_LIFETIME),
        };
        let token = PlainToken::new(TOKEN_PREFIX, &self.entropy);
        let judged = |before: &BeforeInvitation| {
            judge(before.organisation.role, Action::on_members(role))?;
            if before.is_member {
                return Err(TeamError::AlreadyMember);
            }
            let has_room = before.open < MAX_INVITATIONS;
            has_room.then_some(()).ok_or(TeamError::TooManyInvitations(MAX_INVITATIONS))
        };
        let entry = |replaced: Option<InvitationId>| {
            let target = AuditTarget::invitation(invitation.id, &invitation.email);
            let fields = AuditFields::default().with("email", &invitation.email).with("role", role.as_str());
            let fields = match replaced {
                Some(replaced) => fields.with("replaces", replaced.to_string()),
                None => fields,
            };
            self.audit(person).entry(chain(organisation), AuditAction::InvitationCreated, target).after(fields)
        };
        self.db.insert_invitation(organisation, person.id, &invitation, &token.hash(), judged, entry).await??;
        let event = SecurityEvent::InvitationCreated;
        event.entry(Actor::Person(person.id), Target::Invitation(invitation.id)).of(organisation).write();
        Ok(NewInvitation { invitation, token })
    }

    /// Lists the open invitations of an organisation, oldest first.
    ///
    /// # Errors
    /// When the person may not invite, or the database fails.
    pub async fn invitations(
        &self,
        person: &Person,
        organisation: OrganisationId,
        start: PageStart,
        limit: u32,
    ) -> Result<TeamPage<Invitation>, TeamError> {
        allowed(person, organisation, Action::ManageMembers)?;
        let after = (start.at, start.id);
        let rows = self.db.invitations(organisation, after, i64::from(limit) + 1, self.clock.now()).await?;
        Ok(TeamPage::of(rows, limit, |invitation| PageStart::after(invitation.created_at, invitation.id.0)))
    }

    /// Withdraws an invitation.
    ///
    /// # Errors
    /// When the person may not, there is no such invitation, or when the database fails.
    pub async fn withdraw(
        &self,
        person: &Person,
        organisation: OrganisationId,
        id: InvitationId,
    ) -> Result<(), TeamError> {
        allowed(person, organisation, Action::ManageMembers)?;
        let judged = |held: &Held, invitation: Option<&Invitation>| {
            judge(held.role, Action::ManageMembers)?;
            let invitation = invitation.ok_or(TeamError::NoInvitation)?;
            judge(held.role, Action::on_members(invitation.role))
        };
        let entry = |invitation: &Invitation| {
            let target = AuditTarget::invitation(id, &invitation.email);
            let before = AuditFields::default().with("email", &invitation.email).with("role", invitation.role.as_str());
            self.audit(person).entry(chain(organisation), AuditAction::InvitationDeleted, target).before(before)
        };
        self.db.delete_invitation(organisation, person.id, id, judged, self.clock.now(), entry).await??;
        let event = SecurityEvent::InvitationDeleted;
        event.entry(Actor::Person(person.id), Target::Invitation(id)).of(organisation).write();
        Ok(())
    }
}
