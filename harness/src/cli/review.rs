//! `sse-soak review`: what a change keeps that was not kept before, line by line.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::{
    Exit,
    exit::Usage,
    profile::{ReviewFormat, put, reviewed},
};
use crate::{
    diagnose::{
        self,
        allocations::{Allocations, Change, Changed, Review, compare},
        finding::Findings,
    },
    record::{Place, Recording},
};

#[derive(Debug, Args)]
pub(super) struct ReviewArguments {
    /// The run directory of the change.
    run: PathBuf,
    /// The run directory from before it.
    #[arg(long, value_name = "RUN")]
    baseline: PathBuf,
    /// Mark what is kept on lines that were changed since this revision (`git diff REV`).
    #[arg(long, value_name = "REV")]
    changed_lines: Option<String>,
    /// The repository; the current folder if not given.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// End with 10 only for this: several may be given, with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHANGE")]
    fail_on: Vec<FailOn>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = ReviewFormat::Text)]
    format: ReviewFormat,
    /// Where; standard output if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What makes a review fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A stack that kept nothing before.
    New,
    /// A stack that keeps more than before.
    Grown,
    /// Anything that is kept, as before.
    Any,
}

pub(super) fn review(arguments: &ReviewArguments) -> anyhow::Result<Exit> {
    let (_, before) = read(&arguments.baseline)?;
    let (findings, after) = read(&arguments.run)?;
    let mut review = compare(&before, &after);
    if let Some(revision) = &arguments.changed_lines {
        let repo = arguments.repo.as_deref().unwrap_or(Path::new("."));
        let changed = changed_lines(repo, revision)?;
        for row in &mut review.rows {
            row.on_changed_lines = Some(is_on(row, &changed));
        }
    }
    let text = reviewed(
        arguments.format,
        &findings,
        &review,
        arguments.repo.as_deref(),
    );
    put(arguments.out.as_deref(), text.as_bytes())?;
    Ok(exit(&arguments.fail_on, &review))
}

fn read(folder: &Path) -> anyhow::Result<(Findings, Allocations)> {
    let findings = diagnose::judge(&Recording::read(folder)?);
    let allocations = findings.allocations.clone().ok_or_else(|| {
        Usage(format!(
            "{} has no allocation profile: run it with --profile jemalloc or --profile dhat",
            folder.display()
        ))
    })?;
    Ok((findings, allocations))
}

fn exit(fail_on: &[FailOn], review: &Review) -> Exit {
    let asked = |changed: &Changed| {
        fail_on.iter().any(|fail| match fail {
            FailOn::New => changed.change == Change::New,
            FailOn::Grown => changed.change == Change::Grew,
            FailOn::Any => changed.after.is_some(),
        })
    };
    if review.rows.iter().any(asked) {
        Exit::Leak
    } else {
        Exit::NoLeak
    }
}

/// Lines of the new side of a diff, by file.
type Lines = BTreeMap<String, Vec<RangeInclusive<u32>>>;

fn changed_lines(repo: &Path, revision: &str) -> anyhow::Result<Lines> {
    if revision.starts_with('-') {
        bail!(Usage(format!("`{revision}` is not a revision")));
    }
    let output = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args([
            "diff",
            "--unified=0",
            "--no-color",
            "--no-ext-diff",
            "--relative",
            revision,
            "--",
        ])
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(Usage(format!(
            "git diff {revision} failed: {}",
            said.trim()
        )));
    }
    Ok(lines_of(&String::from_utf8_lossy(&output.stdout)))
}

/// `+++ b/src/a.rs` and `@@ -1,2 +3,4 @@`: lines 3 to 6 of src/a.rs.
fn lines_of(diff: &str) -> Lines {
    let mut lines = Lines::new();
    let mut file = None;
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("+++ ") {
            file = path.strip_prefix("b/").map(String::from);
        } else if let (Some(hunk), Some(file)) = (line.strip_prefix("@@ -"), &file)
            && let Some(range) = new_side(hunk)
        {
            lines.entry(file.clone()).or_default().push(range);
        }
    }
    lines
}

fn new_side(hunk: &str) -> Option<RangeInclusive<u32>> {
    let side = hunk
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix('+'))?;
    let (start, count) = side.split_once(',').unwrap_or((side, "1"));
    let (start, count): (u32, u32) = (start.parse().ok()?, count.parse().ok()?);
    (count > 0).then(|| start..=start.saturating_add(count - 1))
}

/// Whether any frame of the row's stack lies on a changed line.
fn is_on(changed: &Changed, lines: &Lines) -> bool {
    let row = changed.row();
    let frames = row.frames.iter().filter(|frame| frame.place == Place::Own);
    let frames = frames.map(|frame| (frame.file.as_deref(), frame.line));
    let kept = row
        .lines
        .iter()
        .map(|line| (line.file.as_deref(), line.line));
    frames.chain(kept).any(|(file, line)| {
        let ranges = file.and_then(|file| lines.get(file));
        ranges
            .zip(line)
            .is_some_and(|(ranges, line)| ranges.iter().any(|range| range.contains(&line)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_the_lines_of_its_new_side() {
        let diff = "\
diff --git a/src/a.rs b/src/a.rs
--- a/src/a.rs
+++ b/src/a.rs
@@ -1,2 +3,4 @@ fn a() {
+x
@@ -9 +12 @@
@@ -20,3 +30,0 @@
--- a/gone.rs
+++ /dev/null
@@ -1,2 +0,0 @@
";
        let lines = lines_of(diff);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines["src/a.rs"], [3..=6, 12..=12]);
    }
}
