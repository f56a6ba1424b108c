//! Which lines keep what: the table of an allocation profile, per unit, with intervals, beside what was measured without it.
//!
//! In: [`Stacks`] and the findings of the same recording. Out: [`Allocations`], which joins `findings.json`, and [`Finding`]s where
//! both disagree. Start at [`judge`]. Stacks are one row if they go through the same functions of the repository; what allocates on
//! their behalf (allocator, standard library, other libraries) is folded. Numbers are bytes per unit, as the allocator counts them.

mod compare;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::compare::{Change, Changed, Review, compare};
use super::{
    finding::{Finding, Findings, Statement, sentence::amount},
    signal::Signal,
    stats::poisson::{Sampled, Sum},
};
use crate::{
    profile::Unit,
    record::{Cost, Frame, Place, Stack, Stacks, StacksWindow},
    units::{Factor, grouped},
};

/// A row that may be less than this a unit (95 %) is no row: it is summed with the rest.
const LEAST_BYTES: f64 = 1.0;

/// A row of fewer samples says too little of a line.
const LEAST_SAMPLES: f64 = 8.0;

/// Fewer blocks than one in so many units happened now and then (a table that grew), and not for each of them.
const ONE_OFF: f64 = 200.0;

/// A contradiction is said only if this many times the half width of what was measured do not bridge it: intervals of two true
/// measurements miss one another now and then.
const CONTRADICTS: f64 = 1.5;

/// Frames that a row shows.
const MOST_FRAMES: usize = 32;

/// What an allocation profile says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Allocations {
    /// `jemalloc` or `dhat`, or the foreign profiler.
    pub instrument: String,
    /// One table for each unit.
    pub windows: Vec<Table>,
    /// What profiling cost the target.
    pub cost: Vec<CostPerClient>,
    /// What could not be read or looked up.
    pub notes: Vec<String>,
}

/// What is left behind by one unit, by who allocated it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The unit.
    pub of: Unit,
    /// How many were given.
    pub units: u64,
    /// One sample in 2^this bytes; `None`: every allocation was noted.
    pub lg_sample: Option<u8>,
    /// How long it took, seconds.
    pub length_s: f64,
    /// Whether everybody was gone.
    pub quiet: bool,
    /// Everything together.
    pub total: PerUnit,
    /// What was measured without the profiler, for the same clients.
    pub measured: Option<Measured>,
    /// Lines that keep something for each unit, the heaviest first.
    pub rows: Vec<Row>,
    /// What is in no row.
    pub rest: PerUnit,
    /// Not more than this is kept beside the rows (95 %).
    pub bound_bytes: f64,
}

/// An amount per unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerUnit {
    /// Bytes.
    pub bytes: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Blocks.
    pub blocks: f64,
    /// Samples that this rests on, raw.
    pub samples: f64,
}

/// What the regression found for the same clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Bytes per unit.
    pub bytes: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// The part of it that the rows explain.
    pub explained: f64,
    /// Whether the intervals of both overlap.
    pub agrees: bool,
}

/// One way through the repository's functions to an allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The same as long as the functions are: lines may move.
    pub fingerprint: String,
    /// The repository's function that is nearest to the allocation; a library's where there is none.
    pub function: String,
    /// Its file, as the repository names it.
    pub file: Option<String>,
    /// The line of it that keeps most.
    pub line: Option<u32>,
    /// How much.
    #[serde(flatten)]
    pub kept: PerUnit,
    /// The part of everything in the window.
    pub share: f64,
    /// The lines of that function, the heaviest first.
    pub lines: Vec<LineShare>,
    /// The heaviest stack of it, the innermost frame first, without allocator and standard library.
    pub frames: Vec<Frame>,
}

/// What one line keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineShare {
    /// The file.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
    /// Bytes per unit.
    pub bytes: f64,
    /// Blocks per unit.
    pub blocks: f64,
}

