//! Jobs of a running server: periodic jobs run, and a stop leaves no job claimed.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection;

use crate::program::{latchkey, log, serve};

async fn number(folder: &Path, statement: &'static str) -> i64 {
    let url = format!("sqlite:{}", folder.join("latchkey.db").display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.expect("the file opens");
    sqlx::query_scalar(statement).fetch_one(&mut db).await.expect("a number")
}

#[tokio::test]
async fn clean_up_jobs_run_and_a_stop_leaves_none_claimed() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || serve(folder.path(), latchkey(folder.path()).args(["--listen", "127.0.0.1:0"]));
    start().stop();
    let session = "INSERT INTO sessions (id_hash, user_id, data, created_at, seen_at) VALUES (zeroblob(32), 1, '{}', 1, 1) RETURNING 1";
    let user =
        "INSERT INTO users (id, email, password_hash, created_at) VALUES (1, 'a@example.com', '', 1) RETURNING 1";
    // Simulates that the server was down for an hour.
    let due = "UPDATE jobs SET due_at = due_at - 3600000 WHERE kind = 'delete_ended_sessions' RETURNING 1";
    for statement in [user, session, due] {
        assert_eq!(number(folder.path(), statement).await, 1);
    }
    let server = start();
    let cleaned = async {
        while number(folder.path(), "SELECT count(*) FROM sessions").await > 0
            || number(folder.path(), "SELECT count(*) FROM jobs WHERE due_at <= unixepoch() * 1000").await > 0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let cleaned = tokio::time::timeout(Duration::from_mins(1), cleaned).await;
    assert!(cleaned.is_ok(), "{}", log(folder.path()));
    server.stop();
    assert_eq!(number(folder.path(), "SELECT count(*) FROM jobs WHERE attempts = 0 AND claim IS NULL").await, 10);
}

#[tokio::test]
async fn a_server_erases_a_deleted_organisation() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || serve(folder.path(), latchkey(folder.path()).args(["--listen", "127.0.0.1:0"]));
    start().stop();
    let deleted = "INSERT INTO organisations (id, uuid, name, created_at, deleted_at) VALUES (7, zeroblob(16), 'x', 1, 2) RETURNING 1";
    let job = "INSERT INTO jobs (id, kind, payload, created_at, due_at)
               VALUES (7, 'erase_organisation', '{\"organisation\":\"org_0000000000000007\"}', 1, 1) RETURNING 1";
    for statement in [deleted, job] {
        assert_eq!(number(folder.path(), statement).await, 1);
    }
    let server = start();
    let erased = async {
        while number(folder.path(), "SELECT count(*) FROM jobs WHERE id = 7 AND outcome = 'done'").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let erased = tokio::time::timeout(Duration::from_mins(1), erased).await;
    assert!(erased.is_ok(), "{}", log(folder.path()));
    server.stop();
    assert_eq!(number(folder.path(), "SELECT count(*) FROM organisations").await, 0);
}
