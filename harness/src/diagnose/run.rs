//! What a recording says beside memory: how the run ended, what was not cleaned up, whether the load did what was planned.
//!
//! In: a [`Recording`]. Out: [`Finding`]s that join those of the judge. Fail closed: a run that was cut short, or whose clients
//! mostly failed, is never clean.

use super::{
    cleanup::{Cleaned, cleaned},
    finding::{Finding, Statement},
    staircase,
};
use crate::{
    record::{Complaint, Recording},
    units::{Factor, Leave, bytes, grouped},
};

/// From this share of failed connections on, the doses were not what was planned.
const FAILED_SHARE: f64 = 0.05;

/// More alarms than this are in events.csv only.
const MOST_ALARMS: usize = 20;

/// More complaints about the files than this are only counted.
const MOST_COMPLAINTS: usize = 12;

/// The kind of run that judges counts and not memory, as the manifest names it.
pub const KIND_CLEANUP: &str = "cleanup";

/// Everything there is to say about a run beside its memory and counters.
pub fn findings(recording: &Recording) -> Vec<Finding> {
    let mut all: Vec<Finding> = end(recording)
        .into_iter()
        .chain(killed(recording))
        .chain(damage(recording))
        .chain(failures(recording))
        .chain(alarms(recording))
        .collect();
    if [KIND_CLEANUP, staircase::KIND].contains(&recording.manifest.kind.as_str()) {
        return all; // it judges its counts way by way: see `forgotten`
    }
    all.extend(
        cleaned(&recording.cleanup)
            .iter()
            .filter(|count| count.is_left_behind())
            .map(left_behind),
    );
    all
}

fn end(recording: &Recording) -> Option<Finding> {
    let cycles = (0..recording.readings.rows())
        .filter(|row| recording.readings.text("kind", *row) == Some("cycle"))
        .filter(|row| {
            recording
                .readings
                .number("cycle", *row)
                .is_some_and(|cycle| cycle >= 0.0)
        })
        .count();
    let planned = recording.manifest.plan.cycles;
    match recording.manifest.ended.as_ref() {
        None => Some(Finding::plain(
            Statement::Inconclusive,
            format!(
                "the recording was cut short, or is still under way: {cycles} of {planned} cycles were recorded"
            ),
        )),
        Some(ended) => match ended.reason.as_str() {
            "finished" => None,
            "target-died" => Some(Finding::plain(
                Statement::TargetDied,
                format!("{} after {:.0} s", ended.text, ended.t_s),
            )),
            "alarm" | "stopped" => Some(Finding::plain(
                Statement::Alarm,
                format!(
                    "{}, after {:.0} s and {cycles} of {planned} cycles",
                    ended.text, ended.t_s
                ),
            )),
            _ => Some(Finding::plain(
                Statement::Inconclusive,
                format!("{}, after {cycles} of {planned} cycles", ended.text),
            )),
        },
    }
}

/// The kernel killed processes for want of memory, and the head of the tree lived on: workers of a supervisor.
fn killed(recording: &Recording) -> Option<Finding> {
    let samples = &recording.samples;
    let numbers = |name: &str| {
        let all = samples.numbers(name).unwrap_or_default().iter().copied();
        all.filter(|value| value.is_finite())
    };
    let kills = "cgroup_oom_kills_total";
    let killed = numbers(kills).next_back()? - numbers(kills).next()?;
    if killed < 0.5 {
        return None;
    }
    let most = numbers("cgroup_bytes").fold(0.0, f64::max);
    let limit = match numbers("cgroup_limit_bytes").next_back() {
        Some(limit) => format!("its limit is {}", bytes(limit)),
        None => "it has no limit of its own".into(),
    };
    let text = format!(
        "the kernel killed {} processes of the target's control group for want of memory: it had used {} at most when looked at, {limit}",
        whole(killed),
        bytes(most)
    );
    Some(Finding::plain(Statement::TargetDied, text))
}

