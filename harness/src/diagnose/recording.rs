//! From a run directory to evidence: which rows and columns of the recording are the rows of the regression.
//!
//! In: a [`Recording`]. Out: [`Evidence`] for [`judge`](super::verdict::judge). Start at [`evidence`].
//! Row 0 is the reading that ends priming; the rows are the readings themselves, taken at quiescence, so no window of samples
//! is needed and cycles may be short. A missing cell stays missing. Never decides anything.

use std::ops::{Range, RangeInclusive};

use crate::{
    plan::{Factor, Leave},
    record::{Recording, Series, SoakFacts, Table},
};

use super::{
    backlog,
    counters::Counter,
    envelope::Envelope,
    finding::{self, Findings},
    forgotten,
    generations::{self, Generations},
    lag, limit,
    observations::{Control, Dose, Kept, Kind, Nuisance, Observations, Precision},
    rests::Rest,
    run,
    signal::Signal,
    staircase,
    stats::order::{differences, least, median},
    verdict::{self, Evidence, Memory, Rules, Tolerance},
    zombies::Waiting,
};

/// Pages are what the kernel counts.
const PAGE: f64 = 4096.0;

/// Memory signals and the columns that hold them, the most believed first.
pub(super) const MEMORY: [(Signal, Series); 5] = [
    (Signal::Allocated, Series::Allocated),
    (Signal::Heap, Series::Heap),
    (Signal::PssAnon, Series::PssAnon),
    (Signal::RssAnon, Series::Anon),
    (Signal::Rss, Series::Rss),
];

/// A regression of more rows than this costs minutes and says no more: doses and readings add up, so every second row of a longer
/// soak is a soak of blocks twice as long (the method, §5).
const MOST_ROWS: usize = 600;

/// Counters and the columns that hold them. CPU is read in the rests: the read windows of short cycles are too short for it.
const COUNTERS: [(Signal, Series); 2] = [
    (Signal::Descriptors, Series::Fds),
    (Signal::Threads, Series::Threads),
];

/// Judges a recording: memory and counters by the method, then how the run ended and what was not cleaned up.
pub fn judge(recording: &Recording) -> Findings {
    judge_from(recording, Signal::Allocated)
}

/// The same as if memory had only been read by this signal, and by those that are believed less: what would have been known without an
/// allocator's statistics?
pub fn judge_from(recording: &Recording, best: Signal) -> Findings {
    if recording.manifest.kind == run::KIND_CLEANUP {
        return Findings::new(forgotten::findings(recording))
            .with(run::findings(recording))
            .with(generations::of_cleanup(recording))
            .with_allocations(recording.stacks.as_ref());
    }
    if recording.manifest.kind == staircase::KIND {
        return staircase::judge(recording);
    }
    let rows = Rows::of(recording);
    let evidence = gathered(recording, &rows, best);
    let rules = rules(recording);
    let judgement = verdict::judge(&evidence, &rules);
    finding::findings(&evidence, &judgement, &rules)
        .with(run::findings(recording))
        .with(backlog::findings(recording))
        .with(limit::findings(recording, &judgement))
        .with(generations::findings(recording, &rows.generations))
        .with_allocations(recording.stacks.as_ref())
}

/// Judges evidence of any origin.
pub fn judge_evidence(evidence: &Evidence, rules: &Rules) -> Findings {
    finding::findings(evidence, &verdict::judge(evidence, rules), rules)
}

fn rules(recording: &Recording) -> Rules {
    let usual = Rules::default();
    Rules {
        tolerance: tolerance(recording),
        cache_units: recording
            .manifest
            .plan
            .soak
            .map_or(usual.cache_units, |soak| f64::from(soak.cache_units)),
        ..usual
    }
}

/// Whether a target that was first read after the row `before` is warmed up at `row`: after as many cycles as priming has, and in a
/// soak after its caches are full again.
fn is_warm(recording: &Recording, before: usize, row: usize) -> bool {
    let table = &recording.readings;
    let plan = &recording.manifest.plan;
    let is_cycle = |row: &usize| table.text("kind", *row) == Some("cycle");
    let cycles = (before + 1..row).filter(is_cycle).count();
    let given = |column: &str| {
        let total = |row| table.number(column, row).unwrap_or(0.0);
        total(row) - total(before)
    };
    let fills = |name: &String| match name.parse::<Factor>() {
        Ok(Factor::Closed(leave)) => Some(given(&closed(leave))),
        Ok(Factor::Session) => Some(given("sessions_created_total")),
        _ => None,
    };
    let is_full = |soak: SoakFacts| {
        let mut units = plan.factors.iter().filter_map(fills);
        units.all(|units| units >= f64::from(soak.cache_units))
    };
    cycles >= plan.priming.max(1) as usize && plan.soak.is_none_or(is_full)
}

