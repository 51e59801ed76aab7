//! The native contract: for services and gateways that check keys, and for operators.

mod cluster;
mod forward_auth;
mod keys;
mod limits;
mod report;
mod revocations;
mod verify;
mod whoami;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::routing::{any, get, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use utoipa::OpenApi;

use crate::web::Services;
use crate::web::client_address::Peer;
use crate::web::fast_path::{self, Answering};

pub use revocations::stream as revocations;

/// What is demanded follows.
const FORWARD_AUTH: &str = "/v1/forward-auth/";

/// Answers the paths that are asked with every request of somebody else: nothing stands before them, not
/// even a router, which costs as much as a check. Other requests are given back.
///
/// # Errors
/// The request, if it is another one.
pub fn fast_path<B>(services: &Services, peer: Peer, request: Request<B>) -> Result<Answering<'_>, Request<B>>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let path = request.uri().path();
    if path == "/v1/keys/verify" && request.method() == Method::POST {
        Ok(verify::verify(services, Some(peer), request))
    } else if path.strip_prefix(FORWARD_AUTH).is_some_and(|demand| !demand.is_empty()) {
        Ok(forward_auth::forward_auth(services, Some(peer), request))
    } else {
        Err(request)
    }
}

/// The same paths for who has a router only, and the methods that they do not know.
pub fn hot_routes() -> Router<Services> {
    let verify = async |State(services): State<Services>, request: Request| {
        verify::verify(&services, request.extensions().get().copied(), request).await
    };
    let forward_auth = async |State(services): State<Services>, request: Request| {
        forward_auth::forward_auth(&services, request.extensions().get().copied(), request).await
    };
    Router::new()
        .route("/v1/keys/verify", post(verify))
        .route("/v1/forward-auth/{*demand}", any(forward_auth))
        .method_not_allowed_fallback(fast_path::wrong_method)
}

/// The others, but for the stream of revocations, which has to know when the server stops.
pub fn routes() -> Router<Services> {
    Router::new()
        .route("/v1/whoami", get(whoami::who_am_i))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/keys/usage", post(report::report))
        .route("/v1/keys/{id}", get(keys::show).patch(keys::edit))
        .route("/v1/keys/{id}/revoke", post(keys::revoke))
}

#[derive(OpenApi)]
#[openapi(paths(
    verify::verify,
    forward_auth::described,
    whoami::who_am_i,
    report::report,
    revocations::described,
    keys::show,
    keys::edit,
    keys::revoke,
    cluster::show,
))]
struct Operations;

/// The contract's part of the document.
pub fn document() -> utoipa::openapi::OpenApi {
    Operations::openapi()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;

    use super::*;
    use crate::accounts::{Accounts, Passwords, Registration};
    use crate::events::{EventLimits, Events};
    use crate::keys::{self, Policy};
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;
    use crate::security_log::limit::LogLimit;
    use crate::store::Db;
    use crate::web::Site;

    /// It is made anew for each request; what seldom waits has its room elsewhere.
    #[tokio::test]
    async fn what_is_set_aside_for_a_request_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("latchkey.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let (clock, entropy) = (Clock::System, Entropy::System);
        let passwords = Passwords::cheap(entropy.clone());
        let opened = keys::open(db.clone(), clock.clone(), entropy.clone(), Policy::default(), None).await.unwrap();
        let services = Services {
            keys: opened.keys,
            changes: opened.changes,
            checks: opened.checks,
            usage: opened.usage,
            limits: opened.limits,
            accounts: Arc::new(Accounts::new(
                db.clone(),
                clock.clone(),
                entropy.clone(),
                passwords,
                Registration::Open,
                None,
            )),
            lists: Arc::new(db.list_places()),
            events: Arc::new(Events::new(db, clock.clone(), entropy.clone(), EventLimits::default())),
            site: Arc::new(Site::default()),
            bodies: Arc::default(),
            log_limit: Arc::new(LogLimit::new(Clock::System)),
            clock,
            entropy,
        };
        let request =
            |method, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        for (method, path) in [(Method::POST, "/v1/keys/verify"), (Method::GET, "/v1/forward-auth/org_1/any/any")] {
            let answer = fast_path(&services, Peer(([127, 0, 0, 1], 1).into()), request(method, path)).expect(path);
            assert!(size_of_val(&*answer) <= 1344, "{path}: {} bytes", size_of_val(&*answer));
        }
    }
}
