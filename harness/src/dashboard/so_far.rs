//! The verdict so far: an interval for each factor that may be watched all the time (the method, §8). Never the verdict.

use serde::Serialize;

use crate::{
    diagnose::{finding::sentence::amount, recording, sequence, tolerance},
    record::Recording,
};

/// How probable it is that any interval of a factor is ever wrong.
const ALPHA: f64 = 0.05;

/// What can be said of one factor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SoFar {
    pub(super) factor: &'static str,
    /// Bytes per unit.
    pub(super) estimate: f64,
    /// Half the width of its interval; `None` while nothing is known.
    pub(super) half_width: Option<f64>,
    /// What that means: `leak`, `no-leak`, `unsure`.
    pub(super) class: &'static str,
    /// In words.
    pub(super) text: String,
}

/// What the readings so far say; nothing while there are too few, or where memory is not judged.
pub(super) fn so_far(recording: &Recording) -> Vec<SoFar> {
    let evidence = recording::evidence(recording);
    let Some(best) = evidence.memory.first() else {
        return Vec::new();
    };
    let (rows, _) = best.rows.without_gaps();
    if rows.rows() < 3 {
        return Vec::new();
    }
    let tolerated = tolerance(recording);
    let one = |(factor, watched): (crate::units::Factor, sequence::Watched)| {
        let half_width = watched.half_width.is_finite().then_some(watched.half_width);
        let (class, text) = said(
            watched.slope,
            half_width,
            tolerated.of(factor),
            best.signal.floor(),
        );
        SoFar {
            factor: factor.name(),
            estimate: watched.slope,
            half_width,
            class,
            text,
        }
    };
    sequence::watch(&rows, ALPHA).into_iter().map(one).collect()
}

/// What an interval means beside what is tolerated. `floor`: what an innocent server may keep per dose; a unit is at least that of a
/// dose of one, so a leak is only named beyond it or beyond what is tolerated.
fn said(
    estimate: f64,
    half_width: Option<f64>,
    tolerated: f64,
    floor: f64,
) -> (&'static str, String) {
    let Some(half) = half_width else {
        return ("unsure", "nothing is known yet".into());
    };
    let (low, high) = (estimate - half, estimate + half);
    if low > tolerated.min(floor) {
        ("leak", format!("grows by at least {} B", amount(low)))
    } else if high <= tolerated {
        ("no-leak", format!("at most {} B", amount(high.max(0.0))))
    } else {
        (
            "unsure",
            format!("between {} and {} B", amount(low), amount(high)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_told_by_where_it_lies() {
        for (estimate, half, class) in [
            (2800.0, Some(100.0), "leak"),
            (10.0, Some(50.0), "no-leak"),
            (10.0, Some(5000.0), "unsure"),
            (10.0, None, "unsure"),
        ] {
            assert_eq!(
                said(estimate, half, 1024.0, 512.0).0,
                class,
                "{estimate} ± {half:?}"
            );
        }
    }
}
