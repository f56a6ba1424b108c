//! Student's t: tails and quantiles.
//!
//! `statrs` has both; its quantile comes from an iteration that stops early, so one Newton step on its (exact) tail polishes it.

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};

/// `P(T > t)`. One half at nothing, and 1 for what is not a number: never a significance out of nowhere.
pub fn upper_tail(t: f64, dof: f64) -> f64 {
    match standard(dof) {
        Some(_) if t == f64::INFINITY => 0.0,
        Some(law) if t.is_finite() => law.sf(t),
        _ => 1.0,
    }
}

/// One-sided probability that an effect is positive by chance: 1 if it is not positive at all.
pub fn chance_of(effect: f64, se: f64, dof: f64) -> f64 {
    if effect > 0.0 {
        upper_tail(effect / se, dof)
    } else {
        1.0
    }
}

/// The value that `T` stays below with this probability; infinite without degrees of freedom.
pub fn quantile(probability: f64, dof: f64) -> f64 {
    let Some(law) = standard(dof) else {
        return f64::INFINITY;
    };
    let mut t = law.inverse_cdf(probability);
    for _ in 0..3 {
        t += (law.sf(t) - (1.0 - probability)) / law.pdf(t);
    }
    t
}

fn standard(dof: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, dof).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, dof, wanted) in [
            (0.975, 1.0, 12.706_204_736_432_095),
            (0.95, 3.0, 2.353_363_434_801_823),
            (0.975, 7.0, 2.364_624_251_592_784),
            (0.975, 10.0, 2.228_138_851_964_938_6),
            (0.95, 250.0, 1.650_971_489_812_858),
        ] {
            let found = quantile(probability, dof);
            assert!(
                (found / wanted - 1.0).abs() < 1e-9,
                "t({probability}, {dof}) = {found}"
            );
        }
    }

    #[test]
    fn a_quantile_and_its_tail_belong_together() {
        for dof in 1..300 {
            for tail in [0.2, 0.05, 0.025, 1e-4, 1e-6] {
                let t = quantile(1.0 - tail, f64::from(dof));
                let back = upper_tail(t, f64::from(dof));
                assert!((back / tail - 1.0).abs() < 1e-6, "{dof} {tail}: {back}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_never_significant() {
        for (effect, se, dof) in [
            (f64::NAN, 1.0, 5.0),
            (1.0, f64::NAN, 5.0),
            (1.0, 1.0, 0.0),
            (1.0, 1.0, -3.0),
            (-1.0, 0.0, 5.0),
            (0.0, 0.0, 5.0),
            (1.0, f64::INFINITY, 5.0),
        ] {
            assert!(chance_of(effect, se, dof) >= 0.5, "{effect} {se} {dof}");
        }
    }
}
