//! The harness.
pub mod diagnose;
pub mod drive;
pub mod observe;
pub mod plan;
pub mod target;
pub mod timeline;
pub mod units;
