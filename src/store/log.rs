//! The log of a SQLite file, and what of it is on disk.
//!
//! SQLite itself brings its log to disk within a commit (`synchronous=FULL`), and everybody who writes waits for the
//! disk. Here a commit only appends to the log (`NORMAL`, which never breaks a file), the next one goes on, and
//! whoever has to answer waits until what was appended before is on disk: one `fdatasync` for all who wait.
//! What is answered is on disk, as before; who reads may see what is not, for a moment.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::db::StoreError;

/// A log that is brought to disk.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Commits that somebody waits for, ever.
    commits: AtomicU64,
    synced: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// So many of them are on disk.
    commits: u64,
    /// The disk has failed. What it then has of the log cannot be known, nor found out by asking again: the system
    /// reports a failed write once, and forgets it.
    failed: bool,
}

impl Log {
    /// Of the database file at this path, by its real name.
    pub(super) fn of(file: &Path) -> Self {
        let mut path = file.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), commits: AtomicU64::default(), synced: Mutex::default() }
    }

    /// Waits until a commit, by its number, is on disk.
    async fn wait(&self, commit: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().await;
        if synced.failed {
            return Err(io::Error::other("the log could not be brought to disk before: restart the server"));
        }
        if synced.commits < commit {
            // Whoever has committed by now is served by what is done from now on.
            let commits = self.commits.load(Ordering::Acquire);
            let path = self.path.clone();
            let done = tokio::task::spawn_blocking(move || sync(&path)).await.unwrap_or_else(|error| Err(error.into()));
            match done {
                Ok(()) => synced.commits = commits,
                Err(error) => {
                    synced.failed = true;
                    tracing::error!(%error, "the log of the database cannot be brought to disk: nothing is written any more");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether the disk takes what is written.
    pub(super) async fn check(&self) -> io::Result<()> {
        self.wait(0).await
    }
}

/// Brings a log to disk. Opened anew each time, because SQLite may have made another one.
fn sync(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(log) => log.sync_data(),
        // It goes only after all of it was brought to its place, on disk.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What was committed, and is not on disk yet, perhaps.
#[derive(Debug)]
#[must_use = "nothing is promised before it is on disk"]
pub(crate) struct Committed<T> {
    value: T,
    waits: Option<(Arc<Log>, u64)>,
}

impl<T> Committed<T> {
    /// To a log, just now.
    pub(super) fn to(log: &Arc<Log>, value: T) -> Self {
        let commit = log.commits.fetch_add(1, Ordering::AcqRel) + 1;
        Self { value, waits: Some((Arc::clone(log), commit)) }
    }

    /// By a server, which answers when it is on disk.
    pub(super) fn by_a_server(value: T) -> Self {
        Self { value, waits: None }
    }

    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Committed<U> {
        Committed { value: of(self.value), waits: self.waits }
    }

    /// The value, once it is on disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn on_disk(self) -> Result<T, StoreError> {
        if let Some((log, commit)) = self.waits {
            log.wait(commit).await.map_err(sqlx::Error::Io)?;
        }
        Ok(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_trip_to_the_disk_serves_all_who_committed_before_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.db");
        std::fs::write(folder.path().join("test.db-wal"), "log").expect("a log");
        let log = Arc::new(Log::of(&file));
        let [first, second] = [1, 2].map(|value| Committed::to(&log, value));
        assert_eq!(first.on_disk().await.expect("on disk"), 1);
        assert_eq!(log.synced.lock().await.commits, 2);
        let third = Committed::to(&log, 3);
        assert_eq!(log.synced.lock().await.commits, 2, "it has not come to disk by itself");
        assert_eq!(second.on_disk().await.expect("on disk"), 2);
        assert_eq!(log.synced.lock().await.commits, 2, "the second was there already");
        assert_eq!(third.on_disk().await.expect("on disk"), 3);
        assert_eq!(log.synced.lock().await.commits, 3);
    }

    #[tokio::test]
    async fn after_the_disk_has_failed_nothing_is_promised_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        // A log that cannot be opened: its folder is a file.
        let in_the_way = folder.path().join("file");
        std::fs::write(&in_the_way, "").expect("a file");
        let log = Arc::new(Log::of(&in_the_way.join("test.db")));
        log.check().await.expect("nothing has failed yet");
        assert!(Committed::to(&log, ()).on_disk().await.is_err());
        assert!(log.check().await.is_err());
        let whole = Log { path: folder.path().join("no-log"), ..Log::of(&in_the_way) };
        assert!(Committed::to(&Arc::new(whole), ()).on_disk().await.is_ok(), "all of it is in its place");
        assert!(Committed::to(&log, ()).on_disk().await.is_err());
    }
}
