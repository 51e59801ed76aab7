//! Takes the key out of a request.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use zeroize::Zeroizing;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest accepted key string, far above real ones. A longer one is refused without asking the server, which would
/// answer a body that is too large with an error.
const MAX_KEY_LENGTH: usize = 1024;

/// Removes the key from the headers and returns it: `X-API-Key`, or else a Bearer token. With an invalid `X-API-Key`,
/// the Bearer token is ignored.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<Zeroizing<String>> {
    let (name, scheme) = if headers.contains_key(KEY) { (KEY, None) } else { (AUTHORIZATION, Some("bearer")) };
    let mut values = headers.get_all(&name).iter();
    let value = values.next()?;
    // A repeated header is refused, because a proxy may have checked the other value.
    let text = if values.next().is_some() { None } else { value.to_str().ok() };
    let key = text.and_then(|text| match scheme {
        None => Some(text),
        Some(scheme) => {
            let (said, token) = text.split_once(' ')?;
            said.eq_ignore_ascii_case(scheme).then_some(token)
        }
    });
    let key = key.map(str::trim).filter(|key| !key.is_empty() && key.len() <= MAX_KEY_LENGTH);
    let key = key.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
    let key = key.map(|key| Zeroizing::new(key.to_owned()))?;
    headers.remove(&name);
    Some(key)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            (name.parse::<HeaderName>().expect("a name"), value)
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn only_the_header_of_the_key_is_removed() {
        for (lines, left) in [
            (&[("x-api-key", "k"), ("accept", "a")][..], &["accept"][..]),
            (&[("authorization", "bEARER  k ")], &[]),
            (&[("authorization", "Basic b"), ("x-api-key", " k")], &["authorization"]),
        ] {
            let mut headers = headers(lines);
            assert_eq!(take(&mut headers).as_deref().map(String::as_str), Some("k"), "{lines:?}");
            assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn invalid_keys_are_not_sent_to_the_server() {
        let long = "x".repeat(MAX_KEY_LENGTH + 1);
        for lines in [
            &[][..],
            &[("x-api-key", "")],
            &[("x-api-key", "é")],
            &[("x-api-key", "a b")],
            &[("x-api-key", &long)],
            &[("x-api-key", "a"), ("x-api-key", "a")],
            &[("x-api-key", ""), ("authorization", "Bearer k")],
            &[("authorization", "k")],
            &[("authorization", "Basic k")],
            &[("authorization", "Bearer ")],
        ] {
            assert_eq!(take(&mut headers(lines)), None, "{lines:?}");
        }
    }
}
