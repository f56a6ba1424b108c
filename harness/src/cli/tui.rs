//! The full-screen view of a run, `--tui`: memory and streams over time, every factor so far, alarms.
//!
//! A thread of its own owns the terminal: one that stands still (Ctrl-S) loses frames and never holds up the run. Keys are not read, so
//! Ctrl-C stays the signal that it is everywhere else.

use std::{
    collections::VecDeque,
    io::{self, Stderr},
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen},
    },
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table},
};

use super::{
    progress::{count, place},
    so_far::SoFar,
};
use crate::{
    diagnose::{
        finding::sentence::amount,
        so_far::{Known, Standing},
    },
    soak::Progress,
    units::{bytes, grouped},
};

/// Points that a sparkline remembers; the widest terminal shows fewer.
const MOST_POINTS: usize = 500;
/// Alarms that are kept.
const MOST_ALARMS: usize = 5;
/// Frames that may wait for a terminal.
const QUEUE: usize = 2;

/// What is shown: a fold over what was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    title: String,
    now: Option<Progress>,
    memory: VecDeque<u64>,
    open: VecDeque<u64>,
    alarms: VecDeque<String>,
    so_far: SoFar,
    colour: bool,
}

impl Screen {
    fn new(title: String, colour: bool) -> Self {
        Self {
            title,
            colour,
            ..Self::default()
        }
    }

    fn take(&mut self, progress: Progress, so_far: SoFar) {
        let push = |series: &mut VecDeque<u64>, value| {
            series.push_back(value);
            if series.len() > MOST_POINTS {
                series.pop_front();
            }
        };
        if let Some(memory) = progress.memory_bytes {
            push(&mut self.memory, memory);
        }
        push(&mut self.open, progress.open);
        if let Some(alarm) = &progress.alarm {
            self.alarms
                .push_back(format!("{} s: {alarm}", progress.at.0.as_secs()));
            if self.alarms.len() > MOST_ALARMS {
                self.alarms.pop_front();
            }
        }
        self.so_far = so_far;
        self.now = Some(progress);
    }

    fn style(&self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let alarms = u16::try_from(self.alarms.len()).unwrap_or(0);
        let [title, gauge, numbers, memory, open, factors, told, hint] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Min(4),
            Constraint::Length(5),
            Constraint::Min(4),
            Constraint::Length(alarms),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.title.clone(), bold), title);
        let Some(now) = &self.now else {
            frame.render_widget(Line::raw("starting the target …"), numbers);
            return;
        };
        self.gauge(frame, gauge, now);
        frame.render_widget(Paragraph::new(numbers_of(now)), numbers);
        self.line(frame, memory, "target memory", &self.memory, |value| {
            bytes(value as f64)
        });
        self.line(frame, open, "open connections", &self.open, count);
        self.factors(frame, factors);
        let alarms: Vec<Line<'_>> = self
            .alarms
            .iter()
            .map(|alarm| Line::styled(format!("ALARM {alarm}"), self.style(Color::Red)))
            .collect();
        frame.render_widget(Paragraph::new(alarms), told);
        frame.render_widget(
            Line::raw("Ctrl-C ends the run in good order and judges what was recorded"),
            hint,
        );
    }

    fn gauge(&self, frame: &mut Frame<'_>, area: Rect, now: &Progress) {
        let ratio = now.at.0.as_secs_f64() / now.longest.as_secs_f64().max(1e-9);
        let left = now.longest.saturating_sub(now.at.0);
        let left = Duration::from_secs(left.as_secs());
        let label = format!(
            "{} {} · at most {} left",
            place(now),
            now.phase,
            humantime::format_duration(left)
        );
        let gauge = Gauge::default()
            .ratio(ratio.clamp(0.0, 1.0))
            .label(label)
            .gauge_style(self.style(Color::Cyan));
        frame.render_widget(gauge, area);
    }

    /// The last points of a series, from its smallest to its largest: a slow rise must be seen.
    fn line(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        name: &str,
        series: &VecDeque<u64>,
        tell: fn(u64) -> String,
    ) {
        let room = usize::from(area.width.saturating_sub(2));
        let shown: Vec<u64> = series
            .iter()
            .skip(series.len().saturating_sub(room))
            .copied()
            .collect();
        let (least, most) = (shown.iter().min(), shown.iter().max());
        let title = match (shown.last(), least, most) {
            (Some(last), Some(least), Some(most)) => {
                format!(
                    " {name} {} ({} … {}) ",
                    tell(*last),
                    tell(*least),
                    tell(*most)
                )
            }
            _ => format!(" {name}: not read "),
        };
        let base = least.copied().unwrap_or(0);
        let heights: Vec<u64> = shown.iter().map(|value| value - base + 1).collect();
        let line = Sparkline::default()
            .block(Block::bordered().title(title))
            .style(self.style(Color::Green))
            .data(&heights);
        frame.render_widget(line, area);
    }

    fn factors(&self, frame: &mut Frame<'_>, area: Rect) {
        let title = match self.so_far.words() {
            Some(words) => format!(" so far: {words} "),
            None => " so far: nothing yet ".into(),
        };
        let rows = self.so_far.factors.iter().map(|known| self.row(known));
        let widths = [
            Constraint::Length(12),
            Constraint::Length(16),
            Constraint::Length(16),
            Constraint::Min(8),
        ];
        let head = Row::new(["per", "bytes", "give or take", ""]);
        let table = Table::new(rows, widths)
            .header(head.style(Style::new().add_modifier(Modifier::BOLD)))
            .block(Block::bordered().title(title));
        frame.render_widget(table, area);
    }

    fn row(&self, known: &Known) -> Row<'static> {
        let (word, colour) = match known.standing() {
            Standing::Leaks => ("leaks", Color::Red),
            Standing::Clean => ("no leak", Color::Green),
            Standing::Open => ("open", Color::Yellow),
        };
        let half = known.watched.half_width;
        let half = if half.is_finite() {
            amount(half)
        } else {
            "?".into()
        };
        let cells = [
            known.factor.name().to_owned(),
            amount(known.watched.slope),
            half,
            word.into(),
        ];
        Row::new(cells).style(self.style(colour))
    }
}

