//! Prints texts for people to standard output and standard error, separately from the log.

use std::io::{self, Write};
use std::sync::mpsc::channel;
use std::time::Duration;

/// The time to wait for a print. A slower reader may lose the text when the program ends.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes a text and waits for the write, but at most 1 s: the reader of a pipe may have stopped or gone, which must
/// not keep the program from ending.
pub fn print(to: impl Write + Send + 'static, text: String) {
    let (written, wait) = channel();
    write_detached(to, text, move |_| {
        let _ = written.send(());
    });
    let _ = wait.recv_timeout(WRITE_TIMEOUT);
}

/// Writes a text without waiting. A failure is logged.
pub(super) fn print_beside(to: impl Write + Send + 'static, text: String) {
    write_detached(to, text, |outcome| {
        if let Err(error) = outcome {
            tracing::error!(%error, "cannot write to standard output; the address, and the set-up token where one is needed, were not printed");
        }
    });
}

/// Writes from a separate thread: a stopped reader may block it until the process ends.
fn write_detached(
    mut to: impl Write + Send + 'static,
    text: String,
    done: impl FnOnce(io::Result<()>) + Send + 'static,
) {
    let write = move || done(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
    if let Err(error) = std::thread::Builder::new().name("output".to_owned()).spawn(write) {
        tracing::error!(%error, "cannot start the thread that prints to standard output; the text is lost");
    }
}
