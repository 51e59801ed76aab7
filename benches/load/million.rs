//! Writes a million keys with known strings into a database that a server then opens.

use std::sync::Arc;

use latchkey::domain::PlainKey;
use latchkey::model::Mode;
use latchkey::runtime::entropy::Entropy;

/// Number of keys.
pub const KEYS: usize = 1_000_000;
/// Rows per statement.
const BATCH: usize = 20_000;

/// Returns the strings of the keys by number, equal in every run.
pub fn strings() -> Arc<Vec<String>> {
    Arc::new((0..KEYS as u64).map(string).collect())
}

/// Returns well-formed strings that are not keys.
#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
pub fn strangers() -> Arc<Vec<String>> {
    Arc::new((0..400_000).map(|n| string(u64::MAX - n)).collect())
}

fn string(seed: u64) -> String {
    PlainKey::hookstream(Mode::Live, &Entropy::seeded(seed)).reveal()
}

/// Writes the keys directly into a SQLite file with one account. The server must not run.
pub async fn load(url: &str, strings: &[String]) {
    use sha2::{Digest, Sha256};
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().expect("a URL");
    let options =
        options.pragma("cache_size", "-2000000").synchronous(sqlx::sqlite::SqliteSynchronous::Off).foreign_keys(false);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    for (batch, keys) in strings.chunks(BATCH).enumerate() {
        let rows: Vec<[String; 2]> =
            keys.iter().map(|key| [hex::encode(Sha256::digest(key)), key[..12].to_owned()]).collect();
        sqlx::query(
            // The ids have the layout of the program's, except for the last three bits, which differ for any eight keys
            // that are created within eight milliseconds.
            "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, prefix, created_at, name_folded) \
             SELECT (((born >> 3) & 63) << 58) | (((born >> 9) & 0x3ffffff) << 32) | (random() & 0xfffffff8) | (born & 7), \
                    unhex(printf('%012x7%.3s8%.15s', born, hex(randomblob(2)), hex(randomblob(8)))), \
                    unhex(value ->> 0), e.organisation_id, e.id, m.user_id, 'service ' || number, value ->> 1, born, 'service ' || number \
             FROM (SELECT key + $2 AS number, 1772366400000 + key + $2 AS born, value FROM json_each($1)), \
                  (SELECT * FROM environments WHERE mode = 'live' LIMIT 1) e \
             JOIN memberships m ON m.organisation_id = e.organisation_id",
        )
        .bind(serde_json::json!(rows).to_string())
        .bind(i64::try_from(batch * BATCH).expect("a number of a key"))
        .execute(&pool)
        .await
        .expect("keys");
    }
    sqlx::query("UPDATE organisations SET key_count = key_count + $1")
        .bind(i64::try_from(strings.len()).expect("a count"))
        .execute(&pool)
        .await
        .expect("counted");
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&pool).await.expect("a checkpoint");
    pool.close().await;
}
