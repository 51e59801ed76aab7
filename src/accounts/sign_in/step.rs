//! The steps of a sign-in: the password, and a second factor if the account has one.

use crate::accounts::plain_token::PlainToken;
use crate::domain::Verified;
use crate::runtime::entropy::Entropy;

const SECOND_STEP_PREFIX: &str = "lk2_";

/// A sign-in after the right password.
#[derive(Debug)]
pub enum SignIn {
    /// The sign-in is complete: a session or tokens may begin.
    Done(Verified),
    /// The account needs a second factor as well. The person is not signed in yet.
    SecondStep(SecondStep),
}

/// The second step of a sign-in.
#[derive(Debug)]
pub struct SecondStep {
    /// The factors of the account; the client needs one of them.
    pub factors: Vec<SecondFactor>,
    /// Identifies this sign-in in the request that presents the factor.
    pub token: PlainToken,
}

/// A kind of second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondFactor {
    /// A code of six digits from an authenticator app.
    Totp,
    /// A passkey.
    Passkey,
    /// A code for the case that the other factors are lost.
    RecoveryCode,
}

impl SecondFactor {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::RecoveryCode => "recovery_code",
        }
    }
}

impl SignIn {
    /// Decides the step that follows the right password.
    pub(super) fn after_password(verified: Verified, factors: Vec<SecondFactor>, entropy: &Entropy) -> Self {
        if factors.is_empty() {
            return Self::Done(verified);
        }
        Self::SecondStep(SecondStep { factors, token: PlainToken::new(SECOND_STEP_PREFIX, entropy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    #[test]
    fn the_factors_of_the_account_decide_the_next_step() {
        let verified = || Verified { user: UserId(1), email: String::new(), password_hash: String::new() };
        let entropy = Entropy::seeded(1);
        let SignIn::Done(done) = SignIn::after_password(verified(), Vec::new(), &entropy) else {
            panic!("an account without a second factor is signed in");
        };
        assert_eq!(done.user(), UserId(1));
        let factors = vec![SecondFactor::Totp, SecondFactor::RecoveryCode];
        let SignIn::SecondStep(step) = SignIn::after_password(verified(), factors.clone(), &entropy) else {
            panic!("an account with a second factor is not signed in by its password alone");
        };
        assert_eq!(step.factors, factors);
        let token = step.token.reveal();
        assert!(token.starts_with("lk2_") && token.len() == 4 + 64, "{token}");
    }
}
