//! Diagnose: judges a recording. Pure code: no clock, no I/O, no load; everything follows from what was written down.
//!
//! In: [`Evidence`](verdict::Evidence), from a run directory ([`recording`]) or from a per-second [`trace`]. Out: a
//! [`Judgement`](verdict::Judgement) (numbers) and [`Findings`](finding::Findings) (sentences, exit code). Start at
//! [`verdict::judge`]; one look at one signal is [`assay::look`]. Sizes are bytes, times seconds.
//!
//! ```text
//! observations ─► design ─► assay, soak ─┬─► verdict ─► finding
//!                 zombies, counters ─────┤      └─► outlook, forecast
//!                 rests, envelope ───────┘      sequence (dashboard only)
//! ```
//!
//! Cost: a day's soak (287 rows, six looks) is judged in 0.1 s, and its 86,400 seconds are read in as much again.
//! Never acts on a verdict and never writes one: that is the business of the report and of the command line.
pub mod adaptive;
pub mod allocations;
pub mod assay;
pub mod backlog;
pub mod cleanup;
pub mod compare;
pub mod compare_steps;
pub mod counters;
pub mod design;
pub mod envelope;
pub mod factors;
pub mod finding;
pub mod forecast;
pub mod forgotten;
mod generations;
pub mod interval;
pub mod lag;
pub mod limit;
pub mod observations;
pub mod outlook;
pub mod recording;
pub mod response;
pub mod rests;
pub mod run;
pub mod sequence;
pub mod signal;
pub mod so_far;
pub mod soak;
pub mod staircase;
pub mod stats;
pub mod trace;
pub mod verdict;
pub mod zombies;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod synthetic;

pub use recording::{judge, judge_evidence, judge_from, tolerance};
