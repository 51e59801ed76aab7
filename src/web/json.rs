//! Reads JSON bodies and query strings. Every error names the invalid field.

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::body;
use crate::model::wire::Object;
use crate::model::{ApiError, FieldError};

/// The maximum bytes of a JSON body; a larger one gets 413 (docs/CONTRACTS.md, "hookstream").
pub const BODY_LIMIT: usize = 64 * 1024;

/// A JSON body, read by [`from_body`].
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        refuse_encoding(request.headers())?;
        let content_type = content_type(&request);
        let body = read(request.into_body(), BODY_LIMIT).await?;
        from_body(content_type.as_deref(), &body).map(Self)
    }
}

/// Reads an optional field that may be absent and not `null`. Use with `#[serde(default)]`.
///
/// # Errors
/// When the value is `null`, or not a `T`.
pub fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn content_type(request: &Request) -> Option<String> {
    request.headers().get(CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

/// Reads the whole body, up to `limit` bytes. The layers wait for small bodies before a handler runs
/// ([`body::await_small`]), so such a body is already in one piece.
///
/// # Errors
/// 413 over the limit, or 400 when the body broke off.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ApiError::too_large(limit));
    }
    let collected = Limited::new(body, limit).collect().await;
    collected.map(Collected::to_bytes).map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&*error);
        while let Some(error) = cause {
            if error.is::<http_body_util::LengthLimitError>() {
                return ApiError::too_large(limit);
            }
            cause = error.source();
        }
        body::broken_off()
    })
}

/// Refuses a compressed body: only events are decoded.
///
/// # Errors
/// 415.
pub fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(ApiError::unsupported_encoding("Send the body without `Content-Encoding`."))
    }
}

/// Strips the byte order mark that some programs write in front of UTF-8.
pub fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Deserialises a JSON body.
///
/// # Errors
/// 415 for another content type; 400 for invalid JSON, a field of the wrong type, or an unknown field (which is more
/// often misspelt than meant).
pub fn from_body<T: DeserializeOwned>(content_type: Option<&str>, body: &[u8]) -> Result<T, ApiError> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::not_json());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(without_byte_order_mark(body));
    let Object(value) = deserialize_strictly(&mut deserializer, "body", describe_json)?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Deserialises a query string.
///
/// # Errors
/// 400 for a parameter that is unknown or given twice.
pub fn from_query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    deserialize_strictly(serde_urlencoded::Deserializer::new(pairs), "query", |error: &serde_urlencoded::de::Error| {
        Ok(error.to_string())
    })
}

/// Deserialises the body or the query (`what`), and refuses unknown fields. `describe` returns the text of an error of
/// one field, or the response if the whole input is invalid.
fn deserialize_strictly<'de, T, D>(
    deserializer: D,
    what: &str,
    describe: impl Fn(&D::Error) -> Result<String, ApiError>,
) -> Result<T, ApiError>
where
    T: DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path| {
        if unknown.len() < 10 {
            // These paths have a step `?` for each optional field.
            let path = path.to_string().split('.').filter(|step| *step != "?").collect::<Vec<_>>().join(".");
            unknown.push(FieldError::new(shorten(&path), "is not a known field"));
        }
    };
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let value = serde_ignored::deserialize(deserializer, &mut note);
    match value {
        Ok(_) if !unknown.is_empty() => Err(ApiError::invalid_fields(unknown)),
        Ok(value) => Ok(value),
        Err(error) => {
            let wrong = describe(&error)?;
            let path = shorten(&track.path().to_string());
            Err(unusable(what, path.trim_matches(['.', '?']), &wrong))
        }
    }
}

/// Turns serde's message into an error of the field that the message names.
fn unusable(what: &str, path: &str, wrong: &str) -> ApiError {
    let inner = |kind: &str| wrong.strip_prefix(kind)?.strip_suffix('`');
    let within = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    if let Some(field) = inner("duplicate field `") {
        ApiError::invalid_field(within(field), "is given twice")
    } else if let Some(field) = inner("missing field `") {
        ApiError::invalid_field(within(field), "is required")
    } else if path.is_empty() {
        ApiError::invalid(format!("The {what} is unusable: {}.", shorten(wrong)))
    } else {
        ApiError::invalid_field(path, format!("is unusable: {}", shorten(wrong)))
    }
}

