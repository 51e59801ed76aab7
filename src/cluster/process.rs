//! Detects that a process on this machine has ended, so that no server waits for its lease.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Returns the identity of this process: the machine's boot id, the PID namespace, the PID, and the process's start
/// time, because PIDs are reused.
pub(super) fn identity() -> String {
    let pid = std::process::id();
    match (pid_scope(), start_time(pid)) {
        (Some(pid_scope), Some(start_time)) => format!("{pid_scope} {pid} {start_time}"),
        // No server takes an empty identity for a process of its machine.
        _ => String::new(),
    }
}

/// Returns whether a process is known to have ended. Only a process of the same boot and PID namespace can be checked;
/// any other counts as running.
pub(super) fn has_ended(identity: &str) -> bool {
    let Some((recorded_scope, rest)) = identity.rsplit_once(' ').and_then(|(head, start_time)| {
        let (recorded_scope, pid) = head.rsplit_once(' ')?;
        Some((recorded_scope, (pid.parse::<u32>().ok()?, start_time.to_owned())))
    }) else {
        return false;
    };
    let (pid, recorded_start) = rest;
    pid_scope().as_deref() == Some(recorded_scope)
        && start_time(pid).map_or_else(|| has_no_process(pid), |start_time| start_time != recorded_start)
}

/// Asks the kernel, because `/proc` may hide other users' processes (`hidepid`, systemd's `ProtectProc=`).
fn has_no_process(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// The boot id and the PID namespace, within which a PID names one process at a time.
fn pid_scope() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// Returns the start time of a process: the 22nd field of `/proc/PID/stat` (proc(5)), in ticks since boot. The second
/// field is a name in parentheses that may contain any character.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // A zombie has ended: its start time equals no recorded one.
    if state == "Z" { Some(String::new()) } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_ended_when_its_pid_is_free_or_reused() {
        let own = identity();
        assert!(!has_ended(&own), "{own}");
        let (head, start_time) = own.rsplit_once(' ').unwrap();
        assert!(has_ended(&format!("{head} {start_time}0")), "another process has the PID");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let (pid_scope, _) = head.rsplit_once(' ').unwrap();
        assert!(has_ended(&format!("{pid_scope} {pid} 1")));
        assert!(!has_ended("another-machine pid:[1] 1 1"));
        assert!(!has_ended(""));
    }
}
