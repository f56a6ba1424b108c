//! What would settle an inconclusive run (the method, §7).

use crate::units::Factor;

use super::{
    assay::Look,
    interval::Interval,
    observations::Observations,
    stats::{order::count, student},
    verdict::{Judgement, Rules},
};

/// Rows a run may be prolonged to, as a multiple of those it has.
const MOST: f64 = 16.0;

/// What a factor still needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outlook {
    /// So many more minutes, at the present noise.
    Minutes(f64),
    /// No time will do: free pages that the allocator keeps may hide more than the tolerance. Read allocator statistics.
    Hidden,
    /// No time will do: the floor of the signal alone exceeds the tolerance. Dose more per cycle, or read a sharper signal.
    TooCoarse,
}

/// Every factor whose bound is above its tolerance.
pub fn of(judgement: &Judgement, rows: &Observations, rules: &Rules) -> Vec<(Factor, Outlook)> {
    let Some(look) = &judgement.look else {
        return Vec::new();
    };
    let open = look.factors.units.iter().filter_map(|f| {
        let interval = look.interval(*f)?;
        let tolerance = rules.tolerance.of(*f);
        (interval.upper() > tolerance)
            .then(|| (*f, needs(look, interval, tolerance, rows.cycle_seconds)))
    });
    open.collect()
}

/// The width shrinks with the square root of the rows: until the bound is below the tolerance, or the effect above doubt.
fn needs(look: &Look, interval: Interval, tolerance: f64, cycle_seconds: f64) -> Outlook {
    if interval.hidden > tolerance {
        return Outlook::Hidden;
    }
    if interval.systematic > tolerance {
        return Outlook::TooCoarse;
    }
    let (slope, rows) = (interval.estimate.slope, count(look.rows) - 1.0);
    let critical = student::quantile(1.0 - look.level, interval.estimate.dof);
    let room = tolerance - slope.max(0.0);
    let clean = if room > 0.0 {
        (interval.half_width(0.90) / room).powi(2)
    } else {
        f64::INFINITY
    };
    let guilty = if slope > 0.0 {
        (critical * interval.estimate.se / slope).powi(2)
    } else {
        f64::INFINITY
    };
    let wanted = (rows * clean.min(guilty)).clamp(rows + 4.0, (MOST * rows).max(rows + 4.0));
    Outlook::Minutes(cycle_seconds / 60.0 * (wanted - rows))
}
