//! The native contract: for services and gateways that check keys, and for operators.

mod accept;
mod cluster;
mod environments;
mod forward_auth;
mod invitations;
mod keys;
mod limits;
mod members;
mod organisations;
mod paging;
mod report;
mod revocations;
mod verify;
mod whoami;

use axum::BoxError;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::Method;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Services;
use crate::web::client_address::Peer;
use crate::web::fast_path::ResponseFuture;

/// Answers the checks that services and gateways make for each of their own requests, without the router, which would
/// cost as much as the check itself.
///
/// # Errors
/// Returns any other request.
pub fn fast_path<B>(services: &Services, peer: Peer, request: Request<B>) -> Result<ResponseFuture<'_>, Request<B>>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let path = request.uri().path();
    if path == verify::PATH && request.method() == Method::POST {
        Ok(verify::verify(services, Some(peer), request))
    } else if path.strip_prefix(forward_auth::PREFIX).is_some_and(|demand| !demand.is_empty()) {
        Ok(forward_auth::forward_auth(services, Some(peer), request))
    } else {
        Err(request)
    }
}

/// Returns the routes that [`fast_path`] answers, for requests that it passes on and for tests without a listener.
pub fn fast_path_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default().routes(routes!(verify::verify_key)).merge(forward_auth::routes())
}

/// Returns all other routes of the contract.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default()
        .routes(routes!(whoami::who_am_i))
        .routes(routes!(report::report))
        .routes(routes!(revocations::follow))
        .routes(routes!(keys::show, keys::edit))
        .routes(routes!(keys::revoke))
        .routes(routes!(cluster::show))
        .routes(routes!(organisations::create, organisations::list))
        .routes(routes!(organisations::edit, organisations::delete))
        .routes(routes!(environments::create))
        .routes(routes!(environments::edit))
        .routes(routes!(members::list))
        .routes(routes!(members::change_role, members::remove))
        .routes(routes!(invitations::invite, invitations::list))
        .routes(routes!(invitations::withdraw))
        .routes(routes!(accept::accept))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::accounts::{Accounts, Passwords, Registration};
    use crate::events::{EventLimits, Events};
    use crate::jobs::Jobs;
    use crate::keys::{self, Policy};
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;
    use crate::security_log::limit::LogLimit;
    use crate::store::Db;
    use crate::teams::Teams;
    use crate::web::Site;

    /// The future is allocated for each request, from mimalloc's class of 1,281 to 1,536 bytes; its rarely used parts are
    /// boxed.
    #[tokio::test]
    async fn fast_path_futures_are_small() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite:{}", folder.path().join("latchkey.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let (clock, entropy) = (Clock::System, Entropy::System);
        let passwords = Passwords::cheap(entropy.clone());
        let opened = keys::open(db.clone(), clock.clone(), entropy.clone(), Policy::default(), None).await.unwrap();
        let accounts =
            Arc::new(Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, Registration::Open, None));
        let jobs = Jobs::new(db.clone(), clock.clone(), entropy.clone());
        let (keys, people) = (Arc::clone(&opened.keys), Arc::clone(&accounts));
        let teams = Teams::new(db.clone(), clock.clone(), entropy.clone(), keys, people, jobs);
        let services = Services {
            keys: opened.keys,
            changes: opened.changes,
            checks: opened.checks,
            usage: opened.usage,
            limits: opened.limits,
            accounts,
            teams: Arc::new(teams),
            lists: Arc::new(db.list_places()),
            events: Arc::new(Events::new(db, clock.clone(), entropy.clone(), EventLimits::default())),
            site: Arc::new(Site::default()),
            bodies: Arc::default(),
            log_limit: Arc::new(LogLimit::new(Clock::System)),
            clock,
            entropy,
            stopping: CancellationToken::new(),
        };
        let request =
            |method, path: &str| Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        for (method, path) in [(Method::POST, "/v1/keys/verify"), (Method::GET, "/v1/forward-auth/org_1/any/any")] {
            let answer = fast_path(&services, Peer(([127, 0, 0, 1], 1).into()), request(method, path)).expect(path);
            assert!(size_of_val(&*answer) <= 1536, "{path}: {} bytes", size_of_val(&*answer));
        }
    }
}
