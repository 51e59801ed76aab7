//! Bearer tokens that are bound to one tenant (HookSentry): a short-lived access token, and a refresh token for one
//! use.

use super::plain_token::{PlainToken, hash};
use super::{Accounts, SignInError};
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditFields, AuditTarget, Person, Verified};
use crate::model::{OrganisationId, Timestamp};
use crate::security_log::{Actor, SecurityEvent, Target, authenticated};
use crate::store::{NewToken, PersonRow, Refreshed, StoreError, TokenKind};

/// The lifetime of an access token: 15 minutes, in milliseconds.
pub const ACCESS_LIFETIME: i64 = 15 * 60 * 1000;
/// The lifetime of a refresh token: 7 days, in milliseconds.
pub const REFRESH_LIFETIME: i64 = 7 * 24 * 3600 * 1000;

const ACCESS_PREFIX: &str = "lka_";
const REFRESH_PREFIX: &str = "lkr_";

/// Returns whether a Bearer token is meant as an access token.
pub fn looks_like_access_token(text: &str) -> bool {
    text.starts_with(ACCESS_PREFIX)
}

/// The tokens of a sign-in or a refresh.
#[derive(Debug)]
pub struct TokenPair {
    /// The access token, for requests to the API.
    pub access: PlainToken,
    /// The refresh token, for the next pair, once.
    pub refresh: PlainToken,
    /// The expiry of the access token.
    pub expires_at: Timestamp,
}

/// A person with an access token, and the one tenant of the token.
#[derive(Debug, Clone)]
pub struct TokenHolder {
    /// The person, with the membership in the tenant only; with none after leaving the tenant.
    pub person: Person,
    /// The tenant.
    pub tenant: OrganisationId,
}

impl Accounts {
    /// Creates a family of tokens for a tenant.
    ///
    /// # Errors
    /// [`SignInError::Wrong`] when the verified password is no longer the stored one, or when the database fails.
    pub async fn begin_tokens(&self, verified: &Verified, tenant: OrganisationId) -> Result<TokenPair, SignInError> {
        let now = self.clock.now();
        let (pair, tokens) = self.pair(now);
        let (id, max_families) = (self.entropy.id(), self.max_sessions);
        let context = self.audit(AuditActor::person(verified.user, &verified.email));
        let target = AuditTarget::account(verified.user, &verified.email);
        let entry = context
            .entry(AuditChain::Server, AuditAction::TokensCreated, target)
            .after(AuditFields::default().with("org_id", tenant.to_string()));
        let is_stored = self.db.insert_token_family(id, verified, tenant, &tokens, max_families, entry).await?;
        if !is_stored {
            let target = Target::Account(verified.user);
            SecurityEvent::SignIn.entry(Actor::None, target).failed("password_changed").write();
        }
        is_stored.then_some(pair).ok_or(SignInError::Wrong)
    }

    /// Returns the next pair for a refresh token. A second use of a refresh token ends its whole family, because the
    /// token was stolen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh_tokens(&self, refresh: &str) -> Result<Option<TokenPair>, StoreError> {
        let now = self.clock.now();
        let (pair, tokens) = self.pair(now);
        let ended = |user, email: &str| {
            let context = self.audit(AuditActor::system("refresh token used twice"));
            context.entry(AuditChain::Server, AuditAction::TokensEnded, AuditTarget::account(user, email))
        };
        Ok(match self.db.refresh_tokens(&hash(refresh), &tokens, now, ended).await? {
            Refreshed::Done(user) => {
                authenticated();
                SecurityEvent::TokensRefreshed.entry(Actor::Person(user), Target::Account(user)).write();
                Some(pair)
            }
            Refreshed::Refused => None,
            Refreshed::Reused(user) => {
                let entry = SecurityEvent::TokensEnded.entry(Actor::None, Target::Account(user));
                entry.because("refresh_token_used_twice").write();
                None
            }
        })
    }

    /// Ends the token family of an access token, and that of a refresh token of the same person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_tokens(&self, access: &str, refresh: &str, of: &Person) -> Result<(), StoreError> {
        let target = AuditTarget::account(of.id, &of.email);
        let entry = self.audit(of.into()).entry(AuditChain::Server, AuditAction::TokensEnded, target);
        self.db.end_token_families([&hash(access), &hash(refresh)], of.id, self.clock.now(), entry).await?;
        SecurityEvent::SignOut.entry(Actor::Person(of.id), Target::Account(of.id)).write();
        Ok(())
    }

    /// Returns the holder of a valid access token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_holder(&self, access: &str) -> Result<Option<TokenHolder>, StoreError> {
        let rows = self.db.token_holder(&hash(access), self.clock.now()).await?;
        let Some(tenant) = rows.first().map(|row| OrganisationId(row.tenant_id)) else {
            return Ok(None);
        };
        let person = PersonRow::person(rows.iter().map(|row| &row.person));
        Ok(person.map(|person| TokenHolder { person: person.bound_to(tenant), tenant }))
    }

    fn pair(&self, now: Timestamp) -> (TokenPair, [NewToken; 2]) {
        let access = PlainToken::new(ACCESS_PREFIX, &self.entropy);
        let refresh = PlainToken::new(REFRESH_PREFIX, &self.entropy);
        let expires_at = now.plus(ACCESS_LIFETIME);
        let tokens = [
            NewToken { hash: access.hash(), kind: TokenKind::Access, expires_at },
            NewToken { hash: refresh.hash(), kind: TokenKind::Refresh, expires_at: now.plus(REFRESH_LIFETIME) },
        ];
        (TokenPair { access, refresh, expires_at }, tokens)
    }
}
