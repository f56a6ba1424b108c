//! Where a run is, for whoever watches it.

use std::time::Duration;

use crate::{
    observe::Sample,
    plan::{Phase, Plan},
    timeline::{Counts, Elapsed},
};

/// Where a run is. Made once a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// When.
    pub at: Elapsed,
    /// The longest that the run may take.
    pub longest: Duration,
    /// The phase under way.
    pub phase: Phase,
    /// The cycle under way; negative while priming.
    pub cycle: i32,
    /// Judged cycles in all.
    pub cycles: u32,
    /// Connections of ours that are open.
    pub open: u64,
    /// Connections ever opened.
    pub opened: u64,
    /// Connections closed.
    pub closed: u64,
    /// Events received.
    pub events: u64,
    /// Connections that did not do what the plan asked for.
    pub errors: u64,
    /// The target's memory: the allocator's account if there is one, else anonymous, else resident.
    pub memory_bytes: Option<u64>,
    /// Sessions that the target holds.
    pub sessions: Option<u64>,
    /// Our own memory.
    pub own_bytes: Option<u64>,
    /// An alarm that has just begun or ended, in words.
    pub alarm: Option<String>,
}

impl Progress {
    pub(super) fn new(
        plan: &Plan,
        phase: Phase,
        cycle: i32,
        counts: &Counts,
        sample: &Sample,
    ) -> Self {
        let report = sample.target.as_ref();
        let tree = sample.tree.as_ref();
        let allocated = report
            .and_then(|report| report.heap)
            .map(|heap| heap.allocated_bytes);
        Self {
            at: sample.at,
            longest: plan.longest(),
            phase,
            cycle,
            cycles: plan.cycles,
            open: counts.live(),
            opened: counts.opened,
            closed: counts.closed_total(),
            events: counts.events,
            errors: counts.errors(),
            memory_bytes: allocated
                .or_else(|| tree?.pss_anon_bytes)
                .or_else(|| tree?.rss_bytes),
            sessions: report.and_then(|report| report.sessions_live),
            own_bytes: sample.own.rss_bytes,
            alarm: None,
        }
    }
}
