//! Rate limits for log lines that unauthenticated clients cause: requests without a valid credential, and failed
//! sign-ins.
//!
//! The first lines of each network are written in full. Further lines are counted, and a summary of the counts is
//! written once an interval. So neither one network nor many can fill the disk of the log or hide the lines of others.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use tracing_mutex::stdsync::Mutex;

use crate::runtime::Network;
use crate::runtime::clock::Clock;
use crate::security_log;
use crate::security_log::window::{Row, Window};

/// Time between two summaries of a kind of lines.
pub(super) const SUMMARY_INTERVAL: Duration = Duration::from_mins(1);

/// The kinds of lines. Each kind has a budget of its own, so that junk requests hide no failed sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request without a valid credential.
    Request,
    /// A request without a valid credential that got 503, because the server had no capacity for it.
    Unavailable,
    /// A sign-in or registration with a wrong password, token or address.
    Failed,
    /// A sign-in or registration that was throttled or shed.
    Refused,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Request, Self::Unavailable, Self::Failed, Self::Refused];

    /// The number of full lines a second from all networks; further lines are counted. The server can compare fewer
    /// than 100 passwords a second, so a failed sign-in is counted only because of others of its own network.
    pub(super) const fn lines_per_second(self) -> u32 {
        match self {
            Self::Request | Self::Unavailable | Self::Refused => 20,
            Self::Failed => 100,
        }
    }
}

/// The key that lines are counted by, together with their network. Clients cannot choose it freely: each part is one of
/// a few texts, or an id.
#[derive(Debug, Clone, Copy)]
pub struct Repeated<'a> {
    /// The name of the event.
    pub event: &'static str,
    /// The status or the reason.
    pub code: &'a str,
    /// The pattern of the path, or the account.
    pub subject: &'a str,
}

/// The log budgets of all kinds. A request with a valid credential takes none of these locks.
#[derive(Debug)]
pub struct LogLimit {
    clock: Clock,
    windows: [Mutex<Window>; Kind::ALL.len()],
}