fn describe_json(error: &serde_json::Error) -> Result<String, ApiError> {
    match error.classify() {
        serde_json::error::Category::Data => Ok(without_position(error)),
        _ => Err(not_json(error)),
    }
}

fn not_json(error: &serde_json::Error) -> ApiError {
    let wrong = without_position(error);
    let (line, column) = (error.line(), error.column());
    ApiError::invalid(format!("The body is not JSON: {} (line {line}, column {column}).", shorten(&wrong)))
}

/// Removes the position that `serde_json` appends: the name of the field is enough.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(wrong, _)| wrong).to_owned()
}

/// Truncates a text that quotes the client's input.
fn shorten(text: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::wire::{CreateApiKey, ListApiKeys};

    fn read(body: &str) -> Result<CreateApiKey, ApiError> {
        from_body(Some("application/json; charset=utf-8"), body.as_bytes())
    }

    #[test]
    fn absent_scopes_differ_from_null_scopes() {
        assert_eq!(read(r#"{"name":"a"}"#).unwrap().scopes, None);
        assert_eq!(read(r#"{"name":"a","scopes":null}"#).unwrap().scopes, Some(None));
        assert_eq!(read(r#"{"name":"a","scopes":"*"}"#).unwrap().scopes, Some(Some("*".into())));
    }

    #[test]
    fn an_error_names_the_invalid_field() {
        let field = |body| read(body).unwrap_err().errors[0].field.clone();
        assert_eq!(field(r#"{"name":7}"#), "name");
        assert_eq!(field(r#"{"name":"a","scope":"x"}"#), "scope");
        assert_eq!(field(r#"{"name":"a","rate_limit":{"limit":-1,"window_seconds":1}}"#), "rate_limit.limit");
        assert_eq!(field(r#"{"name":"a","quota":{"limit":1,"burst":2}}"#), "quota.burst");
        assert_eq!(field(r#"{"name":"a","name":"b"}"#), "name");
        assert_eq!(field(r#"{"name":"a","rate_limit":{"limit":1,"limit":2}}"#), "rate_limit.limit");
        assert_eq!(field(r#"{"name":"a","rate_limit":{"limit":1}}"#), "rate_limit.window_seconds");
    }

    #[test]
    fn an_array_is_not_accepted_as_an_object() {
        for body in [r#"["a"]"#, "[]", "null", r#""a""#] {
            assert!(read(body).unwrap_err().detail.starts_with("The body is unusable: "), "{body}");
        }
        for body in [r#"{"name":"a","rate_limit":[1,1]}"#, r#"{"name":"a","quota":[1]}"#] {
            assert_eq!(read(body).unwrap_err().errors.len(), 1, "{body}");
        }
        assert_eq!(read(r#"{"name":"a","quota":null}"#).unwrap().quota, None);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(read("\u{feff}{\"name\":\"a\"}").unwrap().name.as_deref(), Some("a"));
        assert_eq!(read("\u{feff}\u{feff}{\"name\":\"a\"}").unwrap_err().status, 400);
    }

    #[test]
    fn other_content_types_and_trailing_text_are_refused() {
        let error = from_body::<CreateApiKey>(Some("text/plain"), b"{}").unwrap_err();
        assert_eq!((error.status, error.code.as_str()), (415, "unsupported_media_type"));
        assert_eq!(from_body::<CreateApiKey>(None, b"{}").unwrap_err().status, 415);
        assert_eq!(read("{} {}").unwrap_err().status, 400);
        assert_eq!(read(&"[".repeat(50_000)).unwrap_err().status, 400);
    }

    #[test]
    fn an_unknown_query_parameter_is_named() {
        let error = from_query::<ListApiKeys>(Some("orgid=x")).unwrap_err();
        assert_eq!(error.errors[0].field, "orgid");
        assert_eq!(from_query::<ListApiKeys>(Some("limit=1&limit=2")).unwrap_err().errors[0].field, "limit");
        assert!(from_query::<ListApiKeys>(None).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_body::<CreateApiKey>(Some("application/json"), &body);
        }
    }
}
