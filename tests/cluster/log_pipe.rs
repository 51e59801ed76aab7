//! A pipe for a node's log with a reader that can stop reading or close the pipe.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

const READING: u8 = 0;
const STALLED: u8 = 1;
const CLOSED: u8 = 2;

/// The reader of the pipe, which copies the log to a file and ends with the node.
pub struct LogPipe(Arc<AtomicU8>);

impl LogPipe {
    /// Opens a pipe into a file; returns the writer for the node, and the reader.
    pub fn open(file: File) -> (PipeWriter, Self) {
        let (reader, writer) = pipe().expect("a pipe");
        let state = Arc::new(AtomicU8::new(READING));
        let pipe = Self(Arc::clone(&state));
        thread::spawn(move || copy(reader, file, &state));
        (writer, pipe)
    }

    /// Stops reading; the pipe is full after 64 KiB.
    pub fn stall(&self) {
        self.0.store(STALLED, Ordering::SeqCst);
    }

    pub fn resume(&self) {
        self.0.store(READING, Ordering::SeqCst);
    }

    /// Closes the pipe at the node's next write.
    pub fn close(&self) {
        self.0.store(CLOSED, Ordering::SeqCst);
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        // Copy the rest of the log.
        if self.0.load(Ordering::SeqCst) == STALLED {
            self.resume();
        }
    }
}

fn copy(mut reader: PipeReader, mut file: File, state: &AtomicU8) {
    let mut buffer = [0; 4096];
    loop {
        match state.load(Ordering::SeqCst) {
            CLOSED => return,
            STALLED => thread::sleep(Duration::from_millis(20)),
            _ => match reader.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => file.write_all(&buffer[..length]).expect("the log can be written"),
            },
        }
    }
}
