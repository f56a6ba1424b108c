//! What the kernel says about one process: who it is, who its children are, whose socket it holds.
//!
//! Parsers are pure (`&str` in, value or a precise complaint out); [`read`] is the edge. A process is named by pid *and* start time:
//! a pid alone is reused, and a number read from a stranger is worse than none.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, sync::OnceLock};

/// What a file of the kernel says is not what we know how to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: expected {expected}, found `{found}`")]
pub struct Malformed {
    /// The file below `/proc/PID`.
    pub file: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// What should be there, with its article.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
}

/// Why nothing could be read of a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// It does not exist any more, or is a zombie without memory.
    #[error("process {pid} is gone")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// The kernel refuses.
    #[error("cannot read {file} of process {pid}: it belongs to another user")]
    Denied {
        /// The process.
        pid: u32,
        /// The file below `/proc/PID`.
        file: &'static str,
    },
    /// Any other failure.
    #[error("cannot read {file} of process {pid}")]
    Unreadable {
        /// The process.
        pid: u32,
        /// The file below `/proc/PID`.
        file: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was read, and not understood.
    #[error("process {pid}: {malformed}")]
    Malformed {
        /// The process.
        pid: u32,
        /// What is wrong.
        malformed: Malformed,
    },
}

impl ProcError {
    /// Whether the process ended: a worker that goes is no failure of ours.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Tells a process that ended from one that is not ours, and both from the rest.
    pub(crate) fn from_io(pid: u32, file: &'static str, source: io::Error) -> Self {
        match (source.kind(), source.raw_os_error()) {
            (io::ErrorKind::NotFound, _) | (_, Some(ESRCH)) => Self::Gone { pid },
            (io::ErrorKind::PermissionDenied, _) => Self::Denied { pid, file },
            _ => Self::Unreadable { pid, file, source },
        }
    }
}

/// "No such process": what reading an open file of a process that ended says.
const ESRCH: i32 = 3;

/// One process for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId {
    /// Its number; reused after it ended.
    pub pid: u32,
    /// When it started, in clock ticks after boot; tells it from the next owner of its number.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now.
    ///
    /// # Errors
    /// [`ProcError::Gone`] if there is none.
    pub fn of(pid: u32) -> Result<Self, ProcError> {
        Ok(Stat::read(pid)?.id)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// Processor time in the kernel's ticks. `USER_HZ` is 100 on every architecture that we build for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks(pub u64);

impl Ticks {
    /// Seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 100.0
    }
}

/// `/proc/PID/stat`, the part that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Who it is.
    pub id: ProcessId,
    /// `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Its parent's pid.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// User and system time of its own threads, dead ones included.
    pub own_time: Ticks,
    /// User and system time of the children that it has waited for, and of theirs.
    pub reaped_time: Ticks,
}

impl Stat {
    /// Reads `/proc/PID/stat`.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn read(pid: u32) -> Result<Self, ProcError> {
        let text = read(pid, "stat")?;
        Self::parse(&text).map_err(|malformed| ProcError::Malformed { pid, malformed })
    }

    /// Parses the one line of the file. The name in parentheses may itself hold spaces and parentheses, so it ends at the last one.
    ///
    /// # Errors
    /// Says which field is not a number.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let complain = |expected, found: &str| Malformed {
            file: "stat",
            line: 1,
            expected,
            found: shortened(found),
        };
        let (head, rest) = text
            .rsplit_once(") ")
            .ok_or_else(|| complain("`pid (name) state …`", text))?;
        let pid = head.split(' ').next().unwrap_or_default();
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `man proc_pid_stat` counts fields from 1; `rest` begins with the third.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let number = |nth: usize| {
            field(nth)
                .parse::<u64>()
                .map_err(|_| complain("a whole number", field(nth)))
        };
        let small = |nth: usize| {
            field(nth)
                .parse::<i64>()
                .map(|value| u32::try_from(value).unwrap_or(0)) // -1 or 0: no group, no session, a parent in another namespace
                .map_err(|_| complain("a whole number", field(nth)))
        };
        Ok(Self {
            id: ProcessId {
                pid: pid.parse().map_err(|_| complain("a pid", pid))?,
                started: number(22)?,
            },
            state: field(3)
                .chars()
                .next()
                .ok_or_else(|| complain("a state letter", ""))?,
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            own_time: Ticks(number(14)?.saturating_add(number(15)?)),
            reaped_time: Ticks(number(16)?.saturating_add(number(17)?)),
        })
    }

    /// Whether it still runs; a zombie only waits for its parent to ask how it ended.
    pub const fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads one file of `/proc/PID`. Names inside may be any bytes, so what is not UTF-8 is replaced.
