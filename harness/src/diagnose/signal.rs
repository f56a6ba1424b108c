//! What was read: memory in its several senses, and counters. Each knows how far it can be trusted.

use serde::{Deserialize, Serialize};

use crate::units::Factor;

/// One series of the target. Memory is listed best first (the design, "What is believed").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// An allocator's own count of live bytes, after it was asked to purge.
    Allocated,
    /// The live heap of a runtime, right after a forced collection.
    Heap,
    /// Private anonymous memory, shared pages divided.
    PssAnon,
    /// Resident anonymous memory.
    RssAnon,
    /// Resident memory.
    Rss,
    /// CPU time per second, in microseconds.
    Cpu,
    /// Open file descriptors.
    Descriptors,
    /// Threads.
    Threads,
    /// Tasks of the target's own runtime.
    Tasks,
}

impl Signal {
    /// Every signal that is memory, the most believed first.
    pub const MEMORY: [Self; 5] = [
        Self::Allocated,
        Self::Heap,
        Self::PssAnon,
        Self::RssAnon,
        Self::Rss,
    ];

    /// What an innocent server may keep per dosed cycle, and more of a factor than this is asked of a leak. Divided by the usual
    /// dose it widens every interval and is subtracted before every test: a result can be *significant* below it (the noise of
    /// an exact signal may be zero) but not *meaningful*.
    ///
    /// * A page, 4,096 B, for memory the kernel counts: it cannot show less. The same for a collected heap, whose own
    ///   bookkeeping (hidden classes, feedback, compiled code) moves in such steps.
    /// * 512 B for an exact allocator statistic. Nothing is rounded to pages there. What remains is what may happen once in a
    ///   dosed cycle and is no leak *per unit*: a table or a queue that doubles, a metric's new label, a timer slot, the fill of
    ///   one bin of a thread cache (jemalloc counts cached objects as allocated, 8 or more at a time, mostly of 16 to 64 B). Half
    ///   a kilobyte covers one such event in *every* cycle, which is generous: real ones become rare, and rare ones are noise that
    ///   the random doses average out. At 60 connections a dose it asks 9 B per connection, below the smallest object a
    ///   server could forget per connection (16 B).
    /// * 0.2 % of a core, 2 descriptors, 2 threads, 2 tasks (the method, §6.6).
    pub fn floor(self) -> f64 {
        match self {
            Self::Allocated => 512.0,
            Self::Heap | Self::PssAnon | Self::RssAnon | Self::Rss => 4096.0,
            Self::Cpu => 2000.0,
            Self::Descriptors | Self::Threads | Self::Tasks => 2.0,
        }
    }

    /// Whether it is memory.
    pub fn is_memory(self) -> bool {
        self <= Self::Rss
    }

    /// The name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Heap => "heap",
            Self::PssAnon => "pss-anon",
            Self::RssAnon => "rss-anon",
            Self::Rss => "rss",
            Self::Cpu => "cpu",
            Self::Descriptors => "descriptors",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
        }
    }

    /// What a slope is counted in, before "per unit".
    pub fn counts(self) -> &'static str {
        match self {
            Self::Cpu => "CPU seconds per second",
            Self::Descriptors => "descriptors",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
            _ => "bytes",
        }
    }

    /// From the unit of the rows to the unit of the report: CPU is regressed in microseconds and told in seconds.
    pub fn scale(self) -> f64 {
        if self == Self::Cpu { 1e-6 } else { 1.0 }
    }
}

/// `connection`, `session`, `event`: one unit of a factor, for a person.
pub fn unit_name(factor: Factor) -> &'static str {
    match factor {
        Factor::Closed(_) | Factor::AllClosed | Factor::Left | Factor::Abrupt => "connection",
        Factor::Session => "session",
        Factor::Turn => "turn",
        Factor::Event => "event",
        Factor::Time => "second",
        Factor::Control => "block",
    }
}
