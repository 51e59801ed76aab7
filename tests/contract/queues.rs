//! Queues that tenants share: a tenant that fills its share is refused, and the others wait for one batch at most.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::hooksentry::{self, ingest, tenant};
use crate::story::{Answer, Call, create, someone};

/// A transaction of another process that blocks every other write.
enum Hold {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Hold {
    async fn begin(app: &TestApp) -> Self {
        match app.engine {
            Engine::Sqlite => {
                let mut connection = SqliteConnection::connect(&app.url).await.expect("the file opens");
                connection.execute("BEGIN IMMEDIATE").await.expect("a lock");
                Self::Sqlite(connection)
            }
            Engine::Postgres => {
                let mut connection = PgConnection::connect(&app.url).await.expect("the server answers");
                connection.execute("BEGIN; LOCK TABLE keys, events IN EXCLUSIVE MODE").await.expect("a lock");
                Self::Postgres(connection)
            }
        }
    }

    async fn end(self) {
        match self {
            Self::Sqlite(mut connection) => drop(connection.execute("ROLLBACK").await.expect("an end")),
            Self::Postgres(mut connection) => drop(connection.execute("ROLLBACK").await.expect("an end")),
        }
    }
}

/// Sends more requests of one tenant than its share holds, then one of another tenant, while nothing can be written.
/// Returns a refusal of the first tenant, the other tenant's answer, and the number of requests that were answered before
/// it once writing went on.
async fn crowd<'a>(
    app: &TestApp,
    greedy: impl Iterator<Item = BoxFuture<'a, Answer>>,
    other: BoxFuture<'a, Answer>,
    accepted: u16,
) -> (Answer, Answer, usize) {
    let hold = Hold::begin(app).await;
    let mut crowd: FuturesUnordered<BoxFuture<'a, (bool, Answer)>> =
        greedy.map(|call| call.map(|answer| (false, answer)).boxed()).collect();
    let (_, refused) = crowd.next().await.expect("an answer");
    assert_eq!(refused.status, 429, "the share is full: {}", refused.text());
    crowd.push(other.map(|answer| (true, answer)).boxed());
    // Until each request is in the queue, or refused.
    while let Ok(Some((is_other, answer))) = tokio::time::timeout(Duration::from_millis(300), crowd.next()).await {
        assert!(!is_other, "the database is locked: {}", answer.text());
        assert_eq!(answer.status, 429);
    }
    hold.end().await;
    let mut before = 0;
    let mut answered = None;
    while let Some((is_other, answer)) = crowd.next().await {
        if is_other {
            answered = Some((answer, before));
        } else {
            assert_eq!(answer.status, accepted, "{}", answer.text());
            before += 1;
        }
    }
    let (answer, before) = answered.expect("it was answered");
    (refused, answer, before)
}

on_both_engines! {
    async fn new_keys_of_a_greedy_organisation_leave_room_to_others(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        // From several networks, because each has a limited share of the session look-ups.
        let peers = ["192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.3:5000", "192.0.2.4:5000"];
        let new = |n: usize, cookie: &str| {
            let call = Call::new(&app, "POST", "/v1/auth/api-keys").from(peers[n % 4]).cookie(cookie);
            call.json(r#"{"name": "key"}"#).send().boxed()
        };
        // A batch of 256 that waits for the database, and a share of 1,024.
        let (refused, answer, before) =
            crowd(&app, (0..1_300).map(|n| new(n, &ada.cookie)), new(0, &bob.cookie), 201).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(before <= 2 * 256, "not in the next batch: {before} answers came before");
        refused.is_problem(429, "too_many_requests");
        assert_eq!(refused.header("retry-after"), "1");
    }

    async fn events_of_a_greedy_organisation_leave_room_to_others(app) {
        let mut senders = Vec::new();
        for email in ["ada@example.com", "bob@example.com"] {
            let tenant = tenant(&app, email).await;
            let key = hooksentry::create(&app, &tenant.access, "key").await.field("/key");
            senders.push((tenant.id, key));
        }
        let event = |at: usize| ingest(&app, &senders[at].0, "source", &senders[at].1).json("{}").send().boxed();
        for at in 0..2 {
            assert_eq!(event(at).await.status, 202);
        }
        // A batch of 512 that waits for the database, and a share of 1,024.
        let (refused, answer, before) = crowd(&app, (0..1_600).map(|_| event(0)), event(1), 202).await;
        refused.is_problem(429, "too_many_requests");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(before <= 2 * 512, "not in the next batch: {before} answers came before");
    }
}

/// Other writers get their turn between two transactions of a flush. PostgreSQL shows the transaction that wrote a row
/// last; the flush is the same on both engines.
#[tokio::test]
async fn a_flush_writes_at_most_a_thousand_rows_in_one_transaction() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let limited = ada.in_env(&ada.live, r#", "quota": {"limit": 9}"#);
    // In waves, because a network has a limited share of the look-ups of sessions and keys.
    for wave in [250, 250, 250, 250, 10] {
        let made = join_all((0..wave).map(|_| create(&app, &ada.cookie, &limited))).await;
        let uses = made.iter().map(|made| Call::new(&app, "GET", "/v1/whoami").key(&made.field("/key")).send());
        assert!(join_all(uses).await.iter().all(|used| used.status == 200));
    }
    app.services.usage.flush().await.expect("the database answers");
    assert_eq!(app.number("SELECT count(*) FROM keys WHERE quota_used = 1").await, 1_010);
    let largest = "SELECT max(count) FROM (SELECT count(*) FROM keys WHERE quota_used = 1 GROUP BY xmin) AS written";
    assert_eq!(app.number(largest).await, 1_000);
}
