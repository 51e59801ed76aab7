//! Turns of tests: a test under load has the machine to itself, or else another test's load would be measured with it.

use std::fs::File;
use std::path::Path;

/// Waits until no other test has a turn, in this process and others. The test has its turn until this is dropped.
pub fn alone() -> File {
    let file = file();
    file.lock().expect("it can be waited for");
    file
}

/// Waits until no test that is [`alone`] has its turn.
pub fn beside_others() -> File {
    let file = file();
    file.lock_shared().expect("it can be waited for");
    file
}

fn file() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock");
    File::create(path).expect("a lock file")
}
