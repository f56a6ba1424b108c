//! What is known of a run under way: a fold over the rows that were recorded. No I/O, and never more than so much of it.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::so_far::SoFar;
use crate::page::visible;

/// Rows of history; more are thinned to half.
const MOST_ROWS: usize = 4096;
/// Phases and marks that are kept: of a day's soak all, of a quick one as well.
const MOST_PHASES: usize = 4096;
const MOST_MARKS: usize = 200;

/// How a line comes about from a column.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Level,
    /// What was added since the sample before, per second.
    Rate,
}

/// A line of the page.
#[derive(Serialize)]
pub(super) struct Line {
    #[serde(rename = "name")]
    column: &'static str,
    label: &'static str,
    #[serde(skip)]
    kind: Kind,
}

const fn level(column: &'static str, label: &'static str) -> Line {
    Line {
        column,
        label,
        kind: Kind::Level,
    }
}

const fn rate(column: &'static str, label: &'static str) -> Line {
    Line {
        column,
        label,
        kind: Kind::Rate,
    }
}

/// A panel of the page.
#[derive(Serialize)]
pub(super) struct Panel {
    title: &'static str,
    unit: &'static str,
    lines: &'static [Line],
}

pub(super) const PANELS: [Panel; 6] = [
    Panel {
        title: "Memory of the target",
        unit: "bytes",
        lines: &[
            level("heap_allocated_bytes", "live (allocator)"),
            level("rss_bytes", "resident"),
            level("pss_anon_bytes", "anonymous, proportional"),
        ],
    },
    Panel {
        title: "Streams and sessions",
        unit: "count",
        lines: &[
            level("live_connections", "open, our count"),
            level("target_connections", "connections, target's count"),
            level("kernel_established", "established, kernel's count"),
            level("live_sessions", "sessions, target's count"),
        ],
    },
    Panel {
        title: "Load",
        unit: "rate",
        lines: &[
            rate("opened_total", "opened"),
            rate("sessions_created_total", "sessions created"),
            rate("events_total", "events received"),
        ],
    },
    Panel {
        title: "CPU",
        unit: "share",
        lines: &[
            rate("cpu_seconds", "target"),
            rate("own_cpu_seconds", "the harness"),
        ],
    },
    Panel {
        title: "Held by the target's kernel",
        unit: "bytes",
        lines: &[
            level("kernel_socket_bytes", "memory of sockets"),
            level("kernel_send_queue_bytes", "sent, not taken"),
        ],
    },
    Panel {
        title: "Descriptors and threads",
        unit: "count",
        lines: &[level("fds", "descriptors"), level("threads", "threads")],
    },
];

/// A phase: when it began, what it is, which cycle.
type Phase = (f64, String, i64);
/// Something that happened: when, what kind, in words.
type Mark = (f64, String, String);

/// What is new since the last frame.
#[derive(Clone, Default, Serialize)]
pub(super) struct News {
    /// Seconds, then a value for each line, `null` where nothing was read.
    rows: Vec<Vec<Option<f64>>>,
    phases: Vec<Phase>,
    marks: Vec<Mark>,
    now: Option<Now>,
    #[serde(rename = "soFar")]
    so_far: Option<Vec<SoFar>>,
    /// The verdict, once there is one.
    ended: Option<String>,
}

/// Where the run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Now {
    seconds: f64,
    longest: f64,
    phase: String,
    cycle: i64,
    cycles: u32,
    numbers: Vec<(&'static str, f64)>,
    /// Percentiles of the last interval, microseconds: of what, median, p99.
    latency: Vec<(String, f64, f64)>,
}

/// Everything that is known.
pub(super) struct State {
    longest: f64,
    cycles: u32,
    rows: Vec<Vec<Option<f64>>>,
    before: BTreeMap<&'static str, (f64, f64)>,
    phases: VecDeque<Phase>,
    marks: VecDeque<Mark>,
    now: Now,
    so_far: Vec<SoFar>,
    ended: Option<String>,
    /// The last sample, column by column.
    pub(super) last: Vec<(String, f64)>,
    latency: BTreeMap<String, (f64, f64)>,
    news: News,
}

