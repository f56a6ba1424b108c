//! Diagnose: judges a recording.
pub mod assay;
pub mod counters;
pub mod design;
pub mod envelope;
pub mod factors;
pub mod forecast;
pub mod interval;
pub mod observations;
pub mod outlook;
pub mod rests;
pub mod sequence;
pub mod signal;
pub mod soak;
pub mod stats;
pub mod trace;
pub mod verdict;
pub mod zombies;
