//! How much of the growth the accused account for: what a leak explains is not told again as growth that nothing explains.

use serde::Serialize;

use super::{Effect, Leak};
use crate::diagnose::zombies::Waiting;

/// From this share on a growth is explained: slopes are least sure of the rows that decide a growth, the last ones.
const MOSTLY: f64 = 0.5;

/// Bytes that the accused factors took, each at its own rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explained {
    /// From row 0 to the last row.
    pub bytes: f64,
    /// Per second, in each rest after priming.
    pub in_rests: Vec<f64>,
}

impl Explained {
    /// The sum over the accused of slope times units, or times the seconds that the closed have waited.
    pub fn by(leaks: &[Leak], waiting: &Waiting) -> Self {
        let rows = waiting.rows.rows();
        let between = |from: usize, to: usize| {
            let taken = leaks.iter().map(|leak| taken(leak, waiting, from, to));
            taken.sum::<f64>()
        };
        let rate = |&(from, to): &(usize, usize)| {
            let seconds = waiting.rows.seconds[to] - waiting.rows.seconds[from];
            between(from, to) / seconds.max(1e-3)
        };
        Self {
            bytes: between(0, rows.saturating_sub(1)),
            in_rests: waiting.rests.iter().map(rate).collect(),
        }
    }

    /// Whether most of this growth over the run is theirs.
    pub fn covers(&self, grown: f64) -> bool {
        self.bytes >= MOSTLY * grown
    }

    /// Whether most of this growth per second with nobody there is theirs, in every rest.
    pub fn covers_idle(&self, per_second: f64) -> bool {
        let covers = |rate: &f64| *rate >= MOSTLY * per_second;
        !self.in_rests.is_empty() && self.in_rests.iter().all(covers)
    }
}

/// What one effect took between two rows.
fn taken(leak: &Leak, waiting: &Waiting, from: usize, to: usize) -> f64 {
    let (Effect::Per(factor) | Effect::PerSecond(factor)) = leak.effect;
    let doses = waiting.rows.doses.iter();
    let columns = doses
        .filter(|d| factor.includes(d.factor))
        .filter_map(|d| match leak.effect {
            Effect::Per(_) => Some(&d.total),
            Effect::PerSecond(_) => d.waited.as_ref(),
        });
    let given: f64 = columns.map(|column| column[to] - column[from]).sum();
    leak.interval.estimate.slope * given
}
