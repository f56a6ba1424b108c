//! Rows per second become rows per cycle (the method, §4).

use std::ops::Range;

use super::{
    cycles::Cycles,
    table::{Phase, Table},
};
use crate::diagnose::{
    counters::Counter,
    envelope::Envelope,
    observations::{Dose, Kept, Kind, Nuisance, Observations, Precision},
    rests::{Rest, quiet_rate},
    signal::Signal,
    stats::order::{count, differences, greatest, least, mean, median, position_of_least},
    verdict::{Evidence, Memory},
    zombies::Waiting,
};

/// The smallest step resident memory can take, and the one to assume where it never moved (a huge page).
const PAGE: f64 = 4096.0;
const HUGE_PAGE: f64 = 2_097_152.0;
/// A forced collection is looked for in so many last seconds of a cycle.
const COLLECTED_WITHIN: usize = 12;

/// Everything a trace has to say.
pub(super) fn of(table: &Table, cycles: &Cycles) -> Evidence {
    let windows: Vec<Range<usize>> = cycles.cycles.iter().map(|c| c.read.clone()).collect();
    let rss = resident(table, cycles, &windows);
    if table.soak {
        let memory = vec![Memory {
            signal: Signal::Rss,
            rows: rss,
        }];
        return Evidence {
            memory,
            ..Evidence::default()
        };
    }
    let counters = counters(table, &windows, &rss);
    let mut memory = vec![Memory {
        signal: Signal::Rss,
        rows: rss,
    }];
    let mut at = windows
        .iter()
        .map(|w| (w.end - w.len() / 2).saturating_sub(1))
        .collect();
    if let Some(heap) = &table.heap {
        at = collections(cycles, heap);
        let rows = observations(
            table,
            cycles,
            heap,
            &moments(&at),
            Precision::exact(Signal::Heap.floor()),
        );
        memory.insert(
            0,
            Memory {
                signal: Signal::Heap,
                rows,
            },
        );
    }
    Evidence {
        memory,
        counters,
        rests: cycles
            .rests
            .iter()
            .map(|r| rest(table, r.clone()))
            .collect(),
        waiting: waiting(table, cycles, &at),
        envelope: Some(envelope(table, cycles)),
        looks: Vec::new(),
    }
}

fn observations(
    table: &Table,
    cycles: &Cycles,
    series: &[f64],
    windows: &[Range<usize>],
    precision: Precision,
) -> Observations {
    let medians = |column: &[f64]| {
        windows
            .iter()
            .filter_map(|w| median(&column[w.clone()]))
            .collect()
    };
    let since_first = |column: &[f64]| -> Vec<f64> {
        let means: Vec<f64> = windows.iter().map(|w| mean(&column[w.clone()])).collect();
        means.iter().map(|m| m - means[0]).collect()
    };
    let dose = |(factor, total): &(_, Vec<f64>)| Dose {
        factor: *factor,
        total: since_first(total),
        waited: factor
            .is_connection()
            .then(|| since_first(&integral(total, &table.seconds))),
    };
    let nuisance = |name: &str, column: &[f64]| Nuisance {
        name: name.into(),
        values: medians(column),
        kept: Kept::IfItVaries,
    };
    Observations {
        kind: if table.soak { Kind::Soak } else { Kind::Assay },
        readings: medians(series),
        seconds: since_first(&table.seconds),
        cycle_seconds: count(cycles.length),
        doses: table.totals.iter().map(dose).collect(),
        nuisances: vec![
            nuisance("live connections", &table.live),
            nuisance("live sessions", &table.sessions),
        ],
        control: None,
        time_floor: precision.floor / count(cycles.length),
        precision,
    }
}

/// The time integral of a total, by the rectangle after each step.
fn integral(total: &[f64], seconds: &[f64]) -> Vec<f64> {
    let lengths = std::iter::once(0.0).chain(differences(seconds));
    let areas = total.iter().zip(lengths).map(|(n, length)| n * length);
    areas
        .scan(0.0, |sum, area| {
            *sum += area;
            Some(*sum)
        })
        .collect()
}

