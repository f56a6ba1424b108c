//! An interval that may be looked at after every row (Lindon, Ham, Tingley, Bojinov 2022; the method, §8).
//!
//! A verdict is taken at planned looks. A dashboard is watched all the time, and a plain 95 % interval watched all the time is
//! wrong in 39 % of clean runs; this one stays below 5 % however often somebody looks. It costs about half as much width again.

use super::Estimate;

/// Half the width of the interval around a slope that holds at all times with probability `1 - alpha`; infinite while nothing
/// can be said.
///
/// `information` is the sum of squares of the column that the others leave unexplained
/// ([`Engine::information`](super::Engine::information)), `row_variance` the variance of the column from row to row: the
/// interval is narrowest, compared with a plain one, after about five rows' worth of information.
pub fn half_width(estimate: Estimate, information: f64, row_variance: f64, alpha: f64) -> f64 {
    let prior = 5.0 * row_variance;
    let share = prior / (prior + information);
    let dof = estimate.dof;
    let kappa = (share * alpha * alpha).powf(1.0 / (dof + 1.0));
    if dof < 1.0 || kappa.is_nan() || kappa <= share {
        return f64::INFINITY;
    }
    estimate.se * (dof * (1.0 - kappa) / (kappa - share)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{super::Engine, super::Levels, *};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Looks after every row and tells whether the interval ever excluded the truth, 0.
    fn ever_wrong(seed: u64, watch: impl Fn(&Engine, Estimate) -> f64) -> bool {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let dose: Vec<f64> = (0..80)
            .map(|_| f64::from(u8::from(random.random_bool(0.5))))
            .collect();
        let y: Vec<f64> = (0..80)
            .map(|_| (0..12).map(|_| random.random::<f64>() - 0.5).sum())
            .collect();
        (10..80).any(|rows| {
            let engine = Engine::new(&y[..rows], &[vec![1.0; rows], dose[..rows].to_vec()]);
            let estimate = engine.fit_with(&[0, 1], Levels::Independent).estimate(1);
            estimate.slope.abs() > watch(&engine, estimate)
        })
    }

    #[test]
    fn watching_all_the_time_deceives_a_plain_interval_and_not_this_one() {
        let sequence = |engine: &Engine, e| half_width(e, engine.information(1, &[0]), 0.25, 0.05);
        let plain = |_: &Engine, e: Estimate| 1.99 * e.se;
        let errors = |watch: &dyn Fn(&Engine, Estimate) -> f64| {
            (0..300).filter(|&seed| ever_wrong(seed, watch)).count()
        };
        assert!(errors(&sequence) <= 15, "{} of 300", errors(&sequence));
        assert!(errors(&plain) > 45, "{} of 300", errors(&plain));
    }

    #[test]
    fn before_anything_is_known_the_interval_is_infinite() {
        let estimate = Estimate {
            slope: 1.0,
            se: 1.0,
            dof: 0.0,
        };
        assert!(half_width(estimate, 0.0, 1.0, 0.05).is_infinite());
    }
}
