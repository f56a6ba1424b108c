//! The target's runtime: asked to tidy up before a reading, and what it holds after that.
//!
//! In: the processes of the tree. Out: [`RuntimeHeap`], or a sentence. Start at [`RuntimeWatch`]; [`python`], [`node`] and [`java`] are its ways.
//! Half a sum is not a sum: every process of the runtime that is alive must answer, or there is no number.
//! Cost: a full collection in every process, only for readings; how long it took is in [`RuntimeHeap::took`].

mod attach;
mod command;
mod java;
mod node;
mod python;
mod websocket;

use std::{path::Path, time::Duration};

pub use self::{node::NODE_OPTIONS, python::PythonDoor};
use self::{node::NodeLines, python::PythonLines};
use crate::timeline::{Clock, Elapsed};

/// What a runtime holds after it was asked to tidy up: the sum over the processes of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeHeap {
    /// Live bytes: of Python's two allocators; of V8's heap and what lies outside it; of the JVM's objects.
    pub live_bytes: u64,
    /// Processes that answered.
    pub processes: u32,
    /// How long asking took: the slowest of them.
    pub took: Duration,
}

/// How to ask the target's runtime.
#[derive(Debug)]
pub enum RuntimeConfig {
    /// We look what it is: Python processes that came through the door, Node, or Java.
    Auto(Option<PythonDoor>),
    /// Python: with `attaches`, a debugger brings our module to processes that somebody else started.
    Python {
        /// Where its processes come to.
        door: PythonDoor,
        /// Whether it runs already.
        attaches: bool,
    },
    /// Node, by its inspector.
    Node,
    /// The JVM, by `jcmd`.
    Java,
    /// It is left alone.
    None,
}

/// Why a runtime did not tell. One sentence each.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    /// A Python process has not opened its line.
    #[error(
        "process {pid} is Python and cannot be asked to tidy up: its line was never opened (started with -I, -E or -S, or not by us)"
    )]
    NoLine {
        /// The process.
        pid: u32,
    },
    /// Python that somebody else started, and nobody has asked for a debugger.
    #[error(
        "the target is Python that we did not start: give its command instead of --pid, or let a debugger bring our module to it \
         (`--runtime python`), and it is asked to tidy up before a reading"
    )]
    NotOurs,
    /// The debugger did not bring it.
    #[error("our module cannot be brought to Python process {pid}: {why}")]
    NotBrought {
        /// The process.
        pid: u32,
        /// What happened.
        why: String,
    },
    /// A process did not answer.
    #[error("process {pid} did not answer when asked to tidy up ({why})")]
    NoAnswer {
        /// The process.
        pid: u32,
        /// What happened.
        why: String,
    },
    /// An answer makes no sense.
    #[error("process {pid} answered `{found}` when asked to tidy up: no sizes in it")]
    Shape {
        /// The process.
        pid: u32,
        /// What it said.
        found: String,
    },
    /// `jcmd` did not tell.
    #[error("Java process {pid} cannot be asked to tidy up: {why}")]
    Java {
        /// The process.
        pid: u32,
        /// What happened.
        why: String,
    },
    /// The inspector of a Node process cannot be reached.
    #[error("the inspector of Node process {pid} cannot be used: {why}")]
    Inspector {
        /// The process.
        pid: u32,
        /// What happened.
        why: String,
    },
}

/// The runtime of the target, asked again and again.
#[derive(Debug)]
pub(super) struct RuntimeWatch {
    clock: Clock,
    python: Python,
    node: Option<NodeLines>,
    asks_java: bool,
}

/// How Python processes are asked.
#[derive(Debug)]
enum Python {
    /// By the lines that they have opened.
    Lines(PythonLines),
    /// Not at all, which is said once some are seen.
    NotOurs,
    /// Not at all.
    LeftAlone,
}

impl Python {
    fn new(lines: Option<PythonLines>) -> Self {
        lines.map_or(Self::NotOurs, Self::Lines)
    }
}

/// A collection of a large heap takes seconds.
const WITHIN: Duration = Duration::from_secs(30);

