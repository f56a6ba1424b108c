//! Observe: looks at the target from outside while the load runs.

mod sample;

pub use sample::{Heap, Host, Own, Sample, Sockets, TargetReport, Tree};
