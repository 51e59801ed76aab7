//! Unfinished bodies beyond the body memory: the organisation or network that sends them is refused, others are not.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use super::raw::Raw;
use crate::served::{Account, Answer, Server};

/// The maximum size of an event, bytes.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A request without the last byte of its body.
fn without_last_byte(path: &str, headers: &str, length: usize) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(std::iter::repeat_n(b' ', length - 2));
    bytes.push(b'1');
    bytes
}

/// Sends unfinished requests: first `room` of them one after the other, which must fit into the body memory, then the
/// rest at once. Returns the connections of the first and the answers to the rest.
async fn open(mut connections: Vec<Raw>, request: &[u8], room: usize) -> (Vec<Raw>, Vec<Answer>) {
    let others = connections.split_off(room);
    for raw in &mut connections {
        raw.send(request).await;
        // Wait until the server has read the request and charged its memory.
        let early = tokio::time::timeout(Duration::from_millis(300), raw.answer_to("POST")).await;
        assert!(early.is_err(), "the request fits into the body memory");
    }
    let mut answering = tokio::task::JoinSet::new();
    for mut raw in others {
        let request = request.to_vec();
        answering.spawn(async move {
            raw.send(&request).await;
            raw.answer_to("POST").await.expect("an answer")
        });
    }
    (connections, answering.join_all().await)
}

async fn connections(server: &Server, count: usize) -> Vec<Raw> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Raw::open(server.address).await);
    }
    all
}

async fn key(server: &Server, account: &Account) -> String {
    let mut owner = server.connect().await.expect("the server listens");
    let cookie = format!("Cookie: session={}", account.session);
    let wish = json!({"name": "k", "org_id": account.organisation, "env_id": account.environment}).to_string();
    let made = owner.call("POST", "/v1/auth/api-keys", &[&cookie], &wish).await.expect("an answer").json(201);
    format!("X-API-Key: {}\r\n", made["key"].as_str().expect("a key"))
}

#[tokio::test]
async fn a_greedy_organisation_is_refused_and_others_are_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // An organisation may use an eighth of the body memory: two events of the maximum size.
    let server = Server::start(folder.path(), &["--body-memory", "16MiB", "--registration", "open"], &[]);
    let greedy = Account::register(&mut server.connect().await.expect("the server listens")).await;
    let other =
        Account::register_as(&mut server.connect().await.expect("the server listens"), "other@example.com").await;
    let (first, second) = (key(&server, &greedy).await, key(&server, &greedy).await);
    let greedy_path = format!("/api/v1/ingest/{}/greedy", greedy.tenant);

    let request = without_last_byte(&greedy_path, &first, MAX_EVENT_BYTES);
    let (mut unfinished, refused) = open(connections(&server, 12).await, &request, 2).await;
    assert_eq!((unfinished.len(), refused.len()), (2, 10));
    for answer in &refused {
        assert_eq!(answer.json(429)["code"], "too_many_requests");
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
    }
    // Another key of the organisation is refused too. A body that arrives in one piece needs no body memory.
    let (_, refused) =
        open(connections(&server, 1).await, &without_last_byte(&greedy_path, &second, MAX_EVENT_BYTES), 0).await;
    refused[0].json(429);
    let mut small = Raw::open(server.address).await;
    small
        .send(format!("POST {greedy_path} HTTP/1.1\r\nHost: localhost\r\n{first}Content-Length: 1\r\n\r\n1").as_bytes())
        .await;
    small.answer().await.json(202);

    // Another organisation is not affected.
    let header = key(&server, &other).await;
    let path = format!("/api/v1/ingest/{}/patient", other.tenant);
    let (mut patient, refused) =
        open(connections(&server, 2).await, &without_last_byte(&path, &header, MAX_EVENT_BYTES), 2).await;
    assert!(refused.is_empty(), "{}", refused[0].text());
    for raw in unfinished.iter_mut().chain(&mut patient) {
        raw.send(b" ").await;
        raw.answer().await.json(202);
    }
    // All memory was released.
    for raw in &mut unfinished {
        raw.send(&without_last_byte(&greedy_path, &second, MAX_EVENT_BYTES)).await;
        raw.send(b" ").await;
        raw.answer().await.json(202);
    }
}

#[tokio::test]
async fn strangers_with_unfinished_bodies_do_not_keep_others_from_signing_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A network may use a 64th of the body memory: four bodies of 64 KiB.
    let server = Server::start(folder.path(), &["--body-memory", "16MiB"], &[]);
    Account::register(&mut server.connect().await.expect("the server listens")).await;
    let kind = "Content-Type: application/json\r\n";
    let request = without_last_byte("/v1/auth/login", kind, 64 * 1024);
    let (_unfinished, refused) = open(connections(&server, 12).await, &request, 4).await;
    assert_eq!(refused.len(), 8);
    for answer in &refused {
        assert_eq!(answer.json(429)["code"], "too_many_requests");
    }
    let credentials = r#"{"email":"me@example.com","password":"correct horse battery"}"#;
    // A normal sign-in from the same network and a slow one from another network succeed.
    let mut quick = server.connect().await.expect("the server listens");
    quick.call("POST", "/v1/auth/login", &[], credentials).await.expect("an answer").json(200);
    let mut slow = Raw::open_from(Ipv4Addr::new(127, 0, 0, 2), server.address).await;
    slow.begin("POST", "/v1/auth/login", &["Content-Type: application/json"], credentials.len()).await;
    for piece in credentials.as_bytes().chunks(20) {
        slow.send(piece).await;
        tokio::task::yield_now().await;
    }
    slow.answer().await.json(200);
}
