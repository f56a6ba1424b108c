//! A per-second trace of any run, as evidence: what a person can record with a shell script, judged like our own runs.
//!
//! In: CSV with a header, one row a second: `t_s`, `phase` (rest, dose, drain, probe, settle, read, load), `cycle` (priming cycles are
//! negative; a rest carries the number of the cycle after it), `rss_bytes`, and totals `closed_<way>_total`,
//! `sessions_created_total`, `turns_total`, `events_total`. Optional: `live_connections`, `live_sessions`, `cpu_seconds`, `fds`,
//! `threads` (sums over the process tree), `heap_used_bytes` (live heap after the last forced collection). Out: [`Evidence`], and
//! a [`Problem`] for everything that was wrong with the file. Start at [`read`]. A trace with a `load` phase is a soak, any other
//! an assay. A missing column narrows what can be said; a bad row costs that row; nothing here panics.

mod cycles;
mod evidence;
mod table;

pub use table::{Problem, TraceError, What};

use super::verdict::Evidence;

/// Evidence, and what was wrong with it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What the judge needs.
    pub evidence: Evidence,
    /// What was left out or mended, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads a trace.
///
/// # Errors
/// If the file has no header with the four required columns, or not one usable cycle.
pub fn read(csv: &str) -> Result<Trace, TraceError> {
    let (table, mut problems) = table::Table::parse(csv)?;
    let cycles = cycles::Cycles::of(&table)?;
    problems.extend(cycles.problems.clone());
    Ok(Trace {
        evidence: evidence::of(&table, &cycles),
        problems,
    })
}

#[cfg(test)]
mod tests;
