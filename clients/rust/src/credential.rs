//! The key of a request.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use zeroize::Zeroizing;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Far more than a key has. What is longer is refused unasked, so that nobody can make Latchkey refuse to
/// answer.
const LONGEST: usize = 1024;

/// Takes the key out of the headers: `X-API-Key`, or else a Bearer token. One that is there and bad does not
/// make the other count.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<Zeroizing<String>> {
    let (name, scheme) = if headers.contains_key(KEY) { (KEY, None) } else { (AUTHORIZATION, Some("bearer")) };
    let mut values = headers.get_all(&name).iter();
    let value = values.next()?;
    // Two of them: whoever stands in front may have judged by the other one.
    let text = if values.next().is_some() { None } else { value.to_str().ok() };
    let key = text.and_then(|text| match scheme {
        None => Some(text),
        Some(scheme) => {
            let (said, token) = text.split_once(' ')?;
            said.eq_ignore_ascii_case(scheme).then_some(token)
        }
    });
    let key = key.map(str::trim).filter(|key| !key.is_empty() && key.len() <= LONGEST);
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
    fn the_key_goes_out_of_the_headers_and_nothing_else_does() {
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
    fn what_is_no_key_is_not_asked_about() {
        let long = "x".repeat(LONGEST + 1);
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
