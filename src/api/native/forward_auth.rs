//! `ANY /v1/forward-auth/{org_id}/{mode}/{scopes}[/…]`: a gateway asks whether to let a request through.
//!
//! What is demanded stands in the path, which the gateway's configuration fixes. What follows it (Envoy
//! adds the original path) is nobody's demand and is not read.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use percent_encoding::percent_decode_str;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::limits;
use crate::domain::{Ask, Code};
use crate::keys::{Purpose, Record, Verdict};
use crate::model::{ApiError, Mode, OrganisationId, ScopeList};
use crate::web::auth::{no_key, refusal};
use crate::web::client_address::{ClientAddress, Peer};
use crate::web::fast_path::{self, Answering};
use crate::web::openapi::Problem;
use crate::web::{Services, credential};

/// The beginning of the path; what is demanded follows.
pub(super) const PREFIX: &str = "/v1/forward-auth/";
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
    scopes: ScopeList<'a>,
}

impl<'a> Demand<'a> {
    /// Reads it from the decoded segments that follow `/v1/forward-auth/`.
    fn read([organisation, mode, scopes]: [&'a str; 3]) -> Result<Self, ApiError> {
        let organisation = organisation.parse().map_err(|_| wrong("an organisation id that is none"))?;
        let mode = match mode {
            "" => return Err(wrong("no mode")),
            "any" => None,
            word => Some(Mode::parse(word).ok_or_else(|| wrong("a mode that is not `live`, `test` or `any`"))?),
        };
        let scopes = match scopes {
            "" => return Err(wrong("no scopes")),
            "any" => ScopeList::NONE,
            text => ScopeList::parse_joined(text)
                .map_err(|_| wrong("scopes that are not `resource:action`, `resource:*` or `*`, joined by `+`"))?,
        };
        Ok(Self { organisation, mode, scopes })
    }
}

fn wrong(what: &str) -> ApiError {
    ApiError::invalid(format!(
        "The gateway asks for {what}. Write /v1/forward-auth/{{org_id}}/{{live, test or any}}/{{scopes joined by +, or any}}."
    ))
}

/// The first three segments, decoded; those that are missing are empty. What follows is the client's, may be
/// anything, and is not decoded.
fn segments(path: &str) -> Result<[Cow<'_, str>; 3], ApiError> {
    let mut segments = path.split('/');
    let mut next = || decoded(segments.next().unwrap_or_default());
    Ok([next()?, next()?, next()?])
}

/// Decodes a segment once, because a proxy may write the colons of scopes as `%3A`. A slash that was encoded is part
/// of the segment, where nothing allows it. A `+` is a separator only where it is written as one.
fn decoded(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| wrong("a path that is not UTF-8"))?;
    let separators = |text: &str| text.matches('+').count();
    if separators(&decoded) != separators(segment) {
        return Err(wrong("scopes that are joined by an encoded `+`"));
    }
    Ok(decoded)
}

/// The route, which OpenAPI has no way to write: any method, and anything after the scopes.
pub(super) fn routes() -> OpenApiRouter<Services> {
    #[derive(OpenApi)]
    #[openapi(paths(described))]
    struct Described;

    let handler = async |State(services): State<Services>, request: Request| {
        forward_auth(&services, request.extensions().get().copied(), request).await
    };
    OpenApiRouter::with_openapi(Described::openapi()).route("/v1/forward-auth/{*demand}", any(handler))
}

/// The handler, for a request that comes from a router or from the fast path. It never looks at the body.
pub(super) fn forward_auth<B: Send + 'static>(
    services: &Services,
    peer: Option<Peer>,
    request: Request<B>,
) -> Answering<'_> {
    Box::pin(async move {
        let (headers, uri) = (request.headers(), request.uri());
        let address = ClientAddress::of_peer(peer, headers, &services.site);
        fast_path::answer(services, "/v1/forward-auth", address, async |_| {
            let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
            let segments = segments(path)?;
            let demand = Demand::read(segments.each_ref().map(|segment| &**segment))?;
            let presented = credential::presented_key(headers).ok_or_else(no_key)?;
            let ask = Ask {
                scopes: demand.scopes,
                mode: demand.mode,
                organisation: Some(demand.organisation),
                ..address.ask()
            };
            let for_nginx = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "compat=nginx"));
            let told = |verdict: Verdict<'_>| answer(services, &verdict, &ask, address, for_nginx);
            services.checks.verify(presented, &ask, Purpose::Use, told).await.map_err(ApiError::from)
        })
        .await
    })
}

