//! The columns of `samples.csv` and `readings.csv`: name and value side by side, so that they cannot drift apart.

use super::rows::{ReadingRow, SampleRow, Series};
use crate::{
    observe::Sample,
    plan::Leave,
    timeline::{Counts, End},
};

/// A named number of some row; `None` is written as an empty cell.
pub(super) struct Column<R: ?Sized> {
    pub(super) name: String,
    pub(super) value: Value<R>,
}

/// How a number is taken from a row.
type Value<R> = Box<dyn Fn(&R) -> Option<f64>>;

fn column<R: ?Sized>(
    name: impl Into<String>,
    value: impl Fn(&R) -> Option<f64> + 'static,
) -> Column<R> {
    Column {
        name: name.into(),
        value: Box::new(value),
    }
}

/// What the load had done.
fn doses() -> Vec<Column<Counts>> {
    let mut columns = vec![
        column("live_connections", |c: &Counts| Some(c.live() as f64)),
        column("opened_total", |c: &Counts| Some(c.opened as f64)),
        column("connected_total", |c: &Counts| Some(c.connected as f64)),
    ];
    columns.extend(Leave::ALL.map(|leave| {
        let name = format!("closed_{}_total", leave.name().replace('-', "_"));
        column(name, move |c: &Counts| Some(c.closed[leave.index()] as f64))
    }));
    columns.extend(End::ALL.map(|end| {
        column(format!("ended_{}_total", end.name()), move |c: &Counts| {
            Some(c.ended[end as usize] as f64)
        })
    }));
    columns.extend([
        column("not_opened_total", |c: &Counts| Some(c.not_opened as f64)),
        column("sessions_created_total", |c: &Counts| {
            Some(c.sessions_created as f64)
        }),
        column("sessions_deleted_total", |c: &Counts| {
            Some(c.sessions_deleted as f64)
        }),
        column("captures_failed_total", |c: &Counts| {
            Some(c.captures_failed as f64)
        }),
        column("turns_total", |c: &Counts| Some(c.turns as f64)),
        column("reconnects_total", |c: &Counts| Some(c.reconnects as f64)),
        column("gave_up_total", |c: &Counts| Some(c.gave_up as f64)),
        column("ids_lost_total", |c: &Counts| Some(c.ids_lost as f64)),
        column("ids_repeated_total", |c: &Counts| {
            Some(c.ids_repeated as f64)
        }),
        column("ids_unknown_total", |c: &Counts| Some(c.ids_unknown as f64)),
        column("carriers_opened_total", |c: &Counts| {
            Some(c.carriers_opened as f64)
        }),
        column("live_carriers", |c: &Counts| Some(c.carriers() as f64)),
        column("events_total", |c: &Counts| Some(c.events as f64)),
        column("received_bytes_total", |c: &Counts| Some(c.bytes as f64)),
    ]);
    columns
}

macro_rules! seen {
    ($($name:literal = $value:expr;)*) => {
        vec![$(column($name, |s: &Sample| { let value: fn(&Sample) -> Option<f64> = $value; value(s) })),*]
    };
}

/// What was seen of the target, the machine and ourselves.
fn seen() -> Vec<Column<Sample>> {
    let mut columns = kernel();
    columns.extend(target());
    columns.extend(tree());
    columns.extend(around());
    columns
}

fn kernel() -> Vec<Column<Sample>> {
    let mut columns = seen! {
        "kernel_established" = |s| Some(s.sockets.as_ref()?.established as f64);
        "kernel_close_wait" = |s| Some(s.sockets.as_ref()?.close_wait as f64);
        "kernel_orphaned" = |s| Some(s.sockets.as_ref()?.orphaned as f64);
        "kernel_accept_queue" = |s| Some(s.sockets.as_ref()?.accept_queue as f64);
        "kernel_closing" = |s| Some(s.sockets.as_ref()?.closing as f64);
        "kernel_time_wait" = |s| Some(s.sockets.as_ref()?.time_wait as f64);
        "kernel_send_queue_bytes" = |s| Some(s.sockets.as_ref()?.send_queue_bytes as f64);
        "kernel_receive_queue_bytes" = |s| Some(s.sockets.as_ref()?.receive_queue_bytes as f64);
        "kernel_socket_bytes" = |s| Series::Kernel.of(s);
    };
    columns.extend(Leave::ALL.map(|leave| {
        let name = format!("kernel_held_{}", leave.name().replace('-', "_"));
        column(name, move |s: &Sample| {
            Some(s.sockets.as_ref()?.held_by_leave[leave.index()] as f64)
        })
    }));
    columns.extend(Leave::ALL.map(|leave| {
        let name = format!("kernel_send_queue_{}_bytes", leave.name().replace('-', "_"));
        column(name, move |s: &Sample| {
            Some(s.sockets.as_ref()?.send_queue_by_leave[leave.index()] as f64)
        })
    }));
    columns.extend(Leave::ALL.map(|leave| {
        let name = format!("kernel_memory_{}_bytes", leave.name().replace('-', "_"));
        column(name, move |s: &Sample| {
            Some(s.sockets.as_ref()?.kernel_bytes_by_leave[leave.index()] as f64)
        })
    }));
    columns
}

