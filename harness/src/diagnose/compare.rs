//! Compare: what changed from one run to another, factor by factor, with intervals.
//!
//! In: two [`Recording`]s and their [`Findings`]. Out: a [`Comparison`], or why the two cannot be compared. Start at [`compare`].
//! The runs are independent, so the half-widths of their intervals add like standard errors:
//! `h = sqrt(h_before^2 + h_after^2)`, each with its own degrees of freedom and floor in it.

use serde::Serialize;

use super::{
    finding::{Finding, Findings, Statement, sentence},
    signal::Signal,
    verdict::Tolerance,
};
use crate::{record::Recording, units::Factor};

/// What became of one factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It leaks more: the interval of the difference is above 0, and what it leaks now is more than tolerated, or was called a leak.
    Worse,
    /// It leaked, leaks less, and is still called a leak.
    Better,
    /// It leaked, and is bounded below the tolerance now.
    Fixed,
    /// The interval of the difference lies within the tolerance on both sides of 0.
    Same,
    /// None of these could be shown.
    CannotTell,
}

/// One factor in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Which factor.
    pub factor: &'static str,
    /// Which signal.
    pub signal: Option<Signal>,
    /// Bytes per unit before.
    pub before: f64,
    /// Bytes per unit after.
    pub after: f64,
    /// After minus before.
    pub difference: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
    /// What that means.
    pub change: Change,
    /// One sentence.
    pub text: String,
}

/// Two runs, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of this format.
    pub version: u32,
    /// The heaviest change: worse, better, fixed, same, cannot tell.
    pub change: Change,
    /// Factor by factor.
    pub factors: Vec<Changed>,
    /// Factors that only one of the runs judged.
    pub only_one: Vec<String>,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Incomparable {
    /// Different kinds of run have different rows.
    #[error("{before} and {after} are different kinds of run: their numbers do not mean the same")]
    Kind {
        /// The kind of the first.
        before: String,
        /// The kind of the second.
        after: String,
    },
    /// No factor was judged in both on the same signal.
    #[error("no factor was judged in both runs on the same signal ({before} and {after})")]
    NothingInCommon {
        /// What the first one judged.
        before: String,
        /// What the second one judged.
        after: String,
    },
}

/// Compares two runs.
///
/// # Errors
/// They are of different kinds, or have nothing in common.
pub fn compare(
    before: (&Recording, &Findings),
    after: (&Recording, &Findings),
    tolerance: &Tolerance,
) -> Result<Comparison, Incomparable> {
    let kinds = [&before.0.manifest.kind, &after.0.manifest.kind];
    if kinds[0] != kinds[1] {
        return Err(Incomparable::Kind {
            before: kinds[0].clone(),
            after: kinds[1].clone(),
        });
    }
    compare_findings(before.1, after.1, tolerance)
}

fn compare_findings(
    before: &Findings,
    after: &Findings,
    tolerance: &Tolerance,
) -> Result<Comparison, Incomparable> {
    let (was, is) = (judged(before), judged(after));
    let pairs = was
        .iter()
        .filter_map(|b| Some((*b, *is.iter().find(|a| about(a) == about(b))?)));
    let factors: Vec<Changed> = pairs
        .filter_map(|(b, a)| changed(b, a, tolerance))
        .collect();
    let Some(change) = factors.iter().map(|factor| factor.change).min() else {
        return Err(Incomparable::NothingInCommon {
            before: names(&was),
            after: names(&is),
        });
    };
    let alone = |these: &[&Finding], those: &[&Finding]| -> Vec<String> {
        let missing = these
            .iter()
            .filter(|f| !those.iter().any(|g| about(g) == about(f)));
        missing
            .filter_map(|f| f.factor)
            .map(|factor| factor.name().to_owned())
            .collect()
    };
    let mut only_one = alone(&was, &is);
    only_one.extend(alone(&is, &was));
    Ok(Comparison {
        version: 1,
        change,
        factors,
        only_one,
    })
}

/// Findings that are a slope of a signal.
fn judged(findings: &Findings) -> Vec<&Finding> {
    let is_slope = |f: &&Finding| {
        let statement = matches!(
            f.verdict,
            Statement::Leak | Statement::NoLeak | Statement::Inconclusive | Statement::Saturating
        );
        statement
            && f.factor.is_some()
            && f.signal.is_some()
            && f.bytes_per_unit.is_some()
            && f.low.is_some()
    };
    findings.findings.iter().filter(is_slope).collect()
}

fn about(finding: &Finding) -> (Option<Factor>, Option<Signal>) {
    (finding.factor, finding.signal)
}

