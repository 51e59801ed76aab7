//! Finds key strings in addresses and search fields, and keeps them out of every response.
//!
//! A key that was pasted into the wrong field would appear in the history of the browser, in the page, and in the logs
//! of proxies. The server redirects to the page of that key, or to the same address without the string. The beginning
//! of a key string is removed as well but finds no key, because keys are looked up by the hash of the whole string.

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;

use super::keys::KeysLink;
use super::place::EnvironmentPath;
use super::{HOME, local_path};
use crate::domain::{Caller, KeyHash, Person, PresentedKey};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// Levels of percent-encoding that are decoded: a parameter can be an address with parameters of its own.
const MAX_NESTING: u32 = 3;

/// Returns the hash of the first whole key string in a text, plain or percent-encoded.
pub fn key_in(text: &str) -> Option<KeyHash> {
    search(text, MAX_NESTING, &PresentedKey::find)
}

/// Whether a text contains a key string, whole or cut, plain or percent-encoded.
pub fn contains_key(text: &str) -> bool {
    search(text, MAX_NESTING, &|text| PresentedKey::is_in(text).then_some(())).is_some()
}

fn search<T>(text: &str, nesting: u32, find: &impl Fn(&str) -> Option<T>) -> Option<T> {
    find(text).or_else(|| {
        let decoded = (nesting > 0 && text.contains('%')).then(|| form_urlencoded::parse(text.as_bytes()));
        decoded
            .into_iter()
            .flatten()
            .find_map(|(name, value)| search(&name, nesting - 1, find).or_else(|| search(&value, nesting - 1, find)))
    })
}

/// Returns the address to redirect to when the address of a page contains a key string.
///
/// # Errors
/// 503 when the database fails.
pub async fn address_without_key(services: &Services, parts: &mut Parts) -> Result<Option<String>, ApiError> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(None);
    }
    let path = parts.uri.path();
    let (mut key, mut found) = (key_in(path), contains_key(path));
    let path = local_path(path).unwrap_or(HOME);
    let mut kept = Vec::new();
    // Filters the parameters one by one, so that the others keep their encoding.
    for piece in parts.uri.query().unwrap_or_default().split('&') {
        let texts = || form_urlencoded::parse(piece.as_bytes()).flat_map(|(name, value)| [name, value]);
        if texts().any(|text| contains_key(&text)) {
            found = true;
            key = key.or_else(|| texts().find_map(|text| key_in(&text)));
        } else if !piece.is_empty() {
            kept.push(piece);
        }
    }
    if !found {
        return Ok(None);
    }
    let is_bare = kept.is_empty() || path == HOME;
    let rest = if is_bare { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    let page = match (key, SignedIn::from_request_parts(parts, services).await) {
        (Some(hash), Ok(SignedIn(person))) => page_of(services, person, &hash).await?,
        // The next page shows the error.
        _ => None,
    };
    Ok(Some(page.unwrap_or(rest)))
}

/// Returns the address of the page of the key with that hash, if the person may see the key.
///
/// # Errors
/// 503 when the database fails.
pub async fn page_of(services: &Services, person: Person, hash: &KeyHash) -> Result<Option<String>, ApiError> {
    let key = services.keys.find(hash).await?;
    let seen = key.filter(|key| Caller::Person(person).may_see(key));
    Ok(seen.map(|key| KeysLink::to(EnvironmentPath::of(&key)).key_href(key.id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::model::Mode;
    use crate::runtime::entropy::Entropy;

    #[test]
    fn a_key_string_is_found_inside_other_text_and_encodings() {
        for plain in [
            PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)),
            PlainKey::hookstream(Mode::Test, &Entropy::seeded(2)),
            PlainKey::hooksentry(&Entropy::seeded(3)),
        ] {
            let hash = plain.hash();
            let key = plain.reveal();
            #[expect(clippy::format_collect, reason = "a few bytes of a test")]
            let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            for text in [
                key.clone(),
                format!("  {key}\t\n"),
                format!("X-API-Key: {key}'"),
                key.to_uppercase(),
                percent(&key),
                percent(&percent(&key)),
                format!("/keys?q={key}&state=active"),
                format!("/keys%3Fq%3D{}", percent(&key)),
                format!("hs_live_x {key}"),
            ] {
                assert!(key_in(&text).is_some_and(|found| found == hash), "{text}");
                assert!(contains_key(&text), "{text}");
            }
            let cut = &key[..key.len() - 1];
            assert!(key_in(cut).is_none() && key_in(&key[1..]).is_none());
            assert!(contains_key(cut) && contains_key(&percent(&percent(cut))));
        }
        for text in ["", "hs_live_", "hks_", "Billing", "ak_0123456789abcdef", "%", "%68s_live_%zz", "é"] {
            assert!(key_in(text).is_none() && !contains_key(text), "{text}");
        }
    }
}
