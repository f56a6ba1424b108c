//! What every kind of run is laid out with: scripts, the standing population, the trial, bare steps.

use std::time::Duration;

use super::{Batch, Leave, Length, Manners, Phase, Script, Stay, Step, exchange::exchange};
use crate::profile::{Profile, ScriptSpec, Standing};

/// The pool that standing sessions go to and that turns borrow from.
const STANDING_POOL: usize = 0;

/// The part of a dose in which its clients arrive; the rest leaves the last ones time to do what they came for.
pub const ARRIVALS: f64 = 0.6;

/// How long the first clients may take. A ChatBot's answer takes seconds; a server that needs longer is no target for short cycles.
const TRIAL: Duration = Duration::from_secs(30);

/// The place of a script in the plan.
pub(super) fn index(profile: &Profile, name: &str) -> usize {
    let place = profile.scripts.keys().position(|known| known == name);
    place.expect("checked while parsing")
}

pub(super) fn scripts(profile: &Profile, standing: Option<&Standing>) -> Vec<Script> {
    let standing = standing.map(|standing| standing.script.get_ref());
    let script = |(name, spec): (&String, &ScriptSpec)| Script {
        name: name.clone(),
        exchanges: spec
            .steps()
            .map(|step| exchange(step, STANDING_POOL, standing == Some(name)))
            .collect(),
    };
    profile.scripts.iter().map(script).collect()
}

/// How many of so many cycles a share of them is: at least one, and never all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a small count, between 1 and the count"
)]
pub(super) fn part(share: f64, cycles: usize) -> usize {
    ((share * cycles as f64).round() as usize).clamp(1, cycles.saturating_sub(1).max(1))
}

/// How long a client of a dose stays.
pub(super) fn stay(leave: Leave, asked: Option<Duration>, dose: Duration) -> Stay {
    match leave {
        Leave::Complete => Stay::ToTheEnd,
        Leave::Stall | Leave::Slow => asked.map_or(Stay::Until(dose), Stay::For),
        Leave::Early => Stay::For(asked.unwrap_or_default()),
        _ => Stay::For(asked.unwrap_or(dose.mul_f64(0.1))),
    }
}

/// A step in which nobody comes.
pub(super) fn bare(phase: Phase, cycle: i32, length: Length) -> Step {
    Step {
        phase,
        cycle,
        length,
        batches: Vec::new(),
        retain: None,
    }
}

/// The standing population comes.
pub(super) fn standing(
    standing: Option<&Standing>,
    cycle: i32,
    index: &impl Fn(&str) -> usize,
) -> Vec<Step> {
    let step = |standing: &Standing| {
        let batch = Batch {
            script: index(standing.script.get_ref()),
            leave: Leave::Fin,
            count: standing.connections,
            after: Duration::ZERO,
            over: Duration::from_millis(u64::from(standing.connections)),
            stay: Stay::Standing,
            manners: Manners::new(standing.reconnect, standing.network),
        };
        let length = Length::UntilStanding {
            at_most: Duration::from_secs(10).max(batch.over * 4),
        };
        Step {
            batches: vec![batch],
            ..bare(Phase::Standing, cycle, length)
        }
    };
    standing.into_iter().map(step).collect()
}

/// One client of every script that a dose plays: a server that answers otherwise than the profile says is noticed in
/// the first seconds, not after hours.
pub(super) fn trial<'a>(played: impl Iterator<Item = &'a Batch>, cycle: i32) -> Step {
    let mut batches: Vec<Batch> = Vec::new();
    for batch in played {
        let (leave, stay) = match batch.leave {
            Leave::Complete => (Leave::Complete, Stay::ToTheEnd),
            _ => (Leave::Fin, Stay::For(Duration::ZERO)),
        };
        if !batches.iter().any(|known| known.script == batch.script) {
            batches.push(Batch {
                script: batch.script,
                leave,
                count: 1,
                after: Duration::ZERO,
                over: Duration::ZERO,
                stay,
                manners: Manners::default(),
            });
        }
    }
    Step {
        batches,
        ..bare(Phase::Trial, cycle, Length::UntilGone { at_most: TRIAL })
    }
}
