//! The handler of the search forms: redirects to the filtered list, or to the page of a pasted key.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use crate::app::kit::{Flash, Form};
use crate::app::links::key_in_address::{contains_key, key_in, page_of};
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::Answer;
use crate::domain::KeyHash;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// A key string that was pasted into a search.
enum Pasted {
    /// A whole key string.
    Key(KeyHash),
    /// The beginning of a key string, which finds no key.
    Part,
}

/// The fields of the search forms that are copied into the address of the list.
const SEARCH_FIELDS: [&str; 6] = ["state", "q", "source", "key", "from", "to"];
/// Characters of a field that are copied; the rest is cut. Every valid search is shorter.
const MAX_FIELD_LENGTH: usize = 300;

/// `POST /o/…/keys/search`, `POST /o/…/events/search`: redirects to the filtered list, or to the page of a key if its
/// whole string was pasted. No response contains the key string.
///
/// # Errors
/// 404 when the path names no place, 503 when the database fails.
pub async fn search(State(services): State<Services>, mut parts: Parts, form: Form) -> Result<Answer, ApiError> {
    let place = EnvironmentPath::split(parts.uri.path())
        .ok_or_else(|| ApiError::not_found("There is nothing at this address."))?;
    let (place, page) = place;
    let (list, pasted) = as_search(&form, &place.path(page.trim_end_matches("/search")));
    let signed_in = SignedIn::from_request_parts(&mut parts, &services).await;
    let (Some(pasted), Ok(SignedIn(person))) = (pasted, signed_in) else {
        return Ok(Answer::SeeOther(list));
    };
    let (text, detail) = match pasted {
        Pasted::Key(hash) => {
            if let Some(page) = page_of(&services, person, &hash).await? {
                return Ok(Answer::SeeOther(page));
            }
            let text = "No key found for the string that you pasted";
            (text, "It belongs to no organisation of yours. The string was not kept")
        }
        Pasted::Part => {
            let text = "The string that you pasted is a part of a key";
            (text, "Paste all of it to find the key. The string was not kept")
        }
    };
    Flash::error(text, detail).on_page(&parts, list).await
}

/// Returns the address of the filtered `list`, and the key string that was pasted.
fn as_search(form: &Form, list: &str) -> (String, Option<Pasted>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut pasted = None;
    for (name, text) in form.fields() {
        if name == "hash" || contains_key(text) || contains_key(name) {
            // `page.js` sends the hash instead of a key string that it recognises.
            let hash = hex::decode(text).ok().and_then(|hash| hash.try_into().ok()).map(KeyHash::stored);
            let hash = hash.filter(|_| name == "hash").or_else(|| key_in(text)).or_else(|| key_in(name));
            if !matches!(pasted, Some(Pasted::Key(_))) {
                pasted = Some(hash.map_or(Pasted::Part, Pasted::Key));
            }
        } else if SEARCH_FIELDS.contains(&name.as_str()) && !text.trim().is_empty() {
            query.append_pair(name, &text.trim().chars().take(MAX_FIELD_LENGTH).collect::<String>());
        }
    }
    let query = query.finish();
    let list = if query.is_empty() { list.to_owned() } else { format!("{list}?{query}") };
    (list, pasted)
}
