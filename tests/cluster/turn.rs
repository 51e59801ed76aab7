//! A lock between tests: a test under load runs alone, because another test's load would affect its measurements.

use std::fs::File;
use std::path::Path;

/// Takes the exclusive lock: waits until no other test holds the lock, in this process and others. The test holds it
/// until the returned file is dropped.
pub fn exclusive() -> File {
    let file = file();
    file.lock().expect("the lock can be taken");
    file
}

/// Takes the shared lock: waits until no test holds the [`exclusive`] lock.
pub fn shared() -> File {
    let file = file();
    file.lock_shared().expect("the lock can be taken");
    file
}

fn file() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock");
    File::create(path).expect("a lock file")
}
