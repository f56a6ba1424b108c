//! CPU, descriptors, threads: the same rows, doses, guards and levels as memory (the method, §6.6).
//!
//! Counters are exact and need no model of an allocator. Only the floor differs, and one thing more: when a core is full, a response that
//! flattens is the machine's doing, and counts.

use crate::units::Factor;

use super::{
    assay::{Drift, Look, look},
    interval::Interval,
    observations::Observations,
    rests::{self, FULL_CORE, LeftBehind, Rest},
    signal::Signal,
    stats::order::greatest,
};

/// One counter, a row per cycle, in the design of the run: see [`Observations::counting`].
#[derive(Clone, Debug)]
pub struct Counter {
    /// Which.
    pub signal: Signal,
    /// Its rows.
    pub rows: Observations,
}

/// What a counter said.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Which.
    pub signal: Signal,
    /// The rows, in the unit of the report.
    pub rows: Vec<f64>,
    /// Factors it follows, per unit, in the unit of the report.
    pub leaks: Vec<(Factor, Interval)>,
    /// What stayed behind in the rests.
    pub left: Option<LeftBehind>,
    /// The look, in the unit of the rows.
    pub look: Look,
}

impl Counted {
    /// What stays behind of closed connections, if that alone is a leak: only where the regression named no factor.
    pub fn left_leak(&self) -> Option<LeftBehind> {
        self.left.filter(|l| l.leak && self.leaks.is_empty())
    }

    /// Whether this counter accuses anything.
    pub fn accuses(&self) -> bool {
        !self.leaks.is_empty() || self.left_leak().is_some()
    }
}

/// Judges one counter.
pub fn judge(counter: &Counter, rests: &[Rest], alpha: f64) -> Counted {
    let rows = &counter.rows;
    let found = look(rows, 0..rows.rows(), alpha, Drift::Nuisance);
    let scale = counter.signal.scale();
    let mut factors = found.leaks.clone();
    if counter.signal == Signal::Cpu && greatest(&rows.readings) * scale > FULL_CORE {
        factors.extend(&found.saturating);
    }
    let told = |f: Factor| Some((f, found.interval(f)?.scaled(scale)));
    Counted {
        signal: counter.signal,
        rows: rows.readings.iter().map(|y| y * scale).collect(),
        leaks: factors.into_iter().filter_map(told).collect(),
        left: rests::left_behind(rests, counter.signal),
        look: found,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::synthetic::{RST, quick},
        *,
    };

    /// A counter that follows the connections closed with RST until it reaches a limit.
    fn counter(signal: Signal, per_close: f64, limit: f64) -> Counter {
        let design = quick(1).observe();
        let closed = design
            .doses
            .iter()
            .find(|d| d.factor == RST)
            .map(|d| d.total.clone());
        let closed = closed.into_iter().flatten();
        let level = |n: f64| (40.0 + per_close * n).min(limit) / signal.scale();
        Counter {
            signal,
            rows: design.counting(closed.map(level).collect(), signal.floor()),
        }
    }

    fn accused(counter: &Counter) -> Vec<Factor> {
        judge(counter, &[], 0.001)
            .leaks
            .iter()
            .map(|l| l.0)
            .collect()
    }

    #[test]
    fn what_is_kept_per_close_is_named_with_its_number() {
        for signal in [Signal::Descriptors, Signal::Threads, Signal::Tasks] {
            let found = judge(&counter(signal, 1.0, 1e9), &[], 0.001);
            let (factor, interval) = found.leaks[0];
            assert_eq!(factor, RST);
            assert!((interval.estimate.slope - 1.0).abs() < 1e-3, "{interval:?}");
        }
    }

    #[test]
    fn less_than_two_per_dose_is_below_notice() {
        assert_eq!(accused(&counter(Signal::Descriptors, 0.02, 1e9)), []);
    }

    #[test]
    fn a_pool_that_fills_is_none_unless_the_core_is_what_is_full() {
        let fills = |signal, per_close, limit| {
            let mut counter = counter(signal, per_close, limit);
            let rows = &mut counter.rows.readings;
            let base = 40.0 / signal.scale();
            rows.iter_mut().for_each(|y| *y -= base);
            accused(&counter)
        };
        assert_eq!(fills(Signal::Descriptors, 1.0, 40.0 + 420.0), []);
        assert_eq!(fills(Signal::Cpu, 0.002, 40.0 + 0.84), [RST]); // 0.84 of a core: full
        assert_eq!(fills(Signal::Cpu, 0.001, 40.0 + 0.42), []);
    }

    #[test]
    fn what_stays_in_the_rests_speaks_only_where_the_regression_is_silent() {
        let rest = |closed: f64| Rest {
            closed,
            descriptors: Some(40.0 + closed),
            ..Rest::default()
        };
        let rests = [0.0, 1700.0, 3300.0].map(rest);
        let silent = judge(&counter(Signal::Descriptors, 0.0, 1e9), &rests, 0.001);
        assert!(silent.accuses() && silent.left_leak().is_some());
        let speaks = judge(&counter(Signal::Descriptors, 1.0, 1e9), &rests, 0.001);
        assert!(speaks.accuses() && speaks.left_leak().is_none());
    }
}