impl LogLimit {
    /// Creates full budgets.
    pub fn new(clock: Clock) -> Self {
        Self { clock, windows: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Returns whether to write a line in full. Otherwise the line is counted for the next summary.
    pub fn admit(&self, kind: Kind, client: Option<IpAddr>, repeated: Repeated<'_>, request_id: &str) -> bool {
        let now = self.now();
        let mut window = self.windows[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let due = window.take_due(now);
        let is_admitted = window.admit(kind, now, Network::of(client).narrow, repeated, request_id);
        drop(window);
        write(kind, due.unwrap_or_default());
        is_admitted
    }

    /// Writes the summaries that are due.
    pub fn write_due(&self) {
        let now = self.now();
        for (kind, window) in Kind::ALL.into_iter().zip(&self.windows) {
            let due = window.lock().unwrap_or_else(PoisonError::into_inner).take_due(now);
            write(kind, due.unwrap_or_default());
        }
    }

    /// Writes all summaries. Called when the server stops.
    pub fn write_all(&self) {
        let now = self.now();
        for (kind, window) in Kind::ALL.into_iter().zip(&self.windows) {
            let counted = window.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            write(kind, counted.summary());
        }
    }

    fn now(&self) -> u64 {
        self.clock.monotonic() / 1_000_000_000
    }
}

fn write(kind: Kind, rows: Vec<Row>) {
    for Row { network, event, code, subject, count, first_request_id } in rows {
        match kind {
            Kind::Request | Kind::Unavailable => tracing::info!(
                network,
                status = code,
                route = subject,
                count,
                first_request_id,
                "further requests without a valid credential"
            ),
            Kind::Failed => {
                security_log::write_summary(event, "failed", &code, &network, &subject, count, &first_request_id);
            }
            Kind::Refused => {
                security_log::write_summary(event, "refused", &code, &network, &subject, count, &first_request_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::RequestOrigin;
    use crate::model::{Timestamp, UserId};
    use crate::security_log::{Actor, Origin, SecurityEvent, Target};

    /// A buffer of log lines, in the form of `--log-format json`.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Runs `work`. Returns the lines that it logs, and their size in bytes.
    fn logged(work: impl FnOnce()) -> (Vec<serde_json::Value>, usize) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), text.len())
    }

    fn limit() -> (Arc<LogLimit>, Clock) {
        let clock = Clock::fixed(Timestamp(1_772_366_400_000));
        (Arc::new(LogLimit::new(clock.clone())), clock)
    }

    fn origin(limit: &Arc<LogLimit>, client: [u8; 4]) -> Origin {
        let client = Some(IpAddr::from(client));
        Origin::new(RequestOrigin::new(client, None, "00112233aabbccdd".to_owned()), Arc::clone(limit))
    }

    /// Logs a request without a valid credential, as the HTTP layers do.
    fn junk(limit: &Arc<LogLimit>, client: [u8; 4]) {
        if origin(limit, client).has_own_line(Kind::Request, "401", "/v1/auth/me") {
            tracing::info!(status = 401, "answered");
        }
    }

    fn fail(limit: &Arc<LogLimit>, client: [u8; 4], user: i64) {
        let entry = SecurityEvent::SignIn.entry(Actor::None, Target::Account(UserId(user)));
        entry.failed("credentials").write_from(Some(&origin(limit, client)));
    }

    /// Adds up the counts of all summaries.
    fn counted(lines: &[serde_json::Value]) -> u64 {
        lines.iter().filter_map(|line| line["count"].as_u64()).sum()
    }

    #[test]
    fn junk_requests_of_one_network_are_logged_as_ten_lines_and_a_summary() {
        let (limit, clock) = limit();
        let (lines, bytes) = logged(|| {
            for n in 0..100_000 {
                // 15 seconds in all.
                clock.advance(i64::from(n % 20 == 0) * 3);
                junk(&limit, [203, 0, 113, 9]);
            }
            clock.advance(60_000);
            limit.write_due();
        });
        assert_eq!(lines.len(), 11);
        assert!(bytes < 3000, "{bytes}");
        let summary = &lines[10];
        let text = |field: &str| summary[field].as_str().unwrap_or_default();
        assert_eq!((text("network"), text("status"), text("route")), ("203.0.113.9", "401", "/v1/auth/me"));
        assert_eq!((summary["count"].as_u64(), text("first_request_id")), (Some(99_990), "00112233aabbccdd"));
    }

    #[test]
    fn junk_requests_of_many_networks_have_bounded_lines_and_hide_no_failed_sign_in() {
        let (limit, clock) = limit();
        let (lines, bytes) = logged(|| {
            for n in 0..100_000_u32 {
                clock.advance(i64::from(n % 20 == 0) * 3);
                let [_, _, high, low] = (n % 10_000).to_be_bytes();
                junk(&limit, [10, 1, high, low]);
                if n % 20_000 == 7 {
                    fail(&limit, [198, 51, 100, 7], 42);
                }
            }
            limit.write_all();
        });
        // 20 lines in each of 16 seconds (one of them partial), 100 rows of networks, one row for the other networks,
        // and the 5 sign-ins.
        assert!(lines.len() <= 20 * 16 + 101 + 5, "{}", lines.len());
        assert!(bytes < 150_000, "{bytes}");
        let answered = lines.iter().filter(|line| line["message"] == "answered").count();
        assert_eq!(counted(&lines) + answered as u64, 100_000, "each request has a line or is counted");
        let failed: Vec<_> = lines.iter().filter(|line| line["event"] == "sign_in").collect();
        assert_eq!(failed.len(), 5);
        for line in failed {
            assert_eq!((&line["client"], &line["target_id"]), (&"198.51.100.7".into(), &"usr_000000000000002a".into()));
            assert_eq!(line["outcome"], "failed");
        }
    }

    #[test]
    fn failed_sign_ins_are_summed_up_for_a_busy_network_only() {
        let (limit, clock) = limit();
        let (lines, _) = logged(|| {
            for n in 0..1000 {
                clock.advance(10);
                fail(&limit, [203, 0, 113, 9], n % 2);
            }
            fail(&limit, [198, 51, 100, 7], 42);
            clock.advance(60_000);
            limit.write_due();
        });
        let of = |user: &str| {
            let lines = lines.iter().filter(|line| line["target_id"] == user);
            lines.map(|line| line["count"].as_u64().unwrap_or(1)).collect::<Vec<_>>()
        };
        assert_eq!(of("usr_0000000000000000"), [1, 1, 1, 1, 1, 495]);
        assert_eq!(of("usr_000000000000002a"), [1]);
        assert!(lines.iter().all(|line| line["target"] == "latchkey::security" && line["actor"] == "none"));
    }

    #[test]
    fn each_request_with_a_valid_credential_has_a_line() {
        let (limit, _) = limit();
        for _ in 0..1000 {
            junk(&limit, [203, 0, 113, 9]);
        }
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let own = origin(&limit, [203, 0, 113, 9]);
        let work = async {
            crate::security_log::authenticated();
            own.has_own_line(Kind::Request, "404", "/v1/keys/{id}")
        };
        let own_line = std::pin::pin!(own.clone().scope(work)).as_mut().poll(&mut context);
        assert_eq!(own_line, std::task::Poll::Ready(true));
    }
}
