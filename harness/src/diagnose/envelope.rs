//! The lower envelope: what memory falls back to (the method, §6.7 and §6.8).
//!
//! In: the least memory of every cycle in any second without load. Out: a bound for all closed connections together that no
//! saw-tooth disturbs, and growth that nothing explains. A collector that ran at any moment of a cycle shows here; the peak
//! between two collections does not. Finds no factor, and never says "leak".

use serde::Serialize;

use super::stats::order::{greatest, least, median, position_of_least, range};

/// Growth is unexplained from this share of the primed size on, and from this many bytes.
const GROWTH: (f64, f64) = (0.30, 16.0 * 1_048_576.0);
/// The last third must grow by this much of what the middle third did: it does not slow down.
const LATE: f64 = 0.5;
/// The share of the range of the first half that is allowed for collections that came too early.
const ALLOWANCE: f64 = 0.6;
/// Thirds need two rows each.
const LEAST_ROWS: usize = 6;

/// What memory fell back to in each cycle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// Least memory between the end of the cycle before and the end of this one, in seconds without load.
    pub least: Vec<f64>,
    /// Connections closed by then.
    pub closed: Vec<f64>,
    /// Least memory in the last rest.
    pub last_rest: Option<f64>,
}

/// What the envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// Whether it is more than any innocent process does.
    pub found: bool,
    /// The least at the end minus the most at the beginning.
    pub grew: f64,
    /// What it would have to exceed.
    pub threshold: f64,
    /// Median of the first third.
    pub first: f64,
    /// Median of the middle.
    pub middle: f64,
    /// Median of the last third.
    pub last: f64,
    /// Bytes per closed connection, all ways of leaving together.
    pub envelope_slope: f64,
    /// Its upper 95 % bound.
    pub envelope_upper: f64,
}

impl Envelope {
    /// Every idle minimum at the end far above every one at the beginning, not slowing down. Stated assumption: no legitimate process
    /// grows by 30 % of its primed size and by 16 MiB in the minutes after priming without slowing down.
    pub fn growth(&self) -> Option<Growth> {
        let rows = self.least.len();
        if rows < LEAST_ROWS {
            return None;
        }
        let third = (rows / 3).max(3);
        let (a, c) = (&self.least[..third], &self.least[rows - third..]);
        let b = &self.least[third.min(rows - third)..rows - third];
        let high = greatest(a);
        let grew = least(c).min(self.last_rest.unwrap_or(f64::INFINITY)) - high;
        let threshold = (GROWTH.0 * high).max(GROWTH.1);
        let (first, last) = (median(a)?, median(c)?);
        let middle = median(b).or_else(|| median(&self.least))?;
        let (envelope_slope, envelope_upper) = self.bound()?;
        Some(Growth {
            found: grew > threshold && last - middle >= LATE * (middle - first),
            grew,
            threshold,
            first,
            middle,
            last,
            envelope_slope,
            envelope_upper,
        })
    }

    /// From the lowest point of the first half to the lowest of the second.
    fn bound(&self) -> Option<(f64, f64)> {
        let half = self.least.len() / 2 + 1;
        let (before, after) = self.least.split_at_checked(half)?;
        let (i, j) = (position_of_least(before)?, half + position_of_least(after)?);
        let closed = (self.closed.get(j)? - self.closed.get(i)?).max(1.0);
        let rise = self.least[j] - self.least[i];
        Some((rise / closed, (rise + ALLOWANCE * range(before)) / closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(values: &[f64]) -> Envelope {
        Envelope {
            least: values.iter().map(|v| v * 1_048_576.0).collect(),
            closed: (0..values.len()).map(|i| 500.0 * i as f64).collect(),
            last_rest: None,
        }
    }

    #[test]
    fn steady_growth_is_unexplained_and_growth_that_slows_down_is_not() {
        for (values, found) in [
            (
                &[60.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0][..],
                true,
            ),
            (
                &[60.0, 62.0, 64.0, 138.0, 139.0, 140.0, 141.0, 142.0, 143.0],
                false,
            ), // flattens
            (
                &[60.0, 62.0, 64.0, 66.0, 68.0, 70.0, 72.0, 74.0, 76.0],
                false,
            ), // less than 30 % and 16 MiB
            (&[60.0; 9], false),
        ] {
            assert_eq!(
                mib(values).growth().map(|g| g.found),
                Some(found),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_last_rest_that_falls_back_acquits() {
        let mut envelope = mib(&[60.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.0, 130.0, 140.0]);
        envelope.last_rest = Some(61.0 * 1_048_576.0);
        assert!(!envelope.growth().unwrap().found);
    }

    #[test]
    fn too_few_rows_have_no_thirds() {
        assert_eq!(mib(&[60.0; 5]).growth(), None);
    }
}
