//! The query plans of HookSentry's statements: a lost index fails these tests
//! (docs/CONTRACTS.md, "Paging that stays fast").

use std::collections::HashSet;

use latchkey::model::OrganisationId;
use latchkey::store::{KeyColumn, KeyCounts, KeyPage};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::app::{Engine, TestApp, on_both_engines};

/// Inserts rows of twenty tenants with the ids 1 to 20, most rows of tenant 1, and collects the planner's statistics.
async fn fill(app: &TestApp) {
    let (uuid, hash, series, analyze) = match app.engine {
        Engine::Sqlite => (
            "randomblob(16)",
            "randomblob(32)",
            "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT n FROM s)",
            "ANALYZE",
        ),
        Engine::Postgres => (
            "gen_random_uuid()",
            "sha256(gen_random_uuid()::text::bytea)",
            "(SELECT n FROM generate_series(1, 20000) n) AS s",
            "SELECT 1",
        ),
    };
    let owner = "CASE WHEN n % 4 < 3 THEN 1 ELSE 1 + n % 20 END";
    let rows = format!(
        "INSERT INTO users (id, email, password_hash, created_at) SELECT n, CAST(n AS TEXT), '', 0 FROM {series} WHERE n <= 20;
         INSERT INTO organisations (id, uuid, name, created_at) SELECT n, {uuid}, 'o', 0 FROM {series} WHERE n <= 20;
         INSERT INTO environments (id, organisation_id, name, mode, created_at) SELECT n, n, 'e', 'live', 0 FROM {series} WHERE n <= 20;
         INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, created_at, revoked_at)
         SELECT n, {uuid}, {hash}, {owner}, {owner}, {owner}, CAST(n % 999 AS TEXT), '', 'hs_live_0000', n / 3, CASE WHEN n % 5 < 2 THEN n / 2 END FROM {series};
         INSERT INTO sources (id, environment_id, name, created_at) SELECT n, 1 + n % 20, CAST(n AS TEXT), 0 FROM {series} WHERE n <= 200;
         INSERT INTO events (uuid, organisation_id, source_id, key_id, received_at, body) SELECT {uuid}, {owner}, 1 + n % 200, n, n, {hash} FROM {series};
         INSERT INTO idempotency_keys (source_id, text, event_uuid, accepted_at) SELECT 1 + n % 200, CAST(n AS TEXT), {uuid}, n FROM {series};
         INSERT INTO token_families (id, user_id, organisation_id, created_at) SELECT n, 1 + n % 20, 1, 0 FROM {series};
         INSERT INTO tokens (hash, family_id, kind, expires_at) SELECT {hash}, n, 'access', n FROM {series};
         {analyze}"
    );
    match app.engine {
        Engine::Sqlite => {
            let mut db = sqlx::SqliteConnection::connect(&app.url).await.expect("the file opens");
            db.execute(AssertSqlSafe(rows)).await.expect("rows");
        }
        Engine::Postgres => {
            let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
            db.execute(AssertSqlSafe(rows)).await.expect("rows");
            // As autovacuum does in time: index-only scans need the visibility map.
            db.execute("VACUUM ANALYZE").await.expect("statistics");
        }
    }
}

/// Returns the plan of a statement, with literals for its parameters, as PostgreSQL requires.
async fn plan(app: &TestApp, statement: &str, literals: &[&str]) -> String {
    let mut statement = statement.to_owned();
    for (n, literal) in literals.iter().enumerate().rev() {
        statement = statement.replace(&format!("${}", n + 1), literal);
    }
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
            let rows =
                sqlx::query(AssertSqlSafe(format!("EXPLAIN {statement}"))).fetch_all(&mut db).await.expect("a plan");
            rows.iter().map(|row| row.get::<String, _>(0) + "\n").collect()
        }
    }
}

/// Returns whether a plan scans one of these tables.
fn scans(plan: &str, tables: &[&str]) -> bool {
    plan.lines().map(str::trim_start).any(|line| {
        (line.starts_with("SCAN") && !line.starts_with("SCAN CONSTANT"))
            || tables.iter().any(|table| line.contains(&format!("Seq Scan on {table} ")))
    })
}

fn sorts(plan: &str) -> bool {
    plan.contains("TEMP B-TREE") || plan.contains("Sort")
}

