//! The report for a terminal: the verdict first, then its evidence.

use std::{fmt::Write as _, path::Path};

use super::facts::{Facts, times, whole};
use crate::{
    diagnose::finding::{Findings, Statement},
    record::Recording,
};

/// Columns of a terminal.
const WIDTH: usize = 80;

pub(super) fn render(recording: &Recording, findings: &Findings, folder: &Path) -> String {
    let mut out = String::new();
    wrapped(&mut out, "", "      ", &findings.text);
    for finding in &findings.findings {
        if finding.text != findings.text {
            wrapped(&mut out, mark(finding.verdict), "      ", &finding.text);
        }
    }
    let facts = Facts::of(recording);
    out.push('\n');
    load(&mut out, &facts);
    cleanup(&mut out, &facts);
    line(
        &mut out,
        "harness",
        &format!(
            "own memory {}; {} samples lost, {} gaps",
            facts.own,
            whole(facts.lost),
            facts.gaps
        ),
    );
    line(&mut out, "recording", &folder.display().to_string());
    out
}

/// A sign for each kind of statement, so that a column can be read downwards.
const fn mark(verdict: Statement) -> &'static str {
    match verdict {
        Statement::Leak
        | Statement::Zombie
        | Statement::NotCleanedUp
        | Statement::TargetDied
        | Statement::Alarm => "  !   ",
        Statement::NoLeak | Statement::ControlFound => "  ok  ",
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
fn wrapped(out: &mut String, first: &str, other: &str, text: &str) {
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
