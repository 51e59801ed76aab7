//! Whether another process of this very machine is gone: its lease need not be waited for.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Which process this is: the machine's start, the namespace that its number counts in, the number, and when
/// it began (numbers are used again).
pub(super) fn identity() -> String {
    let pid = std::process::id();
    match (place(), began(pid)) {
        (Some(place), Some(began)) => format!("{place} {pid} {began}"),
        // Nobody takes this for a process of their machine.
        _ => String::new(),
    }
}

/// Whether a process has ended, as far as it can be seen from here: only on its own machine, and from where
/// its number means the same.
pub(super) fn has_ended(identity: &str) -> bool {
    let Some((its_place, rest)) = identity.rsplit_once(' ').and_then(|(head, began)| {
        let (its_place, pid) = head.rsplit_once(' ')?;
        Some((its_place, (pid.parse::<u32>().ok()?, began.to_owned())))
    }) else {
        return false;
    };
    let (pid, its_beginning) = rest;
    place().as_deref() == Some(its_place)
        && began(pid).map_or_else(|| has_no_process(pid), |began| began != its_beginning)
}

/// Where `/proc` hides other users' processes (`hidepid`, systemd's `ProtectProc=`), it says nothing about them.
fn has_no_process(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// The 22nd field of `/proc/PID/stat` (proc(5)): ticks since the machine's start. The second field is a name
/// that may hold anything, in parentheses.
fn began(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // A zombie does nothing any more; it began as nobody does.
    if state == "Z" { Some(String::new()) } else { fields.nth(18).map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_its_number_is_free_or_somebody_elses() {
        let me = identity();
        assert!(!has_ended(&me), "{me}");
        let (head, began) = me.rsplit_once(' ').unwrap();
        assert!(has_ended(&format!("{head} {began}0")), "the number is another's by now");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let (place, _) = head.rsplit_once(' ').unwrap();
        assert!(has_ended(&format!("{place} {pid} 1")));
        assert!(!has_ended("another-machine pid:[1] 1 1"));
        assert!(!has_ended(""));
    }
}
