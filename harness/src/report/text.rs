//! The report for a terminal: the verdict first, then its evidence.

use std::{fmt::Write as _, path::Path};

use super::{
    facts::{Facts, times, whole},
    stairs,
};
use crate::{
    diagnose::finding::{Finding, Findings, Statement, sentence::amount},
    record::Recording,
};

/// Columns of a terminal.
const WIDTH: usize = 80;

pub(super) fn render(recording: &Recording, findings: &Findings, folder: &Path) -> String {
    let mut out = verdict(findings);
    let facts = Facts::of(recording);
    out.push('\n');
    stairs::text(&mut out, &findings.steps);
    load(&mut out, &facts);
    cleanup(&mut out, &facts);
    for sentence in &facts.kernel {
        line(&mut out, "kernel", sentence);
    }
    for note in &facts.notes {
        line(&mut out, "note", note);
    }
    let own = format!(
        "own memory {}; {} samples lost, {} gaps",
        facts.own,
        whole(facts.lost),
        facts.gaps
    );
    line(&mut out, "harness", &own);
    line(&mut out, "recording", &folder.display().to_string());
    out
}

/// The verdict and the findings, without what only a recording knows.
pub(super) fn verdict(findings: &Findings) -> String {
    let mut out = String::new();
    wrapped(&mut out, "", "      ", &findings.text);
    let (bounds, others): (Vec<&Finding>, Vec<&Finding>) = findings
        .findings
        .iter()
        .partition(|finding| is_bound(finding));
    for finding in others
        .iter()
        .filter(|finding| !findings.text.contains(&finding.text))
    {
        wrapped(&mut out, mark(finding.verdict), "      ", &finding.text);
    }
    table(&mut out, &bounds);
    out
}

/// Whether a finding is a number in the table of bounds rather than a sentence.
fn is_bound(finding: &Finding) -> bool {
    finding.verdict == Statement::NoLeak && finding.factor.is_some() && finding.upper_95.is_some()
}

/// What does not leak, and how sure that is, a line a factor.
fn table(out: &mut String, bounds: &[&Finding]) {
    if bounds.is_empty() {
        return;
    }
    writeln!(
        out,
        "\n  {:12}{:>14}{:>12}   {:22}{:>10}",
        "no leak per", "above (95 %)", "estimate", "95 % interval", "units"
    )
    .expect("a string takes everything");
    for finding in bounds {
        let bytes = |value: Option<f64>| {
            value.map_or_else(|| "?".into(), |value| format!("{} B", amount(value)))
        };
        let ends = match (finding.low, finding.high) {
            (Some(low), Some(high)) => format!("{} … {}", amount(low), amount(high)),
            _ => String::new(),
        };
        let factor = finding.factor.map_or("", |factor| factor.name());
        let upper = finding.upper_95.map(|upper| upper.max(0.0));
        let units = finding.units.map_or_else(String::new, whole);
        writeln!(
            out,
            "  {factor:12}{:>14}{:>12}   {ends:22}{units:>10}",
            bytes(upper),
            bytes(finding.bytes_per_unit)
        )
        .expect("a string takes everything");
    }
}

/// A sign for each kind of statement, so that a column can be read downwards.
const fn mark(verdict: Statement) -> &'static str {
    match verdict {
        Statement::Leak
        | Statement::Zombie
        | Statement::Backlog
        | Statement::NotCleanedUp
        | Statement::TargetDied
        | Statement::Alarm => "  !   ",
        Statement::NoLeak
        | Statement::NoBacklog
        | Statement::ControlFound
        | Statement::CleanedUp
        | Statement::Held => "  ok  ",
        Statement::Beside | Statement::Forecast => "      ",
        _ => "  ?   ",
    }
}

fn load(out: &mut String, facts: &Facts) {
    let text = format!(
        "{} connections, {} sessions, {} events in {:.0} s; {} errors",
        facts.connections,
        facts.sessions,
        facts.events,
        facts.seconds,
        whole(facts.errors)
    );
    line(out, "load", &text);
}

fn cleanup(out: &mut String, facts: &Facts) {
    if facts.cleanup.is_empty() {
        return;
    }
    writeln!(
        out,
        "  {:10}{:12}{:>8}{:>11}   gone after: p50, p99, max",
        "cleanup", "", "left", "lingering"
    )
    .expect("a string takes everything");
    for count in &facts.cleanup {
        let lingering = count.lingering.map_or_else(|| "?".into(), whole);
        writeln!(
            out,
            "  {:10}{:12}{:>8}{lingering:>11}   {}",
            "",
            count.of,
            whole(count.left),
            times(count)
        )
        .expect("a string takes everything");
    }
}

fn line(out: &mut String, name: &str, text: &str) {
    wrapped(out, &format!("  {name:10}"), "            ", text);
}

/// Words over lines of 80 columns: the first begins with `first`, the others with `other`.
pub(super) fn wrapped(out: &mut String, first: &str, other: &str, text: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            other.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_break_between_words_within_80_columns() {
        let mut out = String::new();
        wrapped(&mut out, "  ok  ", "      ", &"connection ".repeat(20));
        assert!(
            out.lines().all(|line| line.chars().count() <= WIDTH),
            "{out}"
        );
        assert!(
            out.lines().skip(1).all(|line| line.starts_with("      c")),
            "{out}"
        );
    }
}
