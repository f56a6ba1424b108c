//! The target's runtime: asked to tidy up before a reading, and what it holds after that.
//!
//! In: the processes of the tree. Out: [`RuntimeHeap`], or a sentence. Start at [`RuntimeWatch`]; [`python`] and [`node`] are its two ways.
//! Half a sum is not a sum: every process of the runtime that is alive must answer, or there is no number.
//! Cost: a full collection in every process, only for readings; how long it took is in [`RuntimeHeap::took`].

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
    /// Live bytes: Python's two allocators, or V8's used heap and what lies outside it.
    pub live_bytes: u64,
    /// Processes that answered.
    pub processes: u32,
    /// How long asking took: the slowest of them.
    pub took: Duration,
}

/// How to ask the target's runtime.
#[derive(Debug)]
pub enum RuntimeConfig {
    /// We look what it is: Python processes that came through the door, or Node.
    Auto(Option<PythonDoor>),
    /// Python; without a door it was not started by us.
    Python(Option<PythonDoor>),
    /// Node, by its inspector.
    Node,
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
    /// Python that somebody else started.
    #[error(
        "a Python server can be asked to tidy up only if we start it: give its command instead of --pid"
    )]
    NotOurs,
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
    python: Option<PythonLines>,
    node: Option<NodeLines>,
    /// Python is expected: that nobody came through the door is worth a sentence.
    expects_python: bool,
}

/// A collection of a large heap takes seconds.
const WITHIN: Duration = Duration::from_secs(30);

impl RuntimeWatch {
    /// `served`: the port under test.
    pub(super) fn open(config: RuntimeConfig, served: u16, clock: Clock) -> Self {
        let (door, node, expects_python) = match config {
            RuntimeConfig::Auto(door) => (door, true, false),
            RuntimeConfig::Python(door) => (door, false, true),
            RuntimeConfig::Node => (None, true, false),
            RuntimeConfig::None => (None, false, false),
        };
        Self {
            clock,
            python: door.map(PythonLines::new),
            node: node.then(|| NodeLines::beside(served)),
            expects_python,
        }
    }

    /// Asks every process of the runtime among these to tidy up. `None` if there is no such process, or not all of them told.
    pub(super) fn settle(&mut self, pids: &[u32], gaps: &mut Vec<String>) -> Option<RuntimeHeap> {
        let found = match self.settle_python(pids) {
            Ok(None) => self.settle_node(pids),
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
            Some(lines) => lines.settle(pids, deadline),
            None if self.expects_python => Err(RuntimeError::NotOurs),
            None => Ok(None),
        }
    }

    fn settle_node(&mut self, pids: &[u32]) -> Result<Option<RuntimeHeap>, RuntimeError> {
        let deadline = Deadline::after(&self.clock, WITHIN);
        let nodes: Vec<u32> = pids.iter().copied().filter(|pid| is_node(*pid)).collect();
        match &mut self.node {
            Some(lines) if !nodes.is_empty() => lines.settle(&nodes, deadline).map(Some),
            _ => Ok(None),
        }
    }
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

/// Whether a process runs Node.
fn is_node(pid: u32) -> bool {
    program(pid).is_some_and(|name| ["node", "nodejs"].contains(&name.as_str()))
}

fn is_there(pid: u32) -> bool {
    crate::target::proc::Stat::read(pid).is_ok_and(|stat| stat.is_alive())
}