/// What profiling cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostPerClient {
    /// One sample in 2^this bytes; `None` with `exact`: every allocation was noted.
    pub lg_sample: Option<u8>,
    /// Whether every allocation was noted.
    pub exact: bool,
    /// Processor time of the target per client with the profiler off, microseconds.
    pub off_us: f64,
    /// The same with it on.
    pub on_us: f64,
    /// How much more, as a part of what it is without.
    pub more: f64,
}

/// The table of a profile, and what it adds to the findings.
pub fn judge(stacks: &Stacks, findings: &Findings) -> (Allocations, Vec<Finding>) {
    let tables: Vec<Table> = stacks
        .windows
        .iter()
        .map(|window| table(stacks, window, findings))
        .collect();
    let said = tables.iter().filter_map(disagreement).collect();
    let allocations = Allocations {
        instrument: stacks.instrument.clone(),
        windows: tables,
        cost: cost(&stacks.cost),
        notes: stacks.notes.clone(),
    };
    (allocations, said)
}

impl Findings {
    /// The same with what an allocation profile says.
    #[must_use]
    pub fn with_allocations(self, stacks: Option<&Stacks>) -> Self {
        let Some(stacks) = stacks else {
            return self;
        };
        let (allocations, said) = judge(stacks, &self);
        let mut findings = self.with(said);
        findings.allocations = Some(allocations);
        findings
    }
}

/// What the raw counts of a stack stand for: bytes and blocks.
pub fn estimate(stack: &Stack, lg_sample: Option<u8>) -> (f64, f64) {
    let mut sum = Sum::default();
    sum.add(sampled(stack), mean(lg_sample));
    (sum.bytes, sum.blocks)
}

fn sampled(stack: &Stack) -> Sampled {
    Sampled {
        blocks: stack.blocks as f64,
        bytes: stack.bytes as f64,
    }
}

/// Mean bytes between samples.
fn mean(lg_sample: Option<u8>) -> Option<f64> {
    lg_sample.map(|lg| 2_f64.powi(i32::from(lg)))
}

fn table(stacks: &Stacks, window: &StacksWindow, findings: &Findings) -> Table {
    let (units, mean) = (window.given.of(window.of.0), mean(window.lg_sample));
    let per = |sum: &Sum| per_unit(sum, units, mean);
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    let mut total = Sum::default();
    for stack in &window.stacks {
        let frames: Vec<&Frame> = stack
            .frames
            .iter()
            .filter_map(|frame| stacks.frames.get(*frame as usize))
            .collect();
        let key = key(&frames);
        total.add(sampled(stack), mean);
        groups.entry(key).or_default().add(stack, frames, mean);
    }
    let total = per(&total);
    let mut rest = Sum::default();
    let mut rows = Vec::new();
    for (key, group) in groups {
        let kept = per(&group.sum);
        if counts(&kept, window.lg_sample.is_none()) {
            rows.push(group.row(&key, kept, total.bytes, units));
        } else {
            group
                .stacks
                .iter()
                .for_each(|(stack, _)| rest.add(sampled(stack), mean));
        }
    }
    rows.sort_by(|a, b| b.kept.bytes.total_cmp(&a.kept.bytes));
    let explained = rows.iter().map(|row| row.kept.bytes).sum();
    Table {
        of: window.of,
        units,
        lg_sample: window.lg_sample,
        length_s: window.length_s,
        quiet: window.quiet,
        measured: measured(window, findings, &total, explained),
        total,
        rows,
        bound_bytes: rest.upper(mean) / units.max(1) as f64,
        rest: per(&rest),
    }
}

/// Whether so much is kept for each unit, rather than now and then.
fn counts(kept: &PerUnit, exact: bool) -> bool {
    kept.low >= LEAST_BYTES
        && kept.blocks * ONE_OFF >= 1.0
        && (exact || kept.samples >= LEAST_SAMPLES)
}

