//! `sse-soak diagnose`: judge a recording again, or a trace that something else recorded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;

use super::{Exit, print, report::Format, run, say};
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
    /// Judge as if memory had only been read like this, or worse: pss-anon, rss-anon, rss. Prints, and leaves the run's own reports.
    #[arg(long, value_name = "SIGNAL", conflicts_with = "trace", value_parser = signal)]
    signal: Option<Signal>,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn signal(text: &str) -> Result<Signal, String> {
    let read = || Signal::MEMORY.into_iter().filter(|s| *s != Signal::Heap);
    let known: Vec<&str> = read().map(Signal::name).collect();
    read()
        .find(|signal| signal.name() == text)
        .ok_or_else(|| format!("a recording has {}", known.join(", ")))
}

pub(super) fn diagnose(arguments: &DiagnoseArguments) -> anyhow::Result<Exit> {
    match (&arguments.run, &arguments.trace) {
        (Some(run), _) => match arguments.signal {
            None => run::judge(run, arguments.format),
            Some(signal) => judge_from(run, signal, arguments.format),
        },
        (None, Some(file)) => judge_trace(file, arguments.format),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn judge_from(folder: &Path, signal: Signal, format: Format) -> anyhow::Result<Exit> {
    let recording = Recording::read(folder)?;
    let findings = diagnose::judge_from(&recording, signal);
    print(&report::render(
        format.into(),
        &recording,
        &findings,
        folder,
    ))?;
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
