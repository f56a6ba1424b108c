//! Report: findings and their evidence for people and for machines. Each renderer is a function of the recording alone.
//!
//! In: a [`Recording`] and its [`Findings`]. Out: text. Start at [`render`]. Same input, same bytes.
//! Never judges: what it shows was decided by [`diagnose`](crate::diagnose).

mod comparison;
mod comparison_steps;
mod csv;
mod facts;
mod html;
mod junit;
mod markdown;
mod stairs;
mod text;

use std::{fs, io, path::Path};

use crate::{
    diagnose::{compare::Comparison, compare_steps::StepsComparison, finding::Findings},
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
