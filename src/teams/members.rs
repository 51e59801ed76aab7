//! Members: listed, given another role, removed.

use super::{Ended, PageStart, TeamError, TeamPage, Teams, allowed, chain, judge};
use crate::domain::{Action, AuditAction, AuditEntry, AuditFields, AuditTarget, Person, may};
use crate::model::{InvitationId, OrganisationId, Role, UserId};
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::store::{HeldMember, KeySet, Member, MemberOf};

/// The fate of the keys of a leaver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaversKeys {
    /// The keys stay, with the leaver as their maker.
    Keep,
    /// The keys are revoked before the membership ends.
    Revoke,
}

impl Teams {
    /// Lists the members of an organisation, in the order in which they joined.
    ///
    /// # Errors
    /// When the person is no member, or the database fails.
    pub async fn members(
        &self,
        person: &Person,
        organisation: OrganisationId,
        start: PageStart,
        limit: u32,
    ) -> Result<TeamPage<Member>, TeamError> {
        allowed(person, organisation, Action::SeeOrganisation)?;
        let rows = self.db.members(organisation, (start.at, start.id), i64::from(limit) + 1).await?;
        Ok(TeamPage::of(rows, limit, |member| PageStart::after(member.joined_at, member.user.0)))
    }

    /// Returns a member, and the number of owners of the organisation.
    ///
    /// # Errors
    /// When the person is no member, there is no such member, or the database fails.
    pub async fn member(
        &self,
        person: &Person,
        organisation: OrganisationId,
        user: UserId,
    ) -> Result<(Member, i64), TeamError> {
        allowed(person, organisation, Action::SeeOrganisation)?;
        let (member, owners) = self.db.member(organisation, user).await?;
        Ok((member.ok_or(TeamError::NoMember)?, owners))
    }

    /// Gives a member another role. Invitations that they could not make with it end.
    ///
    /// # Errors
    /// When the person may not, there is no such member, they are the last owner, or when the database fails.
    pub async fn change_role(
        &self,
        person: &Person,
        organisation: OrganisationId,
        user: UserId,
        role: Role,
    ) -> Result<Member, TeamError> {
        allowed(person, organisation, Action::on_members(role))?;
        let mut unchanged = None;
        let judged = |held: &HeldMember| {
            judge_role(held, role)?;
            unchanged.clone_from(&held.member);
            Ok::<_, TeamError>(lost_by(role))
        };
        let entry = |member: &Member| {
            let target = AuditTarget::account(user, &member.email);
            self.audit(person)
                .entry(chain(organisation), AuditAction::MemberRoleChanged, target)
                .before(AuditFields::default().with("role", member.role.as_str()))
                .after(AuditFields::default().with("role", role.as_str()))
        };
        let ended = |id, email: &str| self.invitation_ended(person, organisation, user, id, email);
        let of = MemberOf { organisation, asker: person.id, user };
        let changed = self.db.change_role(of, role, judged, entry, ended).await??;
        match changed {
            Some(member) => {
                let event = SecurityEvent::MemberRoleChanged.entry(Actor::Person(person.id), Target::Account(user));
                event.of(organisation).changed(format!("role={}", role.as_str())).write();
                Ok(member)
            }
            None => unchanged.ok_or(TeamError::NoMember),
        }
    }

