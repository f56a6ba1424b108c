//! Report: findings and their evidence for people and for machines. Each renderer is a function of the recording alone.
//!
//! In: a [`Recording`] and its [`Findings`]. Out: text. Start at [`render`]. Same input, same bytes.
//! Never judges: what it shows was decided by [`diagnose`](crate::diagnose).

mod allocations;
mod comparison;
mod comparison_steps;
mod csv;
mod export;
mod facts;
mod html;
mod junit;
mod markdown;
mod review;
mod sarif;
mod stairs;
mod text;

use std::{fs, io, path::Path};

pub use self::{
    export::{Export, export, export_all},
    review::Source,
};
use crate::{
    diagnose::{
        allocations::Review, compare::Comparison, compare_steps::StepsComparison, finding::Findings,
    },
    record::{Recording, files},
};

/// Words over lines of 80 columns: the first begins with `first`, the others with `other`.
pub fn wrapped(out: &mut String, first: &str, other: &str, words: &str) {
    text::wrapped(out, first, other, words);
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal, 80 columns where words allow it.
    Text,
    /// Markdown.
    Markdown,
    /// `findings.json`.
    Json,
    /// JUnit: one case per judged factor.
    Junit,
    /// The findings, a line each.
    Csv,
    /// One page for a browser that needs nothing else.
    Html,
}

/// One report.
pub fn render(format: Format, recording: &Recording, findings: &Findings, folder: &Path) -> String {
    match format {
        Format::Text => text::render(recording, findings, folder),
        Format::Markdown => markdown::render(recording, findings),
        Format::Json => json(findings),
        Format::Junit => junit::run(Some(&recording.manifest), findings),
        Format::Csv => csv::findings(findings),
        Format::Html => html::render(recording, findings),
    }
}

/// A report of findings alone: of a trace that was recorded by something else.
pub fn render_findings(format: Format, findings: &Findings) -> String {
    match format {
        Format::Text => text::verdict(findings),
        Format::Markdown => markdown::findings(findings),
        Format::Json => json(findings),
        Format::Junit => junit::run(None, findings),
        Format::Csv => csv::findings(findings),
        Format::Html => html::findings(findings),
    }
}

/// A comparison of two runs, the one from before the change first.
pub fn render_comparison(format: Format, comparison: &Comparison, runs: [&Recording; 2]) -> String {
    match format {
        Format::Html => html::comparison(comparison, runs),
        other => comparison::render(other, comparison),
    }
}

/// A comparison of two step loads.
pub fn render_steps_comparison(format: Format, comparison: &StepsComparison) -> String {
    match format {
        Format::Text | Format::Html => comparison_steps::text(comparison), // there is no page for it yet
        Format::Markdown => comparison_steps::markdown(comparison),
        Format::Csv => comparison_steps::csv(comparison),
        Format::Junit => junit::steps_comparison(comparison),
        Format::Json => {
            serde_json::to_string_pretty(comparison).expect("a comparison is JSON") + "\n"
        }
    }
}

/// The tables of an allocation profile, for a terminal.
pub fn profile_text(findings: &Findings) -> String {
    let told = findings.allocations.as_ref().map(allocations::text);
    format!("{}\n{}", findings.text, told.unwrap_or_default())
}

/// The tables of an allocation profile, for a page.
pub fn profile_markdown(findings: &Findings) -> String {
    let told = findings.allocations.as_ref().map(allocations::markdown);
    format!("# {}\n{}", findings.text, told.unwrap_or_default())
}

/// SARIF 2.1.0: one result for each line of the repository that keeps something.
pub fn sarif(findings: &Findings, review: Option<&Review>) -> String {
    sarif::write(findings, review)
}

/// A comment on a pull request.
pub fn pull_request(findings: &Findings, review: Option<&Review>, source: Source<'_>) -> String {
    review::pull_request(findings, review, source)
}

/// Annotations in GitHub's log format.
pub fn annotations(findings: &Findings, review: Option<&Review>) -> String {
    review::annotations(findings, review)
}

/// A review of two allocation profiles, for a terminal.
pub fn review_text(findings: &Findings, review: &Review) -> String {
    review::text(findings, review)
}

fn json(findings: &Findings) -> String {
    serde_json::to_string_pretty(findings).expect("findings are JSON") + "\n"
}

/// Writes every report into the run directory.
///
/// # Errors
/// A file cannot be written.
pub fn write_all(folder: &Path, recording: &Recording, findings: &Findings) -> io::Result<()> {
    for (format, name) in [
        (Format::Json, files::FINDINGS),
        (Format::Markdown, files::REPORT_MD),
        (Format::Text, files::REPORT_TEXT),
        (Format::Junit, files::JUNIT),
        (Format::Html, files::REPORT_HTML),
    ] {
        fs::write(
            folder.join(name),
            render(format, recording, findings, folder),
        )?;
    }
    Ok(())
}
