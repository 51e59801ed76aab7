//! `POST /api/v1/ingest/{tenantId}/{source}`: a 202 means that the event is on disk.

use std::convert::Infallible;

use axum::body::HttpBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Json as Answer};
use bytes::Bytes;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::encoding::Encoding;
use super::error::{Error, Invalid};
use super::wire::Accepted;
use crate::domain::{Ask, Code};
use crate::events::{IdempotencyKey, Incoming, Refused, SourceName};
use crate::keys::{Pass, Purpose};
use crate::model::{ApiError, ScopeList};
use crate::runtime::Tenant;
use crate::web::auth::limited;
use crate::web::body::{self, Arrived, Charged};
use crate::web::client_address::{ClientAddress, Peer};
use crate::web::fast_path::{self, ResponseFuture};
use crate::web::openapi::Problem;
use crate::web::time::milliseconds;
use crate::web::{Services, credential};

/// The maximum bytes of an event: 1 MiB. A larger one gets 413.
pub const BODY_LIMIT: usize = 1024 * 1024;
const SCOPE: &str = "events:write";

/// Send event
///
/// Accepts any JSON of at most 1 MiB, plain or with `Content-Encoding: gzip`; the limit applies to the decoded JSON as
/// well. A 202 means that the event is on disk. All invalid keys get the same 401. A key of another tenant, without the
/// scope `events:write`, or from an address that is not allowed gets 403.
#[utoipa::path(
    post,
    path = "/api/v1/ingest/{tenant_id}/{source}",
    operation_id = "ingest",
    tag = "Events",
    params(
        ("tenant_id" = Uuid, Path, description = "The tenant that the key belongs to.", example = "9b2f7c1e-4a3d-4e5f-8a6b-7c8d9e0f1a2b"),
        ("source" = String, Path, description = "The source that sends the event. Created at its first use.", pattern = "^[A-Za-z0-9_-]{1,64}$", example = "billing"),
        ("X-Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, pattern = "^[ -~]+$",
            description = "A repeated key, within 24 hours for one environment and source, gets 200 with the response of the first event."),
    ),
    request_body(content = serde_json::Value, content_type = "application/json", example = json!({ "type": "invoice.paid", "amount": 1200 })),
    responses(
        (status = 202, description = "The event is on disk.", body = Accepted),
        (status = 200, description = "The event was already on disk, with the same idempotency key.", body = Accepted),
        Invalid, Problem<401>, Problem<403>, Problem<413>, Problem<415>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub(super) async fn ingest(
    State(services): State<Services>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Infallible> {
    let destination = if let Ok(Path((tenant, source))) = path {
        Destination { tenant, source }
    } else {
        // The path is not UTF-8, so it names no source.
        let tenant = request.uri().path().split('/').nth(4).unwrap_or_default().to_owned();
        Destination { tenant, source: String::new() }
    };
    handle(&services, request.extensions().get().copied(), destination, request).await
}

/// Handles a request from the router or from the fast path.
pub(super) fn handle<B>(
    services: &Services,
    peer: Option<Peer>,
    destination: Destination,
    request: Request<B>,
) -> ResponseFuture<'_>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let address = ClientAddress::of_peer(peer, request.headers(), &services.site);
    let work = async move |_| receive(services, address, destination, request).await;
    Box::pin(fast_path::answer(services, "/api/v1/ingest", address, work))
}

/// The tenant and the source that the path names.
pub(super) struct Destination {
    tenant: String,
    source: String,
}

impl Destination {
    /// Parses a path without escapes; `None` for any other path.
    pub(super) fn from_plain_path(path: &str) -> Option<Self> {
        let (tenant, source) = path.strip_prefix("/api/v1/ingest/")?.split_once('/')?;
        let is_plain = !tenant.is_empty() && !source.is_empty() && !source.contains('/') && !path.contains('%');
        is_plain.then(|| Self { tenant: tenant.to_owned(), source: source.to_owned() })
    }
}

async fn receive<B>(
    services: &Services,
    address: ClientAddress,
    destination: Destination,
    request: Request<B>,
) -> Result<Response, Error>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let key = authenticate(&parts, services, &destination.tenant, address, Purpose::Admit).await?;
    let source = SourceName::parse(&destination.source).ok_or_else(|| {
        Error::Invalid("The source must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -.".to_owned())
    })?;
    let idempotency_key = idempotency_key(&parts)?;
    let encoding = Encoding::of(&parts.headers)?;
    let sender = Tenant::Organisation(key.place.organisation);
    let Arrived { bytes, waited } = body::read(body, BODY_LIMIT, &services.bodies, sender).await?;
    if waited {
        Box::pin(authenticate(&parts, services, &destination.tenant, address, Purpose::Identify)).await?;
    }
    let body = encoding.decode(bytes, Charged::new(&services.bodies, sender))?;
    check_json(&body)?;
    let incoming = Incoming { key: &key, source, idempotency_key, body };
    let taken = services.events.inbox().take(incoming).await.map_err(|refused| {
        Error::from(ApiError::unavailable(match refused {
            Refused::TooMany => {
                return ApiError::too_many("Too many events of this tenant are waiting to be stored.", 1).into();
            }
            Refused::TooManySources(max) => {
                return Error::Invalid(format!("The environment has {max} sources, the maximum: use one of them."));
            }
            Refused::Unavailable => "The event could not be written, and nothing was stored. Send it again.",
            Refused::DiskReserve => {
                "The server's disk is almost full, and events are refused until there is space. \
                 Nothing was stored. Send the event again later."
            }
        }))
    })?;
    services.checks.count(&key, address.for_allowlist());
    let status = if taken.repeated { StatusCode::OK } else { StatusCode::ACCEPTED };
    let accepted = Accepted { id: taken.uuid, status: "Accepted", accepted_at: milliseconds(taken.accepted_at) };
    Ok((status, Answer(accepted)).into_response())
}