/// What the rows of a recording are.
fn kind(recording: &Recording) -> Kind {
    match recording.manifest.plan.soak {
        None => Kind::Assay,
        Some(soak) if soak.drained => Kind::Drained,
        Some(_) => Kind::Soak,
    }
}

/// What the profile tolerates per unit.
pub fn tolerance(recording: &Recording) -> Tolerance {
    let asked = recording.manifest.plan.tolerances;
    let [connection, session, event] =
        [asked.connection, asked.session, asked.event].map(|size| size.0 as f64);
    Tolerance {
        connection,
        session,
        turn: session,
        event,
    }
}

/// What a recording has to say.
pub fn evidence(recording: &Recording) -> Evidence {
    evidence_from(recording, Signal::Allocated)
}

/// The same as if memory had only been read by this signal, and by those that are believed less.
pub fn evidence_from(recording: &Recording, best: Signal) -> Evidence {
    gathered(recording, &Rows::of(recording), best)
}

fn gathered(recording: &Recording, rows: &Rows<'_>, best: Signal) -> Evidence {
    let memory: Vec<Memory> = MEMORY
        .into_iter()
        .filter(|(signal, _)| *signal >= best)
        .filter_map(|(signal, series)| {
            Some(Memory {
                signal,
                rows: rows.observations(&rows.cycles, signal, series, recording)?,
            })
        })
        .collect();
    let counters = COUNTERS
        .into_iter()
        .filter_map(|(signal, series)| {
            let readings = rows.seen(&rows.cycles, series)?;
            Some(Counter {
                signal,
                rows: memory.first()?.rows.counting(readings, signal.floor()),
            })
        })
        .collect();
    let best = memory.first().and_then(|best| {
        MEMORY
            .into_iter()
            .find(|(signal, _)| *signal == best.signal)
    });
    Evidence {
        counters,
        rests: rows.rests(),
        waiting: best.and_then(|(signal, series)| rows.waiting(signal, series, recording)),
        envelope: envelope(recording, rows).filter(|_| kind(recording) != Kind::Soak),
        looks: rows.looks(recording),
        memory,
    }
}

/// Which rows of `readings.csv` are what.
struct Rows<'a> {
    table: &'a Table,
    /// Row 0 and the judged cycles.
    cycles: Vec<usize>,
    /// First and last reading of every rest, the one before the first connection first. Of the longest stretch alone, if the target
    /// was replaced.
    rests: Vec<(usize, usize)>,
    /// Where the target was replaced.
    generations: Generations,
}

impl<'a> Rows<'a> {
    fn of(recording: &'a Recording) -> Self {
        let table = &recording.readings;
        let is = |row: &usize, kind: &str| table.text("kind", *row) == Some(kind);
        let judged = |row: &usize| {
            table
                .number("cycle", *row)
                .is_some_and(|cycle| cycle >= -1.0)
        };
        let readings: Vec<usize> = (0..table.rows()).filter(|row| is(row, "cycle")).collect();
        let generations = Generations::of(
            table,
            &readings,
            |row| judged(&row),
            |before, row| is_warm(recording, before, row),
        );
        let mut cycles = generations.judged();
        while cycles.len() > MOST_ROWS {
            cycles = cycles.into_iter().step_by(2).collect();
        }
        let whole = generations.whole(table.rows());
        let is_its = |row: &usize| whole.contains(row) && generations.is_of_longest(table, *row);
        let starts = (0..table.rows()).filter(|row| is(row, "rest-start"));
        let rests = starts
            .filter(|row| is(&(row + 1), "rest-end"))
            .filter(|row| [*row, row + 1].iter().all(is_its))
            .map(|row| (row, row + 1))
            .collect();
        Self {
            table,
            cycles,
            rests,
            generations,
        }
    }

