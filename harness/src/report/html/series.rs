//! What is plotted over time: which columns, in which panels; and what shades and marks the plots.

use serde::Serialize;

use crate::{
    page::{Packed, Precision, packed, visible, within},
    record::{Recording, Table},
    units::bytes,
};

/// Characters that the packed series of a page may take together.
const BUDGET: usize = 2_000_000;
/// More rows than this are thinned: least and greatest of each stretch are kept.
const MOST_ROWS: usize = 100_000;
/// More marks than this would hide the plot.
pub(super) const MOST_MARKS: usize = 500;

/// One panel, as `plot.js` reads it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Panel {
    title: &'static str,
    unit: &'static str,
    log: bool,
    note: &'static str,
    lines: Vec<Line>,
}

/// One line: places in the list of series.
#[derive(Clone, Debug, Serialize)]
struct Line {
    label: String,
    name: String,
    shown: bool,
    /// Whether each value is a dot: few values, each of which counts.
    dots: bool,
    times: usize,
    values: usize,
}

/// A line in numbers, for the table behind the plots.
pub(super) struct Summary {
    pub(super) panel: &'static str,
    pub(super) label: String,
    pub(super) name: String,
    /// First, least, median, greatest, last; in words.
    pub(super) told: [String; 5],
    pub(super) missing: usize,
}

/// How the values of a panel come about.
#[derive(Clone, Copy)]
enum Kind {
    /// As they were read.
    Level,
    /// What was added since the last sample, per second.
    Rate,
}

/// A panel's columns: name, label.
struct Spec {
    title: &'static str,
    unit: &'static str,
    kind: Kind,
    note: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

const SPECS: [Spec; 9] = [
    Spec {
        title: "Memory of the target",
        unit: "bytes",
        kind: Kind::Level,
        note: "Live bytes are what the allocator's user holds; the others count pages, and what freed pages the allocator keeps.",
        columns: &[
            ("heap_allocated_bytes", "live (allocator)"),
            ("rss_bytes", "resident"),
            ("pss_anon_bytes", "anonymous, proportional"),
            ("anon_bytes", "anonymous"),
            ("heap_resident_bytes", "resident (allocator)"),
            ("swap_bytes", "swapped"),
        ],
    },
    Spec {
        title: "Streams and sessions",
        unit: "count",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("live_connections", "open, our count"),
            ("target_connections", "connections, target's count"),
            ("kernel_established", "established, kernel's count"),
            ("live_sessions", "sessions, target's count"),
        ],
    },
    Spec {
        title: "Load",
        unit: "rate",
        kind: Kind::Rate,
        note: "",
        columns: &[
            ("opened_total", "opened"),
            ("sessions_created_total", "sessions created"),
            ("events_total", "events received"),
            ("reconnects_total", "came back"),
        ],
    },
    Spec {
        title: "CPU",
        unit: "share",
        kind: Kind::Rate,
        note: "100 % is one core.",
        columns: &[
            ("cpu_seconds", "target"),
            ("own_cpu_seconds", "the harness"),
        ],
    },
    Spec {
        title: "Held by the target's kernel",
        unit: "bytes",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("kernel_socket_bytes", "memory of sockets"),
            ("kernel_send_queue_bytes", "sent, not taken"),
            ("kernel_receive_queue_bytes", "received, not read"),
            ("kernel_memory_stall_bytes", "for streams that stall"),
            ("kernel_memory_slow_bytes", "for slow readers"),
            ("kernel_memory_vanish_bytes", "for the vanished"),
        ],
    },
    Spec {
        title: "Sockets that are on their way out",
        unit: "count",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("kernel_close_wait", "CLOSE_WAIT"),
            ("kernel_orphaned", "orphaned"),
            ("kernel_closing", "closing"),
            ("kernel_time_wait", "TIME_WAIT"),
            ("kernel_accept_queue", "not accepted yet"),
        ],
    },
    Spec {
        title: "Descriptors, threads, tasks",
        unit: "count",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("fds", "descriptors"),
            ("threads", "threads"),
            ("tasks", "tasks"),
            ("processes", "processes"),
        ],
    },
    Spec {
        title: "The harness itself",
        unit: "bytes",
        kind: Kind::Level,
        note: "",
        columns: &[("own_rss_bytes", "our resident memory")],
    },
    Spec {
        title: "The machine",
        unit: "bytes",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("host_memory_available_bytes", "available"),
            ("cgroup_bytes", "control group"),
            ("cgroup_limit_bytes", "limit of the control group"),
        ],
    },
];

