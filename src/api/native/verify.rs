//! `POST /v1/keys/verify`: checks a key that a client presented to a service.

use std::convert::Infallible;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::limits;
use crate::domain::{Ask, Code, Cost};
use crate::keys::{Limited, Purpose, Record, Verdict};
use crate::model::{ApiError, Mode, OrganisationId, ScopeList, ScopesError};
use crate::runtime::Tenant;
use crate::web::Services;
use crate::web::body::{self, Arrived};
use crate::web::client_address::{ClientAddress, Peer};
use crate::web::fast_path::{self, ResponseFuture};
use crate::web::fields::Fields;
use crate::web::json::{self, BODY_LIMIT};
use crate::web::observe::RequestId;
use crate::web::openapi::Problem;
use crate::web::time::seconds;

/// The path, which the fast path compares with the path of every request.
pub(super) const PATH: &str = "/v1/keys/verify";
/// The header that allows a client to cache the outcome.
const CACHEABLE: HeaderName = HeaderName::from_static("latchkey-cacheable");
/// The maximum `cost` of a check; more is a 400.
const MAX_COST: u32 = 1_000_000;

/// A check of a key.
#[derive(Debug, Deserialize, ToSchema)]
struct Verify {
    /// The whole key string that the client presented.
    #[schema(example = "hs_live_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1b2")]
    key: String,
    /// The scopes that the key must hold, separated by spaces; `*` requires full access.
    #[schema(
        example = "events:write",
        pattern = "^ *([*]|[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*])( +[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*]))*) *$"
    )]
    scopes: Option<String>,
    /// The mode that the key's environment must have: `live` or `test`.
    #[schema(pattern = "^(live|test)$")]
    environment: Option<String>,
    /// The client address of the request, for keys with an IP allowlist.
    #[schema(example = "203.0.113.9")]
    ip: Option<String>,
    /// The cost of the request, charged to the key's limits. The default is 1; 0 checks without charging.
    #[schema(minimum = 0, maximum = 1_000_000)]
    cost: Option<u32>,
}

impl Verify {
    fn ask(&self, organisation: OrganisationId) -> Result<Ask<'_>, ApiError> {
        let mut fields = Fields::default();
        let scopes = match &self.scopes {
            None => None,
            Some(text) => fields.take("scopes", required_scopes(text)),
        };
        let mode = match &self.environment {
            None => None,
            Some(word) => fields.take("environment", Mode::parse(word).ok_or("must be `live` or `test`")),
        };
        let address = match &self.ip {
            None => None,
            Some(ip) => fields.take("ip", ip.parse().map_err(|_| "must be an IPv4 or IPv6 address")),
        };
        let cost = match self.cost {
            None => Cost::default(),
            Some(cost @ ..=MAX_COST) => Cost(cost),
            Some(_) => {
                fields.take::<(), _>("cost", Err(format!("must be a number from 0 to {MAX_COST}")));
                Cost::default()
            }
        };
        if !fields.are_right() {
            return Err(fields.error());
        }
        let tenant = Tenant::Organisation(organisation);
        Ok(Ask { scopes: scopes.unwrap_or_default(), mode, address, organisation: Some(organisation), cost, tenant })
    }
}

/// Parses the required scopes. An empty text is an error, because it is usually an unset variable.
fn required_scopes(text: &str) -> Result<ScopeList<'_>, String> {
    ScopeList::parse(text).map_err(|error| match error {
        ScopesError::Empty => "must name at least one scope: leave the field out to ask for none".to_owned(),
        error => error.to_string(),
    })
}

/// The outcome of a check.
#[derive(Serialize, ToSchema)]
struct Verification<'a> {
    /// Whether to let the request through.
    valid: bool,
    /// The first of these outcomes that applies.
    #[schema(
        pattern = "^(NOT_FOUND|REVOKED|DISABLED|EXPIRED|WRONG_ENVIRONMENT|FORBIDDEN|INSUFFICIENT_SCOPES|RATE_LIMITED|QUOTA_EXCEEDED|VALID)$"
    )]
    code: &'static str,
    /// Null, like all following fields of the key, for an unknown key.
    #[schema(required, pattern = "^ak_[0-9a-f]{16}$")]
    key_id: Option<&'a str>,
    #[schema(required)]
    name: Option<&'a str>,
    #[schema(required, pattern = "^org_[0-9a-f]{16}$")]
    org_id: Option<&'a str>,
    #[schema(required, pattern = "^env_[0-9a-f]{16}$")]
    env_id: Option<&'a str>,
    /// `live` or `test`.
    #[schema(required, pattern = "^(live|test)$")]
    environment: Option<&'static str>,
    /// The scopes of the key; null for full access.
    #[schema(required)]
    scopes: Option<&'a str>,
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, String>>)]
    metadata: Option<&'a RawValue>,
    /// The state of the key's rate limit; null without a rate limit, or if it was not checked.
    #[schema(required)]
    ratelimit: Option<RateLimitState>,
    /// With `INSUFFICIENT_SCOPES`: the required scopes that the key does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing_scopes: Option<Vec<&'a str>>,
    /// With `RATE_LIMITED` and `QUOTA_EXCEEDED`: seconds until a retry can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    /// The value of the header `X-Request-Id`.
    request_id: &'a str,
}

