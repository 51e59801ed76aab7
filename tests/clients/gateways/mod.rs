//! The gateways of `examples/gateways/`, run as they stand there, in front of a small service and with
//! the built program as the judge. Clients come from 127.0.0.2, so that they are nobody's trusted proxy.

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
    a_client_cannot_take_the_identity_away, a_key_with_the_most_scopes_passes,
    a_valid_key_passes_and_the_service_learns_whose_it_is, an_allowlist_sees_the_client_that_the_gateway_sees,
    headers_that_a_client_makes_up_never_reach_the_service,
};
use refusals::{
    a_limit_says_when_to_come_back, a_revoked_key_stops_at_once,
    neither_path_nor_query_nor_headers_change_what_is_demanded, what_is_refused_never_reaches_the_service,
    without_the_judge_nobody_passes,
};
use service::{Request, Service};
use websocket::a_websocket_is_opened_with_a_key_and_only_with_one;

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const IDENTITY: [&str; 4] = ["X-Auth-Key-Id", "X-Auth-Org", "X-Auth-Env", "X-Auth-Scopes"];

/// Each of the stories is a test with each of the gateways.
macro_rules! through_every_gateway {
    ($($story:ident)*) => {$(
        mod $story {
            use super::Kind;

            #[tokio::test]
            async fn nginx() {
                super::$story(Kind::Nginx).await;
            }

            #[tokio::test]
            async fn caddy() {
                super::$story(Kind::Caddy).await;
            }

            #[tokio::test]
            async fn haproxy() {
                super::$story(Kind::Haproxy).await;
            }

            #[tokio::test]
            async fn traefik() {
                super::$story(Kind::Traefik).await;
            }

            #[tokio::test]
            async fn envoy() {
                super::$story(Kind::Envoy).await;
            }
        }
    )*};
}

through_every_gateway! {
    a_valid_key_passes_and_the_service_learns_whose_it_is
    what_is_refused_never_reaches_the_service
    a_revoked_key_stops_at_once
    a_limit_says_when_to_come_back
    headers_that_a_client_makes_up_never_reach_the_service
    a_client_cannot_take_the_identity_away
    neither_path_nor_query_nor_headers_change_what_is_demanded
    an_allowlist_sees_the_client_that_the_gateway_sees
    a_key_with_the_most_scopes_passes
    a_websocket_is_opened_with_a_key_and_only_with_one
    without_the_judge_nobody_passes
}

#[tokio::test]
async fn an_older_envoy_sends_the_path_along_and_it_changes_nothing() {
    neither_path_nor_query_nor_headers_change_what_is_demanded(Kind::OlderEnvoy).await;
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
        Self::before(kind, ok).await
    }

    /// With a service that answers in this way.
    async fn before(kind: Kind, answer: service::Answer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let latchkey = Server::start(folder.path(), &["--trusted-proxies", "127.0.0.1/32"], &[]);
        let mut owner = latchkey.connect().await.expect("it listens");
        let account = Account::register(&mut owner).await;
        let service = Service::start(answer).await;
        let gateway =
            Gateway::start(kind, folder.path(), latchkey.address, service.address, &account.organisation).await;
        assert!(service.seen().is_empty());
        Self { gateway, latchkey, service, owner, account, _folder: folder }
    }

    /// Makes a live key; what it is to have besides its name is given.
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

    /// The one request that the service got.
    #[track_caller]
    fn arrived(&self) -> Request {
        let mut seen = self.service.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Refused with this status, and the service got nothing.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{}{}", answer.head, answer.text());
        assert!(self.service.seen().is_empty());
    }
}

async fn ask(gateway: SocketAddr, client: Ipv4Addr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut connection = Connection::open_from(client, gateway).await.expect("it listens");
    connection.call(method, path, headers, body).await.expect("an answer")
}

/// The service's answer to everything.
fn ok(_: &Request) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()
}
