//! The error of hookstream's contract and of the native one: RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use server_fn::codec::JsonEncoding;
use server_fn::error::{FromServerFnError, ServerFnErrorErr};

/// An error: `application/problem+json` with a stable `code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// Only the server describes its bodies, so that the browser's half stays small.
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema), schema(as = Problem))]
pub struct ApiError {
    /// Always `about:blank`. Programs read the `code`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "ssr", schema(examples("about:blank")))]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    #[cfg_attr(feature = "ssr", schema(minimum = 400, maximum = 599))]
    pub status: u16,
    /// The error and its correction, for people.
    pub detail: String,
    /// The error, for programs. A code never changes.
    pub code: String,
    /// The invalid fields, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The number of keys that stand in the way, where keys do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub keys: Option<u64>,
    /// Seconds to wait; sent as the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

/// The error of one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field, as a path from the top of the body: `rate_limit.limit`.
    pub field: String,
    /// The error, as the end of a sentence that begins with the field.
    pub message: String,
}

impl FieldError {
    /// Creates the error of one field.
    pub fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

impl ApiError {
    fn new(status: http::StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
            keys: None,
            retry_after: None,
        }
    }

    /// 400 `invalid_request`.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// 400 `invalid_request` that names the fields; the detail repeats them in one sentence.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail =
            errors.iter().map(|error| format!("`{}` {}", error.field, error.message)).collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::invalid(detail) }
    }

    /// 400 `invalid_request` about one field.
    pub fn invalid_field(field: impl Into<String>, message: impl ToString) -> Self {
        Self::invalid_fields(vec![FieldError::new(field, message)])
    }

    /// 401 `unauthenticated`.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 403 `forbidden`.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 403 `key_has_limits`, for a key with a rate limit or a quota that asks for another key.
    pub fn key_has_limits() -> Self {
        Self::new(
            http::StatusCode::FORBIDDEN,
            "key_has_limits",
            "An API key with a rate limit or a quota cannot make keys: each of them would have these limits once more. \
             Sign in to make the key, or use a key without limits.",
        )
    }

    /// 404 `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405 `method_not_allowed`; the answer's `Allow` names the methods.
    pub fn method_not_allowed() -> Self {
        Self::new(
            http::StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This address does not answer that method; the header `Allow` names those that it does.",
        )
    }

    /// 413 `payload_too_large`.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            format!("The body may have at most {} KiB.", limit / 1024),
        )
    }

    /// 415 `unsupported_media_type`.
    pub fn not_json() -> Self {
        Self::new(
            http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send JSON with the header `Content-Type: application/json`.",
        )
    }

    /// 415 `unsupported_media_type`, for a `Content-Encoding`.
    pub fn unsupported_encoding(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 431 `headers_too_large`.
    pub fn headers_too_large(limit: usize) -> Self {
        Self::new(
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            format!(
                "The request line and the headers may have at most {} KiB together, in at most 100 headers.",
                limit / 1024
            ),
        )
    }

    /// 409 `conflict`.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(http::StatusCode::CONFLICT, "conflict", detail)
    }

    /// Replaces the code.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self { code: code.to_owned(), ..self }
    }

    /// Adds the number of keys that prevent the change.
    #[must_use]
    pub fn with_keys(self, keys: u64) -> Self {
        Self { keys: Some(keys), ..self }
    }

    /// 429 `too_many_requests`, for too many attempts.
    pub fn too_many_requests(retry_after: u64) -> Self {
        Self::too_many("Too many attempts.", retry_after)
    }

    /// 429 `too_many_requests`. `what` is a sentence about the exceeded limit.
    pub fn too_many(what: &str, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                http::StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                format!("{what} Try again in {retry_after} s."),
            )
        }
    }

    /// 500 `internal_error`, which shows nothing; the log has the cause under the request's id.
    pub fn internal() -> Self {
        Self::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Something went wrong here. The server's log has it under this answer's X-Request-Id.",
        )
    }

    /// 503 `unavailable`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(http::StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ApiError {}

impl FromServerFnError for ApiError {
    type Encoder = JsonEncoding;

    /// Converts a failure of the call itself; in the browser mostly a lost network.
    fn from_server_fn_error(value: ServerFnErrorErr) -> Self {
        match value {
            // No server sends this code: the request did not arrive.
            ServerFnErrorErr::Request(_) => Self {
                code: "unreachable".to_owned(),
                ..Self::unavailable("The server could not be reached. Check the connection and try again.")
            },
            _ => Self::internal(),
        }
    }
}