/// Resident memory: windows, page steps, and what the allocator keeps of a probe's footprint.
fn resident(table: &Table, cycles: &Cycles, windows: &[Range<usize>]) -> Observations {
    let rss = &table.rss;
    let exact = Precision::exact(Signal::Rss.floor());
    let mut rows = observations(table, cycles, rss, windows, exact);
    let steps: Vec<f64> = differences(&rss[windows[0].start..])
        .into_iter()
        .map(f64::abs)
        .filter(|d| *d > 0.0)
        .collect();
    rows.precision.granularity = if steps.is_empty() {
        HUGE_PAGE
    } else {
        least(&steps).max(PAGE)
    };
    let off = windows
        .iter()
        .zip(&rows.readings)
        .flat_map(|(w, y)| rss[w.clone()].iter().map(move |m| (m - y).powi(2)));
    rows.precision.dither = mean(&off.collect::<Vec<f64>>()).sqrt();
    if let Some((footprint, retained)) = footprint(table, cycles, &rows) {
        rows.precision.footprint = footprint;
        rows.precision.retained = retained;
    }
    rows
}

/// Bytes that the probe's connections need, and the share of them that stays. `None` without a probe.
fn footprint(table: &Table, cycles: &Cycles, rows: &Observations) -> Option<(f64, f64)> {
    let live_at_reading = &rows.nuisances[0].values;
    let mut peaks: Vec<(f64, f64, f64, f64)> = Vec::new();
    for (i, cycle) in cycles.cycles.iter().enumerate() {
        let probe =
            |column: &[f64]| greatest(&in_phase(table, cycle.rows.clone(), column, Phase::Probe));
        let (peak, live) = (probe(&table.rss), probe(&table.live));
        if peak.is_finite() {
            peaks.push((peak, live, rows.readings[i], live_at_reading[i]));
        }
    }
    let of = |pick: fn(&(f64, f64, f64, f64)) -> f64| peaks.iter().map(pick).collect::<Vec<f64>>();
    let (peak, live) = (median(&of(|p| p.0))?, median(&of(|p| p.1))?);
    let each = (peak - table.rss[0]).max(1.0) / (live - table.live[0]).max(1.0);
    let given_back = |p: &(f64, f64, f64, f64)| (p.0 - p.2) / (each * (p.1 - p.3).max(1.0));
    let given_back: Vec<f64> = peaks.iter().map(given_back).collect();
    Some((each * live, 1.0 - median(&given_back)?))
}

fn in_phase(table: &Table, rows: Range<usize>, column: &[f64], phase: Phase) -> Vec<f64> {
    rows.filter(|&i| table.phase[i] == phase)
        .map(|i| column[i])
        .collect()
}

/// The row of the last forced collection of each cycle: the last change of the column, else the cycle's last row.
fn collections(cycles: &Cycles, heap: &[f64]) -> Vec<usize> {
    let last = |rows: &Range<usize>| {
        let from = rows.start.max(rows.end.saturating_sub(COLLECTED_WITHIN));
        (from..rows.end)
            .rfind(|&i| changed(heap, i))
            .unwrap_or(rows.end - 1)
    };
    cycles.cycles.iter().map(|c| last(&c.rows)).collect()
}

#[expect(
    clippy::float_cmp,
    reason = "a repeated cell is the same number to the bit"
)]
fn changed(column: &[f64], row: usize) -> bool {
    row > 0 && column[row] != column[row - 1]
}

fn moments(rows: &[usize]) -> Vec<Range<usize>> {
    rows.iter().map(|&i| i..i + 1).collect()
}

fn counters(table: &Table, windows: &[Range<usize>], design: &Observations) -> Vec<Counter> {
    let mut counters = Vec::new();
    let mut add = |signal: Signal, rows: Option<Vec<f64>>| {
        counters.extend(rows.map(|y| Counter {
            signal,
            rows: design.counting(y, signal.floor()),
        }));
    };
    let cpu = |total: &Vec<f64>| {
        let rate = |w: &Range<usize>| {
            let from = w.start.saturating_sub(1);
            quiet_rate(&total[from..w.end], &table.seconds[from..w.end]).unwrap_or(f64::NAN)
                / Signal::Cpu.scale()
        };
        windows.iter().map(rate).collect()
    };
    let level = |column: &Vec<f64>| {
        windows
            .iter()
            .filter_map(|w| median(&column[w.clone()]))
            .collect()
    };
    add(Signal::Cpu, table.cpu.as_ref().map(cpu));
    add(Signal::Descriptors, table.descriptors.as_ref().map(level));
    add(Signal::Threads, table.threads.as_ref().map(level));
    counters
}