/// What of the files could not be used. What is missing is missing: it narrows what can be said, and is never filled in.
fn damage(recording: &Recording) -> Vec<Finding> {
    let all = &recording.complaints;
    let say = |(file, complaint): &(&str, Complaint)| format!("{file}, {complaint}");
    let mut said: Vec<String> = all.iter().take(MOST_COMPLAINTS).map(say).collect();
    let more = all.len().saturating_sub(MOST_COMPLAINTS);
    if more > 0 {
        said.push(format!("and {more} more of such in the recording"));
    }
    let beside = |text| Finding::plain(Statement::Beside, text);
    said.into_iter().map(beside).collect()
}

/// Alarms that did not end the run, beside the verdict.
fn alarms(recording: &Recording) -> Vec<Finding> {
    let events = &recording.events;
    let rows = (0..events.rows()).filter(|row| events.text("kind", *row) == Some("alarm"));
    let say = |row| {
        let at = events.number("t_s", row).unwrap_or(0.0);
        let text = format!("alarm at {at:.0} s: {}", events.text("text", row)?);
        Some(Finding::plain(Statement::Beside, text))
    };
    rows.filter_map(say).take(MOST_ALARMS).collect()
}

/// Connections that did not do what the plan asked for, in the end. A server that resets a reader that stalls or crawls is
/// right to do so: as many resets as there were such readers are no failures.
fn failures(recording: &Recording) -> Option<Finding> {
    let readings = &recording.readings;
    let last = readings.rows().checked_sub(1)?;
    let number = |name: &str| readings.number(name, last).unwrap_or(0.0);
    let opened = number("opened_total");
    let excused = number("closed_stall_total") + number("closed_slow_total");
    let ended = |kind: &str| number(&format!("ended_{kind}_total"));
    let counted = [
        ("connect failed", ended("connect_failed")),
        ("closed by the server", ended("server_closed")),
        (
            "reset by the server",
            (ended("server_reset") - excused).max(0.0),
        ),
        ("HTTP status", ended("http_status")),
        ("bad response", ended("bad_response")),
        ("timed out", ended("timed_out")),
        ("lost with a worker", ended("lost")),
    ];
    let failed: f64 = counted.iter().map(|(_, count)| count).sum();
    if failed <= FAILED_SHARE * opened.max(1.0) {
        return None;
    }
    let happened = counted.iter().filter(|(_, count)| *count > 0.0);
    let told: Vec<String> = happened
        .map(|(kind, count)| format!("{} {kind}", whole(*count)))
        .collect();
    let text = format!(
        "{} of {} connections did not do what was planned ({}): see events.csv",
        whole(failed),
        whole(opened),
        told.join(", ")
    );
    Some(Finding::plain(Statement::Inconclusive, text))
}

fn left_behind(count: &Cleaned) -> Finding {
    let lingering = count.lingering.unwrap_or(0.0);
    let (left, gone) = (whole(count.left), whole((count.left - lingering).max(0.0)));
    let waited = "in the time the profile gives";
    let text = match count.of.as_str() {
        "sessions" => format!("sessions: {left} created, {gone} removed {waited}"),
        "connections" => format!(
            "connections: {left} closed by us, {} of them still counted by the target {waited}",
            whole(lingering)
        ),
        leave => format!(
            "connections left by {leave}: {left}, of which the target still holds {} {waited} (the kernel's count)",
            whole(lingering)
        ),
    };
    let mut finding = Finding::plain(Statement::NotCleanedUp, text);
    finding.factor = match count.of.as_str() {
        "sessions" => Some(Factor::Session),
        "connections" => Some(Factor::AllClosed),
        name => Leave::ALL
            .into_iter()
            .find(|leave| leave.name() == name)
            .map(Factor::Closed),
    };
    finding.bytes_per_unit = None;
    finding.units = Some(count.left);
    finding
}

#[expect(clippy::cast_possible_truncation, reason = "a count")]
fn whole(count: f64) -> String {
    grouped(count.round() as i64)
}
