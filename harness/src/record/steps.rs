//! `steps.csv`: what was measured of each step of a step load, a row a step.

use crate::{plan::Seen, timeline::Elapsed};

/// Of one kind of time, over one step, seconds; to the two digits of the histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean_s: f64,
    /// Standard deviation.
    pub sd_s: f64,
    /// Shortest.
    pub min_s: f64,
    /// Longest.
    pub max_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 95th percentile.
    pub p95_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
}

/// One step, when its rest was over or when it was cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepRow {
    /// When.
    pub at: Elapsed,
    /// Its place, from 0.
    pub step: u32,
    /// Its users.
    pub users: u32,
    /// How long they were held, seconds.
    pub held_s: f64,
    /// Conversations that came to an end, well or badly, rest included.
    pub answers: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Conversations that were still under way when the rest was over, and were cut.
    pub cut: u64,
    /// Openings that came due while no descriptor or port of ours was left.
    pub not_opened: u64,
    /// Conversations that ended well within the hold.
    pub answers_held: u64,
    /// Events received within the hold.
    pub events_held: u64,
    /// Bytes of answers received within the hold.
    pub bytes_held: u64,
    /// Of a whole conversation, from when it was due; `None`: none ended well.
    pub answer: Option<Spread>,
    /// From due (of later exchanges: from the request) to the first event.
    pub first_event: Option<Spread>,
    /// Our own lateness, 99th percentile, seconds.
    pub late_p99_s: Option<f64>,
    /// CPU that the target's process tree used over the hold, cores.
    pub target_cores: Option<f64>,
    /// Resident memory of the target's process tree, at its highest, bytes.
    pub target_memory_bytes: Option<u64>,
    /// The same when the rest was over, bytes.
    pub target_rested_bytes: Option<u64>,
    /// Its own limit, bytes; `None`: it has none that is known.
    pub target_limit_bytes: Option<u64>,
    /// Share of the machine's cores that was idle over the hold.
    pub host_idle_share: Option<f64>,
    /// Cores of the machine.
    pub host_cores: Option<f64>,
    /// Memory that the machine had left, at its lowest, bytes. Never the target's.
    pub host_available_bytes: Option<u64>,
    /// Memory of the machine, bytes.
    pub host_memory_bytes: Option<u64>,
    /// CPU that we used over the hold, worker processes included, cores.
    pub own_cores: Option<f64>,
}

impl StepRow {
    /// What stop conditions ask of it.
    pub fn seen(&self) -> Seen {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let limit = self.target_limit_bytes.filter(|limit| *limit > 0);
        let memory = self.target_memory_bytes.zip(limit);
        Seen {
            error_share: share(self.failed, self.answers),
            memory_share: memory.map(|(used, limit)| used as f64 / limit as f64),
            cpu_idle_share: self.host_idle_share,
            response_s: self.answer.or(self.first_event).map(|spread| spread.p95_s),
        }
    }
}

/// Columns of a [`Spread`].
const SPREAD: [&str; 8] = [
    "count", "mean_s", "sd_s", "min_s", "max_s", "p50_s", "p95_s", "p99_s",
];

/// The header of the file.
pub(super) fn header() -> Vec<String> {
    let plain = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let spread = |of: &str| SPREAD.map(|name| format!("{of}_{name}")).to_vec();
    let parts: [Vec<String>; 4] = [
        plain(&[
            "t_s",
            "step",
            "users",
            "held_s",
            "answers",
            "failed",
            "cut",
            "not_opened",
            "answers_held",
            "events_held",
            "held_bytes",
        ]),
        spread("answer"),
        spread("first_event"),
        plain(&[
            "late_p99_s",
            "target_cores",
            "target_memory_bytes",
            "target_rested_bytes",
            "target_limit_bytes",
            "host_idle_share",
            "host_cores",
            "host_available_bytes",
            "host_memory_bytes",
            "own_cores",
        ]),
    ];
    parts.concat()
}

/// A row, cell by cell; what is not known is empty.
pub(super) fn cells(row: &StepRow) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
    let whole = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let mut cells = vec![
        row.at.to_string(),
        row.step.to_string(),
        row.users.to_string(),
        format!("{:.3}", row.held_s),
    ];
    let counts = [
        row.answers,
        row.failed,
        row.cut,
        row.not_opened,
        row.answers_held,
        row.events_held,
        row.bytes_held,
    ];
    cells.extend(counts.iter().map(u64::to_string));
    for spread in [row.answer, row.first_event] {
        cells.push(spread.map_or(0, |spread| spread.count).to_string());
        let values = |s: Spread| {
            [
                s.mean_s, s.sd_s, s.min_s, s.max_s, s.p50_s, s.p95_s, s.p99_s,
            ]
        };
        let values = spread.map(values);
        cells.extend((0..7).map(|index| number(values.map(|values| values[index]))));
    }
    cells.extend([
        number(row.late_p99_s),
        number(row.target_cores),
        whole(row.target_memory_bytes),
        whole(row.target_rested_bytes),
        whole(row.target_limit_bytes),
        number(row.host_idle_share),
        number(row.host_cores),
        whole(row.host_available_bytes),
        whole(row.host_memory_bytes),
        number(row.own_cores),
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_as_many_cells_as_the_header_and_what_is_not_known_is_empty() {
        let spread = Spread {
            count: 3,
            p95_s: 0.25,
            ..Spread::default()
        };
        let full = StepRow {
            answer: Some(spread),
            ..StepRow::default()
        };
        let column = |name: &str| header().iter().position(|known| known == name).unwrap();
        for row in [StepRow::default(), full] {
            assert_eq!(cells(&row).len(), header().len());
        }
        assert_eq!(cells(&full)[column("answer_p95_s")], "0.250000");
        assert_eq!(cells(&full)[column("target_limit_bytes")], "");
    }
}