fn per_unit(sum: &Sum, units: u64, mean: Option<f64>) -> PerUnit {
    let per = |value: f64| value / units.max(1) as f64;
    let (low, high) = sum.interval(mean);
    PerUnit {
        bytes: per(sum.bytes),
        low: per(low),
        high: per(high),
        blocks: per(sum.blocks),
        samples: sum.samples,
    }
}

/// The repository's functions on the way to an allocation, one after the other; a library's where there are none. Functions that
/// call themselves count once.
fn key(frames: &[&Frame]) -> String {
    let of = |place: Place| frames.iter().filter(move |frame| frame.place == place);
    let mut names: Vec<&str> = of(Place::Own)
        .map(|frame| frame.function.as_str())
        .collect();
    if names.is_empty() {
        names = of(Place::Library)
            .take(3)
            .map(|frame| frame.function.as_str())
            .collect();
    }
    if names.is_empty() {
        let innermost = frames.iter().take(8);
        names = innermost.map(|frame| frame.function.as_str()).collect();
    }
    names.dedup();
    names.join("\n")
}

/// Stacks of one row.
#[derive(Default)]
struct Group<'a> {
    sum: Sum,
    stacks: Vec<(&'a Stack, Vec<&'a Frame>)>,
    mean: Option<f64>,
}

impl<'a> Group<'a> {
    fn add(&mut self, stack: &'a Stack, frames: Vec<&'a Frame>, mean: Option<f64>) {
        self.mean = mean;
        self.sum.add(sampled(stack), mean);
        self.stacks.push((stack, frames));
    }

    fn row(&self, key: &str, kept: PerUnit, total: f64, units: u64) -> Row {
        let lines = self.lines(units);
        let heaviest = self
            .stacks
            .iter()
            .max_by_key(|(stack, _)| stack.bytes)
            .map_or(&[][..], |(_, frames)| frames);
        let shown = heaviest
            .iter()
            .filter(|frame| !matches!(frame.place, Place::Allocator | Place::Standard));
        let function = self.nearest().map_or("?", |frame| frame.function.as_str());
        Row {
            fingerprint: fingerprint(key),
            function: function.into(),
            file: lines.first().and_then(|line| line.file.clone()),
            line: lines.first().and_then(|line| line.line),
            kept,
            share: if total > 0.0 { kept.bytes / total } else { 0.0 },
            lines,
            frames: shown
                .take(MOST_FRAMES)
                .map(|frame| (*frame).clone())
                .collect(),
        }
    }

    fn nearest(&self) -> Option<&'a Frame> {
        self.stacks.iter().find_map(|(_, frames)| nearest(frames))
    }

    fn lines(&self, units: u64) -> Vec<LineShare> {
        let mut by_line: BTreeMap<(Option<&str>, Option<u32>), Sum> = BTreeMap::new();
        for (stack, frames) in &self.stacks {
            let at = nearest(frames);
            let place = (
                at.and_then(|frame| frame.file.as_deref()),
                at.and_then(|frame| frame.line),
            );
            by_line
                .entry(place)
                .or_default()
                .add(sampled(stack), self.mean);
        }
        let per = |value: f64| value / units.max(1) as f64;
        let mut lines: Vec<LineShare> = by_line
            .into_iter()
            .map(|((file, line), sum)| LineShare {
                file: file.map(String::from),
                line,
                bytes: per(sum.bytes),
                blocks: per(sum.blocks),
            })
            .collect();
        lines.sort_by(|a, b| b.bytes.total_cmp(&a.bytes));
        lines
    }
}

/// The frame that a reviewer looks at: the first of the repository, else of a library, else the innermost.
pub fn nearest<'a>(frames: &[&'a Frame]) -> Option<&'a Frame> {
    let of = |place: Place| frames.iter().find(|frame| frame.place == place);
    of(Place::Own)
        .or_else(|| of(Place::Library))
        .or_else(|| frames.first())
        .copied()
}