fn answer(
    services: &Services,
    verdict: &Verdict<'_>,
    ask: &Ask<'_>,
    address: ClientAddress,
    for_nginx: bool,
) -> Response {
    let mut response = match verdict.record.filter(|_| verdict.code == Code::Valid) {
        Some(record) => {
            let mut response = fast_path::empty(StatusCode::OK);
            identify(record, response.headers_mut());
            response
        }
        None => refusal(services, verdict, ask, address).into_response(),
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
#[expect(dead_code, reason = "describes the route of `routes`")]
fn described() {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Result<(OrganisationId, Option<Mode>, String), ApiError> {
        let segments = segments(path)?;
        let demand = Demand::read(segments.each_ref().map(|segment| &**segment))?;
        Ok((demand.organisation, demand.mode, demand.scopes.names().collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn the_demand_is_the_first_three_segments() {
        let organisation = OrganisationId(1);
        let scopes = (organisation, Some(Mode::Live), "events:write keys:*".to_owned());
        for path in [
            "org_0000000000000001/live/events:write+keys:*",
            "org_0000000000000001/live/events:write+keys:*/../../../admin?x",
            "org_0000000000000001/live/events%3Awrite+keys%3a%2A/caf%E9/%2F",
            "org%5f0000000000000001/%6cive/events:write+keys:*//",
        ] {
            assert_eq!(read(path).unwrap(), scopes, "{path}");
        }
        assert_eq!(read("org_0000000000000001/any/any").unwrap(), (organisation, None, String::new()));
        assert_eq!(read("org_0000000000000001/any/*").unwrap(), (organisation, None, "*".to_owned()));
    }

    #[test]
    fn an_unreadable_demand_lets_no_request_through() {
        for path in [
            "",
            "/",
            "org_1/any/any",
            "org_0000000000000001",
            "org_0000000000000001/any",
            "org_0000000000000001//any",
            "org_0000000000000001/prod/any",
            "org_0000000000000001/any/",
            "org_0000000000000001/any//a:b",
            "org_0000000000000001/any/events",
            "org_0000000000000001/any/a:b+",
            "org_0000000000000001/any/+a:b",
            "org_0000000000000001/any/a:b++c:d",
            "org_0000000000000001/any/any+a:b",
            "org_0000000000000001/any/*+a:b",
            "org_0000000000000001/any/..",
            "org_0000000000000001/../any",
            // A form decoder would end at the `&`.
            "org_0000000000000001/any/events%3Awrite&keys%3Averify",
            "org_0000000000000001/any/a:b&c:d",
            "org_0000000000000001/any/a:b=c:d",
            "org_0000000000000001/any/any%2F..",
            "org_0000000000000001/any/any%2fa:b",
            "org_0000000000000001/any%2Fany/a:b",
            "org_0000000000000001%2Fany%2Fany",
            "org_0000000000000001/any/a:b%2Bc:d",
            "org_0000000000000001/any/a:b%20c:d",
            "org_0000000000000001/any/a:b c:d",
            // Encoded twice.
            "org_0000000000000001/any/a%253Ab",
            "org_0000000000000001/any/%2561ny",
            "org_0000000000000001/any/a%3",
            "org_0000000000000001/any/a%zzb",
            "org_0000000000000001/any/a:b%00",
            "org_0000000000000001/any/a:b%0C",
            "org_0000000000000001/any/%ff",
            "org_0000000000000001/any/a:%C3%A9",
        ] {
            assert_eq!(read(path).map_err(|error| error.status), Err(400), "{path}");
        }
    }

    proptest! {
        /// The demand is never less than what stands in the path: each name of it, decoded, is demanded.
        #[test]
        fn no_path_demands_less_than_it_says(scopes in "([a-c:+*&/.]|%3A|%2B|%2F|%20|%25|any){1,10}") {
            if let Ok((_, _, names)) = read(&format!("org_0000000000000001/any/{scopes}")) {
                let segment = scopes.split('/').next().unwrap().replace("%3A", ":");
                prop_assert_eq!(names, if segment == "any" { String::new() } else { segment.replace('+', " ") });
            }
        }
    }
}
