//! `latchkey migrate-data`: moves a server from SQLite to PostgreSQL without a visible change for its clients.

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

/// Creates a SQLite database with one account.
async fn create_database(folder: &Path) {
    let server = Server::start(folder, &[], &[]);
    Account::register(&mut server.connect().await.expect("the server listens")).await;
    server.stop();
}

async fn dump_of(schema: &Schema) -> Dump {
    dump_postgresql(&mut schema.connect().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_copy_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("refused").await;
    let (here, to) = (folder.path(), schema.url.as_str());
    let run = |from: &str, to: &str| {
        latchkey(here, &["migrate-data", "--from", from, "--to", to]).output().expect("the program runs")
    };

    assert_refused(&run("sqlite:nowhere.db", to), "--from: there is no file nowhere.db");
    assert!(!here.join("nowhere.db").exists());
    std::fs::write(here.join("unused.db"), "").expect("a file");
    assert_refused(&run("sqlite:unused.db", to), "no accounts");
    let mut unused =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}/unused.db", here.display())).await.expect("a file");
    assert_eq!(dump_sqlite(&mut unused).await, Dump::new(), "no tables are created in an empty file");
    create_database(here).await;
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
    assert_eq!(dump_of(&schema).await, Dump::new(), "no tables are created");

    let server = Server::start(here, &["--database-url", to], &[]);
    assert_refused(&run(own, to), "--to: the database is served by another process");
    Account::register(&mut server.connect().await.expect("the server listens")).await;
    server.stop();
    let before = dump_of(&schema).await;
    assert_refused(&run(own, to), "--to: this database has accounts already");
    assert_eq!(dump_of(&schema).await, before);
    schema.remove().await;
}

/// A trigger in the target changes a copied row; the comparison finds it, and the copy is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_differs_is_rolled_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("differs").await;
    create_database(folder.path()).await;
    let made = latchkey(folder.path(), &["migrate", "--database-url", &schema.url]).status().expect("the program runs");
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

/// The database has enough rows that the copy is still running when it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_leaves_nothing_and_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = Schema::new("killed").await;
    let server = Server::start(folder.path(), &[], &[]);
    let mut connection = server.connect().await.expect("the server listens");
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
    let made = latchkey(folder.path(), &["migrate", "--database-url", &schema.url]).status().expect("the program runs");
    assert!(made.success());
    let empty = dump_of(&schema).await;

    for until in ["copying key_hours: 100000 of 300000", "comparing key_hours: 100000 of 300000"] {
        let mut child = latchkey(folder.path(), &["migrate-data", "--from", "sqlite:latchkey.db", "--to", &schema.url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        assert!(output.any(|line| line.expect("a line") == until), "{until}");
        child.kill().expect("the process can be killed");
        assert_eq!(child.wait().expect("the process ends").code(), None, "the copy had ended before");
        assert_eq!(dump_of(&schema).await, empty, "{until}");
    }
    let copied = migrate_data(folder.path(), &schema.url);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    assert!(text(&copied.stdout).contains("key_hours: 300000 rows\n"), "{}", text(&copied.stdout));
    schema.remove().await;
}
