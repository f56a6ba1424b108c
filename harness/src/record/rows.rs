//! What is written, row by row.

use crate::{
    observe::Sample,
    plan::{Leave, Phase},
    timeline::{Counts, Elapsed},
};

/// One sample, with what the load had done by then.
#[derive(Clone, Debug)]
pub struct SampleRow {
    /// The phase under way.
    pub phase: Phase,
    /// The cycle under way.
    pub cycle: i32,
    /// What the load had done.
    pub counts: Counts,
    /// What was seen.
    pub sample: Sample,
    /// Samples that were due and never taken, so far.
    pub lost: u64,
}

/// A series of memory or of counts that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// The allocator's `allocated`, after it was asked to tidy up.
    Allocated,
    /// The live heap of a runtime, after it was asked to tidy up.
    Heap,
    /// Anonymous part of the proportional set size of the tree.
    PssAnon,
    /// Resident anonymous memory of the tree.
    Anon,
    /// Resident set size of the tree.
    Rss,
    /// Kernel memory of the target's sockets.
    Kernel,
    /// Descriptors of the tree.
    Fds,
    /// Threads of the tree.
    Threads,
    /// Tasks in the target's runtime.
    Tasks,
}

impl Series {
    /// Every signal, the most believed first.
    pub const ALL: [Self; 9] = [
        Self::Allocated,
        Self::Heap,
        Self::PssAnon,
        Self::Anon,
        Self::Rss,
        Self::Kernel,
        Self::Fds,
        Self::Threads,
        Self::Tasks,
    ];

    /// The name used in columns and in findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocated => "heap_allocated_bytes",
            Self::Heap => "runtime_live_bytes",
            Self::PssAnon => "pss_anon_bytes",
            Self::Anon => "anon_bytes",
            Self::Rss => "rss_bytes",
            Self::Kernel => "kernel_socket_bytes",
            Self::Fds => "fds",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
        }
    }

    /// Its value in a sample.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        let tree = sample.tree.as_ref();
        let report = sample.target.as_ref();
        let value = match self {
            Self::Allocated => report?.heap.filter(|_| sample.settled)?.allocated_bytes,
            Self::Heap => sample.runtime?.live_bytes,
            Self::PssAnon => tree?.pss_anon_bytes?,
            Self::Anon => tree?.anon_bytes?,
            Self::Rss => tree?.rss_bytes?,
            Self::Kernel => sample.sockets.as_ref()?.kernel_bytes,
            Self::Fds => tree?.fds?,
            Self::Threads => tree?.threads?,
            Self::Tasks => report?.tasks_live?,
        };
        Some(value as f64)
    }
}

/// What kind of reading a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingKind {
    /// At the end of a cycle.
    Cycle,
    /// Near the beginning of a rest.
    RestStart,
    /// Near the end of a rest.
    RestEnd,
}

impl ReadingKind {
    /// The name used in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::RestStart => "rest-start",
            Self::RestEnd => "rest-end",
        }
    }
}

/// One reading: the looks of a read window, and the doses up to then.
#[derive(Clone, Debug)]
pub struct ReadingRow {
    /// What kind of reading.
    pub kind: ReadingKind,
    /// The cycle that it ends.
    pub cycle: i32,
    /// The looks of the window; never empty.
    pub looks: Vec<Sample>,
    /// What the load had done.
    pub counts: Counts,
    /// Integral over time of the cumulative closes, connection-seconds, by [`Leave::index`].
    pub exposure: [f64; Leave::ALL.len()],
    /// Blocks that the target retained on purpose so far.
    pub retained_blocks: u64,
    /// Their bytes, as the target states them.
    pub retained_bytes: u64,
    /// A look at the height of the cycle's probe.
    pub probe: Option<Sample>,
    /// Connections of ours that were open at that look.
    pub probe_live: Option<u64>,
}

/// What lingered of one cycle after its drain.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanupRow {
    /// When the drain ended.
    pub at: Elapsed,
    /// The cycle.
    pub cycle: i32,
    /// Whose count: a leave mode by the kernel's count, or `connections` and `sessions` by the target's own.
    pub of: &'static str,
    /// How many left in this cycle (sessions: were created).
    pub left: u64,
    /// How many of them were still there when the drain ended.
    pub lingering: Option<u64>,
    /// How long after the dose ended the count was back at the standing population's; `None`: not in time, or not known.
    pub clean_s: Option<f64>,
    /// How long until half of those who left were forgotten.
    pub half_clean_s: Option<f64>,
    /// How long until 99 % of those who left were forgotten.
    pub clean_99_s: Option<f64>,
}

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A step began.
    Phase,
    /// The run ended, and why.
    End,
    /// The target died.
    Death,
    /// Something could not be read.
    Gap,
    /// Something of ours was lost.
    Loss,
    /// The load met an error.
    Problem,
    /// How something is done on this machine.
    Note,
    /// An alarm began or ended.
    Alarm,
    /// A process of the target was replaced: a new generation.
    Restart,
    /// The run goes on after it was cut short: a new generation.
    Resume,
}

impl EventKind {
    /// The name used in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::End => "end",
            Self::Death => "death",
            Self::Gap => "gap",
            Self::Loss => "loss",
            Self::Problem => "problem",
            Self::Note => "note",
            Self::Alarm => "alarm",
            Self::Restart => "restart",
            Self::Resume => "resume",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// When.
    pub at: Elapsed,
    /// What kind.
    pub kind: EventKind,
    /// In words.
    pub text: String,
}

/// Percentiles of one thing over one interval, microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyRow {
    /// When the interval ended.
    pub at: Elapsed,
    /// `connect`, `first-event`, `gap`, or `late` (our own lateness).
    pub of: &'static str,
    /// How many were measured.
    pub count: u64,
    /// Percentiles 50, 90, 99 and the maximum.
    pub percentiles_us: [u64; 4],
}
