//! Looks while a soak runs: hours of load, judged as they pass (the method, §8 and §9).
//!
//! Looks are taken after 12, 24, 48, … rows and at the end. Look `k` spends `alpha / (k (k + 1))`, which sums to `alpha` however
//! long the run: no number of looks makes a false accusation likelier. The first accusation of a factor stands.

use crate::units::Factor;

use super::{
    assay::{Drift, Look, look},
    interval::Interval,
    observations::Observations,
    stats::order::count,
};

/// Rows before the first look.
pub const FIRST_LOOK: usize = 12;

/// A factor, and the look at which it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub factor: Factor,
    /// Rows seen by then.
    pub rows: usize,
    /// What was known then.
    pub interval: Interval,
}

/// What all looks found.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Rows left out at the beginning, until the caches were full.
    pub skipped: usize,
    /// Accusations, first look first.
    pub found: Vec<Found>,
    /// The last look; `None` if there were not rows enough for one.
    pub last: Option<Look>,
}

/// After how many rows to look: 12, 24, 48, … and at the end.
pub fn looks(rows: usize, first: usize) -> Vec<usize> {
    let doubling = std::iter::successors(Some(first.max(1)), |n| n.checked_mul(2));
    let mut looks: Vec<usize> = doubling.take_while(|n| *n < rows).collect();
    looks.push(rows);
    looks
}

/// The level of look number `k`, from 1.
pub fn level(alpha: f64, k: usize) -> f64 {
    alpha / (count(k) * (count(k) + 1.0))
}

/// Looks at every scheduled moment; rows count once every way of leaving and the sessions have delivered `cache_units`, so that no
/// legitimate cache still fills.
pub fn judge(observations: &Observations, alpha: f64, cache_units: f64) -> Soak {
    let skipped = full_caches(observations, cache_units);
    let rows = observations.rows() - skipped;
    let mut soak = Soak {
        skipped,
        found: Vec::new(),
        last: None,
    };
    if rows < FIRST_LOOK {
        return soak;
    }
    for (k, seen) in looks(rows, FIRST_LOOK).into_iter().enumerate() {
        let found = look(
            observations,
            skipped..skipped + seen,
            level(alpha, k + 1),
            Drift::Factor,
        );
        for &factor in &found.leaks {
            if let Some(interval) = found.interval(factor).filter(|_| !soak.accuses(factor)) {
                soak.found.push(Found {
                    factor,
                    rows: seen,
                    interval,
                });
            }
        }
        soak.last = Some(found);
    }
    soak
}

impl Soak {
    fn accuses(&self, factor: Factor) -> bool {
        self.found.iter().any(|f| f.factor == factor)
    }
}

/// The first row at which every dosed way of leaving and the sessions had delivered so many units.
fn full_caches(observations: &Observations, units: f64) -> usize {
    let counted = observations.doses.iter().filter(|d| {
        let fills = d.factor.is_connection() || d.factor == Factor::Session;
        fills && d.total.last().is_some_and(|total| *total > 0.5)
    });
    let first = |total: &Vec<f64>| {
        total
            .iter()
            .position(|t| *t >= units)
            .unwrap_or(total.len())
    };
    counted.map(|d| first(&d.total)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::synthetic::{RST, STALL, Shape, soak},
        *,
    };
    use crate::diagnose::synthetic::Synthetic;

    fn judged(recording: &Synthetic) -> Soak {
        judge(&recording.observe(), 0.001, 5000.0)
    }

    #[test]
    fn a_leak_is_found_while_the_soak_runs_and_the_first_accusation_stands() {
        for seed in 0..4 {
            let found = judged(&soak(seed, 8).leaks(RST, 256.0));
            let accused: Vec<Factor> = found.found.iter().map(|f| f.factor).collect();
            assert_eq!(accused, [RST], "seed {seed}");
            assert!(found.found[0].rows <= 24, "{} rows", found.found[0].rows);
            assert!(found.skipped > 5, "caches fill first");
        }
    }

    #[test]
    fn the_innocent_are_acquitted_at_every_look() {
        for seed in 0..4 {
            for clean in [
                soak(seed, 24),
                soak(seed, 24).walks(20_000.0),
                soak(seed, 24).does(Shape::WarmUp(50e6, 20.0)),
                soak(seed, 24).does(Shape::Cache(STALL, 2000.0, 4500.0)),
                soak(seed, 24).does(Shape::Step(8e6, 150)),
            ] {
                assert!(judged(&clean).found.is_empty(), "seed {seed}");
            }
        }
    }

    #[test]
    fn wall_time_is_accused_only_after_eight_hours() {
        let drips = |hours| {
            let found = judged(&soak(1, hours).does(Shape::Drip(500.0))).found;
            found.iter().map(|f| f.factor).collect::<Vec<_>>()
        };
        assert_eq!(drips(6), []);
        assert_eq!(drips(24), [Factor::Time]);
    }

    #[test]
    fn caches_that_never_fill_leave_nothing_to_judge() {
        let rows = soak(1, 4).observe();
        assert!(judge(&rows, 0.001, 1e9).last.is_none());
    }

    #[test]
    fn a_day_is_looked_at_six_times_and_all_looks_together_spend_alpha() {
        assert_eq!(looks(288, 12), [12, 24, 48, 96, 192, 288]);
        assert_eq!(looks(12, 12), [12]);
        assert_eq!(looks(5, 12), [5]);
        let spent: f64 = (1..=40).map(|k| level(0.001, k)).sum();
        assert!(spent < 0.001);
    }
}
