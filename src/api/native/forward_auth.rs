//! `ANY /v1/forward-auth/{org_id}/{mode}/{scopes}[/…]`: a gateway asks whether to let a request through.
//!
//! What is demanded stands in the path, which the gateway's configuration fixes. What follows it (Envoy
//! adds the original path) is nobody's demand and is not read.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::limits;
use crate::api::auth::{no_key, refusal};
use crate::api::client_address::{ClientAddress, Peer};
use crate::api::hot::{self, Answering};
use crate::api::openapi::Problem;
use crate::api::{Services, credential};
use crate::keys::{Ask, Code, Purpose, Record, Verdict};
use crate::model::{ApiError, Mode, OrganisationId, Scopes};

const KEY_ID: HeaderName = HeaderName::from_static("x-auth-key-id");
const ORGANISATION: HeaderName = HeaderName::from_static("x-auth-org");
const ENVIRONMENT: HeaderName = HeaderName::from_static("x-auth-env");
const SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const ERROR: HeaderName = HeaderName::from_static("x-auth-error");

/// What a gateway demands.
#[derive(Debug, PartialEq, Eq)]
struct Demand<'a> {
    organisation: OrganisationId,
    mode: Option<Mode>,
    scopes: &'a str,
}

impl<'a> Demand<'a> {
    /// Reads it from what follows `/v1/forward-auth/`.
    fn read(path: &'a str) -> Result<Self, ApiError> {
        let wrong = |what: &str| {
            ApiError::invalid(format!(
                "The gateway asks for {what}. Write /v1/forward-auth/{{org_id}}/{{live, test or any}}/{{scopes joined by +, or any}}."
            ))
        };
        let mut segments = path.split('/');
        let organisation = segments.next().and_then(|id| id.parse().ok());
        let organisation = organisation.ok_or_else(|| wrong("an organisation id that is none"))?;
        let mode = match segments.next() {
            Some("any") => None,
            Some(word) => Some(Mode::parse(word).ok_or_else(|| wrong("a mode that is not `live`, `test` or `any`"))?),
            None => return Err(wrong("no mode")),
        };
        let scopes = match segments.next() {
            Some("any") => "",
            Some(scopes) if scopes.split('+').all(|name| name == "*" || Scopes::is_name(name)) => scopes,
            Some(_) => return Err(wrong("a scope that is not `resource:action`")),
            None => return Err(wrong("no scopes")),
        };
        Ok(Self { organisation, mode, scopes })
    }
}

/// The handler. It never looks at the body.
pub(super) fn forward_auth<B: Send + 'static>(
    services: &Services,
    peer: Option<Peer>,
    request: Request<B>,
) -> Answering<'_> {
    Box::pin(async move {
        let (headers, uri) = (request.headers(), request.uri());
        hot::answer(services, "/v1/forward-auth", async |_| {
            let path = uri.path().strip_prefix(super::FORWARD_AUTH).unwrap_or_default();
            let demanded = demanded(path);
            // A proxy may have written the colons of scopes as %3A.
            let decoded = demanded.contains('%').then(|| percent_decoded(demanded)).transpose()?;
            let demand = Demand::read(decoded.as_deref().unwrap_or(demanded))?;
            let presented = credential::presented_key(headers).ok_or_else(no_key)?;
            let address = ClientAddress::of_peer(peer, headers, &services.site);
            let ask = Ask {
                scopes: demand.scopes,
                mode: demand.mode,
                address: address.for_allowlist(),
                organisation: Some(demand.organisation),
                ..Ask::default()
            };
            let for_nginx = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "compat=nginx"));
            let told = |verdict: Verdict<'_>| answer(&verdict, &ask, address, for_nginx);
            hot::check(services, presented, &ask, Purpose::Use, told).await
        })
        .await
    })
}