/// What a run is, before anything is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About {
    pub(super) longest: f64,
    pub(super) cycles: u32,
}

/// Numbers of the last sample that stand beside the plots.
const NUMBERS: [(&str, &str); 5] = [
    ("live_connections", "open"),
    ("opened_total", "opened"),
    ("events_total", "events"),
    ("live_sessions", "sessions"),
    ("own_rss_bytes", "own memory, bytes"),
];

impl State {
    pub(super) fn new(about: About) -> Self {
        Self {
            longest: about.longest,
            cycles: about.cycles,
            rows: Vec::new(),
            before: BTreeMap::new(),
            phases: VecDeque::new(),
            marks: VecDeque::new(),
            now: Now {
                longest: about.longest,
                cycles: about.cycles,
                ..Now::default()
            },
            so_far: Vec::new(),
            ended: None,
            last: Vec::new(),
            latency: BTreeMap::new(),
            news: News::default(),
        }
    }

    /// What the plan says, once it is written.
    pub(super) const fn about(&mut self, longest: f64, cycles: u32) {
        (self.longest, self.cycles) = (longest, cycles);
    }

    /// A sample.
    pub(super) fn sample(&mut self, phase: &str, cycle: i64, numbers: Vec<(String, f64)>) {
        let find = |name: &str| {
            numbers
                .iter()
                .find(|(column, _)| column == name)
                .map(|(_, value)| *value)
        };
        let Some(at) = find("t_s") else { return };
        let mut row = vec![Some(at)];
        for line in PANELS.iter().flat_map(|panel| panel.lines) {
            let value = find(line.column);
            row.push(match line.kind {
                Kind::Level => value,
                Kind::Rate => self.rate(line.column, at, value),
            });
        }
        let known = NUMBERS
            .iter()
            .filter_map(|(column, name)| Some((*name, find(column)?)));
        self.now = Now {
            seconds: at,
            longest: self.longest,
            phase: phase.into(),
            cycle,
            cycles: self.cycles,
            numbers: known.collect(),
            latency: self
                .latency
                .iter()
                .map(|(of, (p50, p99))| (of.clone(), *p50, *p99))
                .collect(),
        };
        self.news.now = Some(self.now.clone());
        self.news.rows.push(row.clone());
        self.rows.push(row);
        if self.rows.len() > MOST_ROWS {
            self.rows = thinned(&self.rows);
        }
        self.last = numbers;
    }

    fn rate(&mut self, column: &'static str, at: f64, value: Option<f64>) -> Option<f64> {
        let value = value?;
        let (then, before) = self.before.insert(column, (at, value))?;
        (at > then).then(|| (value - before) / (at - then))
    }

    /// An event.
    pub(super) fn event(&mut self, at: f64, kind: &str, text: &str) {
        if kind == "phase" {
            let Some((phase, cycle)) = text.split_once(" of cycle ") else {
                return;
            };
            let phase: Phase = (at, phase.into(), cycle.parse().unwrap_or(0));
            keep(&mut self.phases, phase.clone(), MOST_PHASES);
            self.news.phases.push(phase);
        } else {
            let mark = (at, kind.to_owned(), visible(text));
            keep(&mut self.marks, mark.clone(), MOST_MARKS);
            self.news.marks.push(mark);
        }
    }

    /// Percentiles of an interval, microseconds.
    pub(super) fn latency(&mut self, of: &str, p50: f64, p99: f64) {
        self.latency.insert(of.into(), (p50, p99));
    }

    /// What can be said so far.
    pub(super) fn judged(&mut self, so_far: Vec<SoFar>) {
        self.news.so_far = Some(so_far.clone());
        self.so_far = so_far;
    }

