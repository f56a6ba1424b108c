//! `sse-soak report`: make a report of a recording again.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, print};
use crate::{diagnose, record::Recording, report};

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// A run directory.
    run: PathBuf,
    /// Which report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For a terminal.
    Text,
    /// Markdown, for a page or a pull request.
    Md,
    /// findings.json.
    Json,
    /// One test case per judged factor, for a pipeline.
    Junit,
    /// The findings, a line each.
    Csv,
    /// One page for a browser that needs nothing else.
    Html,
}

impl From<Format> for report::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Md => Self::Markdown,
            Format::Json => Self::Json,
            Format::Junit => Self::Junit,
            Format::Csv => Self::Csv,
            Format::Html => Self::Html,
        }
    }
}

pub(super) fn report(arguments: &ReportArguments) -> anyhow::Result<Exit> {
    let recording = Recording::read(&arguments.run)?;
    let findings = diagnose::judge(&recording);
    print(&report::render(
        arguments.format.into(),
        &recording,
        &findings,
        &arguments.run,
    ))?;
    Ok(Exit::NoLeak)
}