fn answer(verdict: &Verdict<'_>, ask: &Ask<'_>, address: ClientAddress, for_nginx: bool) -> Response {
    let mut response = match verdict.record.filter(|_| verdict.code == Code::Valid) {
        Some(record) => {
            let mut response = hot::empty(StatusCode::OK);
            identify(record, response.headers_mut());
            response
        }
        None => refusal(verdict, ask, address).into_response(),
    };
    let headers = response.headers_mut();
    limits::say(&verdict.limits, headers);
    // Why a key is refused that is one; of any other there is nothing to say.
    if matches!(
        verdict.code,
        Code::WrongEnvironment | Code::Forbidden | Code::InsufficientScopes | Code::RateLimited | Code::QuotaExceeded
    ) {
        headers.insert(ERROR, HeaderValue::from_static(verdict.code.as_str()));
    }
    // auth_request knows no other code that lets a reason through.
    if for_nginx && response.status() == StatusCode::TOO_MANY_REQUESTS {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

/// Says whose key it is, in headers that a gateway hands on.
fn identify(record: &Record, headers: &mut HeaderMap) {
    // With those that every answer gets.
    headers.reserve(10);
    let mut set = |name: HeaderName, value: &str| {
        // Ids and scopes are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(KEY_ID, record.id.text().as_str());
    set(ORGANISATION, record.place.organisation.text().as_str());
    set(ENVIRONMENT, record.place.environment.text().as_str());
    set(SCOPES, record.scopes().unwrap_or("*"));
}

/// The first three segments; what follows is the client's, and may be anything.
fn demanded(path: &str) -> &str {
    path.match_indices('/').nth(2).map_or(path, |(end, _)| &path[..end])
}

fn percent_decoded(path: &str) -> Result<String, ApiError> {
    // A `+` in a path is a `+`.
    let encoded = path.replace('+', "%2B");
    let (decoded, _) = form_urlencoded::parse(encoded.as_bytes()).next().unwrap_or_default();
    if decoded.contains('\u{fffd}') {
        return Err(ApiError::invalid("The path is not UTF-8."));
    }
    Ok(decoded.into_owned())
}

/// Check a request for a gateway
///
/// For nginx `auth_request`, Caddy `forward_auth`, Traefik `ForwardAuth`, Envoy `ext_authz`: the key that the original
/// request presents is checked against what the path demands, and counted. Any method; the body is not read, and
/// neither is whatever follows the scopes in the path. 200 with an empty body lets the request through. With
/// `?compat=nginx` a 429 becomes a 403 with `X-Auth-Error: RATE_LIMITED` or `QUOTA_EXCEEDED`.
#[utoipa::path(
    get,
    path = "/v1/forward-auth/{org_id}/{mode}/{scopes}",
    operation_id = "forwardAuth",
    tag = "Checking keys",
    params(
        ("org_id" = String, Path, description = "Whose keys are good.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("mode" = String, Path, description = "`live`, `test` or `any`.", pattern = "^(live|test|any)$", example = "live"),
        ("scopes" = String, Path, description = "Scopes that must all be held, joined by `+`, or `any`.", pattern = "^(any|[A-Za-z0-9._-]+:[A-Za-z0-9._-]+([+][A-Za-z0-9._-]+:[A-Za-z0-9._-]+)*)$", example = "events:write"),
        ("compat" = Option<String>, Query, description = "`nginx`: a 429 becomes a 403. Anything else is the client's, and changes nothing.", nullable = false),
    ),
    responses(
        (status = 200, description = "Let it through.", headers(
            ("X-Auth-Key-Id" = String, description = "Which key."),
            ("X-Auth-Org" = String, description = "Whose."),
            ("X-Auth-Env" = String, description = "Of which environment."),
            ("X-Auth-Scopes" = String, description = "What it holds; `*` for full access."),
            ("RateLimit-Policy" = String, description = "Its limits, if it has any."),
            ("RateLimit" = String, description = "How they stand."),
        )),
        Problem<400>, Problem<401>, Problem<403>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
#[expect(dead_code, reason = "describes the route's pattern, which OpenAPI has no way to write")]
pub(super) fn described() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_demanded_stands_in_the_first_three_segments() {
        let organisation = OrganisationId(1);
        let path = "org_0000000000000001/live/events:write+keys:verify/../../../admin?x";
        let demand = Demand { organisation, mode: Some(Mode::Live), scopes: "events:write+keys:verify" };
        assert_eq!(Demand::read(path).unwrap(), demand);
        let demand = Demand { organisation, mode: None, scopes: "" };
        assert_eq!(Demand::read("org_0000000000000001/any/any").unwrap(), demand);
    }

    #[test]
    fn what_is_demanded_wrongly_lets_nobody_through() {
        for path in [
            "",
            "org_1/any/any",
            "org_0000000000000001",
            "org_0000000000000001/any",
            "org_0000000000000001//any",
            "org_0000000000000001/prod/any",
            "org_0000000000000001/any/",
            "org_0000000000000001/any/events",
            "org_0000000000000001/any/a:b+",
            "org_0000000000000001/any/any+a:b",
        ] {
            assert!(Demand::read(path).is_err(), "{path}");
        }
    }

    #[test]
    fn what_follows_is_not_even_decoded() {
        assert_eq!(demanded("org/any/a:b/caf%E9/%2F"), "org/any/a:b");
        assert_eq!(demanded("org/any/a:b"), "org/any/a:b");
        assert_eq!(demanded("org"), "org");
    }

    #[test]
    fn escapes_are_read_and_a_plus_stays_one() {
        assert_eq!(percent_decoded("org/any/a%3Ab+c%3ad").unwrap(), "org/any/a:b+c:d");
        assert!(percent_decoded("%ff").is_err());
    }
}
