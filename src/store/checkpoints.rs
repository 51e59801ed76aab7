//! Checkpoints of a SQLite file: a task moves committed pages from the write-ahead log to the file. Within a commit,
//! the checkpoint would delay its writer.

use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::time::MissedTickBehavior;

use super::db::{Db, SqliteFile, StoreError};

/// The interval between checkpoints. A page that changes several times in between is moved once.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// The length in pages (32 MiB) above which the log is restarted, which is possible only while there is no writer.
const MAX_LOG_PAGES: i64 = 8_000;

impl Db {
    /// Makes checkpoints for as long as this future is polled. Does nothing on PostgreSQL, which makes its own.
    pub async fn keep_checkpointing(&self) {
        let Self::Sqlite(file) = self else { return };
        let mut tick = tokio::time::interval(CHECKPOINT_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_well = true;
        // Replaced after a failure.
        let mut connection = None;
        loop {
            tick.tick().await;
            let done = file.keep_log_short(&mut connection).await;
            if let Err(error) = &done {
                connection = None;
                // Logged once: the failure lasts for as long as the disk is full.
                if is_well {
                    tracing::error!(%error, "cannot checkpoint the SQLite WAL, which grows meanwhile; will retry");
                }
            }
            is_well = done.is_ok();
        }
    }
}

impl SqliteFile {
    async fn keep_log_short(&self, connection: &mut Option<SqliteConnection>) -> Result<(), StoreError> {
        if self.file.is_displaced() {
            // The log has the name of the file, and may belong to another file now.
            return Ok(());
        }
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.reader.connect().await?),
        };
        if checkpoint(connection).await? > MAX_LOG_PAGES {
            // While this task has the writer's place, the rest of the log is small. The next writer then restarts the
            // log.
            let turn = self.writer.acquire().await?;
            checkpoint(connection).await?;
            turn.release();
        }
        Ok(())
    }
}

/// Makes a checkpoint that waits for no reader or writer; returns the length of the log in pages.
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
        let mut turn = file.writer.acquire().await.expect("a turn");
        sqlx::query("CREATE TABLE lines (text TEXT NOT NULL)")
            .execute(turn.connection().expect("a connection"))
            .await
            .expect("a table");
        turn.release();
        db
    }

    async fn add(file: &SqliteFile, text: &str) -> sqlx::Result<()> {
        let mut turn = file.writer.acquire().await?;
        let mut transaction = turn.connection()?.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO lines (text) VALUES ($1)").bind(text).execute(&mut *transaction).await?;
        // Violates NOT NULL, and so fails, when the text is `wrong`.
        sqlx::query("INSERT INTO lines (text) SELECT NULL WHERE $1 = 'wrong'")
            .bind(text)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        turn.release();
        Ok(())
    }

    async fn lines(file: &SqliteFile) -> Vec<String> {
        let mut pooled = file.reader.acquire().await.expect("a connection");
        sqlx::query_scalar("SELECT text FROM lines WHERE length(text) < 100 ORDER BY rowid")
            .fetch_all(pooled.connection().expect("a connection"))
            .await
            .expect("lines")
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_for_the_next_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = file(&folder).await;
        let Db::Sqlite(file) = &db else { unreachable!("a file") };
        add(file, "first").await.expect("it is written");
        assert!(add(file, "wrong").await.is_err());
        add(file, "second").await.expect("it is written");
        assert_eq!(lines(file).await, ["first", "second"]);
        // A writer that was cancelled in a transaction leaves nothing either.
        let mut turn = file.writer.acquire().await.expect("a turn");
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
    async fn the_log_restarts_after_a_complete_checkpoint() {
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
        let restarted = checkpoint(&mut connection).await.expect("a checkpoint");
        assert!((1..20).contains(&restarted), "{restarted}");
        db.close().await;
    }
}