/// Columns that are of interest only where they are not all 0.
fn is_silent(values: &[f64]) -> bool {
    values
        .iter()
        .all(|value| value.is_nan() || value.abs() < f64::EPSILON)
}

/// Every panel that has something to show, the series they share, and each line in numbers.
pub(super) fn panels(recording: &Recording) -> (Vec<Panel>, Vec<Packed>, Vec<Summary>) {
    let mut shelf = Shelf::default();
    let mut panels: Vec<Panel> = SPECS
        .iter()
        .filter_map(|spec| shelf.panel(spec, &recording.samples))
        .collect();
    if let Some(memory) = panels
        .first_mut()
        .filter(|panel| panel.title == SPECS[0].title)
    {
        memory.lines.extend(shelf.readings(&recording.readings));
    }
    panels.extend(shelf.latency(&recording.latency));
    let series = shelf.packed();
    (panels, series, shelf.summaries)
}

/// The series of a page while they are collected.
#[derive(Default)]
struct Shelf {
    values: Vec<Vec<f64>>,
    precisions: Vec<Precision>,
    summaries: Vec<Summary>,
    /// The times of the samples, as they are and once thinned.
    sample_times: Option<usize>,
}

impl Shelf {
    /// All of them, within the budget of a page.
    fn packed(&self) -> Vec<Packed> {
        let each = self.values.iter().zip(&self.precisions);
        let mut series: Vec<Packed> = each
            .map(|(values, precision)| packed(values, *precision))
            .collect();
        within(BUDGET, &mut series, &self.values);
        series
    }

    fn put(&mut self, values: Vec<f64>, precision: Precision) -> usize {
        self.values.push(values);
        self.precisions.push(precision);
        self.values.len() - 1
    }

    fn panel(&mut self, spec: &Spec, samples: &Table) -> Option<Panel> {
        let times = samples.numbers("t_s")?;
        let lines: Vec<Line> = spec
            .columns
            .iter()
            .filter_map(|(name, label)| {
                let column = samples.numbers(name).filter(|values| !is_silent(values))?;
                let values = match spec.kind {
                    Kind::Level => column.to_vec(),
                    Kind::Rate => rates(times, column),
                };
                Some(self.line(spec, (name, label), times, values))
            })
            .collect();
        (!lines.is_empty()).then_some(Panel {
            title: spec.title,
            unit: spec.unit,
            log: false,
            note: spec.note,
            lines,
        })
    }

