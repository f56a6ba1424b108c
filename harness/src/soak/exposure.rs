//! Connection-seconds since the close: the integral over time of the cumulative closes, by leave mode.

use crate::{
    plan::Leave,
    timeline::{Counts, Elapsed},
};

/// What a client that left may go on eating follows this (the method, §6.5).
#[derive(Clone, Debug, Default)]
pub(super) struct Exposure {
    last: Elapsed,
    sums: [f64; Leave::ALL.len()],
}

impl Exposure {
    /// Goes on from what was recorded; what waited in the break is not added, since nobody saw it.
    pub(super) const fn resume(now: Elapsed, sums: [f64; Leave::ALL.len()]) -> Self {
        Self { last: now, sums }
    }

    /// Goes on to `now`, at which `counts` held. Between two calls the later count stands for the whole stretch.
    pub(super) fn advance(&mut self, now: Elapsed, counts: &Counts) {
        let stretch = now.since(self.last).as_secs_f64();
        for (sum, closed) in self.sums.iter_mut().zip(counts.closed) {
            *sum += stretch * closed as f64;
        }
        self.last = now.max(self.last);
    }

    /// Connection-seconds so far, by [`Leave::index`].
    pub(super) const fn sums(&self) -> [f64; Leave::ALL.len()] {
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ten_closed_connections_age_by_ten_connection_seconds_a_second() {
        let mut counts = Counts::default();
        counts.closed[Leave::Rst.index()] = 10;
        let mut exposure = Exposure::default();
        for second in 1..=3 {
            exposure.advance(Elapsed(Duration::from_secs(second)), &counts);
        }
        assert!((exposure.sums()[Leave::Rst.index()] - 30.0).abs() < 1e-9);
        assert!(exposure.sums()[Leave::Fin.index()].abs() < 1e-9);
    }
}
