//! Raises the limit of open files (`RLIMIT_NOFILE`), of which each connection uses one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files other than client connections: databases, Redis, the listener, the log, and a margin.
const RESERVED: u64 = 128;

/// Raises the limit of open files as far as the system allows. Returns the number of connections that fit, at most
/// `wanted`; further connections wait to be accepted, as beyond `--max-connections`.
pub(super) fn connections(wanted: u32) -> u32 {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => found.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files; fewer connections may fit");
            found.current
        }
    };
    let fitting = fitting(limit, wanted);
    if fitting < wanted {
        tracing::warn!(
            max_connections = wanted,
            open_files = limit,
            needed = u64::from(wanted) + RESERVED,
            fitting,
            "the limit of open files is too low for --max-connections; further connections wait. Raise it \
             (`LimitNOFILE=` of systemd, `ulimit -Hn`)"
        );
    }
    fitting
}

/// Returns the number of connections that fit into `limit` (`None`: unlimited), at most `wanted`.
fn fitting(limit: Option<u64>, wanted: u32) -> u32 {
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED).max(1));
    u32::try_from(room).unwrap_or(u32::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!(fitting(None, 10_000), 10_000);
        assert_eq!(fitting(Some(1_048_576), 10_000), 10_000);
        assert_eq!(fitting(Some(1024), 10_000), 896);
        assert_eq!(fitting(Some(64), 10_000), 1);
    }
}
