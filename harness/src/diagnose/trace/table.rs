//! The file as columns, with every complaint at its line.

use std::fmt;

use crate::units::{Factor, Leave};

/// What the target did in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Probe,
    /// A dose, or the load of a soak.
    Dose,
    Drain,
    Settle,
    Read,
    Rest,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1; `None` for the file as a whole.
    pub line: Option<u64>,
    /// The column, where there is one to blame.
    pub column: Option<String>,
    /// What is wrong, and what was done about it.
    pub what: What,
}

/// What is wrong, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A cell is no finite number from 0 on (a cycle: no whole number; a phase: no phase). The row was left out.
    NotUsable(String),
    /// A cell of an optional column is not usable. The value before it stands in.
    Repeated(String),
    /// The row ends too early. It was left out.
    Truncated,
    /// The same second twice. The later row was left out.
    Duplicate,
    /// The row is older than one before it. It was put in its place.
    OutOfOrder,
    /// A total fell. The value before it stands in.
    WentBack,
    /// The cycle's number is lower than one before it. The row was left out.
    CycleWentBack,
    /// The column is not there, or starts without a value. What it would have told is not judged.
    Missing,
    /// The cycle has no reading. It is no row of the regression.
    NoReading,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(column) = &self.column {
            write!(f, "{column}: ")?;
        }
        match &self.what {
            What::NotUsable(found) => write!(f, "`{found}` cannot be used; row left out"),
            What::Repeated(found) => {
                write!(f, "`{found}` cannot be used; value before it repeated")
            }
            What::Truncated => f.write_str("row ends too early; left out"),
            What::Duplicate => f.write_str("second row for this time; left out"),
            What::OutOfOrder => f.write_str("row is older than one before it; put in its place"),
            What::WentBack => f.write_str("a total fell; value before it repeated"),
            What::CycleWentBack => f.write_str("cycle number fell; row left out"),
            What::Missing => f.write_str("column is missing; what it would tell is not judged"),
            What::NoReading => f.write_str("cycle without a reading; left out"),
        }
    }
}

/// Why a file is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The header line itself is broken.
    #[error("no header line")]
    NoHeader(#[source] csv::Error),
    /// Without it nothing can be judged.
    #[error("column `{0}` is missing")]
    MissingColumn(&'static str),
    /// No cycle ended with a reading.
    #[error("not one cycle with a reading")]
    NoCycles,
}

/// The usable rows, column by column, in order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) lines: Vec<u64>,
    pub(super) seconds: Vec<f64>,
    pub(super) phase: Vec<Phase>,
    pub(super) cycle: Vec<i64>,
    /// Whether any row carries the load of a soak.
    pub(super) soak: bool,
    pub(super) rss: Vec<f64>,
    pub(super) live: Vec<f64>,
    pub(super) sessions: Vec<f64>,
    pub(super) totals: Vec<(Factor, Vec<f64>)>,
    pub(super) heap: Option<Vec<f64>>,
    pub(super) cpu: Option<Vec<f64>>,
    pub(super) descriptors: Option<Vec<f64>>,
    pub(super) threads: Option<Vec<f64>>,
}

const SECONDS: &str = "t_s";
const PHASE: &str = "phase";
const CYCLE: &str = "cycle";
const RSS: &str = "rss_bytes";
/// Columns that may be absent or have gaps.
const OPTIONAL: [&str; 6] = [
    "live_connections",
    "live_sessions",
    "heap_used_bytes",
    "cpu_seconds",
    "fds",
    "threads",
];

/// One row that made it.
struct Row {
    line: u64,
    seconds: f64,
    phase: Phase,
    load: bool,
    cycle: i64,
    rss: f64,
    totals: Vec<f64>,
    optional: Vec<Option<f64>>,
}

/// Where the columns are.
struct Header {
    seconds: usize,
    phase: usize,
    cycle: usize,
    rss: usize,
    totals: Vec<(Factor, String, usize)>,
    optional: Vec<Option<usize>>,
    width: usize,
}

