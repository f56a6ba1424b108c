//! A step: one stretch of the run, its length, and what the load does in it.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::Batch;

/// What a stretch of the run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The standing population comes.
    Standing,
    /// One client of every script, to see that the server answers as the profile says.
    Trial,
    /// No load at all beyond the standing population.
    Rest,
    /// Clients come, do and leave.
    Dose,
    /// Clients come and go, and go on while they are read: a soak under load.
    Load,
    /// The target forgets them.
    Drain,
    /// The highest concurrency of the cycle.
    Probe,
    /// Quiet, before the reading.
    Settle,
    /// The reading.
    Read,
    /// The reading of a soak, with its load on; everyone leaves at its end.
    ReadLoaded,
    /// So many users, for the length of a step.
    Hold,
    /// Nobody new comes; who is in the middle of an answer reads it to its end.
    Pause,
    /// A window of the target's allocation profiler: not judged with the rest.
    Window,
}

impl Phase {
    /// The name used in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standing => "standing",
            Self::Trial => "trial",
            Self::Rest => "rest",
            Self::Dose => "dose",
            Self::Load => "load",
            Self::Drain => "drain",
            Self::Probe => "probe",
            Self::Settle => "settle",
            Self::Read => "read",
            Self::ReadLoaded => "read-loaded",
            Self::Hold => "hold",
            Self::Pause => "pause",
            Self::Window => "window",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How long a step lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Length {
    /// So long.
    For(Duration),
    /// Until every count of connections and sessions is back at the standing population's, within bounds.
    UntilQuiet {
        /// Not shorter.
        at_least: Duration,
        /// Not longer; what lingers then is recorded.
        at_most: Duration,
    },
    /// Until every client of the step is gone; if they are not in this time, the target does not answer as the profile says.
    UntilGone {
        /// Not longer.
        at_most: Duration,
    },
    /// Until the whole standing population stands; if it does not in this time, the run cannot go on.
    UntilStanding {
        /// Not longer.
        at_most: Duration,
    },
}

impl Length {
    /// The longest that the step may take.
    pub const fn longest(self) -> Duration {
        match self {
            Self::For(length) => length,
            Self::UntilQuiet { at_most, .. }
            | Self::UntilStanding { at_most }
            | Self::UntilGone { at_most } => at_most,
        }
    }
}

/// Blocks that the target retains on purpose in a dose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retain {
    /// Size of a block, bytes.
    pub bytes: u64,
    /// How many.
    pub blocks: u32,
}

/// One stretch of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is for.
    pub phase: Phase,
    /// The cycle that it belongs to: negative while priming; a rest carries the number of the cycle after it.
    pub cycle: i32,
    /// How long it lasts.
    pub length: Length,
    /// What the load does in it.
    pub batches: Vec<Batch>,
    /// What the target is asked to retain.
    pub retain: Option<Retain>,
}
