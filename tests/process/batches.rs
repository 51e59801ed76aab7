//! Requests that share a commit do not share a failure: a row that the database refuses fails alone.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tokio::task::JoinSet;

use crate::program::{call, latchkey, log, server_with_account};
use crate::served::{Account, Connection, Server};

/// Concurrent requests in a round; the database rejects every tenth.
const CONCURRENT: usize = 60;
const ROUNDS: usize = 5;

/// Triggers that reject keys named `bad` and events from the source `bad`.
const SQLITE: &str = "
    CREATE TRIGGER bad_key BEFORE INSERT ON keys WHEN NEW.name = 'bad'
    BEGIN SELECT RAISE(ABORT, 'a bad row'); END;
    CREATE TRIGGER bad_event BEFORE INSERT ON events WHEN instr(NEW.body, 'bad') > 0
    BEGIN SELECT RAISE(ABORT, 'a bad row'); END;";
const POSTGRES: &str = "
    ALTER TABLE keys ADD CONSTRAINT bad_key CHECK (name <> 'bad');
    ALTER TABLE events ADD CONSTRAINT bad_event CHECK (position('bad'::bytea IN body) = 0);";

async fn neighbours_of_a_bad_row_are_stored(
    server: &Server,
    mut connection: Connection,
    account: Account,
    folder: &std::path::Path,
) {
    let made = call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"key"}"#).await.json(201);
    let ingest = format!("/api/v1/ingest/{}/source", account.tenant);
    let cookie = format!("Cookie: session={}", account.session);
    let key = format!("X-API-Key: {}", made["key"].as_str().expect("a key"));
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let mut requests = JoinSet::new();
        for number in 0..CONCURRENT {
            let is_bad = number % 10 == 5;
            let mut connection = server.connect().await.expect("a connection");
            let (cookie, key, ingest) = (cookie.clone(), key.clone(), ingest.clone());
            requests.spawn(async move {
                let text = if is_bad { "bad" } else { "good" };
                let made = connection
                    .call("POST", "/v1/auth/api-keys", &[&cookie], &format!(r#"{{"name":"{text}"}}"#))
                    .await
                    .expect("an answer");
                let idempotency =
                    format!("X-Idempotency-Key: {text}-{number}-{}", made.header("x-request-id").expect("an id"));
                let headers = [key.as_str(), idempotency.as_str()];
                // Events with an idempotency key and events without one use different statements.
                let headers = if number % 2 == 0 { &headers[..] } else { &headers[..1] };
                let taken = connection
                    .call("POST", &ingest, headers, &format!(r#"{{"is":"{text}"}}"#))
                    .await
                    .expect("an answer");
                (is_bad, made.status, taken.status)
            });
        }
        while let Some(answered) = requests.join_next().await {
            let (is_bad, made, taken) = answered.expect("no panic");
            assert_eq!((made, taken), if is_bad { (503, 503) } else { (201, 202) }, "{}", log(folder));
            refused += usize::from(is_bad);
        }
    }
    let bearer = account.bearer();
    let events = connection.call("GET", "/api/v1/events", &[&bearer], "").await.expect("an answer").json(200);
    assert_eq!(events["total"], ROUNDS * CONCURRENT - refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_fails_alone_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    let (server, connection, account) =
        server_with_account(folder.path(), command.args(["--listen", "127.0.0.1:0"])).await;
    let url = format!("sqlite:{}", folder.path().join("latchkey.db").display());
    let mut admin = SqliteConnection::connect(&url).await.expect("the database opens");
    sqlx::raw_sql(SQLITE).execute(&mut admin).await.expect("triggers");
    neighbours_of_a_bad_row_are_stored(&server, connection, account, folder.path()).await;
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_fails_alone_on_postgresql() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` sets it");
    let schema = format!("batches_{}", std::process::id());
    let mut admin = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut admin).await.expect("a schema");
    sqlx::query(AssertSqlSafe(format!("SET search_path TO {schema}")))
        .execute(&mut admin)
        .await
        .expect("the schema is used");
    let separator = if url.contains('?') { '&' } else { '?' };
    let own = format!("{url}{separator}options[search_path]={schema}");
    let mut command = latchkey(folder.path());
    let (server, connection, account) =
        server_with_account(folder.path(), command.args(["--listen", "127.0.0.1:0", "--database-url", &own])).await;
    sqlx::raw_sql(POSTGRES).execute(&mut admin).await.expect("constraints");
    neighbours_of_a_bad_row_are_stored(&server, connection, account, folder.path()).await;
    server.stop();
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE")))
        .execute(&mut admin)
        .await
        .expect("the schema is dropped");
}