fn names(findings: &[&Finding]) -> String {
    let named: Vec<String> = findings
        .iter()
        .filter_map(|f| Some(format!("{} in {}", f.factor?.name(), f.signal?.name())))
        .collect();
    if named.is_empty() {
        "nothing".into()
    } else {
        named.join(", ")
    }
}

fn changed(before: &Finding, after: &Finding, tolerance: &Tolerance) -> Option<Changed> {
    let (was, is) = (before.bytes_per_unit?, after.bytes_per_unit?);
    let half = |f: &Finding| Some((f.high? - f.low?) / 2.0);
    let width = half(before)?.hypot(half(after)?);
    let difference = is - was;
    let (low, high) = (difference - width, difference + width);
    let factor = before.factor?;
    let change = judge(before, after, (low, high), tolerance.of(factor));
    let text = text(factor, change, (was, is), (difference, low, high));
    Some(Changed {
        factor: factor.name(),
        signal: before.signal,
        before: was,
        after: is,
        difference,
        low,
        high,
        change,
        text,
    })
}

fn judge(before: &Finding, after: &Finding, (low, high): (f64, f64), tolerance: f64) -> Change {
    let leaked = before.verdict == Statement::Leak;
    let leaks = after.verdict == Statement::Leak;
    if low > 0.0 && (leaks || high > tolerance) {
        Change::Worse
    } else if leaked && !leaks && high < 0.0 && after.verdict == Statement::NoLeak {
        Change::Fixed
    } else if leaked && leaks && high < 0.0 {
        Change::Better
    } else if low >= -tolerance && high <= tolerance {
        Change::Same
    } else {
        Change::CannotTell
    }
}

fn text(
    factor: Factor,
    change: Change,
    (was, is): (f64, f64),
    (difference, low, high): (f64, f64, f64),
) -> String {
    let said = match change {
        Change::Worse => "worse",
        Change::Better => "better, but still a leak",
        Change::Fixed => "fixed",
        Change::Same => "the same",
        Change::CannotTell => "cannot tell",
    };
    let amount = sentence::amount;
    format!(
        "{}: {said}; {} B before, {} B after, difference {} B (95 %: {} … {})",
        factor.name(),
        amount(was),
        amount(is),
        amount(difference),
        amount(low),
        amount(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Leave;

    fn finding(verdict: Statement, factor: Factor, slope: f64, half: f64) -> Finding {
        let mut finding = Finding::plain(verdict, "");
        finding.factor = Some(factor);
        finding.signal = Some(Signal::Allocated);
        finding.bytes_per_unit = Some(slope);
        (finding.low, finding.high) = (Some(slope - half), Some(slope + half));
        finding
    }

    fn change(before: (Statement, f64, f64), after: (Statement, f64, f64)) -> Change {
        let run = |(verdict, slope, half)| {
            Findings::new(vec![finding(verdict, Factor::Session, slope, half)])
        };
        compare_findings(&run(before), &run(after), &Tolerance::default())
            .unwrap()
            .change
    }

    #[test]
    fn a_change_is_named_by_the_interval_of_the_difference() {
        use Statement::{Inconclusive, Leak, NoLeak};
        let rows = [
            ((Leak, 2800.0, 30.0), (NoLeak, 3.0, 20.0), Change::Fixed),
            ((Leak, 2800.0, 30.0), (Leak, 1400.0, 30.0), Change::Better),
            ((Leak, 2800.0, 30.0), (Leak, 2810.0, 30.0), Change::Same),
            ((NoLeak, 3.0, 20.0), (Leak, 2800.0, 30.0), Change::Worse),
            ((Leak, 1400.0, 30.0), (Leak, 2800.0, 30.0), Change::Worse),
            ((NoLeak, 3.0, 20.0), (NoLeak, 9.0, 20.0), Change::Same),
            (
                (Leak, 2800.0, 30.0),
                (Inconclusive, 900.0, 4000.0),
                Change::CannotTell,
            ),
        ];
        for (before, after, wanted) in rows {
            assert_eq!(change(before, after), wanted, "{before:?} then {after:?}");
        }
    }

    #[test]
    fn runs_without_a_common_factor_are_refused_with_what_each_judged() {
        let run = |factor| Findings::new(vec![finding(Statement::NoLeak, factor, 0.0, 9.0)]);
        let (fin, rst) = (
            run(Factor::Closed(Leave::Fin)),
            run(Factor::Closed(Leave::Rst)),
        );
        let error = compare_findings(&fin, &rst, &Tolerance::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("fin in allocated and rst in allocated"),
            "{error}"
        );
    }
}
