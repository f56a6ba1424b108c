//! When the limit will be reached at production rates (the method, §10): closed form, from the joint covariance.

use std::time::Duration;

use crate::units::Factor;

use super::{
    assay::{Effects, Look},
    stats::student,
};

/// Where production stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Production {
    /// Units per second, by factor: closes by way of leaving, sessions, turns, events.
    pub rates: Vec<(Factor, f64)>,
    /// Bytes still free below the limit, with the busiest hour's connections already counted in.
    pub headroom: f64,
}

/// When memory reaches the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Bytes per second, and half the width of its 95 % interval.
    pub rate: (f64, f64),
    /// The likeliest moment; `None` is never.
    pub at: Option<Duration>,
    /// At the earliest.
    pub earliest: Option<Duration>,
    /// At the latest.
    pub latest: Option<Duration>,
}

impl Production {
    /// Only what was found to leak moves the likeliest moment; everything else only widens the interval. Drift counts only if it was
    /// itself found.
    pub fn forecast(&self, look: &Look) -> Forecast {
        let Effects {
            factors,
            columns,
            floors,
            fit,
        } = &look.effects;
        let drift = f64::from(u8::from(look.leaks.contains(&Factor::Time)));
        let rate_of = |factor: Factor| {
            if factor == Factor::Time {
                drift
            } else {
                self.rate(factor)
            }
        };
        let rates: Vec<f64> = factors.iter().map(|f| rate_of(*f)).collect();
        let at = |column: usize| columns.iter().position(|&c| c == column);
        let all = fit.combination(|column| at(column).map_or(0.0, |i| rates[i]));
        let leaks = factors
            .iter()
            .zip(&rates)
            .filter(|(f, _)| look.leaks.contains(f));
        let rate: f64 = leaks
            .filter_map(|(f, r)| Some(r * look.interval(*f)?.estimate.slope))
            .sum();
        let systematic: f64 = rates.iter().zip(floors).map(|(r, floor)| r * floor).sum();
        let half = student::quantile(0.975, all.dof) * all.se + systematic;
        Forecast {
            rate: (rate, half),
            at: self.reached_at(rate),
            earliest: self.reached_at(rate + half),
            latest: self.reached_at(rate - half),
        }
    }

    fn rate(&self, factor: Factor) -> f64 {
        let given = self.rates.iter().filter(|(f, _)| {
            *f == factor || (factor == Factor::AllClosed && matches!(f, Factor::Closed(_)))
        });
        given.map(|(_, rate)| rate).sum()
    }

    fn reached_at(&self, rate: f64) -> Option<Duration> {
        (rate > 0.0).then(|| Duration::try_from_secs_f64(self.headroom.max(0.0) / rate).ok())?
    }
}
