//! What is known so far, as the page and OpenMetrics show it.

use serde::Serialize;

use crate::{
    diagnose::{
        finding::sentence::amount,
        so_far::{self, Known, Standing},
    },
    record::Recording,
};

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

/// What the readings so far say.
pub(super) fn so_far(recording: &Recording) -> Vec<SoFar> {
    so_far::so_far(recording).iter().map(shown).collect()
}

fn shown(known: &Known) -> SoFar {
    let watched = known.watched;
    let half_width = watched.half_width.is_finite().then_some(watched.half_width);
    let [low, high] = [-1.0, 1.0].map(|side| watched.slope + side * watched.half_width);
    let (class, text) = match known.standing() {
        _ if half_width.is_none() => ("unsure", "nothing is known yet".into()),
        Standing::Leaks => ("leak", format!("grows by at least {} B", amount(low))),
        Standing::Clean => ("no-leak", format!("at most {} B", amount(high.max(0.0)))),
        Standing::Open => (
            "unsure",
            format!("between {} and {} B", amount(low), amount(high)),
        ),
    };
    SoFar {
        factor: known.factor.name(),
        estimate: watched.slope,
        half_width,
        class,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::sequence::Watched, units::Factor};

    #[test]
    fn an_interval_is_told_by_where_it_lies() {
        for (slope, half_width, class) in [
            (2800.0, 100.0, "leak"),
            (10.0, 50.0, "no-leak"),
            (10.0, 5000.0, "unsure"),
            (10.0, f64::INFINITY, "unsure"),
        ] {
            let known = Known {
                factor: Factor::Session,
                watched: Watched { slope, half_width },
                tolerance: 1024.0,
                floor: 512.0,
            };
            assert_eq!(shown(&known).class, class, "{slope} ± {half_width}");
        }
    }
}