/// Sixteen digits that stay while the functions of the stack do.
fn fingerprint(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What the regression found, for clients that gave as much of every factor as those of the window: slopes of what leaks, and the
/// intervals of what does not as uncertainty. `None` where it did not decide about one of these factors.
fn measured(
    window: &StacksWindow,
    findings: &Findings,
    total: &PerUnit,
    explained: f64,
) -> Option<Measured> {
    let units = window.given.of(window.of.0).max(1) as f64;
    let (mut bytes, mut squares, mut seen) = (0.0, 0.0, false);
    for finding in &findings.findings {
        let Some(factor) = finding.factor else {
            continue;
        };
        let per = match factor {
            Factor::Time => window.length_s / units,
            _ => window.given.of(factor) as f64 / units,
        };
        let open = matches!(
            finding.verdict,
            Statement::Inconclusive | Statement::Saturating | Statement::Inseparable
        );
        if open && per > 0.0 {
            return None;
        }
        let judged = matches!(finding.verdict, Statement::Leak | Statement::NoLeak);
        let interval = (finding.bytes_per_unit, finding.low, finding.high);
        let (Some(slope), Some(low), Some(high)) = interval else {
            continue;
        };
        if judged && finding.signal == Some(Signal::Allocated) {
            if finding.verdict == Statement::Leak {
                bytes += slope * per;
            }
            squares += ((high - low) / 2.0 * per).powi(2);
            seen = true;
        }
    }
    let half = squares.sqrt();
    let far = half * CONTRADICTS;
    seen.then(|| Measured {
        bytes,
        low: bytes - half,
        high: bytes + half,
        explained: if bytes > 0.0 { explained / bytes } else { 0.0 },
        agrees: total.low <= bytes + far && bytes - far <= total.high,
    })
}

/// A profile and a regression that contradict one another: one of them did not see everything.
fn disagreement(table: &Table) -> Option<Finding> {
    let measured = table.measured.filter(|measured| !measured.agrees)?;
    // What is kept now and then (a table that grew) is in the profile and in no slope.
    let rows: f64 = table.rows.iter().map(|row| row.kept.low).sum();
    if table.total.low > measured.high && rows <= measured.high {
        return None;
    }
    let text = format!(
        "the allocation profile shows {} B per {} (95 %: {} … {}), and {} B (95 %: {} … {}) were measured without it: memory that \
         this allocator does not see, or a profiler that missed some",
        amount(table.total.bytes),
        word(table.of.0),
        amount(table.total.low),
        amount(table.total.high),
        amount(measured.bytes),
        amount(measured.low),
        amount(measured.high),
    );
    let mut finding = Finding::plain(Statement::Contradiction, text);
    finding.factor = Some(table.of.0);
    Some(finding)
}

fn cost(cost: &[Cost]) -> Vec<CostPerClient> {
    let per = |cost: &Cost| cost.cpu_s * 1e6 / (cost.clients.max(1) as f64);
    let Some(off) = cost
        .iter()
        .find(|cost| cost.lg_sample.is_none() && !cost.exact)
    else {
        return vec![];
    };
    let on = cost
        .iter()
        .filter(|cost| cost.lg_sample.is_some() || cost.exact);
    on.map(|cost| CostPerClient {
        lg_sample: cost.lg_sample,
        exact: cost.exact,
        off_us: per(off),
        on_us: per(cost),
        more: if per(off) > 0.0 {
            per(cost) / per(off) - 1.0
        } else {
            0.0
        },
    })
    .collect()
}

/// One unit, in a word or two.
pub fn word(factor: Factor) -> &'static str {
    match factor {
        Factor::Session => "session",
        Factor::Turn => "turn",
        Factor::Event => "event",
        _ => "connection",
    }
}

/// `20,000 sessions`, `20,000 connections closed by fin`.
pub fn counted(factor: Factor, units: u64) -> String {
    let count = grouped(i64::try_from(units).unwrap_or(i64::MAX));
    match factor {
        Factor::Closed(leave) => format!("{count} connections that left by {leave}"),
        other => format!("{count} {}s", word(other)),
    }
}

#[cfg(test)]
mod tests;
