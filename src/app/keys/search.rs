//! The search form: it leads to the filtered list, or to the page of the key that was pasted.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::islands::ToastKind;
use crate::app::kit::{Flash, Form, leave_flash, session};
use crate::app::links::key_in_address::{key_in, page_of};
use crate::app::shell::Answer;
use crate::domain::KeyHash;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// The fields of the search form that go on into the address of the list.
const SEARCH_FIELDS: [&str; 4] = ["org", "env", "state", "q"];
/// Characters of a field that go on. The longest search is shorter; the rest would only make the address long.
const SEARCH_LENGTH: usize = 300;

/// `POST /keys/search`: leads to the filtered list, or, when a whole key was pasted, to the page of that key. The key
/// string stands in no answer.
///
/// # Errors
/// 503 when the database fails.
pub async fn search(services: &Services, parts: &mut Parts, form: Form) -> Result<Answer, ApiError> {
    let (list, pasted) = as_search(&form);
    let (Some(hash), Ok(SignedIn(person))) = (pasted, SignedIn::from_request_parts(parts, services).await) else {
        return Ok(Answer::SeeOther(list));
    };
    if let Some(page) = page_of(services, person, &hash).await? {
        return Ok(Answer::SeeOther(page));
    }
    let flash = Flash {
        kind: ToastKind::Error,
        text: "No key found for the string that you pasted".to_owned(),
        detail: "It belongs to no organisation of yours. The string was not kept".to_owned(),
    };
    leave_flash(&session(parts)?, &flash).await?;
    Ok(Answer::SeeOther(list))
}

/// The address of the list that a search leads to, and the hash of a key that was pasted.
fn as_search(form: &Form) -> (String, Option<KeyHash>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut pasted = None;
    for (name, text) in form.fields() {
        // The script of the page sends the hash of a key that it recognised.
        let hash = (name == "hash").then(|| hex::decode(text).ok()?.try_into().ok().map(KeyHash::stored)).flatten();
        let key = hash.or_else(|| key_in(text)).or_else(|| key_in(name));
        if key.is_none() && SEARCH_FIELDS.contains(&name.as_str()) && !text.trim().is_empty() {
            query.append_pair(name, &text.trim().chars().take(SEARCH_LENGTH).collect::<String>());
        }
        pasted = pasted.or(key);
    }
    let query = query.finish();
    let list = if query.is_empty() { "/keys".to_owned() } else { format!("/keys?{query}") };
    (list, pasted)
}