impl RuntimeWatch {
    /// `served`: the port under test.
    pub(super) fn open(config: RuntimeConfig, served: u16, clock: Clock) -> Self {
        let lines = |door| PythonLines::new(door, false);
        let (python, node, asks_java) = match config {
            RuntimeConfig::Auto(door) => (Python::new(door.map(lines)), true, true),
            RuntimeConfig::Python { door, attaches } => {
                let lines = PythonLines::new(door, attaches);
                (Python::Lines(lines), false, false)
            }
            RuntimeConfig::Node => (Python::LeftAlone, true, false),
            RuntimeConfig::Java => (Python::LeftAlone, false, true),
            RuntimeConfig::None => (Python::LeftAlone, false, false),
        };
        Self {
            clock,
            python,
            node: node.then(|| NodeLines::beside(served)),
            asks_java,
        }
    }

    /// Asks every process of the runtime among these to tidy up. `None` if there is no such process, or not all of them told.
    pub(super) fn settle(&mut self, pids: &[u32], gaps: &mut Vec<String>) -> Option<RuntimeHeap> {
        let found = match self.settle_python(pids) {
            Ok(None) => match self.settle_node(pids) {
                Ok(None) => self.settle_java(pids),
                found => found,
            },
            found => found,
        };
        found.unwrap_or_else(|error| {
            gaps.push(super::error::sentence(&error));
            None
        })
    }

    fn settle_python(&mut self, pids: &[u32]) -> Result<Option<RuntimeHeap>, RuntimeError> {
        let deadline = Deadline::after(&self.clock, WITHIN);
        match &mut self.python {
            Python::Lines(lines) => lines.settle(pids, deadline),
            Python::NotOurs if pids.iter().any(|pid| is_python(*pid)) => Err(RuntimeError::NotOurs),
            Python::NotOurs | Python::LeftAlone => Ok(None),
        }
    }

    fn settle_node(&mut self, pids: &[u32]) -> Result<Option<RuntimeHeap>, RuntimeError> {
        let deadline = Deadline::after(&self.clock, WITHIN);
        let nodes = running(&["node", "nodejs"], pids);
        match &mut self.node {
            Some(lines) if !nodes.is_empty() => lines.settle(&nodes, deadline).map(Some),
            _ => Ok(None),
        }
    }

    fn settle_java(&self, pids: &[u32]) -> Result<Option<RuntimeHeap>, RuntimeError> {
        let javas = running(&["java"], pids);
        if !self.asks_java || javas.is_empty() {
            return Ok(None);
        }
        java::settle(&javas, Deadline::after(&self.clock, WITHIN)).map(Some)
    }
}

/// Those of the processes that run one of these programs.
fn running(programs: &[&str], pids: &[u32]) -> Vec<u32> {
    let runs = |pid: &u32| program(*pid).is_some_and(|name| programs.contains(&name.as_str()));
    pids.iter().copied().filter(runs).collect()
}

/// Until when all of them together must have answered.
#[derive(Clone, Copy)]
struct Deadline<'a> {
    clock: &'a Clock,
    at: Elapsed,
}

impl<'a> Deadline<'a> {
    fn after(clock: &'a Clock, within: Duration) -> Self {
        Self {
            clock,
            at: clock.now() + within,
        }
    }

    /// What is left; never zero, which sockets take for "for ever".
    fn left(&self) -> Duration {
        let left = self.at.since(self.clock.now());
        left.max(Duration::from_millis(1))
    }

    fn is_over(&self) -> bool {
        self.clock.now() >= self.at
    }
}

/// The one place of this module that waits for time itself; a condition and a deadline are around it.
#[expect(clippy::disallowed_methods, reason = "the edge that polls a process")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

/// The file name of the program that a process runs.
fn program(pid: u32) -> Option<String> {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = Path::new(&exe).file_name()?.to_string_lossy().into_owned();
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// Whether a process runs Python: `python3.11` is the file behind `python`.
fn is_python(pid: u32) -> bool {
    program(pid).is_some_and(|name| name.starts_with("python"))
}

fn is_there(pid: u32) -> bool {
    crate::target::proc::Stat::read(pid).is_ok_and(|stat| stat.is_alive())
}
