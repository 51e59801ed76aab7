//! Reads the credential of a request from all the forms that the contracts allow (docs/CONTRACTS.md, "Signing in").
//!
//! tower-sessions reads one cookie. This layer in front of it finds the credential that takes precedence, passes a
//! session on as that cookie, and removes all other cookies from the request.
//! Browsers send the cookies of every program on the same host. So each pair is read as bytes and on its own. A value
//! without the form of our session tokens is another program's cookie, and is neither tried nor removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tower_sessions::Session;
use tower_sessions::session::Id;
use zeroize::Zeroizing;

use super::client_address::ClientAddress;
use super::{Services, Site};
use crate::accounts::looks_like_access_token;
use crate::domain::PresentedKey;
use crate::model::ApiError;
use crate::runtime::Tenant;
use crate::security_log::{Actor, Origin, SecurityEvent, Target, authenticated};

/// The credential of a request: the first of these forms that is present.
#[derive(Clone)]
pub enum Credential {
    /// `X-API-Key`, or a Bearer token in the form of a key.
    Key(Arc<Zeroizing<String>>),
    /// A Bearer token in the form of a HookSentry access token.
    AccessToken(Arc<Zeroizing<String>>),
    /// Any other Bearer token.
    BearerSession(Arc<Zeroizing<String>>),
    /// Session cookies: all values in the form of our tokens, in the order in which they are tried.
    CookieSession(Arc<[Id]>),
    /// A credential that cannot be read. Treated as a wrong one.
    Unreadable,
    /// No credential.
    None,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::AccessToken(_) => "AccessToken(…)",
            Self::BearerSession(_) => "BearerSession(…)",
            Self::CookieSession(_) => "CookieSession(…)",
            Self::Unreadable => "Unreadable",
            Self::None => "None",
        })
    }
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Names of session cookies that other clients of the contracts send (docs/CONTRACTS.md, "Signing in").
const OTHER_COOKIES: [&str; 3] = ["session", "better-auth.session_token", "__Secure-better-auth.session_token"];

/// Session cookies that are tried per request; further ones are ignored, so that no request costs more look-ups.
const MAX_SESSION_COOKIES: usize = 8;

/// The layer: reads the credential into the request's extensions.
pub async fn find(State(services): State<Services>, mut request: Request, next: Next) -> Response {
    let site = Arc::clone(&services.site);
    let tenant = ClientAddress::of_request(request.extensions(), request.headers(), &site).tenant();
    let credential = read(request.headers(), &site);
    let is_removable = matches!(credential, Credential::CookieSession(_)) && owns_cookie(request.headers(), &site);
    let session = match &credential {
        Credential::BearerSession(token) => cookie(&site, token),
        Credential::CookieSession(ids) => {
            first_valid(&services, ids, tenant).await.and_then(|id| cookie(&site, &Zeroizing::new(id.to_string())))
        }
        _ => None,
    };
    request.headers_mut().remove(COOKIE);
    if let Some(session) = session {
        request.headers_mut().insert(COOKIE, session);
    }
    request.extensions_mut().insert(credential);
    let mut response = next.run(request).await;
    rewrite_cookie_removal(response.headers_mut(), &site, is_removable);
    response
}

/// Returns the first session that is not over. When the look-up of a session fails, returns that session: the handler
/// repeats the look-up and reports the error.
async fn first_valid(services: &Services, ids: &[Id], tenant: Tenant) -> Option<Id> {
    if ids.len() > 1 {
        for id in ids {
            if !matches!(services.accounts.sessions.person(*id, tenant).await, Ok(None)) {
                return Some(*id);
            }
        }
    }
    ids.first().copied()
}