on_both_engines! {
    /// Every order, filter and direction has a covering index for the ids of the page.
    async fn every_listing_of_keys_uses_an_index(app) {
        fill(&app).await;
        let counts = KeyCounts { keys: 15_000, revoked: 6_000 };
        let mut seen = HashSet::new();
        for column in [KeyColumn::Id, KeyColumn::Name, KeyColumn::IsActive, KeyColumn::CreatedAt, KeyColumn::RevokedAt] {
            for active in [None, Some(true), Some(false)] {
                let whole = KeyPage { organisation: OrganisationId(1), environment: None, active, column, descending: false, offset: 0, limit: i64::MAX };
                for (list, stretch) in whole.stretches(&counts) {
                    assert_eq!(stretch, 0..list.length(&counts));
                    seen.insert(list);
                }
            }
        }
        assert_eq!(seen.len(), 7);
        for list in seen {
            let what = format!("{list:?}");
            let index = what.rsplit_once("active: ").expect("it says so").1;
            let index = match index.trim_end_matches(" }").split_once(", order: ").expect("both") {
                ("None", "Id") => "keys_by_uuid",
                ("None", "Name") => "keys_by_name",
                ("Some(true)", "Id") => "active_keys_by_uuid",
                ("Some(true)", "Name") => "active_keys_by_name",
                ("Some(false)", "Id") => "revoked_keys_by_uuid",
                ("Some(false)", "Name") => "revoked_keys_by_name",
                ("Some(false)", "RevokedAt") => "revoked_keys_by_revocation",
                other => panic!("{other:?}"),
            };
            for descending in [false, true] {
                let near = plan(&app, &list.statement(descending, "", true), &["1", "10", "50"]).await;
                assert!(near.contains(index) && !scans(&near, &["keys"]) && !sorts(&near), "not by {index}: {what}:\n{near}");
                let statement = list.statement(descending, "", false);
                // PostgreSQL's planner must see a page in the middle of 15,000 keys.
                let literals = ["1", "10", "2500"];
                let (_, inner) = statement.split_once("IN (").expect("ids first");
                let (inner, _) = inner.rsplit_once(") ORDER BY").expect("the page in order");
                let walk = plan(&app, inner, &literals).await;
                let uses = |name: &str| walk.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
                assert!(uses(index) && !scans(&walk, &["keys"]) && !sorts(&walk), "not by {index}: {what}:\n{inner}\n{walk}");
                assert!(walk.contains("COVERING INDEX") || walk.contains("Index Only Scan"), "{what}:\n{walk}");
                // The rows of the page are then read one by one.
                let rows = plan(&app, &statement, &literals).await;
                assert!(!scans(&rows, &["keys"]), "{rows}");
            }
        }
        let counts = plan(&app, include_str!("../../src/store/sql/organisation_counts.sql"), &["1"]).await;
        assert!(!counts.contains("keys"), "the total is read, not counted: {counts}");
    }

    async fn no_statement_of_tokens_and_events_reads_a_whole_table(app) {
        fill(&app).await;
        let (hash, uuid) = match app.engine {
            Engine::Sqlite => ("x'00'", "x'01900000000000000000000000000000'"),
            Engine::Postgres => ("'\\x00'::bytea", "'01900000-0000-0000-0000-000000000000'::uuid"),
        };
        macro_rules! statement {
            ($name:literal) => {
                ($name, include_str!(concat!("../../src/store/sql/", $name, ".sql")))
            };
        }
        let delete_old = match app.engine {
            Engine::Sqlite => statement!("idempotency_keys_delete_old.sqlite"),
            Engine::Postgres => statement!("idempotency_keys_delete_old.postgres"),
        };
        let family_of_refresh = match app.engine {
            Engine::Sqlite => statement!("token_family_of_refresh.sqlite"),
            Engine::Postgres => statement!("token_family_of_refresh.postgres"),
        };
        for ((name, text), literals) in [
            (statement!("token_holder"), vec![hash, "5"]),
            (statement!("token_use"), vec![hash, "5"]),
            (family_of_refresh, vec![hash]),
            (statement!("token_family_end"), vec!["1", "5"]),
            (statement!("token_families_end"), vec![hash, hash, "1", "5"]),
            (statement!("token_families_end_of_user"), vec!["1", "5"]),
            (statement!("tokens_delete_ended"), vec!["5"]),
            (statement!("key_by_uuid"), vec![uuid]),
            (delete_old, vec!["5", "1000"]),
            (statement!("source_count"), vec!["1", "5", "5"]),
            (statement!("event_head"), vec!["1", uuid]),
            (statement!("event_body"), vec!["1", uuid]),
            (statement!("event_at"), vec!["1", "1", "3"]),
            (statement!("events_delete"), vec!["1", uuid, "1000"]),
        ] {
            let plan = plan(&app, text, &literals).await;
            assert!(!scans(&plan, &["tokens", "tokens t", "token_families", "token_families f", "keys", "keys k", "idempotency_keys", "events", "events v"]), "{name}:\n{plan}");
            let may_sort = ["event_at", "token_families_end", "token_holder"];
            assert!(!sorts(&plan) || may_sort.contains(&name), "{name}:\n{plan}");
        }
        // A page of events walks an index in the order of the events, and no further than the page.
        for (name, text) in [statement!("events_newest_first"), statement!("events_oldest_first")] {
            let top = match app.engine {
                Engine::Sqlite => "x'ffffffffffffffffffffffffffffffff'",
                Engine::Postgres => "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid",
            };
            let bottom = match app.engine {
                Engine::Sqlite => "x'00000000000000000000000000000000'",
                Engine::Postgres => "'00000000-0000-0000-0000-000000000000'::uuid",
            };
            let plan = plan(&app, text, &["1", "NULL", "NULL", bottom, top, "10", "0", "NULL"]).await;
            assert!(plan.contains("events_of_organisation"), "{name}:\n{plan}");
            assert!(!scans(&plan, &["events", "events v", "keys", "keys k"]) && !sorts(&plan), "{name}:\n{plan}");
        }
    }
}
