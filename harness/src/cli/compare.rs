//! `sse-soak compare`: what changed from one run to another.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, print, report::Format};
use crate::{
    diagnose::{self, compare, compare_steps},
    record::Recording,
    report,
};

#[derive(Debug, Args)]
pub(super) struct CompareArguments {
    /// The run directory from before the change.
    before: PathBuf,
    /// The run directory from after it.
    after: PathBuf,
    /// How the comparison is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Exit codes: 10 when anything is worse, 12 when something cannot be told, else 0.
pub(super) fn compare(arguments: &CompareArguments) -> anyhow::Result<Exit> {
    let [before, after] =
        [&arguments.before, &arguments.after].map(|folder| Recording::read(folder));
    let (before, after) = (before?, after?);
    if compare_steps::are_steps(&before, &after) {
        return steps(&before, &after, arguments.format);
    }
    let [was, is] = [&before, &after].map(diagnose::judge);
    let tolerance = diagnose::tolerance(&after);
    let comparison = compare::compare((&before, &was), (&after, &is), &tolerance)?;
    print(&report::render_comparison(
        arguments.format.into(),
        &comparison,
        [&before, &after],
    ))?;
    let any = |change| {
        comparison
            .factors
            .iter()
            .any(|factor| factor.change == change)
    };
    Ok(if any(compare::Change::Worse) {
        Exit::Leak
    } else if any(compare::Change::CannotTell) {
        Exit::Inconclusive
    } else {
        Exit::NoLeak
    })
}

fn steps(before: &Recording, after: &Recording, format: Format) -> anyhow::Result<Exit> {
    let comparison = compare_steps::compare_steps(before, after)?;
    print(&report::render_steps_comparison(format.into(), &comparison))?;
    Ok(match comparison.change {
        compare::Change::Worse => Exit::Leak,
        compare::Change::CannotTell => Exit::Inconclusive,
        _ => Exit::NoLeak,
    })
}
