//! Checkpoints of a SQLite file: what was committed to its log is brought to its place beside those who write,
//! and not within a commit, which would wait for it.

use std::time::Duration;

use sqlx::{ConnectOptions, SqliteConnection};

use super::db::{Db, SqliteFile, StoreError};

/// How often. What changes again and again in between is brought to its place once.
const EVERY: Duration = Duration::from_millis(500);
/// A log of so many pages (32 MiB) is begun anew, which it can only be while nobody writes.
const LONG: i64 = 8_000;

impl Db {
    /// Makes checkpoints for as long as this is polled. On PostgreSQL, which does so by itself, nothing.
    pub async fn keep_checkpointing(&self) {
        let Self::Sqlite(file) = self else { return };
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = checkpoint_again_and_again(file).await {
                tracing::error!(%error, "no checkpoint could be made; it will be tried again");
            }
        }
    }
}

async fn checkpoint_again_and_again(file: &SqliteFile) -> Result<(), StoreError> {
    let mut connection = file.reader.connect_options().connect().await?;
    loop {
        if checkpoint(&mut connection).await? > LONG {
            // The rest is little, and then the next one to write begins at the front.
            let turn = file.write().await?;
            checkpoint(&mut connection).await?;
            turn.done();
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One checkpoint, which waits for nobody; how many pages the log has.
async fn checkpoint(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let (_busy, pages, _done): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    Ok(pages)
}