impl Header {
    fn of(names: &csv::StringRecord) -> Result<Self, TraceError> {
        let place = |name: &str| names.iter().position(|n| n.trim() == name);
        let must = |name: &'static str| place(name).ok_or(TraceError::MissingColumn(name));
        let closed = Leave::ALL.map(|leave| {
            let name = format!("closed_{}_total", leave.name().replace('-', "_"));
            (Factor::Closed(leave), name)
        });
        let others = [
            (Factor::Session, "sessions_created_total"),
            (Factor::Turn, "turns_total"),
            (Factor::Event, "events_total"),
        ];
        let others = others.map(|(factor, name)| (factor, name.to_owned()));
        let found = closed.into_iter().chain(others);
        Ok(Self {
            seconds: must(SECONDS)?,
            phase: must(PHASE)?,
            cycle: must(CYCLE)?,
            rss: must(RSS)?,
            totals: found
                .filter_map(|(factor, name)| place(&name).map(|at| (factor, name, at)))
                .collect(),
            optional: OPTIONAL.iter().map(|name| place(name)).collect(),
            width: names.len(),
        })
    }

    fn row(
        &self,
        line: u64,
        cells: &csv::StringRecord,
        problems: &mut Vec<Problem>,
    ) -> Option<Row> {
        let mut complain = |column: Option<&str>, what| {
            problems.push(Problem {
                line: Some(line),
                column: column.map(Into::into),
                what,
            })
        };
        if cells.len() < self.width {
            complain(None, What::Truncated);
            return None;
        }
        let cell = |at: usize| cells.get(at).unwrap_or_default().trim();
        let mut usable = |at: usize, column: &str| {
            let number = number(cell(at));
            if number.is_none() {
                complain(Some(column), What::NotUsable(cell(at).into()));
            }
            number
        };
        let seconds = usable(self.seconds, SECONDS);
        let rss = usable(self.rss, RSS);
        let totals: Vec<Option<f64>> = self
            .totals
            .iter()
            .map(|(_, name, at)| usable(*at, name))
            .collect();
        let (phase, cycle) = (phase(cell(self.phase)), cell(self.cycle).parse().ok());
        if phase.is_none() {
            complain(Some(PHASE), What::NotUsable(cell(self.phase).into()));
        }
        if cycle.is_none() {
            complain(Some(CYCLE), What::NotUsable(cell(self.cycle).into()));
        }
        let mut optional = Vec::new();
        for (at, name) in self.optional.iter().zip(OPTIONAL) {
            let text = at.map_or("", cell);
            optional.push(number(text));
            if !text.is_empty() && number(text).is_none() {
                complain(Some(name), What::Repeated(text.into()));
            }
        }
        let (phase, load) = phase?;
        Some(Row {
            line,
            seconds: seconds?,
            phase,
            load,
            cycle: cycle?,
            rss: rss?,
            totals: totals.into_iter().collect::<Option<_>>()?,
            optional,
        })
    }
}

