//! The facts that every report shows beside the findings.

use crate::{
    diagnose::cleanup::{Cleaned, cleaned},
    record::Recording,
    units::{Leave, bytes, grouped},
};

/// What the load did and what it cost, from the last rows of the recording.
pub(super) struct Facts {
    pub(super) connections: String,
    pub(super) sessions: String,
    pub(super) events: String,
    pub(super) errors: f64,
    pub(super) seconds: f64,
    pub(super) gaps: usize,
    pub(super) lost: f64,
    pub(super) own: String,
    pub(super) cleanup: Vec<Cleaned>,
    /// A sentence for each way of leaving that fills the kernel's queues.
    pub(super) kernel: Vec<String>,
    /// How something was done on this machine.
    pub(super) notes: Vec<String>,
}

impl Facts {
    pub(super) fn of(recording: &Recording) -> Self {
        let last = |name: &str| last(recording.samples.numbers(name).unwrap_or_default());
        let failed = [
            "connect_failed",
            "server_closed",
            "server_reset",
            "http_status",
            "bad_response",
            "timed_out",
        ];
        Self {
            connections: whole(last("opened_total")),
            sessions: whole(last("sessions_created_total")),
            events: whole(last("events_total")),
            errors: failed
                .iter()
                .map(|kind| last(&format!("ended_{kind}_total")))
                .sum(),
            seconds: last("t_s"),
            gaps: (0..recording.events.rows())
                .filter(|row| recording.events.text("kind", *row) == Some("gap"))
                .count(),
            lost: last("samples_lost_total"),
            own: own(recording),
            cleanup: cleaned(&recording.cleanup),
            kernel: WHO_DOES_NOT_TAKE
                .iter()
                .filter_map(|leave| held_by_kernel(recording, *leave))
                .collect(),
            notes: notes(recording),
        }
    }
}

/// Ways of leaving after which the server's kernel keeps what nobody takes.
const WHO_DOES_NOT_TAKE: [Leave; 3] = [Leave::Stall, Leave::Slow, Leave::Vanish];

/// What the kernel held for streams of one kind when that was most, beside what the process held then; `None` if it was never seen.
fn held_by_kernel(recording: &Recording, leave: Leave) -> Option<String> {
    let samples = &recording.samples;
    let kind = leave.name().replace('-', "_");
    let column = |name: &str, row| samples.number(&name.replace("{}", &kind), row);
    let memory = samples.numbers(&format!("kernel_memory_{kind}_bytes"))?;
    let most = (0..memory.len())
        .filter(|row| column("kernel_held_{}", *row).is_some_and(|streams| streams > 0.0))
        .max_by(|one, other| memory[*one].total_cmp(&memory[*other]))?;
    let streams = column("kernel_held_{}", most)?;
    let each = |name| Some(bytes(column(name, most)? / streams));
    let process = samples.number("rss_bytes", most);
    Some(format!(
        "{} {leave}: at most {} of memory each, {} of it sent and not taken; the process then held {}",
        whole(streams),
        each("kernel_memory_{}_bytes")?,
        each("kernel_send_queue_{}_bytes")?,
        process.map_or_else(|| "?".into(), bytes)
    ))
}

fn notes(recording: &Recording) -> Vec<String> {
    let events = &recording.events;
    (0..events.rows())
        .filter(|row| events.text("kind", *row) == Some("note"))
        .filter_map(|row| events.text("text", row).map(String::from))
        .collect()
}

fn last(values: &[f64]) -> f64 {
    values
        .iter()
        .rev()
        .copied()
        .find(|value| value.is_finite())
        .unwrap_or(0.0)
}

#[expect(clippy::cast_possible_truncation, reason = "a count")]
pub(super) fn whole(count: f64) -> String {
    grouped(count.round() as i64)
}

/// Our own memory: how much, and how it drifted. The first quarter of a run is our own warm-up; from then on the medians of
/// the next and of the last quarter are compared, so that a single step of the allocator is no drift.
fn own(recording: &Recording) -> String {
    let column = |name| recording.samples.numbers(name).unwrap_or_default();
    let both = column("t_s")
        .iter()
        .copied()
        .zip(column("own_rss_bytes").iter().copied());
    let seen: Vec<(f64, f64)> = both.filter(|(_, bytes)| bytes.is_finite()).collect();
    let Some((_, now)) = seen.last().copied() else {
        return "not known".into();
    };
    let quarter = seen.len() / 4;
    if quarter == 0 {
        return bytes(now);
    }
    let (from, to) = (
        middle(&seen[quarter..2 * quarter]),
        middle(&seen[seen.len() - quarter..]),
    );
    let drift = (to.1 - from.1) / (to.0 - from.0).max(1e-9) / 1024.0;
    format!("{}, drift {drift:+.2} KiB/s", bytes(now))
}

/// Median time and median size of some samples; never empty.
fn middle(part: &[(f64, f64)]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (
        median(part.iter().map(|(time, _)| *time).collect()),
        median(part.iter().map(|(_, bytes)| *bytes).collect()),
    )
}

/// `0.05 s, 0.10 s, 0.15 s`, or why there are no times.
pub(super) fn times(count: &Cleaned) -> String {
    match count.clean_s {
        Some([p50, p99, most]) => format!("{p50:.2} s, {p99:.2} s, {most:.2} s"),
        None if count.lingering.is_none() => "not counted".into(),
        None => "never".into(),
    }
}
