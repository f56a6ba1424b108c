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

#[cfg(test)]
mod tests {
    use super::{
        super::{
            stats::order::count,
            synthetic::{QUICK, RST, quick},
        },
        *,
    };

    fn watched(observations: &Observations, rows: usize) -> Vec<(Factor, Watched)> {
        let mut seen = observations.clone();
        seen.readings.truncate(rows);
        seen.seconds.truncate(rows);
        seen.doses.iter_mut().for_each(|d| d.total.truncate(rows));
        seen.control = None;
        watch(&seen, 0.05)
    }

    #[test]
    fn a_dashboard_may_look_after_every_cycle_and_stays_right() {
        let mut wrong = 0;
        for seed in 0..20 {
            let mut rows = quick(seed).leaks(RST, 64.0).noise(500.0).observe();
            let control = rows.control.take().unwrap();
            rows.readings
                .iter_mut()
                .zip(&control.blocks)
                .for_each(|(y, b)| *y -= 256.0 * b);
            let ever = (2..=rows.rows()).any(|n| {
                let is_off = |(f, w): &(Factor, Watched)| {
                    let truth = if *f == RST { 64.0 } else { 0.0 };
                    (w.slope - truth).abs() > w.half_width
                };
                watched(&rows, n).iter().any(is_off)
            });
            wrong += u32::from(ever);
            let last = watched(&rows, rows.rows());
            let rst = last.iter().find(|w| w.0 == RST).unwrap().1;
            assert!(rst.half_width < 300.0, "{rst:?}");
        }
        let expected = 0.05 * count(QUICK.len()) * 20.0;
        assert!(f64::from(wrong) <= expected, "{wrong} of 20 runs");
    }

    #[test]
    fn the_first_rows_say_nothing() {
        for n in 0..10 {
            assert!(
                watched(&quick(1).observe(), n)
                    .iter()
                    .all(|w| w.1.half_width.is_infinite())
            );
        }
    }
}
