//! The harness.
pub mod diagnose;
pub mod plan;
