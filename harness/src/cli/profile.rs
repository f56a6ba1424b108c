//! `sse-soak profile`: the allocation profiles of a run, looked up again and written in other formats.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{Exit, exit::Usage, print, say};
use crate::{
    diagnose::{self, allocations::Review, finding::Findings},
    heap::{self, Where},
    record::{Recording, files},
    report::{self, Export},
};

#[derive(Debug, Args)]
pub(super) struct ProfileArguments {
    /// A run directory with `heap/`.
    run: PathBuf,
    #[command(flatten)]
    at: WhereArguments,
    /// What is printed.
    #[arg(long, value_enum, default_value_t = ProfileFormat::Text)]
    format: ProfileFormat,
    /// Where it is written; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where stacks are looked up.
#[derive(Debug, Args)]
pub(super) struct WhereArguments {
    /// The repository whose code is the reviewers' own; if not given, the one that the target was built from.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// A file with debug information for a stripped binary, or a folder of them. May be given several times.
    #[arg(long, value_name = "FILE|DIR")]
    debug_file: Vec<PathBuf>,
}

/// A form of an allocation profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileFormat {
    /// The tables, for a terminal.
    Text,
    /// The tables, for a page.
    Md,
    /// findings.json.
    Json,
    /// For `go tool pprof`, Grafana, Parca, speedscope.
    Pprof,
    /// For flamegraph.pl, inferno, speedscope.
    Folded,
    /// For speedscope.
    Speedscope,
    /// A page of its own, for a browser.
    Svg,
    /// For dh_view and the Firefox Profiler.
    Dhat,
    /// SARIF 2.1.0.
    Sarif,
    /// Markdown for a pull request.
    PullRequest,
    /// Annotations in GitHub's log format.
    Github,
}

impl WhereArguments {
    fn to_where(&self) -> Where {
        Where {
            repo: self.repo.clone(),
            debug: self.debug_file.clone(),
        }
    }
}

pub(super) fn profile(arguments: &ProfileArguments) -> anyhow::Result<Exit> {
    look_up(&arguments.run, &arguments.at.to_where())?;
    let recording = Recording::read(&arguments.run)?;
    let findings = diagnose::judge(&recording);
    write(
        &arguments.run,
        &recording,
        &findings,
        arguments.at.repo.as_deref(),
    )?;
    let Some(stacks) = &recording.stacks else {
        let message = format!(
            "{} has no allocation profile: run it with --profile jemalloc or --profile dhat",
            arguments.run.display()
        );
        return Err(Usage(message).into());
    };
    let source = source(arguments.at.repo.as_deref());
    let bytes = match arguments.format {
        ProfileFormat::Text => report::profile_text(&findings).into_bytes(),
        ProfileFormat::Md => report::profile_markdown(&findings).into_bytes(),
        ProfileFormat::Json => {
            report::render(report::Format::Json, &recording, &findings, &arguments.run).into_bytes()
        }
        ProfileFormat::Pprof => report::export(Export::Pprof, stacks),
        ProfileFormat::Folded => report::export(Export::Folded, stacks),
        ProfileFormat::Speedscope => report::export(Export::Speedscope, stacks),
        ProfileFormat::Svg => report::export(Export::Flamegraph, stacks),
        ProfileFormat::Dhat => report::export(Export::Dhat, stacks),
        ProfileFormat::Sarif => report::sarif(&findings, None).into_bytes(),
        ProfileFormat::PullRequest => report::pull_request(&findings, None, &source).into_bytes(),
        ProfileFormat::Github => report::annotations(&findings, None).into_bytes(),
    };
    put(arguments.out.as_deref(), &bytes)?;
    Ok(Exit::NoLeak)
}

/// Looks up what a run captured. What is damaged is said, and the rest of the run is judged without it.
pub(super) fn look_up_or_say(folder: &Path, repo: Option<&Path>) {
    let at = Where {
        repo: repo.map(Into::into),
        debug: vec![],
    };
    if let Err(error) = look_up(folder, &at) {
        say(&format!("sse-soak: no allocation profile: {error:#}"));
    }
}

fn look_up(folder: &Path, at: &Where) -> anyhow::Result<()> {
    if let Some(repo) = at.repo.as_deref().filter(|repo| !repo.is_dir()) {
        return Err(Usage(format!(
            "--repo {}: there is no such folder",
            repo.display()
        ))
        .into());
    }
    heap::digest(folder, at)?;
    Ok(())
}

/// Writes what reviewers and viewers open beside the reports of a run.
pub(super) fn write(
    folder: &Path,
    recording: &Recording,
    findings: &Findings,
    repo: Option<&Path>,
) -> anyhow::Result<()> {
    let Some(stacks) = &recording.stacks else {
        return Ok(());
    };
    let written = report::export_all(folder, stacks)
        .and_then(|()| fs::write(folder.join(files::SARIF), report::sarif(findings, None)))
        .and_then(|()| {
            let text = report::pull_request(findings, None, &source(repo));
            fs::write(folder.join(files::PULL_REQUEST), text)
        });
    written.with_context(|| format!("cannot write the profile into {}", folder.display()))
}

/// Reads a file of the repository, as a report shows it.
pub(super) fn source(repo: Option<&Path>) -> impl Fn(&str) -> Option<String> {
    let root = repo.map_or_else(|| PathBuf::from("."), Into::into);
    move |file: &str| fs::read_to_string(root.join(file)).ok()
}

pub(super) fn put(out: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match out {
        Some(path) => {
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => match std::str::from_utf8(bytes) {
            Ok(text) => print(text)?,
            Err(_) => io::stdout().lock().write_all(bytes)?,
        },
    }
    Ok(())
}

/// A review in one of the forms that code review takes.
pub(super) fn reviewed(
    format: ReviewFormat,
    findings: &Findings,
    review: &Review,
    repo: Option<&Path>,
) -> String {
    match format {
        ReviewFormat::Text => report::review_text(findings, review),
        ReviewFormat::Md => report::pull_request(findings, Some(review), &source(repo)),
        ReviewFormat::Json => {
            serde_json::to_string_pretty(review).expect("plain data is JSON") + "\n"
        }
        ReviewFormat::Sarif => report::sarif(findings, Some(review)),
        ReviewFormat::Github => report::annotations(findings, Some(review)),
    }
}

/// How a review is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReviewFormat {
    /// For a terminal.
    Text,
    /// Markdown for a pull request.
    Md,
    /// The rows.
    Json,
    /// SARIF 2.1.0, with `baselineState`.
    Sarif,
    /// Annotations in GitHub's log format, for what is new or grew.
    Github,
}
