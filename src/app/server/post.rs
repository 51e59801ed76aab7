//! The forms of the operator's list of accounts.

use axum::extract::State;
use axum::http::request::Parts;

use super::operators_only;
use crate::accounts::{AccountChange, Changed, EmailAddress, Operator};
use crate::app::kit::{Flash, Form, isolate};
use crate::app::links::accounts::ACCOUNTS;
use crate::app::shell::Answer;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// `POST /server/accounts`: disables or enables an account.
///
/// # Errors
/// 400 for an unknown change, 401 without a session, 403 for everyone but operators and for the own account, 404 for an
/// unknown account, 503 when the database fails.
pub async fn change_account(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    operators_only(&person)?;
    let (change, done) = match form.take("change").as_str() {
        "disable" => (AccountChange::Disable, "is disabled"),
        "enable" => (AccountChange::Enable, "is enabled"),
        _ => return Err(ApiError::invalid_field("change", "must be `disable` or `enable`")),
    };
    let no_account = || ApiError::not_found("There is no such account.");
    let email = EmailAddress::parse(&form.take("email")).map_err(|_| no_account())?;
    let return_to = form.take_path("return_to").unwrap_or_else(|| ACCOUNTS.to_owned());
    if email.as_str() == person.email {
        return Err(ApiError::forbidden("You cannot disable your own account. Ask another operator."));
    }
    let by = Operator::person(person.id, &person.email);
    let name = isolate(email.as_str());
    let flash = match services.accounts.change(&email, change, by).await? {
        Changed::NoSuchAccount => return Err(no_account()),
        Changed::Unchanged => Flash::success(format!("{name} {done}"), "Nothing was changed"),
        Changed::Done if change == AccountChange::Disable => {
            Flash::success(format!("{name} {done}"), "Its sessions and tokens have ended")
        }
        Changed::Done => Flash::success(format!("{name} {done}"), "It can sign in again"),
    };
    flash.on_page(&parts, return_to).await
}
