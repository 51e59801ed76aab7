//! The statements and migrations of both engines (docs/ARCHITECTURE.md, "Two engines").

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sqlx::postgres::PgTypeInfo;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqlSafeStr};

use latchkey::domain::Owner;
use latchkey::model::{EnvironmentId, OrganisationId, UserId};

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::story::someone;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn names(folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(source(folder))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect()
}

/// Returns the statements of an engine, with their file names.
fn statements(engine: Engine) -> Vec<(String, String)> {
    let other = if engine == Engine::Sqlite { ".postgres.sql" } else { ".sqlite.sql" };
    let statements: Vec<(String, String)> = names("src/store/sql")
        .into_iter()
        .filter(|name| !name.ends_with(other))
        .map(|name| {
            let text = std::fs::read_to_string(source("src/store/sql").join(&name)).expect("its text");
            (name, text)
        })
        .collect();
    assert!(statements.len() > 20, "too few statements were found");
    statements
}

/// Returns the plan of a statement, as text.
async fn plan(app: &TestApp, statement: &str) -> String {
    match app.engine {
        Engine::Sqlite => {
            let mut db = sqlx::SqliteConnection::connect(&app.url).await.expect("the file opens");
            let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
                .fetch_all(&mut db)
                .await
                .expect("a plan");
            rows.iter().map(|row| row.get::<String, _>("detail") + "\n").collect()
        }
        Engine::Postgres => {
            let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
            let statement = statement.replace("$1", "1").replace("$2", "15000").replace("$3", "50");
            let rows =
                sqlx::query(AssertSqlSafe(format!("EXPLAIN {statement}"))).fetch_all(&mut db).await.expect("a plan");
            rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
        }
    }
}

/// Fills in the parameters of a search step in the middle of a large organisation; `third` is parameter 3.
fn with_values(statement: &str, third: &str) -> String {
    let values = [
        "1",
        "'80000000-0000-0000-0000-000000000000'",
        third,
        "NULL",
        "0",
        "'%a%'",
        "'hs_'",
        "NULL",
        "NULL",
        "NULL",
        "NULL",
        "NULL",
        "NULL",
        "51",
    ];
    let numbered = values.iter().enumerate().rev();
    numbered.fold(statement.to_owned(), |text, (number, value)| text.replace(&format!("${}", number + 1), value))
}

/// Inserts ten thousand keys of one organisation and as many of others, on PostgreSQL.
async fn many_keys(app: &TestApp) {
    if app.engine == Engine::Sqlite {
        return;
    }
    let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
    db.execute(
        "INSERT INTO users (id, email, password_hash, created_at) SELECT n, n || '@example.com', '', 0 FROM generate_series(1, 50) n;
         INSERT INTO organisations (id, uuid, name, created_at) SELECT n, gen_random_uuid(), n, 0 FROM generate_series(1, 50) n;
         INSERT INTO environments (id, organisation_id, name, mode, created_at) SELECT n, n, n, 'live', 0 FROM generate_series(1, 50) n;
         INSERT INTO memberships (user_id, organisation_id, role, created_at) SELECT n, n, 'owner', 0 FROM generate_series(1, 50) n;
         INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, created_at)
         SELECT n, gen_random_uuid(), sha256(n::text::bytea), o, o, o, n, n, 'hs_live_0000', n
         FROM (SELECT n, CASE WHEN n % 2 = 0 THEN 1 ELSE 1 + n % 50 END AS o FROM generate_series(1, 20000) n) AS numbered;
         ANALYZE keys",
    )
    .await
    .expect("rows");
}

#[test]
fn the_two_migration_folders_have_the_same_names() {
    assert_eq!(names("migrations/sqlite"), names("migrations/postgres"));
    assert!(names("migrations/sqlite").contains("0001_schema.sql"));
}

#[test]
fn every_statement_for_one_engine_has_one_for_the_other() {
    let names = names("src/store/sql");
    for name in &names {
        let twin = if name.ends_with(".sqlite.sql") {
            name.replace(".sqlite.", ".postgres.")
        } else if name.ends_with(".postgres.sql") {
            name.replace(".postgres.", ".sqlite.")
        } else {
            continue;
        };
        assert!(names.contains(&twin), "{name} has no {twin}");
    }
}

#[test]
fn every_statement_file_is_used() {
    let mut code = String::new();
    for folder in ["src/store", "src/store/migrate_data"] {
        for name in names(folder).iter().filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "rs")) {
            code.push_str(&std::fs::read_to_string(source(folder).join(name)).expect("its text"));
        }
    }
    for name in names("src/store/sql") {
        let stem = name.split('.').next().expect("a stem");
        assert!(code.contains(&format!("\"{stem}\"")), "nothing uses {name}");
    }
}

