//! Diagnose: judges a recording.
pub mod assay;
pub mod cleanup;
pub mod counters;
pub mod design;
pub mod envelope;
pub mod factors;
pub mod finding;
pub mod forecast;
pub mod interval;
pub mod observations;
pub mod outlook;
pub mod recording;
pub mod rests;
pub mod run;
pub mod sequence;
pub mod signal;
pub mod soak;
pub mod stats;
pub mod trace;
pub mod verdict;
pub mod zombies;

#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod simulation;

pub use recording::judge;