impl Table {
    /// Reads whatever can be used.
    pub(super) fn parse(text: &str) -> Result<(Self, Vec<Problem>), TraceError> {
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(text.as_bytes());
        let header = Header::of(reader.headers().map_err(TraceError::NoHeader)?)?;
        let mut problems = missing(&header);
        let mut rows = Vec::new();
        let mut cells = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut cells) {
                Ok(false) => break,
                Ok(true) => rows.extend(header.row(line, &cells, &mut problems)),
                Err(_) => problems.push(problem(line, What::Truncated)),
            }
        }
        if let Some(cut) = rows.pop_if(|_| !text.ends_with('\n')) {
            problems.push(problem(cut.line, What::Truncated)); // its last number may miss digits
        }
        let rows = in_order(rows, &mut problems);
        let table = Self::of(&header, &rows, &mut problems);
        Ok((table, problems))
    }

    fn of(header: &Header, rows: &[Row], problems: &mut Vec<Problem>) -> Self {
        let mut optional = (0..OPTIONAL.len()).map(|i| carried(rows.iter().map(|r| r.optional[i])));
        let mut next = || optional.next().flatten();
        let idle = || vec![0.0; rows.len()];
        let (live, sessions) = (next(), next());
        let totals = header
            .totals
            .iter()
            .enumerate()
            .map(|(i, (factor, name, _))| (*factor, rising(rows, i, name, problems)));
        Self {
            totals: totals.collect(),
            lines: rows.iter().map(|r| r.line).collect(),
            seconds: rows.iter().map(|r| r.seconds).collect(),
            phase: rows.iter().map(|r| r.phase).collect(),
            cycle: rows.iter().map(|r| r.cycle).collect(),
            soak: rows.iter().any(|r| r.load),
            rss: rows.iter().map(|r| r.rss).collect(),
            live: live.unwrap_or_else(idle),
            sessions: sessions.unwrap_or_else(idle),
            heap: next(),
            cpu: next(),
            descriptors: next(),
            threads: next(),
        }
    }

    /// Connections closed by then, in any way.
    pub(super) fn closed(&self) -> Vec<f64> {
        let closed = self.totals.iter().filter(|t| t.0.is_connection());
        let sum = crate::diagnose::observations::sum(closed.map(|t| t.1.as_slice()));
        if sum.is_empty() {
            vec![0.0; self.rss.len()]
        } else {
            sum
        }
    }
}

fn problem(line: u64, what: What) -> Problem {
    Problem {
        line: Some(line),
        column: None,
        what,
    }
}

fn missing(header: &Header) -> Vec<Problem> {
    let absent = header
        .optional
        .iter()
        .zip(OPTIONAL)
        .filter(|(at, _)| at.is_none());
    absent
        .map(|(_, name)| Problem {
            line: None,
            column: Some(name.into()),
            what: What::Missing,
        })
        .collect()
}

fn number(text: &str) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0)
}

fn phase(text: &str) -> Option<(Phase, bool)> {
    let phase = match text {
        "probe" => Phase::Probe,
        "dose" | "load" => Phase::Dose,
        "drain" => Phase::Drain,
        "settle" => Phase::Settle,
        "read" => Phase::Read,
        "rest" => Phase::Rest,
        _ => return None,
    };
    Some((phase, text == "load"))
}

/// Rows by time, each second once, cycles never backwards.
fn in_order(mut rows: Vec<Row>, problems: &mut Vec<Problem>) -> Vec<Row> {
    let mut newest = f64::NEG_INFINITY;
    for row in &rows {
        if row.seconds < newest {
            problems.push(problem(row.line, What::OutOfOrder));
        }
        newest = newest.max(row.seconds);
    }
    rows.sort_by(|a, b| a.seconds.total_cmp(&b.seconds)); // stable: of two rows for one second the first stays first
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match kept.last() {
            Some(last) if row.seconds <= last.seconds => {
                problems.push(problem(row.line, What::Duplicate))
            }
            Some(last) if row.cycle < last.cycle => {
                problems.push(problem(row.line, What::CycleWentBack))
            }
            _ => kept.push(row),
        }
    }
    kept
}

/// A total never falls: what falls is a restart or a misprint, and would be taken for a dose.
fn rising(rows: &[Row], column: usize, name: &str, problems: &mut Vec<Problem>) -> Vec<f64> {
    let mut highest: f64 = 0.0;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        if row.totals[column] < highest {
            problems.push(Problem {
                line: Some(row.line),
                column: Some(name.into()),
                what: What::WentBack,
            });
        }
        highest = highest.max(row.totals[column]);
        out.push(highest);
    }
    out
}

/// A blank cell repeats the one before; a column that begins blank is none.
fn carried(cells: impl Iterator<Item = Option<f64>>) -> Option<Vec<f64>> {
    let mut before = None;
    cells
        .map(|cell| {
            before = cell.or(before);
            before
        })
        .collect::<Option<Vec<f64>>>()
        .filter(|column| !column.is_empty())
}