    /// When an assay was looked at before its end, seconds since row 0.
    fn looks(&self, recording: &Recording) -> Vec<f64> {
        let facts = recording.manifest.plan.adaptive.as_ref();
        let looks = facts.map_or(&[][..], |facts| &facts.looks);
        let number = |name: &str, row: usize| self.table.number(name, row);
        let last = self.cycles.last().and_then(|row| number("cycle", *row));
        let at = |cycles: &u32| {
            let cycle = f64::from(*cycles) - 1.0;
            let is_in = |row: &&usize| number("cycle", **row).is_some_and(|c| c <= cycle);
            let row = self.cycles.iter().rfind(is_in)?;
            let since = number("t_s", *row)? - number("t_s", *self.cycles.first()?)?;
            last.is_some_and(|last| cycle + 0.5 < last).then_some(since)
        };
        looks.iter().filter_map(at).collect()
    }

    /// A column at some rows, missing values as `NaN`; `None` if it was never read.
    fn column(&self, rows: &[usize], name: &str) -> Option<Vec<f64>> {
        let all = self.table.numbers(name)?;
        let values: Vec<f64> = rows
            .iter()
            .map(|row| all.get(*row).copied().unwrap_or(f64::NAN))
            .collect();
        values
            .iter()
            .any(|value| value.is_finite())
            .then_some(values)
    }

    /// A series at some rows. An allocator's account counts only where it was asked to tidy up first.
    fn seen(&self, rows: &[usize], series: Series) -> Option<Vec<f64>> {
        let mut values = self.column(rows, series.name())?;
        if series == Series::Allocated {
            let settled = self.column(rows, "settled")?;
            values
                .iter_mut()
                .zip(settled)
                .filter(|(_, settled)| *settled < 0.5)
                .for_each(|(value, _)| *value = f64::NAN);
        }
        values
            .iter()
            .any(|value| value.is_finite())
            .then_some(values)
    }

    /// A column minus its value in the first of the rows.
    fn since_first(&self, rows: &[usize], name: &str) -> Option<Vec<f64>> {
        let values = self.column(rows, name)?;
        let first = *values.first()?;
        Some(values.into_iter().map(|value| value - first).collect())
    }

    fn observations(
        &self,
        rows: &[usize],
        signal: Signal,
        series: Series,
        recording: &Recording,
    ) -> Option<Observations> {
        let readings = self.seen(rows, series)?;
        let seconds = self.since_first(rows, "t_s")?;
        let cycle_seconds = median(&differences(&seconds)).unwrap_or(1.0).max(1e-3);
        Some(Observations {
            kind: kind(recording),
            readings,
            doses: self.doses(rows, recording),
            nuisances: self.nuisances(rows, recording),
            control: self.control(rows),
            precision: self.precision(signal, series, recording),
            time_floor: signal.floor() / cycle_seconds,
            seconds,
            cycle_seconds,
        })
    }

    /// Under load, memory follows whoever is there. Drained, nobody is, and sessions that stay are what is asked about.
    fn nuisances(&self, rows: &[usize], recording: &Recording) -> Vec<Nuisance> {
        let steps = self.generations.steps(rows);
        if kind(recording) != Kind::Soak {
            return steps;
        }
        let nuisance = |name: &str, column: &str| {
            Some(Nuisance {
                name: name.into(),
                values: self.column(rows, column)?,
                kept: Kept::IfItVaries,
            })
        };
        let live = nuisance("live connections", "live_connections");
        live.into_iter()
            .chain(nuisance("live sessions", "live_sessions"))
            .chain(steps)
            .collect()
    }

