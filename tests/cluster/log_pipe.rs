//! A node's log through a pipe whose reader can stop reading, or go away.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

const READ: u8 = 0;
const STALLED: u8 = 1;
const CLOSED: u8 = 2;

/// The reader. What it reads goes into a file; it ends with the node.
pub struct LogPipe(Arc<AtomicU8>);

impl LogPipe {
    /// A pipe into a file: the end that the node gets, and the reader.
    pub fn open(file: File) -> (PipeWriter, Self) {
        let (reader, writer) = pipe().expect("a pipe");
        let state = Arc::new(AtomicU8::new(READ));
        let pipe = Self(Arc::clone(&state));
        thread::spawn(move || copy(reader, file, &state));
        (writer, pipe)
    }

    /// Stops reading: after 64 KiB the pipe is full.
    pub fn stall(&self) {
        self.0.store(STALLED, Ordering::SeqCst);
    }

    pub fn go_on(&self) {
        self.0.store(READ, Ordering::SeqCst);
    }

    /// Goes away at the next line, for good.
    pub fn close(&self) {
        self.0.store(CLOSED, Ordering::SeqCst);
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        // What is left is still worth reading.
        if self.0.load(Ordering::SeqCst) == STALLED {
            self.go_on();
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
