//! The rounds of a cleanup run: everybody leaves in one way, then the counts are watched.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Batch, Factor, Leave, Length, Manners, Phase, Plan, Stay, Step,
    parts::{self, ARRIVALS, bare, standing, trial},
};
use crate::profile::{Cleanup, ClosedDose, Profile};

pub(super) fn plan(profile: &Profile, cleanup: &Cleanup, seed: u64) -> Plan {
    let index = |name: &str| parts::index(profile, name);
    let batches: Vec<Batch> = cleanup
        .leave
        .iter()
        .map(|(leave, dose)| batch(cleanup, *leave, dose, &index))
        .collect();
    let rounds = *cleanup.rounds.get_ref();
    let order = order(seed, rounds, batches.len());
    let closed = cleanup.leave.keys().map(|leave| Factor::Closed(*leave));
    let mut steps = standing(cleanup.standing.as_ref(), -1, &index);
    steps.push(trial(batches.iter(), -1));
    steps.push(bare(Phase::Drain, -1, Length::For(wait(cleanup))));
    for (cycle, mode) in (0..).zip(order) {
        steps.extend(round(cleanup, cycle, batches[mode].clone()));
    }
    Plan {
        seed,
        scripts: parts::scripts(profile, cleanup.standing.as_ref()),
        pools: 1,
        standing: cleanup
            .standing
            .as_ref()
            .map_or(0, |standing| standing.connections),
        factors: closed.chain([Factor::Session]).collect(),
        control_bytes: None,
        steps,
        priming: 0,
        cycles: rounds * u32::try_from(batches.len()).unwrap_or(u32::MAX),
    }
}

/// What every way of leaving plays, for those who play one at a time.
pub(super) fn played(profile: &Profile, cleanup: &Cleanup) -> Vec<(Factor, Batch)> {
    let index = |name: &str| parts::index(profile, name);
    let leave = cleanup.leave.iter();
    leave
        .map(|(leave, dose)| (Factor::Closed(*leave), batch(cleanup, *leave, dose, &index)))
        .collect()
}

/// The TTL and the grace.
fn wait(cleanup: &Cleanup) -> Duration {
    cleanup.session_ttl.get() + cleanup.grace.get()
}

/// They leave together at the end of the dose, so that the time to clean is the same moment for all of them. The server ends
/// `complete`, and `early` must be gone before the first event.
fn batch(
    cleanup: &Cleanup,
    leave: Leave,
    dose: &ClosedDose,
    index: &impl Fn(&str) -> usize,
) -> Batch {
    let length = cleanup.dose.get();
    let asked = dose.stay.map(|stay| Stay::For(stay.get()));
    Batch {
        script: index(dose.script.get_ref()),
        leave,
        count: dose.connections,
        after: Duration::ZERO,
        over: length.mul_f64(ARRIVALS),
        stay: match leave {
            Leave::Complete => Stay::ToTheEnd,
            Leave::Early => asked.unwrap_or(Stay::For(Duration::ZERO)),
            _ => asked.unwrap_or(Stay::Until(length)),
        },
        manners: Manners::new(dose.reconnect, dose.network),
    }
}

/// Every way of leaving once a round, in an order drawn anew: whatever one leaves behind meets another each time.
fn order(seed: u64, rounds: u32, modes: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<usize> = (0..modes).collect();
        for last in (1..modes).rev() {
            round.swap(last, rng.random_range(0..=last));
        }
        order.extend(round);
    }
    order
}

fn round(cleanup: &Cleanup, cycle: i32, batch: Batch) -> [Step; 3] {
    let quiet = Length::UntilQuiet {
        at_least: Duration::ZERO,
        at_most: wait(cleanup),
    };
    [
        Step {
            batches: vec![batch],
            ..bare(Phase::Dose, cycle, Length::For(cleanup.dose.get()))
        },
        bare(Phase::Drain, cycle, quiet),
        bare(Phase::Read, cycle, Length::For(cleanup.read.get())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_way_of_leaving_once_and_rounds_differ() {
        let drawn = order(7, 8, 5);
        let mut rounds: Vec<Vec<usize>> = drawn.chunks(5).map(<[usize]>::to_vec).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        rounds.dedup();
        assert!(rounds.len() > 4, "{rounds:?}");
        assert_eq!(drawn, order(7, 8, 5));
        assert_ne!(drawn, order(8, 8, 5));
    }
}
