//! Where a run is, for who started it: one line that is rewritten on a terminal, a line every ten seconds elsewhere, a full screen on
//! request, nothing with `--quiet`. Alarms are told in any case.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use ratatui::crossterm::terminal;

use super::{
    say,
    so_far::{SoFar, Watch},
    tui::Tui,
};
use crate::{
    soak::Progress,
    timeline::Elapsed,
    units::{bytes, grouped},
};

/// How often a line is written where lines stay.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Alarms only.
    Quiet,
    /// A line.
    Line,
    /// A full screen, if there is one.
    Screen,
}

/// Writes where a run is to standard error.
pub(super) struct ProgressLine {
    way: Way,
    last: Option<Elapsed>,
    /// What the run can say so far; `None` where nobody would read it.
    watch: Option<Watch>,
}

enum Way {
    Nothing,
    /// Lines that stay.
    Plain,
    /// One line that is written again and again.
    Terminal,
    Screen(Tui),
}

impl ProgressLine {
    pub(super) fn new(show: Show, run: &Path) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let way = match show {
            Show::Quiet => Way::Nothing,
            Show::Screen if is_terminal => screen(run),
            Show::Line if is_terminal => Way::Terminal,
            Show::Line | Show::Screen => Way::Plain,
        };
        let is_read = !matches!(way, Way::Nothing);
        Self {
            way,
            last: None,
            watch: is_read.then(|| Watch::over(run.into())),
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let known = self.watch.as_ref().map(Watch::known).unwrap_or_default();
        if let Way::Screen(tui) = &self.way {
            return tui.show(progress, known); // it shows alarms itself
        }
        if let Some(alarm) = &progress.alarm {
            self.end(); // an alarm stays on the terminal, also for those who want no progress
            say(&format!("ALARM  at {} s: {alarm}", progress.at.0.as_secs()));
        }
        let due = self
            .last
            .is_none_or(|last| progress.at.since(last) >= PLAIN_EVERY);
        match self.way {
            Way::Terminal => {
                let line = cut(&line(progress, &known), width().saturating_sub(1));
                write!(io::stderr().lock(), "\r\x1b[2K{line}").ok();
                self.last = Some(progress.at);
            }
            Way::Plain if due => {
                say(&line(progress, &known));
                self.last = Some(progress.at);
            }
            Way::Plain | Way::Nothing | Way::Screen(_) => {}
        }
    }

    /// Ends the line, so that what follows begins on its own. A screen is given back.
    pub(super) fn end(&mut self) {
        match self.way {
            Way::Terminal if self.last.is_some() => {
                write!(io::stderr().lock(), "\r\x1b[2K").ok();
            }
            Way::Screen(_) => self.way = Way::Plain,
            _ => {}
        }
    }
}

fn screen(run: &Path) -> Way {
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    match Tui::start(format!("sse-soak {name}"), is_coloured()) {
        Ok(tui) => Way::Screen(tui),
        Err(error) => {
            say(&format!("no full screen here ({error}): a line instead"));
            Way::Terminal
        }
    }
}

/// Whether colours are wanted: `NO_COLOR` (no-color.org), and terminals that have none.
pub(super) fn is_coloured() -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn width() -> usize {
    terminal::size().map_or(USUAL_WIDTH, |(columns, _)| usize::from(columns.max(20)))
}

/// A line that is longer than the terminal would stay when it is written again.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.into();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// `1,188`.
pub(super) fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Which cycle.
pub(super) fn place(progress: &Progress) -> String {
    if progress.cycle < 0 {
        return format!("priming {}", -progress.cycle);
    }
    let cycle = (progress.cycle.unsigned_abs() + 1).min(progress.cycles);
    format!("cycle {cycle}/{}", progress.cycles)
}

fn line(progress: &Progress, known: &SoFar) -> String {
    let left = progress.longest.saturating_sub(progress.at.0).as_secs();
    let memory = progress
        .memory_bytes
        .map_or_else(|| "memory ?".into(), |memory| bytes(memory as f64));
    let sessions = progress.sessions.map_or_else(String::new, |sessions| {
        format!(", {} sessions", count(sessions))
    });
    let errors = match progress.errors {
        0 => String::new(),
        errors => format!(", {} errors", count(errors)),
    };
    let known = known
        .words()
        .map_or_else(String::new, |known| format!(" | {known}"));
    format!(
        "{} s left | {} {} | {} open, {} opened, {} closed{errors} | {memory}{sessions}{known}",
        left,
        place(progress),
        progress.phase,
        count(progress.open),
        count(progress.opened),
        count(progress.closed),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Phase;

    #[test]
    fn the_line_says_where_the_run_is_and_never_wraps() {
        let progress = Progress {
            at: Elapsed(Duration::from_secs(10)),
            longest: Duration::from_secs(70),
            phase: Phase::Dose,
            cycle: 2,
            cycles: 28,
            open: 12,
            opened: 1_200,
            closed: 1_188,
            events: 9,
            errors: 1,
            memory_bytes: None,
            sessions: Some(4),
            own_bytes: None,
            alarm: None,
        };
        let line = line(&progress, &SoFar::default());
        assert_eq!(
            line,
            "60 s left | cycle 3/28 dose | 12 open, 1,200 opened, 1,188 closed, 1 errors | memory ?, 4 sessions"
        );
        assert_eq!(cut(&line, 20), "60 s left | cycle 3…");
        assert_eq!(cut("short", 20), "short");
    }
}
