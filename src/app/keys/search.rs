//! The search form: it leads to the filtered list, or to the page of the key that was pasted.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;

use crate::app::kit::{Flash, Form};
use crate::app::links::key_in_address::{contains_key, key_in, page_of};
use crate::app::shell::Answer;
use crate::domain::KeyHash;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// A key string that was pasted into a search.
enum Pasted {
    /// All of it.
    Key(KeyHash),
    /// Its beginning, which leads to no key.
    Part,
}

/// The fields of the search forms that go on into the address of the list.
const SEARCH_FIELDS: [&str; 8] = ["org", "env", "state", "q", "source", "key", "from", "to"];
/// Characters of a field that go on. The longest search is shorter; the rest would only make the address long.
const SEARCH_LENGTH: usize = 300;

/// `POST /keys/search`, `POST /events/search`: leads to the filtered list, or, when a whole key was pasted, to the page
/// of that key. The key string stands in no answer.
///
/// # Errors
/// 503 when the database fails.
pub async fn search(State(services): State<Services>, mut parts: Parts, form: Form) -> Result<Answer, ApiError> {
    let list = parts.uri.path().trim_end_matches("/search");
    let (list, pasted) = as_search(&form, list);
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

/// The address of the `list` that a search leads to, and the key that was pasted.
fn as_search(form: &Form, list: &str) -> (String, Option<Pasted>) {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut pasted = None;
    for (name, text) in form.fields() {
        if name == "hash" || contains_key(text) || contains_key(name) {
            // The script of the page sends the hash of a key that it recognised.
            let hash = hex::decode(text).ok().and_then(|hash| hash.try_into().ok()).map(KeyHash::stored);
            let hash = hash.filter(|_| name == "hash").or_else(|| key_in(text)).or_else(|| key_in(name));
            if !matches!(pasted, Some(Pasted::Key(_))) {
                pasted = Some(hash.map_or(Pasted::Part, Pasted::Key));
            }
        } else if SEARCH_FIELDS.contains(&name.as_str()) && !text.trim().is_empty() {
            query.append_pair(name, &text.trim().chars().take(SEARCH_LENGTH).collect::<String>());
        }
    }
    let query = query.finish();
    let list = if query.is_empty() { list.to_owned() } else { format!("{list}?{query}") };
    (list, pasted)
}
