//! Observe: looks at the target from outside while the load runs.
//!
//! In: a pid, an address, perhaps an admin listener, and how often. Out: [`Sample`]s into a bounded queue, and answers on request.
//! Start at [`Observer`]; the shortest reader is `memory`. Sizes are bytes; times are [`Elapsed`](crate::timeline::Elapsed).
//! Has its own thread: on the load's it would read late exactly when it matters.
//! Cost: see `tests/observe_cost.rs`. One full look holds the target's mmap lock while page tables are walked; a polling look does not.
//! Never decides what a number means: that is `diagnose`. Never fills a gap: what could not be read is `None`, with a sentence.

mod admin;
mod backoff;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generations;
mod grid;
mod host;
mod look;
mod memory;
mod metrics;
mod observer;
mod runtime;
mod sample;
mod sock_diag;
mod tree;

pub use admin::{Admin, AdminError, Ask, Retained};
pub use error::ObserveError;
pub use metrics::{Count, MetricsConfig, MetricsError};
pub use observer::{ObserveConfig, Observer};
pub use runtime::{NODE_OPTIONS, PythonDoor, RuntimeConfig, RuntimeHeap};
pub use sample::{Heap, Host, Own, Presence, Sample, Sockets, TargetReport, Tree};

/// Another process of ours, now; what cannot be read is `None`.
pub fn process(pid: u32) -> Own {
    host::process(pid, &mut Vec::new())
}

/// The harness itself, now; what cannot be read is `None`.
pub fn own() -> Own {
    host::own(&mut Vec::new())
}