fn numbers_of(now: &Progress) -> Vec<Line<'static>> {
    let sessions = now.sessions.map_or_else(|| "?".into(), count);
    let own = now
        .own_bytes
        .map_or_else(|| "?".into(), |own| bytes(own as f64));
    let events = grouped(i64::try_from(now.events).unwrap_or(i64::MAX));
    vec![
        Line::raw(format!(
            "{} open, {} opened, {} closed, {} errors",
            count(now.open),
            count(now.opened),
            count(now.closed),
            count(now.errors)
        )),
        Line::raw(format!(
            "{events} events, {sessions} sessions in the target, own memory {own}"
        )),
    ]
}

/// The thread that owns the terminal.
pub(super) struct Tui {
    frames: Option<SyncSender<(Progress, SoFar)>>,
    thread: Option<JoinHandle<()>>,
}

impl Tui {
    /// Takes over the terminal.
    pub(super) fn start(title: String, colour: bool) -> io::Result<Self> {
        let (frames, told) = mpsc::sync_channel(QUEUE);
        let show = move || {
            // A terminal that cannot be drawn on is no reason to end a run.
            show(&told, Screen::new(title, colour)).ok();
        };
        let thread = thread::Builder::new().name("tui".into()).spawn(show)?;
        Ok(Self {
            frames: Some(frames),
            thread: Some(thread),
        })
    }

    /// Shows this, unless the terminal is still busy with what came before.
    pub(super) fn show(&self, progress: &Progress, so_far: SoFar) {
        if let Some(frames) = &self.frames {
            frames.try_send((progress.clone(), so_far)).ok();
        }
    }
}

impl Drop for Tui {
    /// Gives the terminal back.
    fn drop(&mut self) {
        self.frames = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // a panic in it has been said
        }
    }
}

/// The terminal as it was, whatever happens.
struct Borrowed;

impl Borrowed {
    fn take() -> io::Result<Self> {
        execute!(io::stderr(), EnterAlternateScreen, cursor::Hide)?;
        Ok(Self)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        execute!(io::stderr(), LeaveAlternateScreen, cursor::Show).ok(); // nothing more can be done
    }
}

fn show(told: &Receiver<(Progress, SoFar)>, mut screen: Screen) -> io::Result<()> {
    let _borrowed = Borrowed::take()?;
    let mut terminal: Terminal<CrosstermBackend<Stderr>> =
        Terminal::new(CrosstermBackend::new(io::stderr()))?;
    terminal.draw(|frame| screen.draw(frame))?;
    while let Ok((progress, so_far)) = told.recv() {
        screen.take(progress, so_far);
        terminal.draw(|frame| screen.draw(frame))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::{diagnose::sequence::Watched, plan::Phase, timeline::Elapsed, units::Factor};

    fn progress(second: u64, memory: Option<u64>) -> Progress {
        Progress {
            at: Elapsed(Duration::from_secs(second)),
            longest: Duration::from_secs(100),
            phase: Phase::Dose,
            cycle: 3,
            cycles: 28,
            open: 12,
            opened: 1200,
            closed: 1188,
            events: 65_000,
            errors: 0,
            memory_bytes: memory,
            sessions: None,
            own_bytes: Some(9 << 20),
            alarm: (second == 2).then(|| "the target's sessions: 61, above 60".into()),
        }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content.chunks(usize::from(width));
        lines
            .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn the_screen_shows_where_the_run_is_and_what_is_known_of_every_factor() {
        let mut screen = Screen::new("quick".into(), true);
        let known = Known {
            factor: Factor::Session,
            watched: Watched {
                slope: 2816.0,
                half_width: 90.0,
            },
            tolerance: 1024.0,
            floor: 5.0,
        };
        let so_far = SoFar {
            factors: vec![known],
            steps: None,
        };
        for second in 0..9 {
            screen.take(progress(second, Some((10 + second) << 20)), so_far.clone());
        }
        let text = drawn(&screen, 80, 30);
        for part in [
            "cycle 4/28 dose · at most 1m 32s left",
            "12 open, 1,200 opened, 1,188 closed, 0 errors",
            "target memory 18.0 MiB (10.0 MiB … 18.0 MiB)",
            "so far: leaks 2,816 ± 90 B per session",
            "ALARM 2 s: the target's sessions: 61, above 60",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }

    #[test]
    fn any_size_of_terminal_and_a_missing_reading_are_drawn() {
        let mut screen = Screen::new("x".repeat(300), false);
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            drawn(&screen, width, height);
        }
        screen.take(progress(1, None), SoFar::default());
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            drawn(&screen, width, height);
        }
        assert!(drawn(&screen, 80, 24).contains("target memory: not read"));
    }
}