/// The state of a rate limit.
#[derive(Serialize, ToSchema)]
struct RateLimitState {
    /// The number of requests per window.
    limit: u32,
    /// The number of requests that would be accepted now.
    remaining: u64,
    /// Seconds until `remaining` reaches `limit`.
    reset: u64,
}

/// Verify key
///
/// For services that receive keys from their clients. The service authenticates with its own key, which must hold
/// `keys:verify` (a full-access key does). Keys of other organisations are `NOT_FOUND`. Every outcome is a 200. A
/// `VALID` outcome counts as a request of the checked key, and charges `cost` to its limits; any other outcome charges
/// nothing.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "verifyKey",
    tag = "Key verification",
    request_body(content = Verify, example = json!({
        "key": "hs_live_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1b2",
        "scopes": "events:write",
        "environment": "live",
        "ip": "203.0.113.9",
    })),
    responses(
        (status = 200, description = "The outcome.", body = Verification, example = json!({
            "valid": true,
            "code": "VALID",
            "key_id": "ak_8f3a1b2c4d5e6f7a",
            "name": "Production Backend",
            "org_id": "org_5b6c7d8e9f0a1b2c",
            "env_id": "env_1a2b3c4d5e6f7a8b",
            "environment": "live",
            "scopes": "events:write",
            "expires_at": null,
            "metadata": null,
            "ratelimit": { "limit": 100, "remaining": 99, "reset": 1 },
            "request_id": "0123456789abcdef",
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<413>, Problem<415>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub(super) async fn verify_key(State(services): State<Services>, request: Request) -> Result<Response, Infallible> {
    verify(&services, request.extensions().get().copied(), request).await
}

/// Handles a request from the router or from the fast path.
pub(super) fn verify<B>(services: &Services, peer: Option<Peer>, mut request: Request<B>) -> ResponseFuture<'_>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    Box::pin(async move {
        let address = ClientAddress::of_peer(peer, request.headers(), &services.site);
        fast_path::answer(services, PATH, address, async |id| {
            let organisation = fast_path::authenticate_service(services, request.headers(), address).await?;
            let sender = Tenant::Organisation(organisation);
            let Arrived { bytes: body, waited } =
                body::read(request.body_mut(), BODY_LIMIT, &services.bodies, sender).await?;
            if waited {
                Box::pin(fast_path::recheck_service(services, request.headers(), address)).await?;
            }
            json::refuse_encoding(request.headers())?;
            let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let check: Verify = json::from_body(content_type, &body)?;
            let ask = check.ask(organisation)?;
            let respond = |verdict: Verdict<'_>| answer(&verdict, &ask, id);
            services.checks.verify(check.key.trim(), &ask, Purpose::Use, respond).await.map_err(ApiError::from)
        })
        .await
    })
}

fn answer(verdict: &Verdict<'_>, ask: &Ask<'_>, id: RequestId) -> Response {
    let texts = verdict
        .record
        .map(|record| (record.id.text(), record.place.organisation.text(), record.place.environment.text()));
    let verification = Verification {
        valid: verdict.code == Code::Valid,
        code: verdict.code.as_str(),
        key_id: texts.as_ref().map(|(key, ..)| key.as_str()),
        name: verdict.record.map(|record| record.name.as_str()),
        org_id: texts.as_ref().map(|(_, organisation, _)| organisation.as_str()),
        env_id: texts.as_ref().map(|(.., environment)| environment.as_str()),
        environment: verdict.record.map(|record| record.place.mode.as_str()),
        scopes: verdict.record.and_then(Record::scopes),
        expires_at: verdict.record.and_then(Record::expires_at).map(seconds),
        metadata: verdict.record.and_then(Record::metadata),
        ratelimit: verdict.limits.rate.map(|state| RateLimitState {
            limit: state.rate.limit,
            remaining: state.remaining,
            reset: state.reset,
        }),
        missing_scopes: (verdict.code == Code::InsufficientScopes)
            .then(|| verdict.record.map(|record| record.missing(ask).collect()))
            .flatten(),
        retry_after: verdict.limited.map(|(Limited::Rate(seconds) | Limited::Quota(seconds))| seconds),
        request_id: id.as_str(),
    };
    let mut response = Json(verification).into_response();
    let headers = response.headers_mut();
    limits::set_headers(&verdict.limits, headers);
    if verdict.code == Code::Valid && verdict.record.is_some_and(Record::is_free) {
        headers.insert(CACHEABLE, HeaderValue::from_static("true"));
    }
    response
}
