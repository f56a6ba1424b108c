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
