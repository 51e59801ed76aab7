//! The output of the log: a bounded queue, and one thread that writes it to standard error.
//!
//! Standard error may be a pipe with a stopped or closed reader, or a file on a full disk. No request waits for it:
//! lines that cannot be queued or written are dropped and counted, and the count is logged as soon as a write succeeds
//! again. (`tracing-appender` does not count lines after a failed write. When it cannot flush at the end, it prints to
//! standard output, which may be broken as well.)

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Lines in the queue; further lines are dropped.
const QUEUE_CAPACITY: usize = 16_384;
/// The minimum time between two reports of dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The pause between attempts to queue a flush.
const FLUSH_RETRY: Duration = Duration::from_millis(10);

enum Message {
    Line(Vec<u8>),
    /// Answered once all earlier messages are written or dropped.
    Flush(SyncSender<()>),
}

/// A writer that never blocks and never fails. Clones share one queue.
#[derive(Debug, Clone)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl LogWriter {
    /// Starts the thread that writes to `output`. `report` formats the line with the number of dropped lines.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(output: impl Write + Send + 'static, report: fn(u64) -> String) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE_CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut thread =
            Thread { output, report, dropped: Arc::clone(&dropped), reported_at: None, is_in_a_line: false };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.run(&lines))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until all queued lines are written, for at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let (written, wait) = sync_channel(1);
        let mut flush = Message::Flush(written);
        while let Err(TrySendError::Full(message)) = self.queue.try_send(flush) {
            if Instant::now() >= until {
                return;
            }
            flush = message;
            std::thread::sleep(FLUSH_RETRY);
        }
        let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Write for &LogWriter {
    /// Queues a whole line: the formatter makes one call per event.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

struct Thread<W> {
    output: W,
    report: fn(u64) -> String,
    dropped: Arc<AtomicU64>,
    reported_at: Option<Instant>,
    /// Whether a write failed within a line, so that the next line must begin with a line break.
    is_in_a_line: bool,
}

impl<W: Write> Thread<W> {
    /// Writes lines until all senders are dropped.
    fn run(&mut self, lines: &Receiver<Message>) {
        loop {
            match lines.recv_timeout(REPORT_EVERY) {
                Ok(Message::Line(line)) => {
                    if !self.write(&line) {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(Message::Flush(written)) => {
                    self.report(Duration::ZERO);
                    // A flush that timed out has no receiver any more.
                    let _ = written.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.report(REPORT_EVERY);
        }
    }

    /// Writes the number of dropped lines, if there are any and the last report is at least `after` ago.
    fn report(&mut self, after: Duration) {
        if self.dropped.load(Ordering::Relaxed) == 0 || self.reported_at.is_some_and(|at| at.elapsed() < after) {
            return;
        }
        self.reported_at = Some(Instant::now());
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let line = (self.report)(dropped);
        if !self.write(line.as_bytes()) {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    /// Writes a line. Returns `false` if a part of it could not be written.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.is_in_a_line {
            if self.output.write_all(b"\n").is_err() {
                return false;
            }
            self.is_in_a_line = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(written @ 1..) => {
                    rest = &rest[written..];
                    self.is_in_a_line = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tracing_mutex::stdsync::Mutex;

    use super::*;

    /// An output that fails once its room (in bytes) is used up.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Output {
        fn give_room(&self, bytes: usize) {
            self.0.lock().unwrap().1 = bytes;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*room);
            *room -= fits;
            written.extend_from_slice(&bytes[..fits]);
            if fits == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(fits) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dropped_lines_are_counted_and_reported_once_writing_works_again() {
        let output = Output::default();
        output.give_room(8);
        let log = LogWriter::start(output.clone(), |dropped| format!("{dropped} dropped\n")).unwrap();
        for line in ["first\n", "second\n", "third\n"] {
            assert_eq!((&log).write(line.as_bytes()).unwrap(), line.len(), "no error reaches the formatter");
        }
        log.flush(Duration::from_secs(10));
        assert_eq!(output.text(), "first\nse");
        output.give_room(1000);
        (&log).write_all(b"fourth\n").unwrap();
        log.flush(Duration::from_secs(10));
        assert_eq!(output.text(), "first\nse\nfourth\n2 dropped\n");
    }
}
