//! Accepting an invitation, with an account or without one.

use std::net::IpAddr;

use super::{AcceptError, Teams, chain};
use crate::accounts::{Password, account_entry, token_hash};
use crate::domain::{AuditAction, AuditActor, AuditContext, AuditEntry, AuditFields, AuditTarget, Person, Verified};
use crate::model::UserId;
use crate::security_log::{Actor, SecurityEvent, Target, authenticated, request_origin};
use crate::store::{Accepted, Accepting, Invited, NewUser};

impl Teams {
    /// Finds the invitation of a token. An attempt counts as one to sign in, until the invitation is accepted.
    ///
    /// # Errors
    /// [`AcceptError::NotFound`] for a token that is unknown, used, replaced or over, [`AcceptError::Throttled`], or when
    /// the database fails.
    pub async fn find_invitation(&self, token: &str, from: Option<IpAddr>) -> Result<Invited, AcceptError> {
        let entry = || SecurityEvent::InvitationAccepted.entry(Actor::None, Target::Unknown);
        if let Err(seconds) = self.accounts.attempt(from).await {
            entry().refused("throttled").write();
            return Err(AcceptError::Throttled(seconds));
        }
        let found = self.db.invitation_of_token(&token_hash(token), self.clock.now()).await?;
        found.ok_or_else(|| {
            entry().failed("token").write();
            AcceptError::NotFound
        })
    }

    /// Finds the invitation of a token, to show it. Only a token without an invitation counts as an attempt to sign in.
    ///
    /// # Errors
    /// Those of [`find_invitation`](Self::find_invitation).
    pub async fn show_invitation(&self, token: &str, from: Option<IpAddr>) -> Result<Invited, AcceptError> {
        let invited = self.find_invitation(token, from).await?;
        self.accounts.refund(from).await;
        Ok(invited)
    }

    /// Makes a signed-in person a member. A member keeps their role.
    ///
    /// # Errors
    /// When the invitation is for another address, or is used meanwhile, or when the database fails.
    pub async fn accept_as(
        &self,
        person: &Person,
        invited: &Invited,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<(), AcceptError> {
        if person.email != invited.email {
            return Err(AcceptError::OtherAddress);
        }
        let actor = AuditActor::from(person);
        let entries = |context: &AuditContext, has_joined| joined(context, invited, person.id, has_joined);
        self.use_up(invited, token, &Accepting::Member(person.id), actor, entries).await?;
        self.accounts.refund(from).await;
        Ok(())
    }

    /// Makes the account of an address that has none, and a member of it.
    ///
    /// # Errors
    /// [`AcceptError::HasAccount`] for an address that has one, or when the invitation is used meanwhile, too many people
    /// sign in, or the database fails.
    pub async fn accept_with_password(
        &self,
        invited: &Invited,
        token: &str,
        password: Password,
        from: Option<IpAddr>,
    ) -> Result<Verified, AcceptError> {
        if invited.account.is_some() {
            return Err(AcceptError::HasAccount);
        }
        let password_hash = self.accounts.hash(password, from).await?;
        let user = UserId(self.entropy.id());
        let new = || NewUser { id: user, email: &invited.email, password_hash: &password_hash, at: self.clock.now() };
        let actor = AuditActor::person(user, &invited.email);
        let entries = |context: &AuditContext, has_joined| {
            let mut entries = vec![account_entry(context, &new(), false)];
            entries.extend(joined(context, invited, user, has_joined));
            entries
        };
        self.use_up(invited, token, &Accepting::New(new()), actor, entries).await?;
        authenticated();
        SecurityEvent::AccountRegistered.entry(Actor::Person(user), Target::Account(user)).write();
        let verified = Verified { user, email: invited.email.clone(), password_hash: password_hash.clone() };
        self.accounts.refund(from).await;
        self.accounts.remember_network(&verified, from).await?;
        Ok(verified)
    }

    async fn use_up(
        &self,
        invited: &Invited,
        token: &str,
        accepting: &Accepting<'_>,
        actor: AuditActor,
        entries: impl FnOnce(&AuditContext, bool) -> Vec<AuditEntry>,
    ) -> Result<(), AcceptError> {
        let now = self.clock.now();
        let context = AuditContext::new(&self.entropy, now, actor, request_origin());
        let entries = |has_joined| entries(&context, has_joined);
        match self.db.accept_invitation(invited, &token_hash(token), accepting, now, entries).await? {
            Accepted::Done { .. } => {
                let user = accepting.user();
                let event =
                    SecurityEvent::InvitationAccepted.entry(Actor::Person(user), Target::Invitation(invited.id));
                event.of(invited.organisation).write();
                Ok(())
            }
            Accepted::Gone => Err(AcceptError::NotFound),
            Accepted::EmailTaken => Err(AcceptError::HasAccount),
        }
    }
}

/// Returns the audit entries of an acceptance.
fn joined(context: &AuditContext, invited: &Invited, user: UserId, has_joined: bool) -> Vec<AuditEntry> {
    let chain = chain(invited.organisation);
    let invitation = AuditTarget::invitation(invited.id, &invited.email);
    let accepted = context.entry(chain, AuditAction::InvitationAccepted, invitation);
    let mut entries = vec![accepted.before(AuditFields::default().with("role", invited.role.as_str()))];
    if has_joined {
        let member = context.entry(chain, AuditAction::MemberAdded, AuditTarget::account(user, &invited.email));
        entries.push(member.after(AuditFields::default().with("role", invited.role.as_str())));
    }
    entries
}
