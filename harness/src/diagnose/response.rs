//! The dose-response of each judged factor, for people who would rather look: what memory did from reading to reading against
//! what was given, with what all other factors explain taken away.
//!
//! In: a [`Recording`] and its [`Findings`]. Out: [`Responses`]. Start at [`responses`]. The slopes are those of the findings, so
//! the picture shows what was judged and judges nothing: an accused factor's points rise along its line, an acquitted one's lie flat.

use super::{
    finding::{Finding, Findings, Statement},
    observations::{Observations, sum},
    recording,
    signal::Signal,
    stats::order::{differences, median},
    verdict::Evidence,
};
use crate::{record::Recording, units::Factor};

/// One factor's picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// What was found: the factor, its slope, its interval.
    pub finding: Finding,
    /// For each difference between readings: how much of the factor was given (of a zombie: connection-seconds gone by), and what
    /// memory did once all other factors' share and the usual drift are taken away, bytes.
    pub points: Vec<(f64, f64)>,
}

/// Every factor's picture, and what no factor explains.
#[derive(Clone, Debug, PartialEq)]
pub struct Responses {
    /// Which signal was judged.
    pub signal: Signal,
    /// The factors in the order of the findings: the accused first.
    pub factors: Vec<Response>,
    /// For each difference: when it ended, seconds since the first reading, and what is left of it, bytes.
    pub residuals: Vec<(f64, f64)>,
}

/// `None` where no memory signal was judged, or there are no two readings.
pub fn responses(recording: &Recording, findings: &Findings) -> Option<Responses> {
    of_evidence(&recording::evidence(recording), findings)
}

fn of_evidence(evidence: &Evidence, findings: &Findings) -> Option<Responses> {
    let best = evidence.memory.first()?;
    let (rows, _) = best.rows.without_gaps();
    let steps = differences(&rows.readings);
    if steps.is_empty() {
        return None;
    }
    let judged: Vec<(&Finding, f64, Vec<f64>)> = findings
        .findings
        .iter()
        .filter(|finding| finding.signal == Some(best.signal))
        .filter_map(|finding| Some((finding, finding.bytes_per_unit?, given(finding, &rows)?)))
        .collect();
    let left = judged.iter().fold(steps, |left, (_, slope, dose)| {
        let explained = dose.iter().map(|units| slope * units);
        left.iter()
            .zip(explained)
            .map(|(bytes, share)| bytes - share)
            .collect()
    });
    let drift = median(&left).unwrap_or(0.0);
    let residuals: Vec<f64> = left.iter().map(|bytes| bytes - drift).collect();
    let response = |(finding, slope, dose): &(&Finding, f64, Vec<f64>)| Response {
        finding: (*finding).clone(),
        points: dose
            .iter()
            .zip(&residuals)
            .map(|(units, left)| (*units, slope * units + left))
            .collect(),
    };
    Some(Responses {
        signal: best.signal,
        factors: judged.iter().map(response).collect(),
        residuals: rows
            .seconds
            .iter()
            .skip(1)
            .copied()
            .zip(residuals.iter().copied())
            .collect(),
    })
}

/// How much of a finding's factor came with each difference; `None` if it is no slope of a dose.
fn given(finding: &Finding, rows: &Observations) -> Option<Vec<f64>> {
    let factor = finding.factor?;
    if factor == Factor::Control {
        return Some(differences(&rows.control.as_ref()?.blocks));
    }
    let members = rows
        .doses
        .iter()
        .filter(|dose| factor.includes(dose.factor));
    let totals: Vec<&[f64]> = match finding.verdict {
        Statement::Zombie => members.filter_map(|dose| dose.waited.as_deref()).collect(),
        Statement::Leak | Statement::NoLeak | Statement::Inconclusive | Statement::Saturating => {
            members.map(|dose| dose.total.as_slice()).collect()
        }
        _ => return None,
    };
    (!totals.is_empty()).then(|| differences(&sum(totals)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            finding,
            synthetic::{RST, quick},
            verdict::{self, Memory, Rules},
        },
        *,
    };

    #[test]
    fn an_accused_factor_rises_and_an_acquitted_one_lies_flat() {
        let rows = quick(3).leaks(RST, 64.0).noise(200.0).observe();
        let evidence = Evidence {
            memory: vec![Memory {
                signal: Signal::Allocated,
                rows,
            }],
            ..Evidence::default()
        };
        let judgement = verdict::judge(&evidence, &Rules::default());
        let findings = finding::findings(&evidence, &judgement, &Rules::default());
        let seen = of_evidence(&evidence, &findings).unwrap();
        let slope = |factor: Factor| {
            let response = seen
                .factors
                .iter()
                .find(|one| one.finding.factor == Some(factor))
                .unwrap();
            let mean = |of: &dyn Fn(&(f64, f64)) -> f64| {
                response.points.iter().map(of).sum::<f64>() / response.points.len() as f64
            };
            let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
            mean(&|p| (p.0 - x) * (p.1 - y)) / mean(&|p| (p.0 - x).powi(2))
        };
        assert!((slope(RST) - 64.0).abs() < 10.0, "{}", slope(RST));
        assert!(slope(super::super::synthetic::FIN).abs() < 10.0);
    }
}
