//! Record: the run directory. The only module that knows file names.
//!
//! In: rows from the conductor. Out: files that are readable at any moment, also after SIGKILL; and the same files read back.
//! Start at [`RunDir`] (writing) and [`Recording`] (reading). CSV columns end in their unit; a missing reading is an empty cell.
//! Cost: one `write` a row, no buffering beyond the row: a killed run loses at most the row under way.
//! Never decides what a number means: that is [`diagnose`](crate::diagnose).

mod columns;
mod follow;
mod heap;
mod manifest;
mod mend;
mod reader;
mod rows;
mod steps;
mod table;
mod writer;

pub use self::{
    follow::{Follow, Row},
    heap::{
        Captured, CapturedWindow, Cost, Frame, Given, Image, Place, Stack, Stacks, StacksWindow,
        VERSION as HEAP_VERSION,
    },
    manifest::{
        AdaptiveFacts, Ended, LAYOUT, Manifest, PilotFacts, PlanFacts, SoakFacts, StepsFacts,
        TargetFacts,
    },
    reader::{Done, Recording, RecordingError, manifest},
    rows::{
        CleanupRow, EventKind, EventRow, LatencyRow, ReadingKind, ReadingRow, SampleRow, Series,
    },
    steps::{Spread, StepRow},
    table::{Complaint, Table},
    writer::{RecordError, RunDir, Torn},
};

/// Names of the files in a run directory.
pub mod files {
    /// Versions, command, profile, seed, host, target, clock anchor, end reason.
    pub const MANIFEST: &str = "manifest.json";
    /// The profile as it was.
    pub const PROFILE: &str = "profile.toml";
    /// One row a sample.
    pub const SAMPLES: &str = "samples.csv";
    /// One row a reading: the regression's rows.
    pub const READINGS: &str = "readings.csv";
    /// What lingered after each cycle, and for how long.
    pub const CLEANUP: &str = "cleanup.csv";
    /// One row a step of a step load; only in such a run.
    pub const STEPS: &str = "steps.csv";
    /// Phases, alarms, deaths, gaps, losses.
    pub const EVENTS: &str = "events.csv";
    /// Percentiles of connect, first event and gap per interval.
    pub const LATENCY: &str = "latency.csv";
    /// The target's own output.
    pub const TARGET_LOG: &str = "target.log";
    /// Allocation profiles: the folder of the dumps.
    pub const HEAP: &str = "heap";
    /// What was profiled, window by window.
    pub const WINDOWS: &str = "heap/windows.json";
    /// The dumps, read and symbolised.
    pub const STACKS: &str = "heap/stacks.json";
    /// What was judged.
    pub const FINDINGS: &str = "findings.json";
    /// What is kept, for code review tools.
    pub const SARIF: &str = "findings.sarif";
    /// What is kept, as a comment on a pull request.
    pub const PULL_REQUEST: &str = "pull-request.md";
    /// The report for people, in Markdown.
    pub const REPORT_MD: &str = "report.md";
    /// One test case per judged factor.
    pub const JUNIT: &str = "junit.xml";
    /// The report for people, as printed.
    pub const REPORT_TEXT: &str = "report.txt";
    /// The report for people, as a page for a browser.
    pub const REPORT_HTML: &str = "report.html";
}
