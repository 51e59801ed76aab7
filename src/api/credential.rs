//! What a request presents as proof of who sends it, in all the forms that the contracts know,
//! brought to one (CONTRACTS, "Signing in").
//!
//! tower-sessions reads one cookie. This layer stands in front of it: it finds the one credential
//! that counts, hands a session over as that cookie, and keeps everything else from being read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use zeroize::Zeroizing;

use super::Site;
use crate::accounts::looks_like_access_token;
use crate::keys::PresentedKey;

/// The credential of a request; the first of these that is there.
#[derive(Clone)]
pub enum Credential {
    /// `X-API-Key`, or a Bearer token that is meant as a key.
    Key(Arc<Zeroizing<String>>),
    /// A Bearer token that is meant as a HookSentry access token.
    AccessToken(Arc<Zeroizing<String>>),
    /// Another Bearer token.
    BearerSession(Arc<Zeroizing<String>>),
    /// A session cookie.
    CookieSession,
    /// Something is presented that cannot be read: as good as a wrong one.
    Unreadable,
    /// Nothing.
    None,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::AccessToken(_) => "AccessToken(…)",
            Self::BearerSession(_) => "BearerSession(…)",
            Self::CookieSession => "CookieSession",
            Self::Unreadable => "Unreadable",
            Self::None => "None",
        })
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Names of session cookies that other clients of the contracts send (seeds 000 and 001).
const OTHER_COOKIES: [&str; 3] = ["session", "better-auth.session_token", "__Secure-better-auth.session_token"];

/// The layer.
pub async fn find(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let (credential, session) = read(request.headers(), &site);
    request.headers_mut().remove(COOKIE);
    if let Some(session) = session.as_ref().and_then(|token| cookie(&site, token)) {
        request.headers_mut().insert(COOKIE, session);
    }
    let has_cookie = matches!(credential, Credential::CookieSession);
    request.extensions_mut().insert(credential);
    let mut response = next.run(request).await;
    settle_removal(response.headers_mut(), &site, has_cookie);
    response
}

/// tower-sessions removes the cookie of a session that is over by an attribute-less one, which a
/// browser refuses for a `__Host-` name, and also when it was we who made a cookie of a Bearer token.
fn settle_removal(headers: &mut HeaderMap, site: &Site, has_cookie: bool) {
    let removes = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("Max-Age=0;"));
    if !headers.get_all(SET_COOKIE).iter().any(removes) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !removes(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    let removal = has_cookie.then(|| {
        let secure = if site.is_secure() { " Secure;" } else { "" };
        HeaderValue::try_from(format!("{}=; HttpOnly; SameSite=Lax;{secure} Path=/; Max-Age=0", site.session_cookie()))
    });
    for value in kept.into_iter().chain(removal.and_then(Result::ok)) {
        headers.append(SET_COOKIE, value);
    }
}

fn cookie(site: &Site, token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{}={token}", site.session_cookie())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The credential, and the session token of it if it is one.
fn read(headers: &HeaderMap, site: &Site) -> (Credential, Option<Zeroizing<String>>) {
    let secret = |text: &str| Arc::new(Zeroizing::new(text.to_owned()));
    match single(headers, &API_KEY) {
        Some(Ok(key)) => return (Credential::Key(secret(key.trim())), None),
        Some(Err(())) => return (Credential::Unreadable, None),
        None => {}
    }
    match single(headers, &AUTHORIZATION) {
        Some(Ok(text)) => {
            let Some((scheme, token)) = text.split_once(' ') else {
                return (Credential::Unreadable, None);
            };
            let token = token.trim();
            return if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
                (Credential::Unreadable, None)
            } else if PresentedKey::looks_like_one(token) {
                (Credential::Key(secret(token)), None)
            } else if looks_like_access_token(token) {
                (Credential::AccessToken(secret(token)), None)
            } else {
                (Credential::BearerSession(secret(token)), Some(Zeroizing::new(token.to_owned())))
            };
        }
        Some(Err(())) => return (Credential::Unreadable, None),
        None => {}
    }
    match session_cookie(headers, site) {
        Some(token) => (Credential::CookieSession, Some(token)),
        None => (Credential::None, None),
    }
}

/// The key that a request presents on a path that takes nothing but keys: `X-API-Key`, or else any Bearer
/// token. What cannot be read is no key.
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = single(headers, &API_KEY) {
        return key.ok().map(str::trim);
    }
    let (scheme, token) = single(headers, &AUTHORIZATION)?.ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Result<&'a str, ()>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    // Two of them: whoever sits in front may have judged by the other one.
    if values.next().is_some() {
        return Some(Err(()));
    }
    Some(first.to_str().map_err(|_| ()))
}

fn session_cookie(headers: &HeaderMap, site: &Site) -> Option<Zeroizing<String>> {
    let own = site.session_cookie();
    let by_browser = headers.contains_key(ORIGIN) || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    let others: &[&str] = if site.is_secure() && by_browser { &[] } else { &OTHER_COOKIES };
    let pairs: Vec<(&str, &str)> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    std::iter::once(&own)
        .chain(others)
        .find_map(|name| pairs.iter().find(|(known, _)| known == name))
        .map(|(_, token)| Zeroizing::new((*token).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(site: &Site, headers: &[(&str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        read(&map, site).1.map(|token| token.to_string())
    }

    fn https() -> Site {
        Site { public_url: Some("https://keys.example.com".into()), ..Site::default() }
    }

    #[test]
    fn all_forms_of_a_session_are_read() {
        let site = Site::default();
        assert_eq!(session(&site, &[("cookie", "a=b; session=t")]).as_deref(), Some("t"));
        assert_eq!(session(&site, &[("cookie", "better-auth.session_token=t")]).as_deref(), Some("t"));
        assert_eq!(session(&site, &[("cookie", "__Secure-better-auth.session_token=t")]).as_deref(), Some("t"));
        assert_eq!(session(&site, &[("authorization", "bearer t")]).as_deref(), Some("t"));
        assert_eq!(session(&site, &[("cookie", "__Host-session=t")]), None);
    }

    #[test]
    fn under_https_a_browser_is_heard_by_our_own_cookie_only() {
        let site = https();
        assert_eq!(session(&site, &[("cookie", "session=planted"), ("sec-fetch-site", "same-origin")]), None);
        assert_eq!(session(&site, &[("cookie", "session=planted"), ("origin", "https://keys.example.com")]), None);
        assert_eq!(session(&site, &[("cookie", "session=t")]).as_deref(), Some("t"));
        let both = [("cookie", "session=planted; __Host-session=t"), ("sec-fetch-site", "none")];
        assert_eq!(session(&site, &both).as_deref(), Some("t"));
    }

    #[test]
    fn a_key_comes_before_bearer_before_cookie() {
        let site = Site::default();
        let all = [("cookie", "session=c"), ("authorization", "Bearer b"), ("x-api-key", "k")];
        assert_eq!(session(&site, &all), None);
        assert_eq!(session(&site, &all[..2]).as_deref(), Some("b"));
    }

    #[test]
    fn what_cannot_be_read_does_not_fall_through() {
        let site = Site::default();
        for first in [("authorization", "Basic YTpi"), ("authorization", "Bearer"), ("authorization", "Bearer  ")] {
            assert_eq!(session(&site, &[first, ("cookie", "session=c")]), None);
        }
        let twice = [("x-api-key", "a"), ("x-api-key", "b"), ("cookie", "session=c")];
        assert_eq!(session(&site, &twice), None);
    }
}
