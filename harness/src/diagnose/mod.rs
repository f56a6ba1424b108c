//! Diagnose: judges a recording.
pub mod stats;