    /// Every factor of the plan, and every way of leaving that happened besides (the probe leaves by FIN).
    fn doses(&self, rows: &[usize], recording: &Recording) -> Vec<Dose> {
        let planned = recording
            .manifest
            .plan
            .factors
            .iter()
            .filter_map(|name| name.parse::<Factor>().ok());
        let mut factors: Vec<Factor> = planned
            .filter(|factor| *factor != Factor::Control)
            .collect();
        let happened = |leave: &Leave| {
            self.since_first(rows, &closed(*leave))
                .is_some_and(|total| total.iter().any(|units| *units > 0.5))
        };
        let asked = factors.len();
        // A chat is read to its end, so `complete` without a dose of its own is only another name for its sessions and turns.
        let besides = |leave: &Leave| *leave != Leave::Complete && happened(leave);
        for leave in Leave::ALL.into_iter().filter(besides) {
            if !factors.contains(&Factor::Closed(leave)) {
                factors.push(Factor::Closed(leave));
            }
        }
        let lag = lag::of(&self.pauses());
        let dose = |factor| {
            let (total, waited) = match factor {
                Factor::Closed(leave) => (closed(leave), Some(exposure(leave))),
                Factor::Session => ("sessions_created_total".into(), None),
                Factor::Turn => ("turns_total".into(), None),
                Factor::Event => (self.events(rows), None),
                _ => return None,
            };
            let waited = waited.and_then(|name| self.waited(rows, &total, &name, lag));
            let mut total = self.since_first(rows, &total)?;
            if factor == Factor::Session {
                self.take_away_deleted(rows, &mut total);
            }
            Some(Dose {
                factor,
                total,
                waited,
            })
        };
        let mut doses: Vec<Dose> = factors.into_iter().filter_map(dose).collect();
        let besides = doses.split_off(asked.min(doses.len()));
        let is_planned = |one: &Dose| doses.iter().any(|planned| is_twin(one, planned));
        let others: Vec<Dose> = besides.into_iter().filter(|one| !is_planned(one)).collect();
        doses.extend(others);
        doses
    }

    /// A session that its own client deleted is not left to the server.
    fn take_away_deleted(&self, rows: &[usize], created: &mut [f64]) {
        let deleted = self.since_first(rows, "sessions_deleted_total");
        let deleted = deleted.unwrap_or_default();
        for (created, deleted) in created.iter_mut().zip(deleted) {
            *created -= deleted;
        }
    }

    /// The column that counts events: the target's own, if it reports one. What it sends to clients that never read is sent, but never
    /// received: by our count alone, a leak per event looks like a leak per stalled reader. A count that falls began anew with a process of it.
    fn events(&self, rows: &[usize]) -> String {
        let own = "target_events_total";
        let told = self.column(rows, own).is_some_and(|counts| {
            counts.iter().all(|count| count.is_finite()) && counts.is_sorted()
        });
        if told { own } else { "events_total" }.into()
    }

    /// Connection-seconds since the closes at the moments of the readings, counted from the first. Who closed before the target was
    /// replaced waits no longer.
    fn waited(&self, rows: &[usize], name: &str, waited: &str, lag: f64) -> Option<Vec<f64>> {
        let (closed, mut waited) = (self.column(rows, name)?, self.column(rows, waited)?);
        let seconds = self.column(rows, "t_s")?;
        for (i, row) in rows.iter().enumerate() {
            if self.is(*row, "cycle") {
                waited[i] = lag::at_reading(waited[i], closed[i], lag);
            }
        }
        let (first, begun) = (*waited.first()?, *seconds.first()?);
        let died = self.generations.before_longest();
        let died = died.map_or(0.0, |row| self.table.number(name, row).unwrap_or(0.0));
        let since = waited.into_iter().zip(seconds);
        Some(
            since
                .map(|(value, at)| value - first - died * (at - begun))
                .collect(),
        )
    }

    /// Where a rest begins after a cycle, and nobody closed in between.
    fn pauses(&self) -> Vec<lag::Pause> {
        let all = |name: fn(Leave) -> String, row| {
            let each = Leave::ALL.into_iter();
            each.filter_map(|leave| self.table.number(&name(leave), row))
                .sum::<f64>()
        };
        let starts = self.rests.iter().map(|rest| rest.0);
        let pause = |start: usize| {
            let before = start.checked_sub(1)?;
            let gained =
                |name| Some(self.table.number(name, start)? - self.table.number(name, before)?);
            let (closed, then) = (all(closed, start), all(closed, before));
            let is_pause = self.is(before, "cycle") && (closed - then).abs() < 0.5;
            is_pause.then_some(())?;
            Some(lag::Pause {
                seconds: gained("t_s")?,
                waited: all(exposure, start) - all(exposure, before),
                closed,
            })
        };
        starts.filter_map(pause).collect()
    }

    fn is(&self, row: usize, kind: &str) -> bool {
        self.table.text("kind", row) == Some(kind)
    }

