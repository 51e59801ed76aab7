//! The file of a SQLite database: opened once and kept open, locked against a second server, and compared with its
//! path.
//!
//! The lock is `flock(2)` on the database file itself, so neither a link to the file nor a removed lock file lets a
//! second server in. On Linux's local file systems it is independent of the record locks (`fcntl(2)`) that SQLite sets
//! on the same file. When a process closes any descriptor of a file, it loses its record locks on the file. So this
//! descriptor is closed after SQLite's own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::db::{DatabaseUrlError, Db};

/// The interval at which the open file is compared with its path.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// An open database file.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    /// The canonical path: SQLite and the lock file see the target of a symbolic link.
    path: PathBuf,
    file: File,
    /// The lock file, while this process serves the database: versions before the lock on the database file lock only
    /// this file.
    lock_file: OnceLock<File>,
    /// Whether the path no longer leads to this file.
    is_displaced: AtomicBool,
}

impl DatabaseFile {
    /// Opens the file for reading and writing. With `create`, a missing file is created, readable for its owner only,
    /// because it holds addresses and password hashes. SQLite gives its other files the same rights.
    ///
    /// # Errors
    /// When the file does not open, or is missing while files of an earlier server exist.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, DatabaseUrlError> {
        let failed = |error| DatabaseUrlError::File { path: path.to_owned(), error };
        if !path.try_exists().map_err(failed)? {
            if !create {
                return Err(DatabaseUrlError::Missing(path.to_owned()));
            }
            let beside = ["-wal", "-journal", ".lock"].map(|suffix| with_suffix(path, suffix));
            let left: Vec<PathBuf> = beside.into_iter().filter(|file| file.exists()).collect();
            if !left.is_empty() {
                return Err(DatabaseUrlError::LeftBehind { path: path.to_owned(), left });
            }
        }
        let file = File::options().read(true).write(true).create(create).truncate(false).mode(0o600).open(path);
        let file = file.map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        Ok(Self { path, file, lock_file: OnceLock::new(), is_displaced: AtomicBool::new(false) })
    }

    /// Returns the canonical path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the file for this process, for as long as it is open here.
    ///
    /// # Errors
    /// When another process has the lock, or the system refuses.
    pub(super) fn lock(&self) -> Result<(), DatabaseUrlError> {
        match self.file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(DatabaseUrlError::Locked(self.path.clone())),
            Err(fs::TryLockError::Error(error)) => {
                return Err(DatabaseUrlError::Lock { path: self.path.clone(), error });
            }
        }
        let path = with_suffix(&self.path, ".lock");
        let lock_file = File::options().create(true).append(true).open(&path);
        let lock_file = lock_file.map_err(|error| DatabaseUrlError::Lock { path, error })?;
        // Best effort: the lock on the database file is the decisive one.
        if let Err(fs::TryLockError::WouldBlock) = lock_file.try_lock() {
            return Err(DatabaseUrlError::Locked(self.path.clone()));
        }
        let _ = self.lock_file.set(lock_file);
        if self.links() > 1 {
            tracing::warn!(
                file = %self.path.display(), names = self.links(),
                "the database file has several names (hard links); a start under another name would lose the changes \
                 that are still in the WAL of this name"
            );
        }
        Ok(())
    }

    /// Refuses a file that another process may have open under another name: SQLite would keep a second log for it.
    ///
    /// # Errors
    /// When the file has several names and is served.
    pub(super) fn refuse_other_name(&self) -> Result<(), DatabaseUrlError> {
        if self.links() > 1 && self.file.try_lock_shared().is_err() {
            return Err(DatabaseUrlError::Locked(self.path.clone()));
        }
        Ok(())
    }

    fn links(&self) -> u64 {
        self.file.metadata().map_or(1, |file| file.nlink())
    }

    /// Returns whether the path no longer led to the open file at the last check.
    pub(super) fn is_displaced(&self) -> bool {
        self.is_displaced.load(Ordering::Relaxed)
    }

    /// Returns the error of a file that its path no longer leads to.
    pub(super) fn displaced() -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, "the database file was moved, deleted or replaced")
    }

    /// Compares the open file with its path, by device and inode.
    ///
    /// # Errors
    /// When the path does not lead to this file, or the check fails.
    pub(super) fn check_in_place(&self) -> io::Result<()> {
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        let (open, named) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if identity(open) == identity(named) { Ok(()) } else { Err(Self::displaced()) }
    }

    fn check(&self) {
        let is_displaced = self.check_in_place().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if self.is_displaced.swap(is_displaced, Ordering::Relaxed) != is_displaced {
            let file = self.path.display();
            if is_displaced {
                tracing::error!(
                    %file,
                    "the database file was moved, deleted or replaced; changes are refused until it is back, and \
                     a restart would lose the changes that only the open file has"
                );
            } else {
                tracing::info!(%file, "the database file is back; changes are accepted again");
            }
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

impl Db {
    /// Compares the open database file with its path each second, for as long as this future is polled. While they
    /// differ, writes fail. Does nothing on PostgreSQL.
    pub async fn keep_watching(&self) {
        let Self::Sqlite(database) = self else { return };
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tick.tick().await;
            database.file.check();
            database.writer.suspend(database.file.is_displaced());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_locked_by_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link, other] = ["a.db", "link.db", "symbolic.db"].map(|name| folder.path().join(name));
        let served = DatabaseFile::open(&path, true).unwrap();
        served.lock().unwrap();
        fs::hard_link(&path, &link).unwrap();
        std::os::unix::fs::symlink(&path, &other).unwrap();
        fs::remove_file(with_suffix(&path, ".lock")).unwrap();
        for name in [&path, &link, &other] {
            let second = DatabaseFile::open(name, true).unwrap();
            assert!(matches!(second.lock(), Err(DatabaseUrlError::Locked(_))), "{}", name.display());
        }
        assert!(DatabaseFile::open(&link, false).unwrap().refuse_other_name().is_err());
        drop(served);
        // An earlier version locks only the lock file.
        let earlier = File::options().create(true).append(true).open(with_suffix(&path, ".lock")).unwrap();
        earlier.lock().unwrap();
        assert!(matches!(DatabaseFile::open(&path, true).unwrap().lock(), Err(DatabaseUrlError::Locked(_))));
        drop(earlier);
        DatabaseFile::open(&link, true).unwrap().lock().unwrap();
    }
}
