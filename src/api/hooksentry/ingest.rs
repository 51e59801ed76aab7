//! `POST /api/v1/ingest/{tenantId}/{source}`: a 202 means that the event is on disk.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::error::{Error, Invalid};
use super::wire::Accepted;
use crate::api::Services;
use crate::api::client_address::ClientAddress;
use crate::api::credential::Credential;
use crate::api::json;
use crate::api::openapi::Problem;
use crate::api::time::milliseconds;
use crate::events::{IdempotencyKey, Incoming, SourceName};
use crate::keys::{Ask, Judgement, Key, Verdict};
use crate::model::ApiError;

/// The most bytes of an event: 1 MiB.
pub const BODY_LIMIT: usize = 1024 * 1024;
const SCOPE: &str = "events:write";

/// Send an event in
///
/// Any JSON of at most 1 MiB. A 202 means that the event is on disk. Every bad key is the same 401; a key of
/// another tenant, without the scope `events:write`, or from an address that is not allowed is a 403.
#[utoipa::path(
    post,
    path = "/api/v1/ingest/{tenant_id}/{source}",
    operation_id = "ingest",
    tag = "Events",
    params(
        ("tenant_id" = Uuid, Path, description = "The tenant that the key belongs to."),
        ("source" = String, Path, description = "What sends the event; made at first use.", pattern = "^[A-Za-z0-9_-]{1,64}$", example = "billing"),
        ("X-Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, pattern = "^[ -~]+$",
            description = "The same key again, within 24 hours for one environment and source, is a 200 with the first event's answer."),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", example = json!({ "type": "invoice.paid", "amount": 1200 })),
    responses(
        (status = 202, description = "The event is on disk.", body = Accepted),
        (status = 200, description = "It was already, under the same idempotency key.", body = Accepted),
        Invalid, Problem<401>, Problem<403>, Problem<413>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn take(
    State(services): State<Services>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<impl IntoResponse, Error> {
    let (mut parts, body) = request.into_parts();
    let (tenant, source) = match path {
        Ok(Path(path)) => path,
        // No UTF-8: no tenant and no source is called that.
        Err(_) => (parts.uri.path().split('/').nth(4).unwrap_or_default().to_owned(), String::new()),
    };
    let key = authenticate(&mut parts, &services, &tenant).await?;
    let source = SourceName::parse(&source).ok_or_else(|| {
        Error::Invalid("The source must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -.".to_owned())
    })?;
    let idempotency_key = idempotency_key(&parts)?;
    let body = json::read(Request::new(body), BODY_LIMIT).await?;
    check_json(&body)?;
    let incoming = Incoming { key: &key, source, idempotency_key, body };
    let taken =
        services.events.inbox().take(incoming).await.map_err(|_| {
            ApiError::unavailable("The event could not be written. Nothing of it is kept: send it again.")
        })?;
    services.keys.count(&key);
    let status = if taken.repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let accepted = Accepted { id: taken.uuid, status: "Accepted", accepted_at: milliseconds(taken.accepted_at) };
    Ok((status, Answer(accepted)))
}

/// A key of this tenant that may write events. Every bad key is the same 401.
async fn authenticate(parts: &mut Parts, services: &Services, tenant: &str) -> Result<Box<Key>, Error> {
    let bad = || ApiError::unauthenticated("The API key is missing, unknown, revoked, disabled or expired.");
    let Ok(axum::Extension(Credential::Key(presented))) =
        axum::Extension::<Credential>::from_request_parts(parts, services).await
    else {
        return Err(bad().into());
    };
    let address = ClientAddress::of(parts, &services.site);
    let ask = Ask { scopes: vec![SCOPE.to_owned()], address: address.for_allowlist(), mode: None };
    // Whose key it is comes before what it may do; a bad one has no owner.
    let (key, judgement) = match services.keys.check(&presented, &ask).await? {
        Verdict::Unknown | Verdict::Refused(_, Judgement::Revoked | Judgement::Disabled | Judgement::Expired) => {
            return Err(bad().into());
        }
        Verdict::Refused(key, judgement) => (key, judgement),
        Verdict::Valid(key) => (key, Judgement::Valid),
    };
    if Uuid::try_parse(tenant).ok() != Some(key.organisation_uuid) {
        return Err(ApiError::forbidden("The API key belongs to another tenant.").into());
    }
    match judgement {
        Judgement::Valid => Ok(key),
        Judgement::InsufficientScopes(_) => {
            Err(ApiError::forbidden(format!("The API key lacks the scope `{SCOPE}`.")).into())
        }
        _ => {
            address.explain_refusal(&key);
            Err(ApiError::forbidden("The API key may not be used from this address.").into())
        }
    }
}

fn idempotency_key(parts: &Parts) -> Result<Option<IdempotencyKey>, Error> {
    let mut values = parts.headers.get_all("x-idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(IdempotencyKey::parse).filter(|_| values.next().is_none());
    match parsed {
        Some(key) => Ok(Some(key)),
        None => {
            Err(Error::Invalid("`X-Idempotency-Key` must be given once, with 1 to 255 visible characters.".to_owned()))
        }
    }
}

/// Any JSON, without building a tree of it.
fn check_json(body: &[u8]) -> Result<(), Error> {
    let invalid = |what: String| Error::Invalid(format!("The body is not JSON: {what}."));
    let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_json_is_taken_however_deep() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for right in ["null", "\"é\"", "{\"a\":[1,2.5e3,true]}", " [] ", deep.as_str()] {
            assert!(check_json(right.as_bytes()).is_ok(), "{right:.20}");
        }
        for wrong in ["", "{", "[1,]", "nul", "{} {}", "'a'", "\"\n\"", "01"] {
            assert!(check_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(check_json(b"\"\xff\"").is_err());
    }
}