    /// The verdict.
    pub(super) fn ended(&mut self, text: String) {
        self.news.ended = Some(text.clone());
        self.ended = Some(text);
    }

    /// What is new since the last time, if anything is.
    pub(super) fn news(&mut self) -> Option<News> {
        let news = std::mem::take(&mut self.news);
        let is_any = !news.rows.is_empty()
            || !news.phases.is_empty()
            || !news.marks.is_empty()
            || news.so_far.is_some()
            || news.ended.is_some();
        is_any.then_some(news)
    }

    /// Everything, for whoever comes now or has lost something.
    pub(super) fn whole(&self) -> News {
        News {
            rows: self.rows.clone(),
            phases: self.phases.iter().cloned().collect(),
            marks: self.marks.iter().cloned().collect(),
            now: Some(self.now.clone()),
            so_far: Some(self.so_far.clone()),
            ended: self.ended.clone(),
        }
    }

    /// Where the run is.
    pub(super) const fn now(&self) -> &Now {
        &self.now
    }

    /// What can be said so far.
    pub(super) fn so_far(&self) -> &[SoFar] {
        &self.so_far
    }

    /// Percentiles of the last interval: of what, median and p99, microseconds.
    pub(super) const fn latencies(&self) -> &BTreeMap<String, (f64, f64)> {
        &self.latency
    }
}

impl Now {
    /// Phase, cycle, seconds and the longest they may become.
    pub(super) fn place(&self) -> (&str, i64, f64, f64) {
        (&self.phase, self.cycle, self.seconds, self.longest)
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// Of every four rows two: the least and the greatest of each line, so that no spike is lost.
fn thinned(rows: &[Vec<Option<f64>>]) -> Vec<Vec<Option<f64>>> {
    let both = |four: &[Vec<Option<f64>>]| {
        let fold = |line: usize, pick: fn(f64, f64) -> f64| {
            four.iter().filter_map(|row| row[line]).reduce(pick)
        };
        let row = |at: usize, pick: fn(f64, f64) -> f64| {
            let mut row: Vec<Option<f64>> =
                (0..four[0].len()).map(|line| fold(line, pick)).collect();
            row[0] = four[at][0];
            row
        };
        [row(0, f64::min), row(four.len() / 2, f64::max)]
    };
    rows.chunks(4).flat_map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(state: &mut State, at: f64, rss: f64) {
        let numbers = [("t_s", at), ("rss_bytes", rss), ("opened_total", 10.0 * at)];
        state.sample(
            "dose",
            3,
            numbers
                .map(|(name, value)| (name.to_owned(), value))
                .to_vec(),
        );
    }

    #[test]
    fn a_frame_holds_what_is_new_and_only_once() {
        let mut state = State::new(About::default());
        assert!(state.news().is_none());
        sampled(&mut state, 1.0, 4096.0);
        sampled(&mut state, 2.0, 8192.0);
        state.event(2.0, "phase", "drain of cycle 3");
        let news = state.news().unwrap();
        assert_eq!((news.rows.len(), news.phases.len()), (2, 1));
        assert!(news.rows[1].contains(&Some(10.0)), "opened per second");
        assert!(state.news().is_none());
        assert_eq!(state.whole().rows.len(), 2);
    }

    #[test]
    fn a_week_takes_no_more_room_than_an_hour_and_keeps_its_spikes() {
        let mut state = State::new(About::default());
        for second in 0..100_000 {
            sampled(
                &mut state,
                f64::from(second),
                if second == 777 { 9e9 } else { 1e6 },
            );
            state.event(f64::from(second), "gap", "nothing was read");
            state.news();
        }
        assert!(state.rows.len() <= MOST_ROWS && state.marks.len() <= MOST_MARKS);
        assert!(state.rows.iter().any(|row| row.contains(&Some(9e9))));
        assert!(state.rows.is_sorted_by(|one, other| one[0] <= other[0]));
    }
}