fn target() -> Vec<Column<Sample>> {
    seen! {
        "target_connections" = |s| Some(s.target.as_ref()?.connections_live? as f64);
        "target_connections_opened_total" = |s| Some(s.target.as_ref()?.connections_opened_total? as f64);
        "target_streams" = |s| Some(s.target.as_ref()?.streams_live? as f64);
        "live_sessions" = |s| Some(s.target.as_ref()?.sessions_live? as f64);
        "target_sessions_created_total" = |s| Some(s.target.as_ref()?.sessions_created_total? as f64);
        "target_sessions_removed_total" = |s| Some(s.target.as_ref()?.sessions_removed_total? as f64);
        "target_events_total" = |s| Some(s.target.as_ref()?.events_total? as f64);
        "tasks" = |s| Series::Tasks.of(s);
        "settled" = |s| Some(f64::from(u8::from(s.settled)));
        "heap_allocated_bytes" = |s| Some(s.target.as_ref()?.heap?.allocated_bytes as f64);
        "heap_active_bytes" = |s| Some(s.target.as_ref()?.heap?.active_bytes? as f64);
        "heap_resident_bytes" = |s| Some(s.target.as_ref()?.heap?.resident_bytes? as f64);
        "heap_mapped_bytes" = |s| Some(s.target.as_ref()?.heap?.mapped_bytes? as f64);
        "heap_metadata_bytes" = |s| Some(s.target.as_ref()?.heap?.metadata_bytes? as f64);
        "runtime_live_bytes" = |s| Series::Heap.of(s);
        "runtime_processes" = |s| Some(f64::from(s.runtime?.processes));
        "runtime_asked_us" = |s| Some(s.runtime?.took.as_micros() as f64);
        "heap_retained_bytes" = |s| Some(s.target.as_ref()?.heap?.retained_bytes? as f64);
    }
}

fn tree() -> Vec<Column<Sample>> {
    seen! {
        "target_generation" = |s| Some(s.generation? as f64);
        "processes" = |s| Some(f64::from(s.tree.as_ref()?.processes));
        "processes_seen_total" = |s| Some(s.tree.as_ref()?.processes_seen_total as f64);
        "rss_bytes" = |s| Series::Rss.of(s);
        "pss_bytes" = |s| Some(s.tree.as_ref()?.pss_bytes? as f64);
        "pss_anon_bytes" = |s| Series::PssAnon.of(s);
        "anon_bytes" = |s| Series::Anon.of(s);
        "huge_bytes" = |s| Some(s.tree.as_ref()?.huge_bytes? as f64);
        "lazy_free_bytes" = |s| Some(s.tree.as_ref()?.lazy_free_bytes? as f64);
        "swap_bytes" = |s| Some(s.tree.as_ref()?.swap_bytes? as f64);
        "cpu_seconds" = |s| s.tree.as_ref()?.cpu_seconds;
        "fds" = |s| Series::Fds.of(s);
        "threads" = |s| Series::Threads.of(s);
    }
}

fn around() -> Vec<Column<Sample>> {
    seen! {
        "cgroup_bytes" = |s| Some(s.host.cgroup_bytes? as f64);
        "cgroup_limit_bytes" = |s| Some(s.host.cgroup_limit_bytes? as f64);
        "cgroup_socket_bytes" = |s| Some(s.host.cgroup_socket_bytes? as f64);
        "cgroup_oom_kills_total" = |s| Some(s.host.cgroup_oom_kills_total? as f64);
        "host_memory_total_bytes" = |s| Some(s.host.memory_total_bytes? as f64);
        "host_memory_available_bytes" = |s| Some(s.host.memory_available_bytes? as f64);
        "host_cpu_idle_share" = |s| s.host.cpu_idle_share;
        "own_rss_bytes" = |s| Some(s.own.rss_bytes? as f64);
        "own_cpu_seconds" = |s| s.own.cpu_seconds;
    }
}