    fn control(&self, rows: &[usize]) -> Option<Control> {
        let blocks = self.since_first(rows, "retained_blocks_total")?;
        let bytes = self.since_first(rows, "retained_bytes_total")?;
        let (last_blocks, last_bytes) = (*blocks.last()?, *bytes.last()?);
        (last_blocks > 0.5).then(|| Control {
            blocks,
            bytes_each: last_bytes / last_blocks,
        })
    }

    fn precision(&self, signal: Signal, series: Series, recording: &Recording) -> Precision {
        if matches!(signal, Signal::Allocated | Signal::Heap) {
            return Precision::exact(signal.floor());
        }
        let name = series.name();
        let (footprint, retained) = self.footprint(series, recording).unwrap_or((0.0, 0.0));
        Precision {
            floor: signal.floor(),
            granularity: self.granularity(name),
            dither: self.dither(name),
            footprint,
            retained,
        }
    }

    /// The smallest step the series was seen to take, at least a page.
    fn granularity(&self, name: &str) -> f64 {
        let values = self.column(&self.cycles, name).unwrap_or_default();
        let steps: Vec<f64> = differences(&values)
            .into_iter()
            .map(f64::abs)
            .filter(|step| *step > 0.0)
            .collect();
        if steps.is_empty() {
            2_097_152.0
        } else {
            least(&steps).max(PAGE)
        }
    }

    fn dither(&self, name: &str) -> f64 {
        let within = self
            .column(&self.cycles, &format!("{name}_dither"))
            .unwrap_or_default();
        let known: Vec<f64> = within
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        (known.iter().map(|value| value * value).sum::<f64>() / known.len().max(1) as f64).sqrt()
    }

    /// Bytes that come with the probe's connections, and the share of them that stays when they left (the method, §4).
    fn footprint(&self, series: Series, recording: &Recording) -> Option<(f64, f64)> {
        let before = recording.samples.number(series.name(), 0)?;
        let peaks = self.column(&self.cycles, &format!("probe_{}", series.name()))?;
        let live = self.column(&self.cycles, "probe_connections")?;
        let (peak, at_peak) = (median(&finite(&peaks))?, median(&finite(&live))?);
        let each = (peak - before).max(1.0) / at_peak.max(1.0);
        let readings = self.seen(&self.cycles, series)?;
        let stays = match kind(recording) {
            Kind::Soak => self.column(&self.cycles, "live_connections")?,
            _ => vec![f64::from(recording.manifest.plan.standing); readings.len()],
        };
        let given_back: Vec<f64> = peaks
            .iter()
            .zip(&readings)
            .zip(live.iter().zip(&stays))
            .map(|((peak, reading), (live, stays))| {
                (peak - reading) / (each * (live - stays).max(1.0))
            })
            .collect();
        Some((each * at_peak, 1.0 - median(&finite(&given_back))?))
    }

    fn rests(&self) -> Vec<Rest> {
        self.rests
            .iter()
            .filter_map(|(start, end)| self.rest(*start, *end))
            .collect()
    }

    fn rest(&self, start: usize, end: usize) -> Option<Rest> {
        let number = |name: &str, row| self.table.number(name, row);
        let seconds = number("t_s", end)? - number("t_s", start)?;
        let growth =
            |name: &str| Some((number(name, end)? - number(name, start)?) / seconds.max(1e-3));
        Some(Rest {
            closed: Leave::ALL
                .into_iter()
                .filter_map(|leave| number(&closed(leave), start))
                .sum(),
            seconds,
            cpu: growth("cpu_seconds"),
            memory_growth: growth("rss_bytes"),
            heap_growth: growth(Series::Allocated.name()).or_else(|| growth(Series::Heap.name())),
            descriptors: number("fds", end),
            threads: number("threads", end),
        })
    }

    /// The rows of the zombie test: every reading from row 0 on, and both ends of every rest after priming.
    fn waiting(&self, signal: Signal, series: Series, recording: &Recording) -> Option<Waiting> {
        let whole = self.generations.whole(self.table.rows());
        let cycles = || {
            self.cycles
                .iter()
                .copied()
                .filter(|row| whole.contains(row))
        };
        let first = cycles().next()?;
        let later: Vec<(usize, usize)> = self
            .rests
            .iter()
            .copied()
            .filter(|(start, _)| *start > first)
            .collect();
        let mut rows: Vec<usize> = cycles()
            .chain(later.iter().flat_map(|(start, end)| [*start, *end]))
            .collect();
        rows.sort_unstable();
        let place = |row: usize| rows.iter().position(|known| *known == row);
        let rests = later
            .iter()
            .filter_map(|(start, end)| Some((place(*start)?, place(*end)?)))
            .collect();
        let before = self.rests.iter().find(|(start, _)| *start < first);
        let growth_before = before.and_then(|(start, end)| {
            let [from, to] = [start, end].map(|row| self.table.number(series.name(), *row));
            let [begun, ended] = [start, end].map(|row| self.table.number("t_s", *row));
            Some(((to? - from?) / (ended? - begun?).max(1e-3)).max(0.0))
        });
        Some(Waiting {
            rows: self.observations(&rows, signal, series, recording)?,
            rests,
            growth_before: growth_before.unwrap_or(0.0),
        })
    }
}

