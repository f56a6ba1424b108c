//! `sse-soak diagnose`: judge a recording again.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, report::Format, run};

#[derive(Debug, Args)]
pub(super) struct DiagnoseArguments {
    /// A run directory.
    run: PathBuf,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn diagnose(arguments: &DiagnoseArguments) -> anyhow::Result<Exit> {
    run::judge(&arguments.run, arguments.format)
}