///
/// # Errors
/// Everything but [`ProcError::Malformed`].
pub fn read(pid: u32, file: &'static str) -> Result<String, ProcError> {
    fs::read(format!("/proc/{pid}/{file}"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|source| ProcError::from_io(pid, file, source))
}

/// Who a process belongs to: its effective user.
///
/// # Errors
/// [`ProcError::Gone`] if it does not exist.
pub fn owner(pid: u32) -> Result<u32, ProcError> {
    fs::metadata(format!("/proc/{pid}"))
        .map(|found| found.uid())
        .map_err(|source| ProcError::from_io(pid, ".", source))
}

/// Children of all threads of a process, at this moment. A child may be missed when a sibling of it ends just now; who keeps a list
/// across looks (see [`Family`](super::Family)) does not lose it.
pub fn children(pid: u32) -> Vec<u32> {
    if !*KERNEL_LISTS_CHILDREN.get_or_init(kernel_lists_children) {
        return children_by_parent(pid);
    }
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new(); // it ended
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| parse_children(&text))
        .collect()
}

static KERNEL_LISTS_CHILDREN: OnceLock<bool> = OnceLock::new();

/// Kernels without `CONFIG_PROC_CHILDREN` lack the file; asked of our own main thread, which cannot end.
fn kernel_lists_children() -> bool {
    let me = std::process::id();
    fs::exists(format!("/proc/self/task/{me}/children")).unwrap_or(false)
}

fn parse_children(text: &str) -> Vec<u32> {
    text.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// The slow way, for kernels that list no children: every process is asked who its parent is.
fn children_by_parent(parent: u32) -> Vec<u32> {
    pids()
        .into_iter()
        .filter_map(|pid| Stat::read(pid).ok())
        .filter(|stat| stat.parent == parent)
        .map(|stat| stat.id.pid)
        .collect()
}

/// Every process that we can see.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether one of the process's descriptors is one of these sockets. `None` if its descriptors may not be read.
///
/// Cost: one `readlink` per descriptor (63 ms for 10,000): asked once, at the start.
pub fn holds_socket(pid: u32, inodes: &[u64]) -> Option<bool> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(
        entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter_map(|link| socket_inode(link.to_str()?))
            .any(|inode| inodes.contains(&inode)),
    )
}

/// `socket:[12345]` → 12345.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// At most 40 characters of what was found, so that an error stays a line.
pub(crate) fn shortened(text: &str) -> String {
    let text = text.trim_end();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let line = "77 (a (b) c) S 13284 13285 13286 0 -1 4194560 2816 45092 2 70 1 2 32 14 20 0 1 0 98550 5124096 987 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                id: ProcessId {
                    pid: 77,
                    started: 98550
                },
                state: 'S',
                parent: 13284,
                group: 13285,
                session: 13286,
                own_time: Ticks(3),
                reaped_time: Ticks(46),
            }
        );
    }

    #[test]
    fn what_is_not_a_stat_line_is_said_with_what_was_found() {
        for (line, complaint) in [
            ("", "stat, line 1: expected `pid (name) state …`, found ``"),
            (
                "7 (x) S 1 1 1 0 -1 0 0 0 0 0 many 2 3 4 20 0 1 0 9",
                "stat, line 1: expected a whole number, found `many`",
            ),
            (
                "seven (x) S 1 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 9",
                "stat, line 1: expected a pid, found `seven`",
            ),
        ] {
            assert_eq!(Stat::parse(line).unwrap_err().to_string(), complaint);
        }
    }

    #[test]
    fn we_find_ourselves() {
        let me = std::process::id();
        assert_eq!(ProcessId::of(me).unwrap().pid, me);
        assert!(pids().contains(&me));
        assert!(Stat::read(me).unwrap().is_alive());
        assert!(ProcessId::of(0).unwrap_err().is_gone());
    }

    #[test]
    fn both_ways_of_finding_children_agree() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let me = std::process::id();
        assert!(children(me).contains(&child.id()));
        assert!(children_by_parent(me).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            drop(Stat::parse(&text));
            drop(Stat::parse(&format!("1 (x) {text}")));
            drop(parse_children(&text));
        }
    }
}