/// Whether two were only ever given together, one of each: sessions that are made to the end also complete a connection. What the
/// plan names is what was asked about.
fn is_twin(one: &Dose, other: &Dose) -> bool {
    let same = |(a, b): (&f64, &f64)| (a - b).abs() < 0.5 || (a.is_nan() && b.is_nan());
    one.total.iter().zip(&other.total).all(same)
}

fn closed(leave: Leave) -> String {
    format!("closed_{}_total", leave.name().replace('-', "_"))
}

fn exposure(leave: Leave) -> String {
    format!("exposure_{}_connection_s", leave.name().replace('-', "_"))
}

fn finite(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect()
}

/// The least resident memory of every cycle in any sample or reading without load; within the longest stretch of the same target.
fn envelope(recording: &Recording, rows: &Rows<'_>) -> Option<Envelope> {
    let whole = rows.generations.whole(rows.table.rows());
    let cycles: Vec<usize> = rows
        .cycles
        .iter()
        .copied()
        .filter(|row| whole.contains(row))
        .collect();
    let at = rows.column(&cycles, "t_s")?;
    let span = time_of(rows.table, &whole);
    let mut seen = idle(&recording.samples, &rows.generations)?;
    seen.extend(at.iter().copied().zip(rows.seen(&cycles, Series::Rss)?));
    seen.retain(|(time, bytes)| span.contains(time) && bytes.is_finite());
    seen.sort_by(|one, other| one.0.total_cmp(&other.0));
    let between = |from: f64, to: f64| {
        let [from, to] = [from, to].map(|end| seen.partition_point(|(time, _)| *time <= end));
        let here: Vec<f64> = seen[from.min(to)..to].iter().map(|one| one.1).collect();
        (!here.is_empty()).then(|| least(&here))
    };
    let all_closed = |row: usize| -> f64 {
        let closed = |leave| recording.readings.number(&closed(leave), row);
        Leave::ALL.into_iter().filter_map(closed).sum()
    };
    let mut begun = f64::NEG_INFINITY;
    let mut found = Envelope::default();
    for (row, end) in cycles.iter().zip(&at) {
        if let Some(lowest) = between(begun, *end) {
            found.least.push(lowest);
            found.closed.push(all_closed(*row));
        }
        begun = *end;
    }
    found.last_rest = between(*at.last()?, f64::INFINITY);
    Some(found)
}

/// Time and resident memory of the samples without load, of the target that was there longest.
fn idle(samples: &Table, generations: &Generations) -> Option<Vec<(f64, f64)>> {
    let (times, memory) = (
        samples.numbers("t_s")?,
        samples.numbers(Series::Rss.name())?,
    );
    let is_idle = |row: &usize| {
        let phase = samples.text("phase", *row);
        matches!(phase, Some("drain" | "settle" | "read" | "rest"))
    };
    let rows = (0..samples.rows()).filter(is_idle);
    let rows = rows.filter(|row| generations.is_of_longest(samples, *row));
    Some(rows.map(|row| (times[row], memory[row])).collect())
}

/// The time in which the target was surely the one of these readings: from its first to its last, or without end where nobody
/// came before or after.
fn time_of(table: &Table, rows: &Range<usize>) -> RangeInclusive<f64> {
    let time = |row: usize| table.number("t_s", row);
    let from = (rows.start > 0).then(|| time(rows.start)).flatten();
    let to = (rows.end < table.rows())
        .then(|| time(rows.end.saturating_sub(1)))
        .flatten();
    from.unwrap_or(f64::NEG_INFINITY)..=to.unwrap_or(f64::INFINITY)
}
