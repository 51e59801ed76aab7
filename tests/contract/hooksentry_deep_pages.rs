//! Pages by number, near the ends of a list and in its middle (docs/CONTRACTS.md, "Paging that stays fast").

use latchkey::model::{KeyId, OrganisationId};
use latchkey::store::{KeyColumn, KeyPage, ListedKey};

use crate::app::{Engine, TestApp, on_both_engines};
use crate::hooksentry::{create, revoke, tenant};
use crate::story::Call;

/// The number of keys. Every other one is revoked, so that the middle of each list is far from both ends.
const KEYS: i64 = 5_000;
const COLUMNS: [KeyColumn; 5] =
    [KeyColumn::Id, KeyColumn::Name, KeyColumn::IsActive, KeyColumn::CreatedAt, KeyColumn::RevokedAt];

async fn fill(app: &TestApp, organisation: i64) {
    let (uuid, hash, series) = match app.engine {
        Engine::Sqlite => (
            "unhex(printf('%012x7%.3s8%.15s', n / 3, hex(randomblob(2)), hex(randomblob(8))))",
            "randomblob(32)",
            format!(
                "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {KEYS}) SELECT n FROM s)"
            ),
        ),
        Engine::Postgres => (
            "CAST(lpad(to_hex(n / 3), 12, '0') || overlay(overlay(substr(md5(CAST(random() AS text)), 1, 20) PLACING '7' FROM 1) PLACING '8' FROM 5) AS uuid)",
            "sha256(gen_random_uuid()::text::bytea)",
            format!("(SELECT n FROM generate_series(1, {KEYS}) n) AS s"),
        ),
    };
    app.execute(&format!(
        "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, created_at, revoked_at)
         SELECT n, {uuid}, {hash}, e.organisation_id, e.id, m.user_id, 'service ' || (n * 7919 % 1000), '', 'hs_live_0000',
                n / 3, CASE WHEN n % 2 = 0 THEN n / 5 END
         FROM {series}
         JOIN environments e ON e.organisation_id = {organisation} AND e.mode = 'live'
         JOIN memberships m ON m.organisation_id = e.organisation_id;
         UPDATE organisations SET key_count = key_count + {KEYS}, revoked_count = revoked_count + {KEYS} / 2
         WHERE id = {organisation};"
    ))
    .await;
}

fn page(organisation: i64, column: KeyColumn, active: Option<bool>) -> KeyPage {
    let organisation = OrganisationId(organisation);
    KeyPage { organisation, environment: None, active, column, descending: false, offset: 0, limit: i64::MAX }
}

/// Sorts in the documented order: bytes, null first, ties in the order of ids.
fn sort(keys: &mut [ListedKey], column: KeyColumn) {
    keys.sort_by(|one, other| {
        let by_column = match column {
            KeyColumn::Id => std::cmp::Ordering::Equal,
            KeyColumn::Name => one.name.cmp(&other.name),
            KeyColumn::IsActive => one.revoked_at.is_none().cmp(&other.revoked_at.is_none()),
            KeyColumn::CreatedAt => one.created_at.cmp(&other.created_at),
            KeyColumn::RevokedAt => one.revoked_at.cmp(&other.revoked_at),
        };
        by_column.then(one.uuid.as_bytes().cmp(other.uuid.as_bytes()))
    });
}

/// Compares pages in every part of every list with a plain sort.
async fn check_pages(app: &TestApp, organisation: i64) {
    let keys = &app.services.keys;
    let (_, everything) = keys.page(&page(organisation, KeyColumn::Id, None)).await.expect("all keys");
    for column in COLUMNS {
        for active in [None, Some(true), Some(false)] {
            let mut expected: Vec<ListedKey> = everything
                .iter()
                .filter(|key| active.is_none_or(|active| active == key.revoked_at.is_none()))
                .cloned()
                .collect();
            sort(&mut expected, column);
            for descending in [false, true] {
                let length = expected.len();
                // Near the ends, far from both, at the boundary of the two states, and past the last key.
                for offset in [0, 50, 51, 999, length / 2 - 1, length / 2 + 1, length - 58, length - 3, length + 5] {
                    let (offset, limit) = (i64::try_from(offset).unwrap(), 7);
                    let page = KeyPage { descending, offset, limit, ..page(organisation, column, active) };
                    let (total, got) = keys.page(&page).await.expect("a page");
                    assert_eq!(total, i64::try_from(length).unwrap());
                    let from = usize::try_from(offset).unwrap().min(length);
                    let wanted: Vec<&ListedKey> = expected[from..length.min(from + 7)].iter().collect();
                    assert_eq!(got.iter().collect::<Vec<_>>(), wanted, "{page:?}");
                }
                expected.reverse();
            }
        }
    }
}

on_both_engines! {
    async fn pages_at_any_offset_keep_the_documented_order_after_changes(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let organisation = app.number("SELECT id FROM organisations").await;
        fill(&app, organisation).await;
        check_pages(&app, organisation).await;

        let made = create(&app, &ada.access, "a new one").await.field("/id");
        check_pages(&app, organisation).await;

        assert_eq!(revoke(&app, &ada.access, &made).await.status, 200);
        check_pages(&app, organisation).await;

        let path = format!("/v1/keys/{}", KeyId(KEYS / 2 + 1));
        let body = r#"{"name":"a"}"#;
        assert_eq!(Call::new(&app, "PATCH", &path).cookie(&ada.who.cookie).json(body).send().await.status, 200);
        check_pages(&app, organisation).await;
    }
}
