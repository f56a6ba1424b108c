//! Fleet: the load on several processes of ourselves, where one has too few descriptors.
//!
//! In: a [`DriveConfig`](crate::drive::DriveConfig), how many workers, and [`Batch`](crate::plan::Batch)es. Out: the same counts,
//! leave modes, latencies and problems that one [`Driver`](crate::drive::Driver) gives, in the same [`Tally`](crate::timeline::Tally)
//! and [`PortBook`](crate::timeline::PortBook). Start at [`Fleet`]; [`serve`] is the other end, a worker; `muster` adds up what
//! they report (pure); `message` and `frame` are what goes over the pipes.
//! Every worker plays its [`Segment`](crate::plan::Segment) of every batch, on the run's clock. It reports every [`EVERY`], and at once
//! when asked: after [`Fleet::sync`] the counts are exact. It ends when its standard input does, so it never outlives us.
//! Cost: a report is some 600 B of JSON; 20 a second and worker take about 0.2 % of a core on each side.
//! Never decides who opens when: that is the plan's.

mod frame;
mod message;
mod muster;
mod room;
mod worker;
mod workers;

use std::time::Duration;

pub use frame::FrameError;
pub use room::{Room, sources};
pub use worker::{WorkerError, serve};
pub use workers::{Fleet, FleetConfig, WorkerFacts};

/// How often a worker reports.
pub const EVERY: Duration = Duration::from_millis(50);
