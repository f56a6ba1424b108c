//! An interval for the dashboard: it may be watched all the time (the method, §8).
//!
//! In: the rows so far. Out: one factor's slope and an interval that is right at *all* times together with 95 % probability. Works
//! on differences from row to row, since random doses make those valid under any drift. Never used for a verdict: planned
//! looks are sharper.

use crate::units::Factor;

use super::{
    factors::Factors,
    observations::Observations,
    stats::{
        Engine, Levels,
        order::{differences, spread},
        sequence,
    },
};

/// A slope, and how far from it the truth may be, at all times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// Bytes per unit.
    pub slope: f64,
    /// Half the width; infinite while nothing is known.
    pub half_width: f64,
}

/// The interval for each factor that can be told from the others so far.
pub fn watch(observations: &Observations, alpha: f64) -> Vec<(Factor, Watched)> {
    let rows = observations.rows();
    let ground = [vec![1.0; rows], observations.seconds.clone()];
    let factors = Factors::of(observations, 0..rows, &ground).units;
    let steps = |f: &Factor| {
        let dose = observations.doses.iter().find(|d| d.factor == *f);
        dose.map_or_else(Vec::new, |d| differences(&d.total))
    };
    let mut columns: Vec<Vec<f64>> = factors.iter().map(steps).collect();
    columns.push(vec![1.0; rows.saturating_sub(1)]);
    let engine = Engine::new(&differences(&observations.readings), &columns);
    let all: Vec<usize> = (0..columns.len()).collect();
    let fit = engine.fit_with(&all, Levels::Independent);
    let one = |(i, factor): (usize, Factor)| {
        let estimate = fit.estimate(i);
        let others: Vec<usize> = all.iter().copied().filter(|&c| c != i).collect();
        let information = engine.information(i, &others);
        let half_width =
            sequence::half_width(estimate, information, spread(&columns[i]).powi(2), alpha);
        (
            factor,
            Watched {
                slope: estimate.slope,
                half_width,
            },
        )
    };
    factors.into_iter().enumerate().map(one).collect()
}
