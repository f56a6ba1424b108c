//! Long-run variance from equally weighted cosines (Lazarus, Lewis, Stock, Watson 2018; the method, §6 and §13).
//!
//! The projections of a serially correlated series on the first few cosines are nearly independent, each with the long-run
//! variance. Their mean square estimates it with as many degrees of freedom as there are cosines.

use std::f64::consts::PI;

use super::{
    order::{count, differences, mean},
    student,
};

/// How many cosines a series of this length supports: `max(4, floor(0.4 n^(2/3)))`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a floor of something small and positive"
)]
pub fn how_many(rows: usize) -> usize {
    ((0.4 * count(rows).powf(2.0 / 3.0)) as usize).max(4)
}

/// Mean square of the projections of a series on its first cosines: the long-run variance.
pub fn long_run_variance(series: &[f64]) -> f64 {
    let squares: Vec<f64> = (1..=how_many(series.len()))
        .map(|i| projection(series, count(i)).powi(2))
        .collect();
    mean(&squares)
}

fn projection(series: &[f64], frequency: f64) -> f64 {
    let rows = count(series.len());
    let sum: f64 = series
        .iter()
        .enumerate()
        .map(|(t, value)| (PI * frequency * (count(t) + 0.5) / rows).cos() * value)
        .sum();
    (2.0 / rows).sqrt() * sum
}

/// One-sided probability of a drift as large as this by chance, from the differences of a series.
pub fn drift_chance(series: &[f64]) -> f64 {
    let steps = differences(series);
    let drift = mean(&steps);
    let centred: Vec<f64> = steps.iter().map(|step| step - drift).collect();
    let se = (long_run_variance(&centred) / count(steps.len())).sqrt();
    student::chance_of(drift, se, count(how_many(steps.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_cosines_is_that_of_the_paper() {
        for (rows, wanted) in [(5, 4), (48, 5), (97, 8), (288, 17)] {
            assert_eq!(how_many(rows), wanted, "{rows} rows");
        }
    }

    #[test]
    fn a_steady_climb_is_a_drift_and_a_saw_is_not() {
        let climb: Vec<f64> = (0..100)
            .map(|t| f64::from(t) + f64::from(t * 7919 % 13) / 50.0)
            .collect();
        let saw: Vec<f64> = (0..100).map(|t| f64::from(t % 10)).collect();
        assert!(drift_chance(&climb) < 1e-6);
        assert!(drift_chance(&saw) > 0.05);
    }
}