/// The numbers of one sample row, after its `t_s`, `phase` and `cycle`.
pub(super) fn sample_columns() -> Vec<Column<SampleRow>> {
    let mut columns: Vec<Column<SampleRow>> = Vec::new();
    for Column { name, value } in doses() {
        columns.push(column(name, move |row: &SampleRow| value(&row.counts)));
    }
    for Column { name, value } in seen() {
        columns.push(column(name, move |row: &SampleRow| value(&row.sample)));
    }
    columns.push(column("samples_lost_total", |row: &SampleRow| {
        Some(row.lost as f64)
    }));
    columns
}

/// The numbers of one reading row, after its `t_s`, `kind` and `cycle`.
pub(super) fn reading_columns() -> Vec<Column<ReadingRow>> {
    let mut columns: Vec<Column<ReadingRow>> = vec![
        column("looks", |row: &ReadingRow| Some(row.looks.len() as f64)),
        column("settled", |row: &ReadingRow| {
            Some(f64::from(u8::from(
                row.looks.iter().all(|look| look.settled),
            )))
        }),
    ];
    for Column { name, value } in doses() {
        columns.push(column(name, move |row: &ReadingRow| value(&row.counts)));
    }
    for Column { name, value } in seen().into_iter().filter(|column| column.name != "settled") {
        let rises = name == "target_generation"; // the newest of the looks: half an old and half a new one is nobody's
        columns.push(column(name, move |row: &ReadingRow| {
            let values = row.looks.iter().map(&value);
            if rises { last(values) } else { median(values) }
        }));
    }
    for series in Series::ALL {
        columns.push(column(
            format!("{}_dither", series.name()),
            move |row: &ReadingRow| dither(&row.looks, series),
        ));
        columns.push(column(
            format!("probe_{}", series.name()),
            move |row: &ReadingRow| probe_value(row.probe.as_ref()?, series),
        ));
    }
    columns.push(column("probe_connections", |row: &ReadingRow| {
        Some(row.probe_live? as f64)
    }));
    for leave in Leave::ALL {
        let name = format!("exposure_{}_connection_s", leave.name().replace('-', "_"));
        columns.push(column(name, move |row: &ReadingRow| {
            Some(row.exposure[leave.index()])
        }));
    }
    columns.push(column("retained_blocks_total", |row: &ReadingRow| {
        Some(row.retained_blocks as f64)
    }));
    columns.push(column("retained_bytes_total", |row: &ReadingRow| {
        Some(row.retained_bytes as f64)
    }));
    columns
}

/// At the probe nothing is tidied up, so the allocator's account counts as it is.
fn probe_value(probe: &Sample, series: Series) -> Option<f64> {
    match series {
        Series::Allocated => Some(probe.target.as_ref()?.heap?.allocated_bytes as f64),
        other => other.of(probe),
    }
}

/// The last value of a window that is known.
fn last(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().last()
}

/// The median of a window; `None` when any look misses the value: a gap is not filled from its neighbours.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect::<Option<_>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Root mean square distance of the looks from their median.
fn dither(looks: &[Sample], series: Series) -> Option<f64> {
    let values: Vec<f64> = looks
        .iter()
        .map(|look| series.of(look))
        .collect::<Option<_>>()?;
    let middle = median(values.iter().map(|value| Some(*value)))?;
    Some(
        (values
            .iter()
            .map(|value| (value - middle).powi(2))
            .sum::<f64>()
            / values.len() as f64)
            .sqrt(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_columns_share_a_name() {
        let sample: Vec<_> = sample_columns()
            .into_iter()
            .map(|column| column.name)
            .collect();
        let reading: Vec<_> = reading_columns()
            .into_iter()
            .map(|column| column.name)
            .collect();
        for names in [sample, reading] {
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len());
        }
    }

    #[test]
    fn a_window_with_a_gap_has_no_median() {
        assert_eq!(median([Some(1.0), None].into_iter()), None);
        assert_eq!(
            median([Some(3.0), Some(1.0), Some(2.0)].into_iter()),
            Some(2.0)
        );
        assert_eq!(median([Some(3.0), Some(1.0)].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
