//! The windows of an allocation profile: one unit at a time, so that what a window leaves is that unit's doing.
//!
//! Clients come in rounds, the next one when half of the last is gone: a target that a profiler makes twenty times slower is then
//! loaded as heavily as it can bear, and no more clients are there at once than in the judged part of the run.

use std::time::Duration;

use super::{Batch, Factor, Leave, Plan, Stay, assay, cleanup, soak};
use crate::profile::{Kind, Profile};

/// A round arrives at most this fast, in clients a second.
const ARRIVE_PER_SECOND: u32 = 4000;

/// More clients than this at once are no part of a profile, however many the run had.
const MOST_AT_ONCE: u64 = 1000;

/// Rounds of events and of stalled readers last as long as they stay; a soak's blocks would be too long.
const LONGEST_ROUND: Duration = Duration::from_secs(1);

/// What one window plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The unit that it is about.
    pub factor: Factor,
    /// One round; the clients of it are at most half of those that may be there at once.
    pub round: Batch,
    /// How many units are wanted.
    pub units: u32,
    /// How long it may take.
    pub within: Duration,
}

/// The windows of a run, in the order of the plan's factors.
pub fn windows(profile: &Profile, plan: &Plan) -> Vec<Window> {
    let asked = &profile.allocations;
    let wanted =
        |factor: Factor| asked.of.is_empty() || asked.of.iter().any(|unit| unit.0 == factor);
    let mut played = match &profile.run {
        Kind::Assay(run) => assay::played(profile, run),
        Kind::Cleanup(run) => cleanup::played(profile, run),
        Kind::Soak(run) => soak::played(profile, run),
        Kind::Steps(_) => Vec::new(), // its load has no doses to divide by
    };
    played.retain(|(factor, _)| wanted(*factor));
    let share = asked.within.get() / u32::try_from(played.len()).unwrap_or(u32::MAX).max(1);
    let at_once = plan.most_open().saturating_sub(u64::from(plan.standing));
    let at_once = u32::try_from(at_once.clamp(2, MOST_AT_ONCE)).unwrap_or(2);
    let window = |(factor, batch): (Factor, Batch)| Window {
        factor,
        round: round(factor, batch, at_once),
        units: asked.connections,
        within: share,
    };
    played.into_iter().map(window).collect()
}

/// A batch of the plan as one round. Streams of events and turns in borrowed sessions stay as many as the profile says.
fn round(factor: Factor, batch: Batch, at_once: u32) -> Batch {
    let count = match factor {
        Factor::Event | Factor::Turn => batch.count,
        _ => (at_once / 2).max(1),
    };
    let stay = match batch.stay {
        Stay::Until(time) => Stay::Until(time.min(LONGEST_ROUND)),
        Stay::For(time) => Stay::For(time.min(LONGEST_ROUND / 10)),
        other => other,
    };
    let over = match (factor, batch.leave) {
        (Factor::Event, _) => Duration::ZERO,
        (_, Leave::Stall | Leave::Slow) => Duration::from_millis(100),
        _ => Duration::from_secs(1) * count / ARRIVE_PER_SECOND,
    };
    Batch {
        count,
        after: Duration::ZERO,
        over,
        stay,
        ..batch
    }
}

impl Window {
    /// The round of the next so many clients.
    pub fn round_of(&self, clients: u32) -> Batch {
        Batch {
            count: self.round.count.min(clients.max(1)),
            ..self.round.clone()
        }
    }
}