    /// The lines of both runs in one panel.
    fn compared(&mut self, spec: &Spec, both: &[Aligned<'_>; 2]) -> Option<Panel> {
        let mut lines = Vec::new();
        for (name, label) in spec.columns {
            for (run, when) in both.iter().zip(["before", "after"]) {
                let Some(values) = run.column(name, spec.unit == "bytes") else {
                    continue;
                };
                lines.push(Line {
                    label: format!("{when}: {label}"),
                    name: format!("{when}_{name}"),
                    shown: true,
                    dots: false,
                    times: run.times_at,
                    values: self.put(thin(values), Precision::Whole),
                });
            }
        }
        (!lines.is_empty()).then_some(Panel {
            title: spec.title,
            unit: spec.unit,
            log: false,
            note: spec.note,
            lines,
        })
    }

    fn line(
        &mut self,
        spec: &Spec,
        (name, label): (&str, &str),
        times: &[f64],
        values: Vec<f64>,
    ) -> Line {
        self.summaries
            .push(summary(spec.title, spec.unit, label, name, &values));
        let at = match self.sample_times {
            Some(at) => at,
            None => {
                let at = self.put(thin_times(times), Precision::Decimals(3));
                self.sample_times = Some(at);
                at
            }
        };
        let precision = match spec.kind {
            Kind::Level => Precision::Whole,
            Kind::Rate => Precision::Decimals(3),
        };
        Line {
            label: label.into(),
            name: name.into(),
            shown: true,
            dots: false,
            times: at,
            values: self.put(thin(values), precision),
        }
    }

    /// What was judged: the most believed memory of the readings that end the cycles.
    fn readings(&mut self, readings: &Table) -> Option<Line> {
        const BELIEVED: [&str; 4] = [
            "heap_allocated_bytes",
            "pss_anon_bytes",
            "anon_bytes",
            "rss_bytes",
        ];
        let rows: Vec<usize> = (0..readings.rows())
            .filter(|row| readings.text("kind", *row) == Some("cycle"))
            .collect();
        let column = |name: &str| -> Vec<f64> {
            let value = |row: &usize| readings.number(name, *row).unwrap_or(f64::NAN);
            rows.iter().map(value).collect()
        };
        let best = BELIEVED
            .into_iter()
            .find(|name| column(name).iter().any(|value| value.is_finite()))?;
        let (values, label) = (column(best), "at the readings that were judged");
        self.summaries
            .push(summary(SPECS[0].title, SPECS[0].unit, label, best, &values));
        Some(Line {
            label: label.into(),
            name: format!("reading_{best}"),
            shown: true,
            dots: true,
            times: self.put(column("t_s"), Precision::Decimals(3)),
            values: self.put(values, Precision::Decimals(0)),
        })
    }

    /// Percentiles over time, on a logarithmic axis: the median and the worst differ by powers of ten.
    fn latency(&mut self, latency: &Table) -> Option<Panel> {
        const OF: [(&str, &str); 4] = [
            ("connect", "connect"),
            ("first-event", "first event"),
            ("gap", "between events"),
            ("late", "our own lateness"),
        ];
        let title = "Latency";
        let mut lines = Vec::new();
        for (of, what) in OF {
            let rows: Vec<usize> = (0..latency.rows())
                .filter(|row| latency.text("of", *row) == Some(of))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let column = |name: &str| -> Vec<f64> {
                let value = |row: &usize| latency.number(name, *row).unwrap_or(f64::NAN);
                rows.iter().map(value).collect()
            };
            let times = self.put(column("t_s"), Precision::Decimals(3));
            for (name, percentile) in [("p50_us", "p50"), ("p99_us", "p99"), ("max_us", "max")] {
                let (values, label) = (column(name), format!("{what}, {percentile}"));
                let name = format!("{of}_{name}");
                self.summaries
                    .push(summary(title, "micros", &label, &name, &values));
                lines.push(Line {
                    label,
                    name,
                    shown: of != "late" && percentile != "max",
                    dots: false,
                    times,
                    values: self.put(values, Precision::Whole),
                });
            }
        }
        (!lines.is_empty()).then_some(Panel {
            title,
            unit: "micros",
            log: true,
            note: "Of each cycle or interval, by the clock of the plan: a slow target does not slow the questions.",
            lines,
        })
    }
}

/// What is laid over each other.
const COMPARED: [Spec; 3] = [
    Spec {
        title: "Memory of the target, added since the first judged cycle",
        unit: "bytes",
        kind: Kind::Level,
        note: "",
        columns: &[
            ("heap_allocated_bytes", "live (allocator)"),
            ("rss_bytes", "resident"),
        ],
    },
    Spec {
        title: "Sessions, target's count",
        unit: "count",
        kind: Kind::Level,
        note: "",
        columns: &[("live_sessions", "sessions")],
    },
    Spec {
        title: "Open streams, our count",
        unit: "count",
        kind: Kind::Level,
        note: "",
        columns: &[("live_connections", "open")],
    },
];

/// Two runs in the same panels, each counted from the start of its first judged cycle.
pub(super) fn over_each_other(runs: [&Recording; 2]) -> super::Data {
    let mut shelf = Shelf::default();
    let both = runs.map(|run| Aligned::new(run, &mut shelf));
    let panels = COMPARED
        .iter()
        .filter_map(|spec| shelf.compared(spec, &both))
        .collect();
    let zero = both[0].zero;
    let of_before = phases(runs[0]).into_iter().filter(|phase| phase.1 > zero);
    let length = |run: &Aligned<'_>| run.times.last().copied().unwrap_or(0.0);
    super::Data {
        seconds: both.iter().map(length).fold(0.0, f64::max),
        phases: of_before
            .map(|(from, to, kind, cycle)| ((from - zero).max(0.0), to - zero, kind, cycle))
            .collect(),
        marks: Vec::new(),
        panels,
        series: shelf.packed(),
    }
}

/// A run whose time counts from the start of its first judged cycle.
struct Aligned<'a> {
    samples: &'a Table,
    /// Where that is on the run's own clock.
    zero: f64,
    /// The first sample from there on.
    first: usize,
    times: Vec<f64>,
    times_at: usize,
}

