//! Reading what clients send: every mistake is answered by the name of the field that has it.

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use serde::de::DeserializeOwned;

use super::body;
use crate::model::wire::Object;
use crate::model::{ApiError, FieldError};

/// The most bytes of a JSON body (docs/CONTRACTS.md, "hookstream").
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

fn content_type(request: &Request) -> Option<String> {
    request.headers().get(CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

/// The whole body, if it is not over the limit. The layers let small bodies arrive before a handler runs
/// ([`body::await_small`]), so that this finds them in one piece.
///
/// # Errors
/// 413, or 400 when it broke off.
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

/// Refuses a body that is compressed: only events are decoded.
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

/// The body without a byte order mark, which some programs write in front of UTF-8.
pub fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Reads a JSON body.
///
/// # Errors
/// 415 for another content type; 400 for what is no JSON, has a field of the wrong type, or a field
/// that nobody asked for (which is more often misspelt than meant).
pub fn from_body<T: DeserializeOwned>(content_type: Option<&str>, body: &[u8]) -> Result<T, ApiError> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::not_json());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(without_mark(body));
    let Object(value) = strictly(&mut deserializer, "body", describe_json)?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Reads a query string.
///
/// # Errors
/// 400 for a parameter that is unknown or given twice.
pub fn from_query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, ApiError> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    strictly(serde_urlencoded::Deserializer::new(pairs), "query", |error: &serde_urlencoded::de::Error| {
        Ok(error.to_string())
    })
}

/// Reads a value of the `what`. `describe` says what is wrong with a field, or that all of it is.
fn strictly<'de, T, D>(
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
            // An optional field is a step of its own in these paths, written `?`.
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

/// What serde says is wrong, by the name of the field that it speaks of.
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

/// `serde_json` appends the position, which says nothing to somebody whose field is named.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(wrong, _)| wrong).to_owned()
}

/// What a client sent is repeated to it, but not at any length.
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
    fn an_absent_scopes_is_not_a_null_one() {
        assert_eq!(read(r#"{"name":"a"}"#).unwrap().scopes, None);
        assert_eq!(read(r#"{"name":"a","scopes":null}"#).unwrap().scopes, Some(None));
        assert_eq!(read(r#"{"name":"a","scopes":"*"}"#).unwrap().scopes, Some(Some("*".into())));
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
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
    fn an_array_is_no_object() {
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
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_body::<CreateApiKey>(Some("application/json"), &body);
        }
    }
}
