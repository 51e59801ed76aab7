//! The cookie with the token of the invitation that a browser has opened last. The link of an invitation redirects to a
//! page without the token, so that no address, form or `Referer` of the pages that follow contains it.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue};

use crate::web::{Site, credential};

/// Seconds until the cookie expires: an hour. The link can be opened again.
const MAX_AGE: u32 = 3600;

/// The token in the cookie of a request.
#[derive(Clone, Default)]
pub struct OpenedInvitation(Option<String>);

/// Does not show the token.
impl fmt::Debug for OpenedInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "OpenedInvitation(…)" } else { "OpenedInvitation" })
    }
}

impl OpenedInvitation {
    /// Reads the cookie of a request.
    pub fn read(headers: &HeaderMap, site: &Site) -> Self {
        let value = credential::cookies(headers, name(site)).next().and_then(|value| str::from_utf8(value).ok());
        Self(value.filter(|value| !value.is_empty()).map(str::to_owned))
    }

    /// Returns the token.
    pub fn token(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Returns the `Set-Cookie` header with a token; `None` for a text that no cookie can hold.
    pub fn set(token: &str, site: &Site) -> Option<HeaderValue> {
        let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_plain.then(|| cookie(token, MAX_AGE, site)).flatten()
    }

    /// Returns the `Set-Cookie` header that removes the cookie.
    pub fn clear(site: &Site) -> Option<HeaderValue> {
        cookie("", 0, site)
    }
}

fn cookie(value: &str, max_age: u32, site: &Site) -> Option<HeaderValue> {
    let (name, secure) = (name(site), if site.is_secure() { "; Secure" } else { "" });
    let text = format!("{name}={value}; HttpOnly; SameSite=Lax{secure}; Path=/; Max-Age={max_age}");
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn name(site: &Site) -> &'static str {
    if site.is_secure() { "__Host-invitation" } else { "invitation" }
}

#[cfg(test)]
mod tests {
    use axum::http::header::COOKIE;

    use super::*;

    #[test]
    fn the_token_is_read_back_and_never_shown() {
        for public_url in [None, Some("https://keys.example.com".to_owned())] {
            let site = Site { public_url, ..Site::default() };
            let header = OpenedInvitation::set("lki_1", &site).unwrap();
            let sent = header.to_str().unwrap().split(';').next().unwrap().to_owned();
            let read = OpenedInvitation::read(&HeaderMap::from_iter([(COOKIE, sent.parse().unwrap())]), &site);
            assert_eq!(read.token(), Some("lki_1"));
            assert!(!format!("{read:?} {header:?}").contains("lki_1"));
            assert_eq!(header.to_str().unwrap().contains("; Secure"), site.is_secure());
            assert!(OpenedInvitation::clear(&site).unwrap().to_str().unwrap().ends_with("Max-Age=0"));
        }
        for text in ["a;b", "a b", "a\nb", "é", "a=b"] {
            assert!(OpenedInvitation::set(text, &Site::default()).is_none(), "{text}");
        }
    }
}
