//! Where the cycles, their readings and the rests are.

use std::ops::Range;

use super::table::{Phase, Problem, Table, TraceError, What};
use crate::diagnose::stats::order::median;

/// A stretch without load shorter than this is no rest, seconds.
const REST_FROM: usize = 8;

/// One cycle: its rows, and those of its reading.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) rows: Range<usize>,
    pub(super) read: Range<usize>,
}

/// The cycles from the end of priming on.
#[derive(Clone, Debug)]
pub(super) struct Cycles {
    /// The last priming cycle first: its reading is row 0.
    pub(super) cycles: Vec<Cycle>,
    /// Where the cycle before that ends.
    pub(super) before: usize,
    /// The usual length, rows.
    pub(super) length: usize,
    /// Stretches without load, whole.
    pub(super) rests: Vec<Range<usize>>,
    pub(super) problems: Vec<Problem>,
}

impl Cycles {
    pub(super) fn of(table: &Table) -> Result<Self, TraceError> {
        let mut all = stretches(table.cycle.len(), |a, b| table.cycle[a] == table.cycle[b]);
        all.pop_if(|last| table.phase[last.clone()].iter().all(|p| *p == Phase::Rest)); // the last rest is no cycle
        let lengths: Vec<f64> = ends_apart(&all);
        let primed = all
            .iter()
            .filter(|c| table.cycle[c.start] < 0)
            .count()
            .saturating_sub(1);
        let before = primed.checked_sub(1).map_or(0, |i| all[i].end);
        let mut problems = Vec::new();
        let mut cycles = Vec::new();
        for rows in all.into_iter().skip(primed) {
            match reading(table, &rows) {
                Some(read) => cycles.push(Cycle { rows, read }),
                None => problems.push(Problem {
                    line: table.lines.get(rows.start).copied(),
                    column: None,
                    what: What::NoReading,
                }),
            }
        }
        if cycles.is_empty() {
            return Err(TraceError::NoCycles);
        }
        Ok(Self {
            cycles,
            before,
            length: whole(&lengths),
            rests: rests(table),
            problems,
        })
    }
}

/// The reading is the last stretch of `read` in a cycle, and it must have ended with the cycle.
fn reading(table: &Table, rows: &Range<usize>) -> Option<Range<usize>> {
    let start = rows
        .clone()
        .rev()
        .take_while(|&i| table.phase[i] == Phase::Read)
        .last()?;
    Some(start..rows.end)
}

fn ends_apart(all: &[Range<usize>]) -> Vec<f64> {
    let mut last = 0;
    let mut apart = Vec::new();
    for cycle in all {
        apart.push(crate::diagnose::stats::order::count(cycle.end - last));
        last = cycle.end;
    }
    apart
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a median of lengths"
)]
fn whole(lengths: &[f64]) -> usize {
    (median(lengths).unwrap_or(1.0) as usize).max(1)
}

fn rests(table: &Table) -> Vec<Range<usize>> {
    let all = stretches(table.phase.len(), |a, b| table.phase[a] == table.phase[b]);
    let is_rest = |r: &Range<usize>| table.phase[r.start] == Phase::Rest && r.len() >= REST_FROM;
    all.into_iter().filter(is_rest).collect()
}

/// Runs of rows that are alike.
fn stretches(rows: usize, alike: impl Fn(usize, usize) -> bool) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for row in 0..rows {
        match out.last_mut() {
            Some(last) if alike(row - 1, row) => last.end = row + 1,
            _ => out.push(row..row + 1),
        }
    }
    out
}