fn rest(table: &Table, rows: Range<usize>) -> Rest {
    let (a, b) = (rows.start, rows.end);
    let part = (rows.len() / 3).max(2);
    let seconds = table.seconds[b - 1] - table.seconds[a];
    let end = |column: &Vec<f64>| median(&column[b - part..b]);
    let start = median(&table.rss[a + 1..a + 1 + part]);
    let grown = |start: f64| Some((end(&table.rss)? - start) / (seconds - count(part)).max(1.0));
    Rest {
        closed: table.closed()[a],
        seconds,
        cpu: table
            .cpu
            .as_ref()
            .and_then(|c| quiet_rate(&c[a + 2..b - 1], &table.seconds[a + 2..b - 1])),
        memory_growth: start.and_then(grown),
        heap_growth: table
            .heap
            .as_ref()
            .map(|heap| heap_growth(table, heap, rows.clone())),
        descriptors: table.descriptors.as_ref().and_then(end),
        threads: table.threads.as_ref().and_then(end),
    }
}

/// From the first collection in a rest to the last.
fn heap_growth(table: &Table, heap: &[f64], rows: Range<usize>) -> f64 {
    match collected_in(heap, rows) {
        Some((i, j)) => (heap[j] - heap[i]) / (table.seconds[j] - table.seconds[i]),
        None => 0.0,
    }
}

fn collected_in(heap: &[f64], mut rows: Range<usize>) -> Option<(usize, usize)> {
    let first = rows.find(|&i| changed(heap, i))?;
    let last = rows.rfind(|&i| changed(heap, i))?;
    Some((first, last))
}

fn envelope(table: &Table, cycles: &Cycles) -> Envelope {
    let closed = table.closed();
    let mut envelope = Envelope::default();
    let mut from = cycles.before;
    for cycle in &cycles.cycles {
        let idle: Vec<usize> = (from..cycle.rows.end)
            .filter(|&i| !matches!(table.phase[i], Phase::Dose | Phase::Probe))
            .collect();
        let memory: Vec<f64> = idle.iter().map(|&i| table.rss[i]).collect();
        if let Some(lowest) = position_of_least(&memory) {
            envelope.least.push(memory[lowest]);
            envelope.closed.push(closed[idle[lowest]]);
        }
        from = cycle.rows.end;
    }
    let last = cycles.rests.iter().find(|r| r.start >= from);
    envelope.last_rest = last.map(|r| least(&table.rss[r.clone()]));
    envelope
}

/// Rows for the zombies: every reading, and the ends of every rest.
fn waiting(table: &Table, cycles: &Cycles, readings: &[usize]) -> Option<Waiting> {
    let smooth;
    let series = if let Some(heap) = &table.heap {
        heap
    } else {
        smooth = smoothed(&table.rss);
        &smooth
    };
    let primed = cycles.cycles[0].rows.end - 1;
    let ends = |rest: &Range<usize>| match &table.heap {
        Some(heap) => collected_in(heap, rest.start.max(1)..rest.end),
        None => Some((rest.start + 3, rest.end - 2)),
    };
    let long = cycles
        .rests
        .iter()
        .filter_map(|r| Some((r.start < primed, ends(r)?)))
        .filter(|(_, (s, t))| *t >= s + 5);
    let (before, after): (Vec<_>, Vec<_>) = long.partition(|(early, _)| *early);
    let mut rows: Vec<usize> = readings.to_vec();
    rows.extend(after.iter().flat_map(|(_, (s, t))| [*s, *t]));
    rows.sort_unstable();
    rows.dedup();
    let place = |row: usize| rows.partition_point(|&r| r < row);
    let growth = |(_, (s, t)): &(bool, (usize, usize))| {
        ((series[*t] - series[*s]) / (table.seconds[*t] - table.seconds[*s]).max(1.0)).max(0.0)
    };
    Some(Waiting {
        rows: observations(
            table,
            cycles,
            series,
            &moments(&rows),
            Precision::exact(Signal::Rss.floor()),
        ),
        rests: after
            .iter()
            .map(|(_, (s, t))| (place(*s), place(*t)))
            .collect(),
        growth_before: before.last().map_or(0.0, growth),
    })
}

/// Means of three seconds; the ends repeat themselves.
fn smoothed(column: &[f64]) -> Vec<f64> {
    let last = column.len() - 1;
    let at = |i: usize| (column[i.saturating_sub(1)] + column[i] + column[(i + 1).min(last)]) / 3.0;
    (0..column.len()).map(at).collect()
}
