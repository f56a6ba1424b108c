//! The progress line: one line that is rewritten on a terminal, a line every ten seconds elsewhere.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use crate::{
    soak::Progress,
    timeline::Elapsed,
    units::{bytes, grouped},
};

/// How often a line is written where lines stay.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Writes where a run is to standard error.
pub(super) struct ProgressLine {
    terminal: bool,
    quiet: bool,
    last: Option<Elapsed>,
}

impl ProgressLine {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            quiet,
            last: None,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        if let Some(alarm) = &progress.alarm {
            self.end(); // an alarm stays on the terminal, also for those who want no progress
            writeln!(
                io::stderr().lock(),
                "ALARM  at {} s: {alarm}",
                progress.at.0.as_secs()
            )
            .ok();
        }
        if self.quiet {
            return;
        }
        let due = self
            .last
            .is_none_or(|last| progress.at.since(last) >= PLAIN_EVERY);
        if self.terminal {
            write!(io::stderr().lock(), "\r\x1b[2K{}", line(progress)).ok();
            self.last = Some(progress.at);
        } else if due {
            writeln!(io::stderr().lock(), "{}", line(progress)).ok();
            self.last = Some(progress.at);
        }
    }

    /// Ends the line, so that what follows begins on its own.
    pub(super) fn end(&mut self) {
        if self.terminal && self.last.is_some() {
            write!(io::stderr().lock(), "\r\x1b[2K").ok();
        }
    }
}

fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

fn line(progress: &Progress) -> String {
    let left = progress.longest.saturating_sub(progress.at.0).as_secs();
    let place = if progress.cycle < 0 {
        format!("priming {}", -progress.cycle)
    } else {
        format!(
            "cycle {}/{}",
            (progress.cycle.unsigned_abs() + 1).min(progress.cycles),
            progress.cycles
        )
    };
    let memory = progress
        .memory_bytes
        .map_or_else(|| "memory ?".into(), |memory| bytes(memory as f64));
    let sessions = progress.sessions.map_or_else(String::new, |sessions| {
        format!(", {} sessions", count(sessions))
    });
    let errors = if progress.errors == 0 {
        String::new()
    } else {
        format!(", {} errors", count(progress.errors))
    };
    format!(
        "{:>4} s, at most {left} s left | {place} {:6} | {} open, {} closed, {} events{errors} | target {memory}{sessions}",
        progress.at.0.as_secs(),
        progress.phase,
        count(progress.open),
        count(progress.closed),
        count(progress.events),
    )
}