    /// Ends a membership: removes a member, or lets the person leave. Requests of the leaver that begin after this has
    /// answered find no organisation, on any node; their tokens for it end. With [`LeaversKeys::Revoke`] every node
    /// refuses the keys that they made.
    ///
    /// # Errors
    /// When the person may not, there is no such member, they are the last owner, it is not said what becomes of their
    /// keys, or when the database fails.
    pub async fn remove_member(
        &self,
        person: &Person,
        organisation: OrganisationId,
        user: UserId,
        keys: Option<LeaversKeys>,
    ) -> Result<Ended, TeamError> {
        let is_self = person.id == user;
        let action = if is_self { Action::SeeOrganisation } else { Action::ManageMembers };
        allowed(person, organisation, action)?;
        let revoked = if keys == Some(LeaversKeys::Revoke) {
            // Before any key is revoked for nothing.
            let of = MemberOf { organisation, asker: person.id, user };
            judge_removal(&self.db.member_to_change(of).await?, is_self)?;
            let set = KeySet::Creator(organisation, user);
            // A key that was created meanwhile is revoked in the next round.
            let again = || async move {
                match self.end_membership(person, organisation, user, None).await {
                    Err(TeamError::LeaverHasKeys(_)) => Ok(None),
                    outcome => outcome.map(Some),
                }
            };
            self.after_revoking(person, set, again).await?.1
        } else {
            self.end_membership(person, organisation, user, keys).await?;
            0
        };
        let event = SecurityEvent::MemberRemoved.entry(Actor::Person(person.id), Target::Account(user));
        event.of(organisation).write();
        Ok(Ended { keys: revoked, proof: self.keys.proof().await? })
    }

    async fn end_membership(
        &self,
        person: &Person,
        organisation: OrganisationId,
        user: UserId,
        keys: Option<LeaversKeys>,
    ) -> Result<(), TeamError> {
        let judged = |held: &HeldMember| {
            let member = judge_removal(held, person.id == user)?;
            match keys {
                None if member.active_keys > 0 => Err(TeamError::LeaverHasKeys(member.active_keys.unsigned_abs())),
                _ => Ok(()),
            }
        };
        let entry = |member: &Member| {
            let target = AuditTarget::account(user, &member.email);
            let before = AuditFields::default().with("role", member.role.as_str());
            let entry = self.audit(person).entry(chain(organisation), AuditAction::MemberRemoved, target);
            entry.before(before).counting("keys_kept", member.active_keys.unsigned_abs())
        };
        let ended = |id, email: &str| self.invitation_ended(person, organisation, user, id, email);
        let of = MemberOf { organisation, asker: person.id, user };
        self.db.remove_member(of, judged, entry, ended).await?
    }

    /// Returns the audit entry of an invitation that ends with the right of its maker.
    fn invitation_ended(
        &self,
        person: &Person,
        organisation: OrganisationId,
        maker: UserId,
        id: InvitationId,
        email: &str,
    ) -> AuditEntry {
        let target = AuditTarget::invitation(id, email);
        let entry = self.audit(person).entry(chain(organisation), AuditAction::InvitationDeleted, target);
        entry.after(AuditFields::default().with("because_of", maker.to_string()))
    }
}

/// The roles that a member with this role may not invite to.
fn lost_by(role: Role) -> Vec<Role> {
    Role::ALL.into_iter().filter(|given| !may(role, Action::on_members(*given))).collect()
}

/// Judges another role for a member.
fn judge_role(held: &HeldMember, role: Role) -> Result<(), TeamError> {
    let asker = held.organisation.role;
    judge(asker, Action::on_members(role))?;
    let member = held.member.as_ref().ok_or(TeamError::NoMember)?;
    judge(asker, Action::on_members(member.role))?;
    keeps_an_owner(held, member, Some(role))
}

/// Judges the end of a membership, without the keys of the member.
fn judge_removal(held: &HeldMember, is_self: bool) -> Result<&Member, TeamError> {
    let asker = held.organisation.role;
    judge(asker, if is_self { Action::SeeOrganisation } else { Action::ManageMembers })?;
    let member = held.member.as_ref().ok_or(TeamError::NoMember)?;
    if !is_self {
        judge(asker, Action::on_members(member.role))?;
    }
    keeps_an_owner(held, member, None)?;
    Ok(member)
}

/// Refuses a change that leaves no owner.
fn keeps_an_owner(held: &HeldMember, member: &Member, becomes: Option<Role>) -> Result<(), TeamError> {
    let is_owner = |role| may(role, Action::ManageOwnership);
    if is_owner(member.role) && !becomes.is_some_and(is_owner) && held.owners <= 1 {
        return Err(TeamError::LastOwner);
    }
    Ok(())
}