/// Authenticates a key of this tenant that may write events.
///
/// # Errors
/// Returns one and the same 401 for every invalid key.
async fn authenticate(
    parts: &Parts,
    services: &Services,
    tenant: &str,
    address: ClientAddress,
    purpose: Purpose,
) -> Result<Pass, Error> {
    let bad = || ApiError::unauthenticated("The API key is missing, unknown, revoked, disabled or expired.");
    let presented = credential::presented_key(&parts.headers).ok_or_else(bad)?;
    // Looks up the key's tenant first, without charging the key: a key of another tenant gets a 403 that says so,
    // before its scopes and limits are checked. An invalid key has no tenant.
    let look = Ask { scopes: ScopeList::constant(SCOPE), ..address.ask() };
    let organisation = services
        .checks
        .verify(presented, &look, Purpose::Identify, |verdict| match (verdict.code, verdict.record) {
            (Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired, _) | (_, None) => Err(bad()),
            (_, Some(record)) if Uuid::try_parse(tenant).ok() == Some(record.place.organisation_uuid) => {
                Ok(record.place.organisation)
            }
            _ => Err(ApiError::forbidden("The API key belongs to another tenant.")),
        })
        .await??;
    let ask = Ask { organisation: Some(organisation), ..look };
    let pass = services
        .checks
        .verify(presented, &ask, purpose, |verdict| match verdict.code {
            Code::Valid => verdict.pass().ok_or_else(bad),
            Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired => Err(bad()),
            Code::InsufficientScopes => Err(ApiError::forbidden(format!("The API key lacks the scope `{SCOPE}`."))),
            Code::RateLimited | Code::QuotaExceeded => Err(limited(verdict.limited)),
            Code::WrongEnvironment | Code::Forbidden => {
                if let Some(record) = verdict.record {
                    address.explain_refusal(record.id, &services.log_limit);
                }
                Err(ApiError::forbidden("The API key may not be used from this address."))
            }
        })
        .await??;
    Ok(pass)
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

/// Checks that a body is JSON, without building a tree.
fn check_json(body: &[u8]) -> Result<(), Error> {
    let invalid = |what: String| Error::Invalid(format!("The body is not JSON: {what}."));
    let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_any_depth_is_accepted() {
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
