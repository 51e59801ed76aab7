//! The gateways of `examples/gateways/` with their example files, in front of a small service and with the built
//! program as the authorizer. Clients connect from 127.0.0.2, so that no server treats them as a trusted proxy.

mod gateway;
mod identity;
mod refusals;
mod service;
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;

use crate::served::{Account, Answer, Connection, Server};
use gateway::{Gateway, Kind};
use identity::{
    a_client_cannot_remove_the_identity_headers, a_key_with_the_maximum_of_scopes_passes,
    a_valid_key_passes_with_its_identity, an_ip_allowlist_uses_the_address_that_the_gateway_sees,
    forged_identity_headers_never_reach_the_service,
};
use refusals::{
    a_limited_key_gets_retry_after, a_revoked_key_is_refused_at_once, no_request_passes_while_latchkey_is_down,
    path_query_and_headers_do_not_change_the_required_scope, refused_requests_never_reach_the_service,
};
use service::{Request, Service};
use websocket::a_websocket_needs_a_valid_key;

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const IDENTITY: [&str; 4] = ["X-Auth-Key-Id", "X-Auth-Org", "X-Auth-Env", "X-Auth-Scopes"];

/// Makes a test of each function with each gateway.
macro_rules! through_every_gateway {
    ($($test:ident)*) => {$(
        mod $test {
            use super::Kind;

            #[tokio::test]
            async fn nginx() {
                super::$test(Kind::Nginx).await;
            }

            #[tokio::test]
            async fn caddy() {
                super::$test(Kind::Caddy).await;
            }

            #[tokio::test]
            async fn haproxy() {
                super::$test(Kind::Haproxy).await;
            }

            #[tokio::test]
            async fn traefik() {
                super::$test(Kind::Traefik).await;
            }

            #[tokio::test]
            async fn envoy() {
                super::$test(Kind::Envoy).await;
            }
        }
    )*};
}

through_every_gateway! {
    a_valid_key_passes_with_its_identity
    refused_requests_never_reach_the_service
    a_revoked_key_is_refused_at_once
    a_limited_key_gets_retry_after
    forged_identity_headers_never_reach_the_service
    a_client_cannot_remove_the_identity_headers
    path_query_and_headers_do_not_change_the_required_scope
    an_ip_allowlist_uses_the_address_that_the_gateway_sees
    a_key_with_the_maximum_of_scopes_passes
    a_websocket_needs_a_valid_key
    no_request_passes_while_latchkey_is_down
}

#[tokio::test]
async fn an_older_envoy_that_forwards_the_path_requires_the_same_scope() {
    path_query_and_headers_do_not_change_the_required_scope(Kind::OlderEnvoy).await;
}

struct Scene {
    gateway: Gateway,
    latchkey: Server,
    service: Service,
    owner: Connection,
    account: Account,
    _folder: tempfile::TempDir,
}

struct Key {
    id: String,
    header: String,
}

impl Scene {
    async fn new(kind: Kind) -> Self {
        Self::with_service(kind, ok).await
    }

    /// Starts everything with a service that answers in this way.
    async fn with_service(kind: Kind, answer: service::Answer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let latchkey = Server::start(folder.path(), &["--trusted-proxies", "127.0.0.1/32"], &[]);
        let mut owner = latchkey.connect().await.expect("the server listens");
        let account = Account::register(&mut owner).await;
        let service = Service::start(answer).await;
        let gateway =
            Gateway::start(kind, folder.path(), latchkey.address, service.address, &account.organisation).await;
        assert!(service.seen().is_empty());
        Self { gateway, latchkey, service, owner, account, _folder: folder }
    }

    /// Creates a live key with these fields besides its name.
    async fn key(&mut self, wish: Value) -> Key {
        let environment = self.account.environment.clone();
        self.key_in(&environment, wish).await
    }

    async fn key_in(&mut self, environment: &str, mut wish: Value) -> Key {
        wish["name"] = "behind a gateway".into();
        wish["org_id"] = self.account.organisation.as_str().into();
        wish["env_id"] = environment.into();
        let made = self.call_owner("POST", "/v1/auth/api-keys", &wish.to_string()).await.json(201);
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        Key { id: text("id"), header: format!("X-API-Key: {}", text("key")) }
    }

    async fn call_owner(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookie = format!("Cookie: session={}", self.account.session);
        self.owner.call(method, path, &[&cookie], body).await.expect("an answer")
    }

    async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.call("GET", path, headers, "").await
    }

    async fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.call_from(CLIENT, method, path, headers, body).await
    }

    async fn call_from(&self, client: Ipv4Addr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        ask(self.gateway.address, client, method, path, headers, body).await
    }

    /// Returns the only request that the service got since the last call.
    #[track_caller]
    fn arrived(&self) -> Request {
        let mut seen = self.service.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Asserts that a request was refused with this status and did not reach the service.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{}{}", answer.head, answer.text());
        assert!(self.service.seen().is_empty());
    }
}

async fn ask(gateway: SocketAddr, client: Ipv4Addr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut connection = Connection::open_from(client, gateway).await.expect("the server listens");
    connection.call(method, path, headers, body).await.expect("an answer")
}

/// The service's response to every request.
fn ok(_: &Request) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()
}
