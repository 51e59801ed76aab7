//! Text for people on standard output and standard error, beside the log.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

/// The longest that the program waits for a reader of its output.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes a text and waits for that, but not for long: the reader of a pipe may have stopped or gone, which must not keep
/// the program from ending.
pub fn print(to: impl Write + Send + 'static, text: String) {
    let (written, wait) = channel();
    write_detached(to, text, move |_| {
        let _ = written.send(());
    });
    let _ = wait.recv_timeout(WRITE_TIMEOUT);
}

/// Writes a text and does not wait. The log says if that fails.
pub(super) fn print_beside(to: impl Write + Send + 'static, text: String) {
    write_detached(to, text, |outcome| {
        if let Err(error) = outcome {
            tracing::error!(%error, "standard output cannot be written; the address, and the set-up token where one is needed, were not printed");
        }
    });
}

/// Writes from a thread of its own, which a stopped reader holds up until the process ends.
fn write_detached(
    mut to: impl Write + Send + 'static,
    text: String,
    done: impl FnOnce(io::Result<()>) + Send + 'static,
) {
    let write = move || done(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
    if let Err(error) = std::thread::Builder::new().name("output".to_owned()).spawn(write) {
        tracing::error!(%error, "no thread could be started to print");
    }
}
