//! `ANY /v1/forward-auth/{org_id}/{mode}/{scopes}[/…]`: tells a gateway whether to let a request through.
//!
//! The demand is the first part of the path, which the gateway's configuration fixes. The rest of the path (Envoy
//! appends the original path) is ignored.

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
use crate::web::fast_path::{self, ResponseFuture};
use crate::web::openapi::Problem;
use crate::web::{Services, credential};

/// The prefix of the path. The demand follows it.
pub(super) const PREFIX: &str = "/v1/forward-auth/";
const KEY_ID: HeaderName = HeaderName::from_static("x-auth-key-id");
const ORGANISATION: HeaderName = HeaderName::from_static("x-auth-org");
const ENVIRONMENT: HeaderName = HeaderName::from_static("x-auth-env");
const SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const ERROR: HeaderName = HeaderName::from_static("x-auth-error");

/// The requirements of a gateway for the key.
#[derive(Debug, PartialEq, Eq)]
struct Demand<'a> {
    organisation: OrganisationId,
    mode: Option<Mode>,
    scopes: ScopeList<'a>,
}

impl<'a> Demand<'a> {
    /// Parses the decoded segments after `/v1/forward-auth/`.
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

/// Returns the first three segments, decoded; missing segments are empty. The rest of the path comes from the client
/// and is not decoded.
fn segments(path: &str) -> Result<[Cow<'_, str>; 3], ApiError> {
    let mut segments = path.split('/');
    let mut next = || decoded(segments.next().unwrap_or_default());
    Ok([next()?, next()?, next()?])
}

/// Decodes a segment once, because a proxy may write the colons of scopes as `%3A`. An encoded slash becomes part of
/// the segment, which makes the segment invalid. An encoded `+` is refused: only a literal `+` separates scopes.
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

/// Returns the route. OpenAPI cannot express it: any method, and any path after the scopes.
pub(super) fn routes() -> OpenApiRouter<Services> {
    #[derive(OpenApi)]
    #[openapi(paths(described))]
    struct Described;

    let handler = async |State(services): State<Services>, request: Request| {
        forward_auth(&services, request.extensions().get().copied(), request).await
    };
    OpenApiRouter::with_openapi(Described::openapi()).route("/v1/forward-auth/{*demand}", any(handler))
}

/// Handles a request from the router or from the fast path. Never reads the body.
pub(super) fn forward_auth<B: Send + 'static>(
    services: &Services,
    peer: Option<Peer>,
    request: Request<B>,
) -> ResponseFuture<'_> {
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
            let respond = |verdict: Verdict<'_>| answer(services, &verdict, &ask, address, for_nginx);
            services.checks.verify(presented, &ask, Purpose::Use, respond).await.map_err(ApiError::from)
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
    limits::set_headers(&verdict.limits, headers);
    // The reason, for existing keys only. Invalid keys all get the same 401.
    if matches!(
        verdict.code,
        Code::WrongEnvironment | Code::Forbidden | Code::InsufficientScopes | Code::RateLimited | Code::QuotaExceeded
    ) {
        headers.insert(ERROR, HeaderValue::from_static(verdict.code.as_str()));
    }
    // nginx `auth_request` turns any status other than 2xx, 401 and 403 into a 500.
    if for_nginx && response.status() == StatusCode::TOO_MANY_REQUESTS {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    response
}

/// Sets the headers by which a gateway tells the upstream service about the key.
fn identify(record: &Record, headers: &mut HeaderMap) {
    // Room for these and the headers of every response.
    headers.reserve(10);
    let mut set = |name: HeaderName, value: &str| {
        // Cannot fail: ids and scopes are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(KEY_ID, record.id.text().as_str());
    set(ORGANISATION, record.place.organisation.text().as_str());
    set(ENVIRONMENT, record.place.environment.text().as_str());
    set(SCOPES, record.scopes().unwrap_or("*"));
}

/// Forward authentication
///
/// For nginx `auth_request`, Caddy `forward_auth`, Traefik `ForwardAuth` and Envoy `ext_authz`. Checks the key of the
/// original request against the requirements in the path, and counts the request. Accepts any method; the body and the
/// path after the scopes are ignored. 200 with an empty body lets the request through. With `?compat=nginx` a 429
/// becomes a 403 with `X-Auth-Error: RATE_LIMITED` or `QUOTA_EXCEEDED`.
#[utoipa::path(
    get,
    path = "/v1/forward-auth/{org_id}/{mode}/{scopes}",
    operation_id = "forwardAuth",
    tag = "Key verification",
    params(
        ("org_id" = String, Path, description = "The organisation that the key must belong to.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("mode" = String, Path, description = "The mode that the key's environment must have: `live`, `test` or `any`.", pattern = "^(live|test|any)$", example = "live"),
        ("scopes" = String, Path, description = "The scopes that the key must hold, joined by `+`, or `any`.", pattern = "^(any|[A-Za-z0-9._-]+:[A-Za-z0-9._-]+([+][A-Za-z0-9._-]+:[A-Za-z0-9._-]+)*)$", example = "events:write"),
        ("compat" = Option<String>, Query, description = "`nginx` turns a 429 into a 403. Any other value comes from the client and is ignored.", nullable = false),
    ),
    responses(
        (status = 200, description = "Let the request through.", headers(
            ("X-Auth-Key-Id" = String, description = "The id of the key."),
            ("X-Auth-Org" = String, description = "The organisation of the key."),
            ("X-Auth-Env" = String, description = "The environment of the key."),
            ("X-Auth-Scopes" = String, description = "The scopes of the key; `*` for full access."),
            ("RateLimit-Policy" = String, description = "The limits of the key, if it has any."),
            ("RateLimit" = String, description = "The remaining requests of each limit."),
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
    fn the_first_three_path_segments_are_the_demand() {
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
    fn an_invalid_demand_gets_400() {
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
            // A form decoder would stop at the `&`.
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
        /// Every scope in the path, decoded, is part of the demand.
        #[test]
        fn a_demand_has_every_scope_in_the_path(scopes in "([a-c:+*&/.]|%3A|%2B|%2F|%20|%25|any){1,10}") {
            if let Ok((_, _, names)) = read(&format!("org_0000000000000001/any/{scopes}")) {
                let segment = scopes.split('/').next().unwrap().replace("%3A", ":");
                prop_assert_eq!(names, if segment == "any" { String::new() } else { segment.replace('+', " ") });
            }
        }
    }
}