on_both_engines! {
    async fn every_statement_can_be_prepared_by_its_engine(app) {
        for (name, text) in statements(app.engine) {
            match app.engine {
                Engine::Sqlite => {
                    let mut db = sqlx::SqliteConnection::connect(&app.url).await.expect("the file opens");
                    let prepared = (&mut db).prepare(AssertSqlSafe(text).into_sql_str()).await;
                    assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
                }
                Engine::Postgres => {
                    let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
                    // A parameter that is compared with NULL and a UUID needs an explicit type; the code binds a UUID.
                    let types = ["int8", "text", "uuid", "uuid", "uuid", "int8", "int8"].map(PgTypeInfo::with_name);
                    let types: &[PgTypeInfo] = if text.contains("$3 IS NULL OR k.uuid = $3") { &types } else { &[] };
                    let prepared = (&mut db).prepare_with(AssertSqlSafe(text).into_sql_str(), types).await;
                    assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
                }
            }
        }
    }

    /// A step of a listing reads its keys and no more, by an index in the order of the answer.
    async fn a_listing_uses_its_index(app) {
        many_keys(&app).await;
        for (owner, index) in [
            (Owner::Creator(UserId(1)), "keys_of_creator"),
            (Owner::Organisation(OrganisationId(1)), "keys_by_uuid"),
            (Owner::Environment(EnvironmentId(1)), "keys_of_environment"),
        ] {
            for (statement, third) in owner.statements().into_iter().zip(["999", "'7f000000-0000-0000-0000-000000000000'", "50"]) {
                let statement = match app.engine {
                    Engine::Sqlite => statement.to_owned(),
                    Engine::Postgres => with_values(statement, third),
                };
                let plan = plan(&app, &statement).await;
                assert!(plan.contains(index), "{owner:?} does not use {index}:\n{plan}");
                let scans = plan.lines().any(|line| line.starts_with("SCAN") || line.contains("Seq Scan on keys"));
                assert!(!scans, "{owner:?} scans:\n{plan}");
                // The few keys of one step may be sorted.
                let is_step = statement.contains("uuid >=");
                assert!(is_step || !plan.contains("FOR ORDER BY") && !plan.contains("Sort"), "{owner:?} sorts:\n{plan}");
                let bounded = match app.engine {
                    Engine::Sqlite => plan.contains("uuid<?"),
                    Engine::Postgres => plan.contains("Index Cond: ((") && plan.contains("(uuid < "),
                };
                assert!(bounded, "{owner:?} skips what came before the cursor one by one:\n{plan}");
            }
        }
        // No statement scans for which a check of a key or of a session waits.
        for (name, text) in statements(app.engine) {
            let stem = name.split('.').next().unwrap_or_default();
            if !["keys_by_hash", "key_by_id", "session_load", "user_by_email", "key_count_descendants", "keys_lock_family", "keys_lock_trees",
                "keys_with_children", "keys_by_id", "keys_owned", "key_hours_since", "key_addresses_of",
                "members", "member", "membership_role", "active_keys_of_organisation", "active_keys_of_environment", "active_keys_of_creator",
                "key_places", "invitation_of_token"].contains(&stem) {
                continue;
            }
            let text = match stem {
                "keys_by_hash" => text.replace("$1", r#"'["00"]'"#),
                "keys_owned" => text.replace("$2", "'[1]'"),
                "keys_lock_trees" | "keys_with_children" | "keys_by_id" => text.replace("$1", "'[1]'"),
                "session_load" | "invitation_of_token" => text.replace("$1", "'\\x00'"),
                "user_by_email" => text.replace("$1", "''"),
                "members" => text.replace("$4", "50"),
                "key_places" => text.replace("$1", "'[[1, 1]]'"),

                _ if stem.starts_with("active_keys") => text
                    .replace("$1", "'00000000-0000-0000-0000-000000000000'")
                    .replace("$4", "1"),
                _ => text,
            };
            let plan = plan(&app, &text).await;
            // Only the list in the parameter, and a family that was found, may be scanned.
            let is_small = |line: &str| ["json_each", "SCAN CONSTANT ROW", "SCAN f", "SCAN a", "SCAN p VIRTUAL"].iter().any(|small| line.contains(small));
            let scans = plan.lines().any(|line| line.starts_with("SCAN") && !is_small(line));
            assert!(!scans && !plan.contains("Seq Scan on keys"), "{name}:\n{plan}");
        }
    }

    async fn migrating_again_changes_nothing(app) {
        let ada = someone(&app, "ada@example.com").await;
        app.db.migrate().await.unwrap();
        let again = TestApp::new(app.engine, Settings::default()).await;
        futures::future::join_all((0..4).map(|_| again.db.migrate())).await.into_iter().for_each(|outcome| outcome.unwrap());
        assert_eq!(app.number("SELECT count(*) FROM users").await, 1);
        assert!(!ada.user.is_empty());
    }

    /// Without STRICT, SQLite would accept any text as a number. An organisation with keys cannot be deleted.
    async fn the_schema_refuses_invalid_rows(app) {
        someone(&app, "ada@example.com").await;
        for statement in [
            "INSERT INTO users (id, email, password_hash, created_at) VALUES ('x', 'a', 'b', 1)",
            "INSERT INTO environments (id, organisation_id, name, mode, created_at) VALUES (1, 1, 'a', 'live', 1)",
            "UPDATE environments SET mode = 'prod'",
            "UPDATE memberships SET role = 'god'",
            "UPDATE users SET operator = 2",
            "DELETE FROM organisations",
            "INSERT INTO first_account (only_one) VALUES (2)",
        ] {
            let outcome = match app.engine {
                Engine::Sqlite => {
                    let mut db = sqlx::SqliteConnection::connect(&app.url).await.expect("the file opens");
                    db.execute(statement).await.map(drop)
                }
                Engine::Postgres => {
                    let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
                    db.execute(statement).await.map(drop)
                }
            };
            assert!(matches!(outcome, Err(sqlx::Error::Database(_))), "{statement}");
        }
    }
}
