//! Whether the target lives, and what it died of.

use std::{
    fmt,
    fs::OpenOptions,
    io::Read,
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::Path,
    process::ExitStatus,
};

use super::{
    cgroup::{Cgroup, MOUNT},
    proc::ProcessId,
};

/// How the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It ended by itself, with this exit status.
    Exited(i32),
    /// A signal ended it.
    Killed {
        /// The signal's number.
        signal: i32,
        /// Whether the machine or the control group ran out of memory.
        out_of_memory: OutOfMemory,
    },
    /// It ended; only the parent of a process learns how, and that is not us.
    Gone,
    /// It runs elsewhere: nothing to look at.
    Unseen,
}

impl Life {
    /// Whether it is known to have ended.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Killed { .. } | Self::Gone)
    }

    pub(super) fn from_status(status: ExitStatus, oom: &OomWatch) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed {
                signal,
                out_of_memory: oom.verdict(signal),
            },
            (None, None) => Self::Gone, // a wait status is one or the other
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("runs"),
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed {
                signal,
                out_of_memory,
            } => {
                write!(f, "was killed by signal {signal}")?;
                match out_of_memory {
                    OutOfMemory::NoSign => Ok(()),
                    OutOfMemory::Likely => f.write_str(
                        " (the kernel killed a process for want of memory in that time)",
                    ),
                    OutOfMemory::Certain => f.write_str(" (out of memory, says the kernel's log)"),
                }
            }
            Self::Gone => f.write_str("ended"),
            Self::Unseen => f.write_str("runs out of our sight"),
        }
    }
}

/// Whether a killed target ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfMemory {
    /// Nothing says so.
    NoSign,
    /// The kernel killed somebody for want of memory while the target ran.
    Likely,
    /// The kernel's log names the target.
    Certain,
}

const SIGKILL: i32 = 9;

/// Remembers how often the kernel had killed for want of memory when the target started.
#[derive(Debug)]
pub(super) struct OomWatch {
    root: ProcessId,
    cgroup: Option<Cgroup>,
    kills_before: Option<u64>,
}

impl OomWatch {
    pub(super) fn start(root: ProcessId) -> Self {
        let cgroup = Cgroup::of(root.pid, Path::new(MOUNT)).ok();
        let kills_before = kills(cgroup.as_ref());
        Self {
            root,
            cgroup,
            kills_before,
        }
    }

    /// Called once, after the target died: the kernel's log may be long.
    fn verdict(&self, signal: i32) -> OutOfMemory {
        if signal != SIGKILL {
            return OutOfMemory::NoSign;
        }
        if kernel_log_names(self.root) {
            return OutOfMemory::Certain;
        }
        match (self.kills_before, kills(self.cgroup.as_ref())) {
            (Some(before), Some(now)) if now > before => OutOfMemory::Likely,
            _ => OutOfMemory::NoSign,
        }
    }
}

/// The control group's count and the machine's: the first misses a target that moved to another group, the second is missing in some
/// sandboxes. Only whether the sum has risen means anything.
fn kills(cgroup: Option<&Cgroup>) -> Option<u64> {
    let of_group = cgroup.and_then(|group| group.oom_kills().ok().flatten());
    let of_machine = std::fs::read_to_string("/proc/vmstat")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            line?.trim().parse::<u64>().ok()
        });
    match (of_group, of_machine) {
        (None, None) => None,
        (group, machine) => Some(group.unwrap_or(0) + machine.unwrap_or(0)),
    }
}

/// Reads the kernel's log from its beginning; each read of `/dev/kmsg` gives one record. Not readable without privilege: then no.
fn kernel_log_names(process: ProcessId) -> bool {
    const O_NONBLOCK: i32 = 0o4000; // the end of the log says "try again" instead of waiting for more
    const EPIPE: i32 = 32; // the record was overwritten before we came to it
    let log = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open("/dev/kmsg");
    let Ok(mut log) = log else { return false };
    let mut record = [0; 8 << 10];
    loop {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(length) => {
                if record_names(&String::from_utf8_lossy(&record[..length]), process) {
                    return true;
                }
            }
            Err(error) if error.raw_os_error() == Some(EPIPE) => {}
            Err(_) => return false,
        }
    }
}

/// `6,1234,5678901,-;Out of memory: Killed process 77 (server) …`; the third number is microseconds since boot, and a record from
/// before the process started is about the last owner of its pid.
fn record_names(record: &str, process: ProcessId) -> bool {
    let Some((head, message)) = record.split_once(';') else {
        return false;
    };
    let micros = head.split(',').nth(2).and_then(|text| text.parse().ok());
    let started_micros = process.started.saturating_mul(10_000); // 100 ticks a second
    micros.is_some_and(|micros: u64| micros >= started_micros)
        && message.contains(&format!("Killed process {} ", process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_log_must_name_the_process_and_not_the_last_owner_of_its_pid() {
        let process = ProcessId {
            pid: 77,
            started: 500, // 5 s after boot
        };
        for (record, names) in [
            (
                "6,1,5000001,-;Out of memory: Killed process 77 (server) total-vm:1kB",
                true,
            ),
            (
                "6,1,6000000,-;Memory cgroup out of memory: Killed process 77 (x) total",
                true,
            ),
            (
                "6,1,4999999,-;Out of memory: Killed process 77 (older) total-vm:1kB",
                false,
            ),
            (
                "6,1,6000000,-;Out of memory: Killed process 777 (other) total-vm:1kB",
                false,
            ),
            ("6,1,6000000,-;eth0: link up", false),
            ("rubbish", false),
        ] {
            assert_eq!(record_names(record, process), names, "{record}");
        }
    }

    #[test]
    fn an_end_reads_like_a_sentence() {
        let killed = Life::Killed {
            signal: 9,
            out_of_memory: OutOfMemory::Certain,
        };
        assert_eq!(
            format!("the target {killed}"),
            "the target was killed by signal 9 (out of memory, says the kernel's log)"
        );
    }
}
