//! `latchkey migrate-data`: a server on SQLite goes on as one on PostgreSQL, and nobody notices.

mod databases;
mod story;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};

use databases::{Dump, Schema, dump_postgresql, dump_sqlite, latchkey, migrate_data, sqlite};
use sqlx::Connection;

use crate::program::text;
use crate::served::{Account, Server};

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("latchkey: ") && said.contains(words), "{said}");
    assert!(!said.contains("panicked") && !text(&output.stdout).contains("copied"), "{said}");
}

/// A file with one account in it.
async fn used_once(folder: &Path) {
    let server = Server::start(folder, &[], &[]);
    Account::register(&mut server.connect().await.expect("it listens")).await;
    server.stop();
}

async fn dump_of(schema: &Schema) -> Dump {
    dump_postgresql(&mut schema.connect().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_and_nothing_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("refused").await;
    let (here, to) = (folder.path(), schema.url.as_str());
    let run =
        |from: &str, to: &str| latchkey(here, &["migrate-data", "--from", from, "--to", to]).output().expect("it runs");

    assert_refused(&run("sqlite:nowhere.db", to), "--from: there is no file nowhere.db");
    assert!(!here.join("nowhere.db").exists());
    std::fs::write(here.join("unused.db"), "").expect("a file");
    assert_refused(&run("sqlite:unused.db", to), "no accounts");
    let mut unused =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}/unused.db", here.display())).await.expect("a file");
    assert_eq!(dump_sqlite(&mut unused).await, Dump::new(), "nor are tables made in a file that has none");
    used_once(here).await;
    let own = "sqlite:latchkey.db";
    assert_refused(&run(to, to), "--from: the data comes from SQLite: write sqlite:FILE");
    assert_refused(&run("mysql://me:secret@localhost/x", to), "--from: the data comes from SQLite: write sqlite:FILE");
    assert_refused(&run(own, own), "--to: the data goes to PostgreSQL: write postgres://");
    assert_refused(&run(own, "sqlite:new.db"), "--to: the data goes to PostgreSQL: write postgres://");
    assert!(!here.join("new.db").exists());
    assert_refused(&run(own, "postgres://nobody@127.0.0.1:1/none"), "--to: the database cannot be opened");
    assert_refused(&run(own, "postgres://nobody@127.0.0.1:none/none"), "--to: the database URL cannot be read");

    let server = Server::start(here, &[], &[]);
    assert_refused(&run(own, to), "latchkey.db is served by another process");
    server.stop();
    assert_eq!(dump_of(&schema).await, Dump::new(), "not even tables are made");

    let server = Server::start(here, &["--database-url", to], &[]);
    assert_refused(&run(own, to), "--to: the database is served by another process");
    Account::register(&mut server.connect().await.expect("it listens")).await;
    server.stop();
    let before = dump_of(&schema).await;
    assert_refused(&run(own, to), "--to: this database has accounts already");
    assert_eq!(dump_of(&schema).await, before);
    schema.remove().await;
}

/// Whatever makes the copy another one (here a trigger), it is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_the_same_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("differs").await;
    used_once(folder.path()).await;
    let made = latchkey(folder.path(), &["migrate", "--database-url", &schema.url]).status().expect("it runs");
    assert!(made.success());
    let mut db = schema.connect().await;
    sqlx::raw_sql(
        "CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.email := upper(NEW.email); RETURN NEW; END $$; \
         CREATE TRIGGER loud BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION loud()",
    )
    .execute(&mut db)
    .await
    .expect("a trigger");
    let empty = dump_of(&schema).await;
    assert_refused(&migrate_data(folder.path(), &schema.url), "row 1 of users is not the same");
    assert_eq!(dump_of(&schema).await, empty);

    sqlx::raw_sql("DROP TRIGGER loud ON users").execute(&mut db).await.expect("no trigger");
    let copied = migrate_data(folder.path(), &schema.url);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    schema.remove().await;
}

/// Enough rows that it is still at work when it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_leaves_nothing_and_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("killed").await;
    let server = Server::start(folder.path(), &[], &[]);
    let mut connection = server.connect().await.expect("it listens");
    let account = Account::register(&mut connection).await;
    let made = connection.call("POST", "/api/v1/apikeys", &[&account.bearer()], r#"{"name":"busy"}"#).await;
    made.expect("an answer").json(201);
    server.stop();
    let mut db = sqlite(folder.path()).await;
    sqlx::raw_sql(
        "WITH RECURSIVE hours (hour) AS (SELECT 1 UNION ALL SELECT hour + 1 FROM hours WHERE hour < 300000) \
         INSERT INTO key_hours (key_id, hour, code, count) SELECT keys.id, hour, 'VALID', hour FROM keys, hours",
    )
    .execute(&mut db)
    .await
    .expect("rows");
    let made = latchkey(folder.path(), &["migrate", "--database-url", &schema.url]).status().expect("it runs");
    assert!(made.success());
    let empty = dump_of(&schema).await;

    for until in ["copying key_hours: 100000 of 300000", "comparing key_hours: 100000 of 300000"] {
        let mut child = latchkey(folder.path(), &["migrate-data", "--from", "sqlite:latchkey.db", "--to", &schema.url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("its output")).lines();
        assert!(said.any(|line| line.expect("a line") == until), "{until}");
        child.kill().expect("it is killed");
        assert_eq!(child.wait().expect("it ends").code(), None, "it was done before");
        assert_eq!(dump_of(&schema).await, empty, "{until}");
    }
    let copied = migrate_data(folder.path(), &schema.url);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(text(&copied.stdout).contains("key_hours: 300000 rows\n"), "{}", text(&copied.stdout));
    schema.remove().await;
}
