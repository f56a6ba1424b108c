//! When the limit will be reached at production rates (the method, §10): closed form, from the joint covariance.

use std::time::Duration;

use crate::units::{Factor, Leave};

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
        let given = self
            .rates
            .iter()
            .filter(|(f, _)| *f == factor || is_part(*f, factor));
        given.map(|(_, rate)| rate).sum()
    }

    fn reached_at(&self, rate: f64) -> Option<Duration> {
        (rate > 0.0).then(|| Duration::try_from_secs_f64(self.headroom.max(0.0) / rate).ok())?
    }
}

/// Whether one unit of `part` is also one of `sum`.
fn is_part(part: Factor, sum: Factor) -> bool {
    match (part, sum) {
        (Factor::Closed(_), Factor::AllClosed) => true,
        (Factor::Closed(leave), Factor::Abrupt) => {
            matches!(leave, Leave::Rst | Leave::Stall | Leave::Vanish)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            assay::{Drift, look},
            finding::sentence,
            synthetic::{Shape, Synthetic, quick},
        },
        *,
    };

    const MIB: f64 = 1_048_576.0;

    fn forecast(recording: &Synthetic, sessions: f64, headroom: f64) -> (Forecast, String) {
        let rows = recording.observe();
        let found = look(&rows, 0..rows.rows(), 0.001, Drift::Nuisance);
        let production = Production {
            rates: vec![(Factor::Session, sessions)],
            headroom,
        };
        let forecast = production.forecast(&found);
        (
            forecast,
            sentence::forecast(&production, 512.0 * MIB, &forecast),
        )
    }

    #[test]
    fn a_leak_per_session_reaches_the_limit_at_the_pace_of_sessions() {
        let leaking = quick(1).leaks(Factor::Session, 2816.0).noise(200.0);
        let (forecast, text) = forecast(&leaking, 5.0, 440.0 * MIB);
        let hours = |moment: Option<Duration>| moment.unwrap().as_secs_f64() / 3600.0;
        let wanted = 440.0 * MIB / (5.0 * 2816.0) / 3600.0;
        assert!(
            (hours(forecast.at) / wanted - 1.0).abs() < 0.02,
            "{forecast:?}"
        );
        assert!(hours(forecast.earliest) < wanted && hours(forecast.latest) > wanted);
        assert!(
            text.starts_with("at 5 sessions/s the limit of 512 MiB is reached in 9 h"),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_found_to_leak_moves_only_the_interval() {
        for recording in [
            quick(1),
            quick(1).does(Shape::Drip(50.0)),
            quick(1).noise(500.0),
        ] {
            let (forecast, text) = forecast(&recording, 5.0, 100.0 * MIB);
            assert_eq!((forecast.at, forecast.latest), (None, None), "{forecast:?}");
            assert!(
                forecast.earliest.is_some(),
                "nobody can promise never: {forecast:?}"
            );
            assert!(text.contains("nothing that was found"), "{text}");
        }
    }

    #[test]
    fn without_load_nothing_is_reached() {
        let (forecast, _) = forecast(&quick(1).leaks(Factor::Session, 2816.0), 0.0, MIB);
        assert_eq!(forecast.at, None);
    }
}
