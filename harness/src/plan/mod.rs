//! Plan: `(profile, seed)` becomes the whole schedule as a value. No clock, no I/O.
//!
//! In: a [`Profile`](crate::profile::Profile) and a seed. Out: a [`Plan`]: scripts, steps, and what each step's clients do.
//! Start at [`Plan::new`]; `assay` lays out the cycles of the method, `soak` its blocks, `cleanup` its rounds, `design` draws which factor is on in which
//! cycle, `parts` is what all kinds share.
//! Times are offsets from the start of a step. Same profile, same seed, same plan; `sse-soak plan` prints it.
//! Never looks at a clock, a socket or the target: what it cannot know in advance is a [`Length`] with bounds.

mod adaptive;
mod assay;
mod batch;
mod cleanup;
mod design;
mod exchange;
mod manners;
mod parts;
mod print;
mod script;
mod segment;
mod soak;
mod step;
mod steps;
mod stop;
mod windows;

use std::time::Duration;

use serde::Serialize;

pub use self::{
    adaptive::{Adaptive, FIRST_LOOK, PILOT},
    batch::{Batch, Stay},
    design::Design,
    manners::{Again, Manners, Network, Reconnect, User},
    parts::ARRIVALS,
    script::{
        Capture, CaptureBy, CaptureFrom, Exchange, Expect, Request, Script, SessionUse, Unit,
    },
    segment::Segment,
    step::{Length, Phase, Retain, Step},
    stop::{Condition, Met, Seen, Stops},
    windows::{Window, windows},
};
use crate::profile::{Kind, Profile};
pub use crate::units::{Factor, Leave, UnknownFactor};

/// The whole schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What every random choice came from.
    pub seed: u64,
    /// What clients say. [`Batch::script`] is an index into it.
    pub scripts: Vec<Script>,
    /// Pools of sessions that scripts share.
    pub pools: usize,
    /// How many streams stand during the whole run.
    pub standing: u32,
    /// The factors that are dosed, in the order of the regression.
    #[serde(serialize_with = "names")]
    pub factors: Vec<Factor>,
    /// Size of a control block, if the plan has a positive control, bytes.
    pub control_bytes: Option<u64>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Priming cycles.
    pub priming: u32,
    /// Judged cycles.
    pub cycles: u32,
}

#[expect(clippy::ptr_arg, reason = "serde hands over a reference to the field")]
fn names<S: serde::Serializer>(factors: &Vec<Factor>, output: S) -> Result<S::Ok, S::Error> {
    output.collect_seq(factors.iter().map(|factor| factor.name()))
}

impl Plan {
    /// Lays out the whole run.
    pub fn new(profile: &Profile, seed: u64) -> Self {
        match &profile.run {
            Kind::Assay(assay) => assay::plan(profile, assay, seed),
            Kind::Cleanup(cleanup) => cleanup::plan(profile, cleanup, seed),
            Kind::Soak(soak) => soak::plan(profile, soak, seed),
            Kind::Steps(steps) => steps::plan(profile, steps, seed),
        }
    }

    /// The longest that the run may take.
    pub fn longest(&self) -> Duration {
        self.steps.iter().map(|step| step.length.longest()).sum()
    }

    /// The most connections that may be open at one moment.
    pub fn most_open(&self) -> u64 {
        let most = self
            .steps
            .iter()
            .map(|step| {
                step.batches
                    .iter()
                    .map(|batch| u64::from(batch.count))
                    .sum()
            })
            .max();
        u64::from(self.standing) + most.unwrap_or(0)
    }
}
