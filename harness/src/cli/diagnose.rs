//! `sse-soak diagnose`: judge a recording again, or a trace that something else recorded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;

use super::{Exit, exit::Usage, print, report::Format, run, say};
use crate::{
    diagnose::{self, signal::Signal, trace, verdict::Rules},
    record::Recording,
    report,
};

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct DiagnoseArguments {
    /// A run directory.
    #[arg(group = "what")]
    run: Option<PathBuf>,
    /// A CSV that anything else recorded, one row a second: t_s, phase, cycle, rss_bytes, closed_WAY_total, sessions_created_total,
    /// events_total; and, if known, live_connections, live_sessions, cpu_seconds, fds, threads, heap_used_bytes.
    #[arg(long, value_name = "FILE", group = "what")]
    trace: Option<PathBuf>,
    /// Judge as if memory had only been read like this, or worse: allocated, heap, pss-anon, rss-anon, rss. Prints, and leaves the run's own reports.
    #[arg(long, value_name = "SIGNAL", conflicts_with = "trace", value_parser = signal)]
    signal: Option<Signal>,
    /// Of a soak: assume that no cache of the target holds more than so much of any unit, instead of what the profile says. Prints, and leaves
    /// the run's own reports.
    #[arg(long, value_name = "N", conflicts_with = "trace")]
    cache_units: Option<u32>,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn signal(text: &str) -> Result<Signal, String> {
    let named = Signal::MEMORY
        .into_iter()
        .find(|signal| signal.name() == text);
    let known = || Signal::MEMORY.map(Signal::name).join(", ");
    named.ok_or_else(|| format!("the signals of memory are {}", known()))
}

pub(super) fn diagnose(arguments: &DiagnoseArguments) -> anyhow::Result<Exit> {
    match (&arguments.run, &arguments.trace) {
        (Some(run), _) => match (arguments.signal, arguments.cache_units) {
            (None, None) => run::judge(run, arguments.format, None),
            _ => judge_otherwise(run, arguments),
        },
        (None, Some(file)) => judge_trace(file, arguments.format),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

/// By another signal, or under another assumption. What the run itself says of both stays as it is.
fn judge_otherwise(folder: &Path, arguments: &DiagnoseArguments) -> anyhow::Result<Exit> {
    let mut recording = Recording::read(folder)?;
    if let Some(cache_units) = arguments.cache_units {
        let soak = recording.manifest.plan.soak.as_mut();
        let Some(soak) = soak else {
            anyhow::bail!(Usage(
                "--cache-units is an assumption of soaks, and this run is none".into()
            ));
        };
        say(&format!(
            "assumed: no cache holds more than {cache_units} of any unit (the profile says {})",
            soak.cache_units
        ));
        soak.cache_units = cache_units;
    }
    let signal = arguments.signal.unwrap_or(Signal::Allocated);
    let findings = diagnose::judge_from(&recording, signal);
    let format = arguments.format.into();
    print(&report::render(format, &recording, &findings, folder))?;
    Ok(Exit::from_code(findings.exit_code))
}

fn judge_trace(file: &Path, format: Format) -> anyhow::Result<Exit> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let trace =
        trace::read(&text).with_context(|| format!("{} cannot be judged", file.display()))?;
    for problem in &trace.problems {
        say(&format!("{}: {problem}", file.display()));
    }
    let findings = diagnose::judge_evidence(&trace.evidence, &Rules::default());
    print(&report::render_findings(format.into(), &findings))?;
    Ok(Exit::from_code(findings.exit_code))
}
