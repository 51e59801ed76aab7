//! The log: structured, written to standard error by a [`LogWriter`].

use std::io::IsTerminal;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::config::{LogFilter, LogFormat};
use super::log_writer::LogWriter;

/// The time that the end of the program waits for queued lines; later ones are lost.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log of this process. Dropping it writes the queued lines.
#[derive(Debug)]
pub struct Log(LogWriter);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

/// Starts the log and logs panics. Only the first call has an effect.
///
/// # Errors
/// When the writer thread cannot be started.
pub fn init(format: LogFormat, filter: &LogFilter) -> std::io::Result<Log> {
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let writer = LogWriter::start(std::io::stderr(), if json { dropped_as_json } else { dropped_as_text })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from(filter))
        .with_writer(writer.clone())
        // Internal errors would go to standard error directly, and panic if it is closed.
        .log_internal_errors(false);
    // A second call, which only tests make, keeps the first log.
    let wanted = filter_fn(is_wanted);
    let _ = if json {
        log.json().flatten_event(true).finish().with(wanted).try_init()
    } else {
        log.finish().with(wanted).try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "panic");
    }));
    Ok(Log(writer))
}

/// Whether to log a line. Drops the warnings of tower-sessions about cookies and tokens that are not sessions:
/// unauthenticated clients can cause one per request, and `log_limit` counts these requests.
fn is_wanted(line: &Metadata<'_>) -> bool {
    *line.level() != Level::WARN || !line.target().starts_with("tower_sessions")
}

const DROPPED: &str = "log lines were dropped, because the log could not be written";

#[expect(clippy::disallowed_methods, reason = "all log lines have the machine's own time")]
fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

fn dropped_as_json(dropped: u64) -> String {
    let line = serde_json::json!({
        "timestamp": now(), "level": "WARN", "message": DROPPED, "dropped": dropped, "target": module_path!(),
    });
    format!("{line}\n")
}

fn dropped_as_text(dropped: u64) -> String {
    format!("{}  WARN {}: {DROPPED} dropped={dropped}\n", now(), module_path!())
}
