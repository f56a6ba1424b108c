//! Report: findings and their evidence for people and for machines. Each renderer is a function of the recording alone.
//!
//! In: a [`Recording`] and its [`Findings`]. Out: text. Start at [`render`]. Same input, same bytes.
//! Never judges: what it shows was decided by [`diagnose`](crate::diagnose).

mod allocations;
mod comparison;
mod export;
mod facts;
mod markdown;
mod review;
mod sarif;
mod text;

use std::{fs, io, path::Path};

pub use self::{
    export::{Export, export, export_all},
    review::Source,
};
use crate::{
    diagnose::{allocations::Review, compare::Comparison, finding::Findings},
    record::{Recording, files},
};

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal, 80 columns where words allow it.
    Text,
    /// Markdown.
    Markdown,
    /// `findings.json`.
    Json,
}

/// One report.
pub fn render(format: Format, recording: &Recording, findings: &Findings, folder: &Path) -> String {
    match format {
        Format::Text => text::render(recording, findings, folder),
        Format::Markdown => markdown::render(recording, findings),
        Format::Json => json(findings),
    }
}

/// A report of findings alone: of a trace that was recorded by something else.
pub fn render_findings(format: Format, findings: &Findings) -> String {
    match format {
        Format::Text => text::verdict(findings),
        Format::Markdown => markdown::findings(findings),
        Format::Json => json(findings),
    }
}

/// A comparison of two runs.
pub fn render_comparison(format: Format, comparison: &Comparison) -> String {
    comparison::render(format, comparison)
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
    ] {
        fs::write(
            folder.join(name),
            render(format, recording, findings, folder),
        )?;
    }
    Ok(())
}
