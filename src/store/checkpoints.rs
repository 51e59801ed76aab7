//! Checkpoints of a SQLite file: what was committed to its log is brought to its place beside those who write,
//! and not within a commit, which would wait for it.

use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::time::MissedTickBehavior;

use super::db::{Db, SqliteFile, StoreError};

/// How often. What changes again and again in between is brought to its place once.
const EVERY: Duration = Duration::from_millis(500);
/// A log of so many pages (32 MiB) is begun anew, which it can only be while nobody writes.
const LONG: i64 = 8_000;

impl Db {
    /// Makes checkpoints for as long as this is polled. On PostgreSQL, which does so by itself, nothing.
    pub async fn keep_checkpointing(&self) {
        let Self::Sqlite(file) = self else { return };
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_well = true;
        // After a failure, another one.
        let mut connection = None;
        loop {
            tick.tick().await;
            let done = file.keep_log_short(&mut connection).await;
            if let Err(error) = &done {
                connection = None;
                // Once: it goes on for as long as the disk is full.
                if is_well {
                    tracing::error!(%error, "no checkpoint could be made; it is tried again until it can");
                }
            }
            is_well = done.is_ok();
        }
    }
}

impl SqliteFile {
    async fn keep_log_short(&self, connection: &mut Option<SqliteConnection>) -> Result<(), StoreError> {
        if self.file.is_displaced() {
            // The log has the name of the file, which may be another one's now.
            return Ok(());
        }
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.reader.connect().await?),
        };
        if checkpoint(connection).await? > LONG {
            // The rest is little, and then the next one to write begins at the front.
            let turn = self.writer.lend().await?;
            checkpoint(connection).await?;
            turn.release();
        }
        Ok(())
    }
}

/// One checkpoint, which waits for nobody; how many pages the log has.
async fn checkpoint(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let (_busy, pages, _done): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    async fn file(folder: &tempfile::TempDir) -> Db {
        let db = Db::open(&format!("sqlite:{}", folder.path().join("test.db").display())).await.expect("it opens");
        let Db::Sqlite(file) = &db else { unreachable!("a file") };
        let mut turn = file.writer.lend().await.expect("a turn");
        sqlx::query("CREATE TABLE lines (text TEXT NOT NULL)")
            .execute(turn.connection().expect("a connection"))
            .await
            .expect("a table");
        turn.release();
        db
    }

    async fn add(file: &SqliteFile, text: &str) -> sqlx::Result<()> {
        let mut turn = file.writer.lend().await?;
        let mut transaction = turn.connection()?.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO lines (text) VALUES ($1)").bind(text).execute(&mut *transaction).await?;
        // One that must not be NULL: fails where the text says so.
        sqlx::query("INSERT INTO lines (text) SELECT NULL WHERE $1 = 'wrong'")
            .bind(text)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        turn.release();
        Ok(())
    }

    async fn lines(file: &SqliteFile) -> Vec<String> {
        let mut lent = file.reader.lend().await.expect("a connection");
        sqlx::query_scalar("SELECT text FROM lines WHERE length(text) < 100 ORDER BY rowid")
            .fetch_all(lent.connection().expect("a connection"))
            .await
            .expect("lines")
    }

    #[tokio::test]
    async fn whoever_writes_after_a_failure_finds_nothing_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = file(&folder).await;
        let Db::Sqlite(file) = &db else { unreachable!("a file") };
        add(file, "first").await.expect("it is written");
        assert!(add(file, "wrong").await.is_err());
        add(file, "second").await.expect("it is written");
        assert_eq!(lines(file).await, ["first", "second"]);
        // Nor of somebody who went away in the middle.
        let mut turn = file.writer.lend().await.expect("a turn");
        let mut transaction =
            turn.connection().expect("a connection").begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
        sqlx::query("INSERT INTO lines (text) VALUES ('half')").execute(&mut *transaction).await.expect("a line");
        drop(transaction);
        drop(turn);
        add(file, "third").await.expect("it is written");
        assert_eq!(lines(file).await, ["first", "second", "third"]);
        db.close().await;
    }

    #[tokio::test]
    async fn a_log_is_begun_anew_once_it_is_in_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = file(&folder).await;
        let Db::Sqlite(file) = &db else { unreachable!("a file") };
        let mut connection = file.reader.connect().await.expect("a connection");
        for _ in 0..10 {
            add(file, &"x".repeat(100_000)).await.expect("it is written");
        }
        let long = checkpoint(&mut connection).await.expect("a checkpoint");
        assert!(long > 200, "{long}");
        add(file, "after it").await.expect("it is written");
        let begun_anew = checkpoint(&mut connection).await.expect("a checkpoint");
        assert!((1..20).contains(&begun_anew), "{begun_anew}");
        db.close().await;
    }
}
