//! Revocation under load: after its answer, no event with the key is accepted, even if many requests share one read of
//! the key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use crate::served::{self, Account, Server};
use crate::turn::exclusive;

const CONNECTIONS: usize = 32;
const KEYS: usize = 20;
/// The number of accepted events after which a key is revoked.
const EVENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_that_is_sent_after_a_revocation_was_answered_is_accepted() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[("LATCHKEY_LOG", "warn")]);
    let mut owner = server.connect().await.expect("the server listens");
    let account = Account::register(&mut owner).await;
    let path = format!("/api/v1/ingest/{}/load", account.tenant);

    for _ in 0..KEYS {
        let made = owner.call("POST", "/api/v1/apikeys", &[&account.bearer()], r#"{"name":"short-lived"}"#).await;
        let made = made.expect("an answer").json(201);
        let header = format!("X-Api-Key: {}", made["key"].as_str().expect("a key"));
        let request = Arc::new(served::request("POST", &path, &[&header], "{}"));
        let (events, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (over, revoked) = watch::channel(false);

        let mut holders = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = server.connect().await.expect("the server listens");
            let (request, events, enough) = (Arc::clone(&request), Arc::clone(&events), Arc::clone(&enough));
            let revoked = revoked.clone();
            holders.push(tokio::spawn(async move {
                loop {
                    let answered = *revoked.borrow();
                    let status = connection.status(&request).await.expect("an answer");
                    match (status, answered) {
                        (202, false) => {
                            events.fetch_add(1, Ordering::SeqCst);
                            enough.notify_one();
                        }
                        (401, false) => {}
                        (401, true) => return,
                        (status, _) => panic!("{status} for an event that was sent after the revocation was answered"),
                    }
                }
            }));
        }
        while events.load(Ordering::SeqCst) < EVENTS {
            enough.notified().await;
        }
        let id = made["id"].as_str().expect("an id");
        owner
            .call("DELETE", &format!("/api/v1/apikeys/{id}"), &[&account.bearer()], "")
            .await
            .expect("an answer")
            .json(200);
        over.send(true).expect("the tasks are running");
        for holder in holders {
            holder.await.expect("no event is accepted after the revocation");
        }
    }
}