impl<'a> Aligned<'a> {
    fn new(run: &'a Recording, shelf: &mut Shelf) -> Self {
        let judged = phases(run).into_iter().find(|phase| phase.3 >= 0);
        let zero = judged.map_or(0.0, |phase| phase.0);
        let all = run.samples.numbers("t_s").unwrap_or_default();
        let first = all.iter().position(|at| *at >= zero).unwrap_or(0);
        let times: Vec<f64> = all[first..].iter().map(|at| at - zero).collect();
        Self {
            samples: &run.samples,
            zero,
            first,
            times_at: shelf.put(thin_times(&times), Precision::Decimals(3)),
            times,
        }
    }

    /// Its values; if asked, counted from the first one, since two processes are never equally large to begin with.
    fn column(&self, name: &str, from_zero: bool) -> Option<Vec<f64>> {
        let all = self
            .samples
            .numbers(name)
            .filter(|values| !is_silent(values))?;
        let values = &all[self.first..];
        let first = values.iter().copied().find(|value| value.is_finite());
        let base = if from_zero { first.unwrap_or(0.0) } else { 0.0 };
        Some(values.iter().map(|value| value - base).collect())
    }
}

/// What was added per second since the last sample.
fn rates(times: &[f64], totals: &[f64]) -> Vec<f64> {
    let rate = |row: usize| {
        let before = row.checked_sub(1)?;
        let seconds = times.get(row)? - times.get(before)?;
        (seconds > 0.0).then(|| (totals[row] - totals[before]) / seconds)
    };
    (0..totals.len())
        .map(|row| rate(row).unwrap_or(f64::NAN))
        .collect()
}

/// How many rows become two.
fn stretch(rows: usize) -> usize {
    (2 * rows).div_ceil(MOST_ROWS)
}

/// Of each stretch the least and the greatest value; as it is if it is short.
fn thin(values: Vec<f64>) -> Vec<f64> {
    if values.len() <= MOST_ROWS {
        return values;
    }
    let both = |part: &[f64]| {
        [
            part.iter().copied().fold(f64::NAN, f64::min),
            part.iter().copied().fold(f64::NAN, f64::max),
        ]
    };
    values
        .chunks(stretch(values.len()))
        .flat_map(both)
        .collect()
}

/// The times that belong to [`thin`] values.
fn thin_times(times: &[f64]) -> Vec<f64> {
    if times.len() <= MOST_ROWS {
        return times.to_vec();
    }
    let both = |part: &[f64]| [part[0], part[part.len() / 2]];
    times.chunks(stretch(times.len())).flat_map(both).collect()
}

