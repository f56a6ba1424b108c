//! What is known so far of a run that goes on, whoever asks and as often as they like (the method, §8). Never the verdict.
//!
//! In: a [`Recording`] that may still grow. Out: [`Known`] for every factor that can be told from the others. Start at [`so_far`]. The
//! terminal, the full screen and the dashboard all say this; they must not contradict one another, or the verdict more than they must.

use super::{
    observations::floor_per_unit,
    recording,
    sequence::{self, Watched},
};
use crate::{record::Recording, units::Factor};

/// How probable it is that any interval of a factor is ever wrong, over the whole run.
const ALPHA: f64 = 0.05;

/// Fewer rows say nothing.
const LEAST_ROWS: usize = 3;

/// What is known of one factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Which.
    pub factor: Factor,
    /// Bytes per unit, and how far from them the truth may be, at all times.
    pub watched: Watched,
    /// What may stay without being a leak in the eyes of the profile, bytes per unit.
    pub tolerance: f64,
    /// What an innocent server may keep, bytes per unit: as the judge has it.
    pub floor: f64,
}

/// What an interval means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leaks, wherever in the interval the truth lies.
    Leaks,
    /// No more than is tolerated, likewise.
    Clean,
    /// Either may still be.
    Open,
}

impl Known {
    /// Where the interval lies. A leak is a leak however little is tolerated, as in the verdict.
    pub fn standing(&self) -> Standing {
        let Watched { slope, half_width } = self.watched;
        if slope - half_width > self.floor {
            Standing::Leaks
        } else if slope + half_width <= self.tolerance {
            Standing::Clean
        } else {
            Standing::Open
        }
    }
}

/// What the readings so far say; nothing while there are too few, or where memory is not judged.
pub fn so_far(recording: &Recording) -> Vec<Known> {
    let evidence = recording::evidence(recording);
    let Some(best) = evidence.memory.first() else {
        return Vec::new();
    };
    let (rows, _) = best.rows.without_gaps();
    if rows.rows() < LEAST_ROWS {
        return Vec::new();
    }
    let tolerances = recording::tolerance(recording);
    let known = |(factor, watched)| {
        let dose = rows.doses.iter().find(|dose| dose.factor == factor);
        let given = dose.map_or(&[][..], |dose| &dose.total);
        Known {
            factor,
            watched,
            tolerance: tolerances.of(factor),
            floor: floor_per_unit(rows.precision.floor, given),
        }
    };
    sequence::watch(&rows, ALPHA)
        .into_iter()
        .map(known)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_told_by_where_it_lies() {
        for (slope, half_width, standing) in [
            (2800.0, 100.0, Standing::Leaks),
            (619.0, 30.0, Standing::Leaks), // less than is tolerated, and a leak all the same
            (10.0, 50.0, Standing::Clean),
            (10.0, 5000.0, Standing::Open),
            (10.0, f64::INFINITY, Standing::Open),
        ] {
            let known = Known {
                factor: Factor::Session,
                watched: Watched { slope, half_width },
                tolerance: 1024.0,
                floor: 5.0,
            };
            assert_eq!(known.standing(), standing, "{slope} ± {half_width}");
        }
    }
}
