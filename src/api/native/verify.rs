//! `POST /v1/keys/verify`: a service asks whether a key that somebody presented to it is good.

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
use crate::web::fast_path::{self, Answering};
use crate::web::fields::Fields;
use crate::web::json::{self, BODY_LIMIT};
use crate::web::observe::RequestId;
use crate::web::openapi::Problem;
use crate::web::time::seconds;

/// The path, which the fast path compares with that of every request.
pub(super) const PATH: &str = "/v1/keys/verify";
/// Tells a client that keeps its own memory of keys that it may remember this one.
const CACHEABLE: HeaderName = HeaderName::from_static("latchkey-cacheable");
const MOST_COST: u32 = 1_000_000;

/// What is asked about a key.
#[derive(Debug, Deserialize, ToSchema)]
struct Verify {
    /// The whole string that was presented.
    #[schema(example = "hs_live_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1b2")]
    key: String,
    /// Scopes that must all be held, separated by spaces; `*` asks for full access.
    #[schema(
        example = "events:write",
        pattern = "^ *([*]|[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*])( +[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*]))*) *$"
    )]
    scopes: Option<String>,
    /// The mode that the key's environment must have: `live` or `test`.
    #[schema(pattern = "^(live|test)$")]
    environment: Option<String>,
    /// Where the request came from, for keys with an allowlist.
    #[schema(example = "203.0.113.9")]
    ip: Option<String>,
    /// How much of the key's limits the request takes; 1 without a word, 0 only looks.
    #[schema(minimum = 0, maximum = 1_000_000)]
    cost: Option<u32>,
}

impl Verify {
    fn ask(&self, organisation: OrganisationId) -> Result<Ask<'_>, ApiError> {
        let mut fields = Fields::default();
        let scopes = match &self.scopes {
            None => None,
            Some(text) => fields.take("scopes", demanded(text)),
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
            Some(cost @ ..=MOST_COST) => Cost(cost),
            Some(_) => {
                fields.take::<(), _>("cost", Err(format!("must be a number from 0 to {MOST_COST}")));
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

/// Reads the scopes that are asked for. An empty text is more often an unset variable than a wish for none.
fn demanded(text: &str) -> Result<ScopeList<'_>, String> {
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
    /// The first of these that applies.
    #[schema(
        pattern = "^(NOT_FOUND|REVOKED|DISABLED|EXPIRED|WRONG_ENVIRONMENT|FORBIDDEN|INSUFFICIENT_SCOPES|RATE_LIMITED|QUOTA_EXCEEDED|VALID)$"
    )]
    code: &'static str,
    /// Null, like all of the following, when there is no such key.
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
    /// What the key holds; null for full access.
    #[schema(required)]
    scopes: Option<&'a str>,
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required, value_type = Option<std::collections::BTreeMap<String, String>>)]
    metadata: Option<&'a RawValue>,
    /// How the key's rate limit stands; null without one, and where it was not asked.
    #[schema(required)]
    ratelimit: Option<RateLimitState>,
    /// With `INSUFFICIENT_SCOPES`: the asked ones that the key does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing_scopes: Option<Vec<&'a str>>,
    /// With `RATE_LIMITED` and `QUOTA_EXCEEDED`: seconds after which it is worth trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after: Option<u64>,
    /// The same as the header `X-Request-Id`.
    request_id: &'a str,
}

/// How a rate limit stands.
#[derive(Serialize, ToSchema)]
struct RateLimitState {
    /// Requests in a window.
    limit: u32,
    /// Requests that would be let through now.
    remaining: u64,
    /// Seconds until all of them would be.
    reset: u64,
}

/// Check a key
///
/// For services whose clients present keys to them. The service authenticates with a key of its own that holds
/// `keys:verify` (a full-access key does), and is told about keys of its own organisation only: any other is
/// `NOT_FOUND`. Every outcome is a 200. A `VALID` outcome counts as a request of the checked key, and takes its
/// `cost` off the key's limits; a refused one takes nothing.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "verifyKey",
    tag = "Checking keys",
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

/// The handler, for a request that comes from a router or from the fast path.
pub(super) fn verify<B>(services: &Services, peer: Option<Peer>, mut request: Request<B>) -> Answering<'_>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    Box::pin(async move {
        let address = ClientAddress::of_peer(peer, request.headers(), &services.site);
        fast_path::answer(services, PATH, address, async |id| {
            let organisation = fast_path::service(services, request.headers(), address).await?;
            let sender = Tenant::Organisation(organisation);
            let Arrived { bytes: body, waited } =
                body::read(request.body_mut(), BODY_LIMIT, &services.bodies, sender).await?;
            if waited {
                Box::pin(fast_path::service_again(services, request.headers(), address)).await?;
            }
            json::refuse_encoding(request.headers())?;
            let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let asked: Verify = json::from_body(content_type, &body)?;
            let ask = asked.ask(organisation)?;
            let told = |verdict: Verdict<'_>| answer(&verdict, &ask, id);
            services.checks.verify(asked.key.trim(), &ask, Purpose::Use, told).await.map_err(ApiError::from)
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
    limits::say(&verdict.limits, headers);
    if verdict.code == Code::Valid && verdict.record.is_some_and(Record::is_free) {
        headers.insert(CACHEABLE, HeaderValue::from_static("true"));
    }
    response
}
