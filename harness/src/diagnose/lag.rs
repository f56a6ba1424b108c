//! How late the waiting times of a cycle's row are: its reading is the middle of several looks, its integrals were taken after the last.
//!
//! In: what a recording says around the moments at which a rest begins right after a cycle and nobody has closed in between. Out:
//! seconds, to be taken back ([`at_reading`]). Thirty milliseconds look like nothing, and are a hundred kilobytes where megabytes per
//! second are eaten. A recorder that takes both at the same moment has no lag.

use super::stats::order::median;

/// From the row of a cycle to the row that begins the rest after it.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// Seconds from reading to reading.
    pub seconds: f64,
    /// What the waiting times of all closed connections gained.
    pub waited: f64,
    /// Closed connections, the same in both rows.
    pub closed: f64,
}

/// The lag of the cycles' rows; 0 if nothing tells.
pub fn of(pauses: &[Pause]) -> f64 {
    let known = pauses.iter().filter(|p| p.closed > 0.0);
    let lags: Vec<f64> = known.map(|p| p.seconds - p.waited / p.closed).collect();
    median(&lags)
        .filter(|lag| lag.is_finite())
        .map_or(0.0, |lag| lag.max(0.0))
}

/// The waiting times at the moment of the reading.
pub fn at_reading(waited: f64, closed: f64, lag: f64) -> f64 {
    waited - lag * closed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(seconds: f64, waited: f64, closed: f64) -> Pause {
        Pause {
            seconds,
            waited,
            closed,
        }
    }

    #[test]
    fn the_lag_is_what_the_waiting_times_lack_from_cycle_to_rest() {
        for (pauses, wanted) in [
            (&[][..], 0.0),
            (&[pause(0.31, 28.0, 100.0)], 0.03),
            (
                &[
                    pause(0.31, 28.0, 100.0),
                    pause(0.33, 60.0, 200.0),
                    pause(0.9, 27.0, 300.0),
                ],
                0.03,
            ),
            (&[pause(0.31, 31.0, 100.0)], 0.0), // taken at the same moment
            (&[pause(0.31, 32.0, 100.0)], 0.0), // never ahead
            (&[pause(0.31, 0.0, 0.0)], 0.0),    // nobody had closed
            (&[pause(f64::NAN, 28.0, 100.0)], 0.0),
        ] {
            assert!(
                (of(pauses) - wanted).abs() < 1e-9,
                "{pauses:?}: {}",
                of(pauses)
            );
        }
    }

    #[test]
    fn a_lag_taken_back_leaves_the_waiting_times_of_the_reading() {
        assert!((at_reading(1003.0, 100.0, 0.03) - 1000.0).abs() < 1e-9);
    }
}
