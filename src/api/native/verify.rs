//! `POST /v1/keys/verify`: a service asks whether a key that somebody presented to it is good.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::BoxError;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
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
const JSON: HeaderValue = HeaderValue::from_static("application/json");

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

/// The same, read without copying.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Borrowed<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    scopes: Option<Text<'a>>,
    #[serde(borrow)]
    environment: Option<Text<'a>>,
    #[serde(borrow)]
    ip: Option<Text<'a>>,
    cost: Option<u32>,
}

/// serde borrows a `Cow` only where it is no part of something else.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> From<&'a Verify> for Borrowed<'a> {
    fn from(owned: &'a Verify) -> Self {
        let text = |text: &'a String| Text(Cow::Borrowed(text));
        Self {
            key: text(&owned.key),
            scopes: owned.scopes.as_ref().map(text),
            environment: owned.environment.as_ref().map(text),
            ip: owned.ip.as_ref().map(text),
            cost: owned.cost,
        }
    }
}

impl Borrowed<'_> {
    fn ask(&self, organisation: OrganisationId) -> Result<Ask<'_>, ApiError> {
        let mut fields = Fields::default();
        let scopes = match &self.scopes {
            None => None,
            Some(Text(text)) => fields.take("scopes", demanded(text)),
        };
        let mode = match &self.environment {
            None => None,
            Some(Text(word)) => fields.take("environment", Mode::parse(word).ok_or("must be `live` or `test`")),
        };
        let address = match &self.ip {
            None => None,
            Some(Text(ip)) => fields.take("ip", ip.parse().map_err(|_| "must be an IPv4 or IPv6 address")),
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

impl Verification<'_> {
    /// By hand, because serde looks at every character for what must be escaped, and ids, words and moments have
    /// nothing of that. A test holds it to what serde writes.
    fn json(&self) -> Vec<u8> {
        let mut json = Json(Vec::with_capacity(512));
        json.put(&[r#"{"valid":"#, if self.valid { "true" } else { "false" }, r#","code":""#, self.code, "\""]);
        json.plain(r#","key_id":"#, self.key_id);
        json.value(r#","name":"#, &self.name);
        json.plain(r#","org_id":"#, self.org_id);
        json.plain(r#","env_id":"#, self.env_id);
        json.plain(r#","environment":"#, self.environment);
        json.value(r#","scopes":"#, &self.scopes);
        json.plain(r#","expires_at":"#, self.expires_at.as_deref());
        json.put(&[r#","metadata":"#, self.metadata.map_or("null", RawValue::get)]);
        match &self.ratelimit {
            None => json.put(&[r#","ratelimit":null"#]),
            state => json.value(r#","ratelimit":"#, state),
        }
        if let Some(missing) = &self.missing_scopes {
            json.value(r#","missing_scopes":"#, missing);
        }
        if let Some(seconds) = &self.retry_after {
            json.value(r#","retry_after":"#, seconds);
        }
        json.plain(r#","request_id":"#, Some(self.request_id));
        json.put(&["}"]);
        json.0
    }
}

/// JSON that is being written.
struct Json(Vec<u8>);

impl Json {
    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// A text that has nothing to be escaped in it.
    fn plain(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.put(&[name, "\"", text, "\""]),
            None => self.put(&[name, "null"]),
        }
    }

    /// Anything.
    fn value(&mut self, name: &str, value: &impl Serialize) {
        self.put(&[name]);
        if let Err(error) = serde_json::to_writer(&mut self.0, value) {
            // Texts and numbers can be written.
            tracing::error!(%error, "a part of an outcome cannot be written");
            self.put(&["null"]);
        }
    }
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
            let content_type = request.headers().get(CONTENT_TYPE);
            match serde_json::from_slice::<Borrowed<'_>>(&body) {
                Ok(asked) if content_type == Some(&JSON) && !request.headers().contains_key(CONTENT_ENCODING) => {
                    check(services, organisation, &asked, id).await
                }
                // The exact way, which says by name what is wrong.
                _ => {
                    json::refuse_encoding(request.headers())?;
                    let content_type = content_type.and_then(|value| value.to_str().ok());
                    let asked = json::from_body::<Verify>(content_type, &body)?;
                    check(services, organisation, &Borrowed::from(&asked), id).await
                }
            }
        })
        .await
    })
}

async fn check(
    services: &Services,
    organisation: OrganisationId,
    asked: &Borrowed<'_>,
    id: RequestId,
) -> Result<Response, ApiError> {
    let ask = asked.ask(organisation)?;
    let told = |verdict: Verdict<'_>| answer(&verdict, &ask, id);
    fast_path::check(services, asked.key.0.trim(), &ask, Purpose::Use, told).await
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
    let mut response = Response::new(verification.json().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    limits::say(&verdict.limits, headers);
    if verdict.code == Code::Valid && verdict.record.is_some_and(Record::is_free) {
        headers.insert(CACHEABLE, HeaderValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_written_as_serde_would() {
        let metadata = RawValue::from_string(r#"{"team":"\"a\"","n":1}"#.to_owned()).expect("JSON");
        let nothing = Verification {
            valid: false,
            code: "NOT_FOUND",
            key_id: None,
            name: None,
            org_id: None,
            env_id: None,
            environment: None,
            scopes: None,
            expires_at: None,
            metadata: None,
            ratelimit: None,
            missing_scopes: None,
            retry_after: None,
            request_id: "0123456789abcdef",
        };
        let all = Verification {
            valid: true,
            code: "VALID",
            key_id: Some("ak_8f3a1b2c4d5e6f7a"),
            name: Some("\"Ärger\" \u{1}\\ \u{1f511}"),
            org_id: Some("org_5b6c7d8e9f0a1b2c"),
            env_id: Some("env_1a2b3c4d5e6f7a8b"),
            environment: Some("live"),
            scopes: Some("a:b c:*"),
            expires_at: Some("2099-01-01T00:00:00Z".to_owned()),
            metadata: Some(&metadata),
            ratelimit: Some(RateLimitState { limit: 100, remaining: u64::MAX, reset: 0 }),
            missing_scopes: Some(vec!["x:y", "*"]),
            retry_after: Some(7),
            request_id: "0123456789abcdef",
        };
        for outcome in [nothing, all] {
            let by_hand = String::from_utf8(outcome.json()).expect("text");
            assert_eq!(by_hand, serde_json::to_string(&outcome).expect("JSON"));
        }
    }
}