/// Ends the session, and those of all other session cookies in the request.
///
/// # Errors
/// 503 when the database fails.
pub async fn end_sessions(services: &Services, credential: &Credential, session: &Session) -> Result<(), ApiError> {
    let others: Vec<Id> = match credential {
        Credential::CookieSession(ids) => ids.iter().copied().filter(|id| Some(*id) != session.id()).collect(),
        _ => Vec::new(),
    };
    let mut people = BTreeSet::new();
    let tenant = Tenant::network(Origin::current().and_then(|origin| origin.client()));
    for id in session.id().into_iter().chain(others.iter().copied()) {
        people.extend(services.accounts.sessions.person(id, tenant).await.ok().flatten().map(|person| person.id));
    }
    services.accounts.sessions.end(&others).await?;
    if session.id().is_some() {
        session.flush().await?;
    }
    for person in people {
        authenticated();
        SecurityEvent::SignOut.entry(Actor::Person(person), Target::Account(person)).write();
    }
    Ok(())
}

/// Replaces the cookie by which tower-sessions removes the cookie of a session that is over. That cookie has no
/// attributes, so a browser refuses it for a `__Host-` name. Nothing is sent for a cookie that this layer made of a
/// Bearer token.
fn rewrite_cookie_removal(headers: &mut HeaderMap, site: &Site, is_removable: bool) {
    let removes = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("Max-Age=0;"));
    if !headers.get_all(SET_COOKIE).iter().any(removes) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !removes(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    let removal = is_removable.then(|| {
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

/// Reads the credential that takes precedence.
fn read(headers: &HeaderMap, site: &Site) -> Credential {
    let secret = |text: &str| Arc::new(Zeroizing::new(text.to_owned()));
    match single(headers, &API_KEY) {
        Some(Ok(key)) => return Credential::Key(secret(key.trim())),
        Some(Err(())) => return Credential::Unreadable,
        None => {}
    }
    match single(headers, &AUTHORIZATION) {
        Some(Ok(text)) => {
            let Some((scheme, token)) = text.split_once(' ') else {
                return Credential::Unreadable;
            };
            let token = token.trim();
            return if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
                Credential::Unreadable
            } else if PresentedKey::looks_like_one(token) {
                Credential::Key(secret(token))
            } else if looks_like_access_token(token) {
                Credential::AccessToken(secret(token))
            } else {
                Credential::BearerSession(secret(token))
            };
        }
        Some(Err(())) => return Credential::Unreadable,
        None => {}
    }
    let ids = session_ids(headers, site);
    if ids.is_empty() { Credential::None } else { Credential::CookieSession(ids.into()) }
}

/// Returns the key that a request presents on a path that accepts only keys: `X-API-Key`, or else any Bearer token.
/// `None` for a missing or unreadable key.
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
    // A repeated header: a proxy in front may have checked the other value.
    if values.next().is_some() {
        return Some(Err(()));
    }
    Some(first.to_str().map_err(|_| ()))
}

/// Returns the values of the cookies with this name.
pub fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let (known, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        (known.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

/// Parses a cookie's value, bare or in quotes, as one of our session tokens.
fn session_id(value: &[u8]) -> Option<Id> {
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    std::str::from_utf8(bare).ok()?.parse().ok()
}

/// Returns the sessions of all cookies that may hold one, our own cookie name first.
fn session_ids(headers: &HeaderMap, site: &Site) -> Vec<Id> {
    let by_browser = headers.contains_key(ORIGIN) || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    let others: &[&str] = if site.is_secure() && by_browser { &[] } else { &OTHER_COOKIES };
    let mut ids = Vec::new();
    for name in std::iter::once(&site.session_cookie()).chain(others) {
        for id in cookies(headers, name).filter_map(session_id) {
            if ids.len() < MAX_SESSION_COOKIES && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// Whether the cookie with our name may be removed: every value of it is a session token of ours, and there is one.
fn owns_cookie(headers: &HeaderMap, site: &Site) -> bool {
    let mut values = cookies(headers, site.session_cookie()).peekable();
    values.peek().is_some() && values.all(|value| session_id(value).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session token that ends in this letter: A, Q, g or w, the only ones that decode without spare bits.
    fn token(end: char) -> String {
        format!("AAAAAAAAAAAAAAAAAAAAA{end}")
    }

    fn sessions(site: &Site, headers: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(name.parse::<axum::http::HeaderName>().unwrap(), value);
        }
        match read(&map, site) {
            Credential::BearerSession(token) => vec![token.to_string()],
            Credential::CookieSession(ids) => ids.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    fn https() -> Site {
        Site { public_url: Some("https://keys.example.com".into()), ..Site::default() }
    }

    #[test]
    fn all_forms_of_a_session_are_read() {
        let (site, t) = (Site::default(), token('A'));
        for cookie in [
            format!("a=b; session={t}"),
            format!("better-auth.session_token={t}"),
            format!("__Secure-better-auth.session_token={t}"),
            format!("name=Jörg; session={t}"),
            format!("junk; =; ;; a=\"b; session = \"{t}\" ;"),
            format!("session=eyJhIjoxfQ.aFlask.Signature; session={t}"),
        ] {
            assert_eq!(sessions(&site, &[("cookie", &cookie)]), [t.as_str()], "{cookie}");
        }
        assert_eq!(sessions(&site, &[("authorization", "bearer t")]), ["t"]);
        for cookie in [format!("__Host-session={t}"), "session=".into(), format!("session={t}A"), "session".into()] {
            assert!(sessions(&site, &[("cookie", &cookie)]).is_empty(), "{cookie}");
        }
    }

    #[test]
    fn session_cookies_are_read_in_order_and_at_most_eight() {
        let site = Site::default();
        let (a, q, g) = (token('A'), token('Q'), token('g'));
        let cookie = format!("better-auth.session_token={a}; session={q}; session={g}; session={q}");
        assert_eq!(sessions(&site, &[("cookie", &cookie)]), [q.as_str(), &g, &a]);
        let many: Vec<String> = ('B'..='Z').map(|letter| format!("session={letter}{}", &a[1..])).collect();
        let found = sessions(&site, &[("cookie", &many.join("; "))]);
        assert_eq!((found.len(), &found[0][..2], &found[7][..2]), (8, "BA", "IA"));
    }

    #[test]
    fn the_cookie_of_another_program_is_not_removed() {
        let owns = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, cookie.parse().unwrap());
            owns_cookie(&headers, &Site::default())
        };
        let t = token('A');
        assert!(owns(&format!("session={t}")));
        assert!(!owns("session=eyJhIjoxfQ.aFlask.Signature"));
        assert!(!owns(&format!("session={t}; session=eyJhIjoxfQ.aFlask.Signature")));
        assert!(!owns(&format!("better-auth.session_token={t}")));
    }

    #[test]
    fn under_https_only_the_host_prefixed_cookie_of_a_browser_is_read() {
        let (site, planted, t) = (https(), token('Q'), token('A'));
        let cookie = format!("session={planted}");
        assert!(sessions(&site, &[("cookie", &cookie), ("sec-fetch-site", "same-origin")]).is_empty());
        assert!(sessions(&site, &[("cookie", &cookie), ("origin", "https://keys.example.com")]).is_empty());
        assert_eq!(sessions(&site, &[("cookie", &cookie)]), [planted.as_str()]);
        let both = format!("{cookie}; __Host-session={t}");
        assert_eq!(sessions(&site, &[("cookie", &both), ("sec-fetch-site", "none")]), [t.as_str()]);
    }

    #[test]
    fn a_key_takes_precedence_over_bearer_and_bearer_over_cookie() {
        let site = Site::default();
        let cookie = format!("session={}", token('A'));
        let all = [("cookie", cookie.as_str()), ("authorization", "Bearer b"), ("x-api-key", "k")];
        assert!(sessions(&site, &all).is_empty());
        assert_eq!(sessions(&site, &all[..2]), ["b"]);
    }

    #[test]
    fn an_unreadable_credential_does_not_fall_back_to_the_cookie() {
        let site = Site::default();
        let cookie = format!("session={}", token('A'));
        for first in [("authorization", "Basic YTpi"), ("authorization", "Bearer"), ("authorization", "Bearer  ")] {
            assert!(sessions(&site, &[first, ("cookie", &cookie)]).is_empty());
        }
        let twice = [("x-api-key", "a"), ("x-api-key", "b"), ("cookie", cookie.as_str())];
        assert!(sessions(&site, &twice).is_empty());
    }
}
