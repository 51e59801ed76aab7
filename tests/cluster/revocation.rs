//! Revocation under load: once it was answered, nothing that the key's holders send afterwards gets in,
//! however many of them share one reading of the key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use crate::served::{self, Account, Server};
use crate::turn::alone;

const CONNECTIONS: usize = 32;
const KEYS: usize = 20;
/// The key is revoked after so many events.
const EVENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_that_is_sent_after_a_revocation_was_answered_gets_in() {
    let _turn = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[("LATCHKEY_LOG", "warn")]);
    let mut owner = server.connect().await.expect("it listens");
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
            let mut connection = server.connect().await.expect("it listens");
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
                        (status, _) => panic!("{status} to what was sent after the revocation was answered"),
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
        over.send(true).expect("somebody listens");
        for holder in holders {
            holder.await.expect("nobody got in");
        }
    }
}