fn summary(panel: &'static str, unit: &str, label: &str, name: &str, values: &[f64]) -> Summary {
    let mut known: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    let ends = (known.first().copied(), known.last().copied());
    known.sort_by(f64::total_cmp);
    let told =
        |value: Option<f64>| value.map_or_else(|| "not read".into(), |value| told(unit, value));
    Summary {
        panel,
        label: label.into(),
        name: name.into(),
        missing: values.len() - known.len(),
        told: [
            told(ends.0),
            told(known.first().copied()),
            told(known.get(known.len() / 2).copied()),
            told(known.last().copied()),
            told(ends.1),
        ],
    }
}

fn told(unit: &str, value: f64) -> String {
    match unit {
        "bytes" => bytes(value),
        "micros" if value >= 1000.0 => format!("{:.1} ms", value / 1000.0),
        "micros" => format!("{value:.0} µs"),
        "share" => format!("{:.1} %", 100.0 * value),
        "rate" => format!("{value:.1}/s"),
        _ => super::super::facts::whole(value),
    }
}

/// How long the recording is.
pub(super) fn seconds(recording: &Recording) -> f64 {
    let last = |table: &Table| {
        table
            .numbers("t_s")
            .and_then(|times| times.iter().copied().rfind(|time| time.is_finite()))
    };
    let ended = recording.manifest.ended.as_ref().map(|ended| ended.t_s);
    let known = [ended, last(&recording.samples), last(&recording.events)];
    known.into_iter().flatten().fold(0.0, f64::max)
}

/// `[from, to, kind, cycle]`, from the events: they know the moment.
pub(super) fn phases(recording: &Recording) -> Vec<(f64, f64, String, i64)> {
    let events = &recording.events;
    let begun: Vec<(f64, String, i64)> = (0..events.rows())
        .filter(|row| events.text("kind", *row) == Some("phase"))
        .filter_map(|row| {
            let (kind, cycle) = events.text("text", row)?.split_once(" of cycle ")?;
            Some((
                events.number("t_s", row)?,
                kind.to_owned(),
                cycle.parse().ok()?,
            ))
        })
        .collect();
    let ends = begun
        .iter()
        .skip(1)
        .map(|next| next.0)
        .chain([seconds(recording)]);
    begun
        .iter()
        .zip(ends)
        .map(|((from, kind, cycle), to)| (*from, to, kind.clone(), *cycle))
        .collect()
}

/// Everything that happened but the phases: when, what kind, in words.
pub(super) fn events(recording: &Recording) -> Vec<(f64, String, String)> {
    let events = &recording.events;
    let text = |name: &str, row| visible(events.text(name, row).unwrap_or_default());
    (0..events.rows())
        .map(|row| {
            (
                events.number("t_s", row).unwrap_or(f64::NAN),
                text("kind", row),
                text("text", row),
            )
        })
        .filter(|event| event.1 != "phase" && event.0.is_finite())
        .collect()
}

/// What deserves a line through every plot.
pub(super) fn is_marked(kind: &str) -> bool {
    !matches!(kind, "note" | "end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_thinned_and_keeps_every_spike() {
        let rows = 604_800;
        let mut values = vec![5.0; rows];
        values[123_456] = 9.0;
        values[400_001] = f64::NAN;
        let times: Vec<f64> = (0..rows).map(|second| second as f64).collect();
        let (thinned, when) = (thin(values), thin_times(&times));
        assert_eq!(thinned.len(), when.len());
        assert!(thinned.len() <= MOST_ROWS + 2);
        assert!(when.is_sorted());
        let spike = thinned.iter().position(|value| *value > 8.0).unwrap();
        assert!((when[spike] - 123_456.0).abs() < 14.0);
        assert!(
            thinned.iter().all(|value| value.is_finite()),
            "one gap in a stretch hides nothing"
        );
    }

    #[test]
    fn a_rate_needs_two_samples_and_time_between_them() {
        let rates = rates(&[1.0, 2.0, 2.0, 4.0], &[10.0, 15.0, 15.0, f64::NAN]);
        assert!(rates[0].is_nan() && rates[2].is_nan() && rates[3].is_nan());
        assert!((rates[1] - 5.0).abs() < 1e-9);
    }
}
