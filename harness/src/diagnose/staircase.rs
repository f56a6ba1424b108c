//! Step load: which number of users the target still served within every limit, and what named the knee.
//!
//! In: `steps.csv` and the stop conditions of the manifest. Out: [`Stair`]s (the report's table) and [`Finding`]s. Start at [`findings`].
//! Conditions are judged again here, by the same arithmetic as while the run went on, so a recording is enough.
//! The machine's memory is shown, and never laid beside the target's limit.

use serde::{Deserialize, Serialize};

use crate::{
    plan::{Condition, Met, Seen},
    record::{Recording, StepsFacts, Table},
    units::{bytes, grouped},
};

use super::{
    finding::{Finding, Findings, Statement, sentence::amount},
    run,
};

/// The kind of run, as the manifest names it.
pub const KIND: &str = "steps";

/// Times over one step, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// How many were measured.
    pub count: f64,
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

/// One step. What was not read is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stair {
    /// Its users.
    pub users: u32,
    /// How long they were held, seconds.
    pub held_s: f64,
    /// Conversations that came to an end.
    pub requests: f64,
    /// Those that failed.
    pub failed: f64,
    /// Those that were cut, since the rest was over.
    pub cut: f64,
    /// Share that did not fail.
    pub success_share: Option<f64>,
    /// Of a whole conversation.
    pub response: Option<Times>,
    /// To the first event.
    pub first_event: Option<Times>,
    /// Conversations a second that ended well.
    pub throughput_per_s: f64,
    /// Events a second.
    pub events_per_s: f64,
    /// CPU of the target, cores.
    pub target_cores: Option<f64>,
    /// Resident memory of the target, at its highest, bytes.
    pub target_memory_bytes: Option<f64>,
    /// The same after the rest, bytes.
    pub target_rested_bytes: Option<f64>,
    /// The target's own limit, bytes.
    pub target_limit_bytes: Option<f64>,
    /// Share of the machine's cores that was idle.
    pub host_idle_share: Option<f64>,
    /// Cores of the machine.
    pub host_cores: Option<f64>,
    /// Memory that the machine had left, at its lowest, bytes.
    pub host_available_bytes: Option<f64>,
    /// Memory of the machine, bytes.
    pub host_memory_bytes: Option<f64>,
    /// CPU of the load generator, cores.
    pub own_cores: Option<f64>,
    /// Stop conditions that were met.
    pub met: Vec<Met>,
}

/// Judges a step load.
pub fn judge(recording: &Recording) -> Findings {
    let stairs = stairs(recording);
    Findings {
        steps: stairs.clone(),
        ..Findings::new(findings(recording, &stairs))
    }
}

/// The steps, each with the conditions that it met.
pub fn stairs(recording: &Recording) -> Vec<Stair> {
    let table = &recording.steps;
    let stops = recording
        .manifest
        .plan
        .steps
        .as_ref()
        .map(|asked| asked.stops);
    let mut stairs: Vec<Stair> = (0..table.rows())
        .filter_map(|row| stair(table, row))
        .collect();
    let first = stairs.first().map(Stair::seen);
    for (index, stair) in stairs.iter_mut().enumerate() {
        let before = first.as_ref().filter(|_| index > 0);
        stair.met = stops.map_or_else(Vec::new, |stops| stops.met(before, &stair.seen()));
    }
    stairs
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of users; a cast from float saturates"
)]
fn stair(table: &Table, row: usize) -> Option<Stair> {
    let number = |name: &str| table.number(name, row);
    let count = |name: &str| number(name).unwrap_or(0.0);
    let held_s = number("held_s")?;
    let per_second = |name: &str| count(name) / held_s.max(1e-9);
    let (requests, failed) = (count("answers"), count("failed"));
    Some(Stair {
        users: number("users")? as u32,
        held_s,
        requests,
        failed,
        cut: count("cut"),
        success_share: (requests > 0.0).then(|| 1.0 - failed / requests),
        response: times(table, row, "answer"),
        first_event: times(table, row, "first_event"),
        throughput_per_s: per_second("answers_held"),
        events_per_s: per_second("events_held"),
        target_cores: number("target_cores"),
        target_memory_bytes: number("target_memory_bytes"),
        target_rested_bytes: number("target_rested_bytes"),
        target_limit_bytes: number("target_limit_bytes"),
        host_idle_share: number("host_idle_share"),
        host_cores: number("host_cores"),
        host_available_bytes: number("host_available_bytes"),
        host_memory_bytes: number("host_memory_bytes"),
        own_cores: number("own_cores"),
        met: Vec::new(),
    })
}

fn times(table: &Table, row: usize, of: &str) -> Option<Times> {
    let number = |name: &str| table.number(&format!("{of}_{name}"), row);
    Some(Times {
        count: number("count").filter(|count| *count > 0.0)?,
        mean_s: number("mean_s")?,
        sd_s: number("sd_s")?,
        min_s: number("min_s")?,
        max_s: number("max_s")?,
        p50_s: number("p50_s")?,
        p95_s: number("p95_s")?,
        p99_s: number("p99_s")?,
    })
}

impl Stair {
    fn seen(&self) -> Seen {
        let limit = self.target_limit_bytes.filter(|limit| *limit > 0.0);
        let response = self.response.or(self.first_event);
        Seen {
            error_share: self.success_share.map(|share| 1.0 - share),
            memory_share: self
                .target_memory_bytes
                .zip(limit)
                .map(|(used, limit)| used / limit),
            cpu_idle_share: self.host_idle_share,
            response_s: response.map(|times| times.p95_s),
        }
    }

    /// A condition that this step met, with the numbers behind it.
    fn reason(&self, met: &Met) -> String {
        let mut text = met.to_string();
        match (
            met.condition,
            self.target_memory_bytes,
            self.target_limit_bytes,
        ) {
            (Condition::TargetMemory, Some(used), Some(limit)) => {
                text.push_str(&format!(" ({} of {})", bytes(used), bytes(limit)));
            }
            (Condition::ResponseTime, ..) => {
                let p95 = self.response.or(self.first_event).map(|times| times.p95_s);
                text.push_str(&format!(" ({})", duration(p95.unwrap_or(0.0))));
            }
            (Condition::CpuIdle, ..) => text.push_str(&self.who_is_busy()),
            _ => {}
        }
        text
    }

    /// Who used the cores: a busy machine is not a busy target.
    fn who_is_busy(&self) -> String {
        let (Some(target), Some(own)) = (self.target_cores, self.own_cores) else {
            return String::new();
        };
        let text = format!(" (target {target:.2} cores, load {own:.2}");
        let idle = self.host_idle_share.zip(self.host_cores);
        let others = idle.map(|(idle, cores)| ((1.0 - idle) * cores - target - own).max(0.0));
        match others {
            Some(others) if others > target => {
                format!("{text}, others {others:.2}: the machine was the limit, not the target)")
            }
            Some(others) => format!("{text}, others {others:.2})"),
            None => format!("{text})"),
        }
    }
}

/// Seconds for a person: `1.24 s`, `87 ms`.
pub fn duration(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{} ms", amount(seconds * 1e3))
    }
}

fn findings(recording: &Recording, stairs: &[Stair]) -> Vec<Finding> {
    let mut all: Vec<Finding> = run::findings(recording);
    // The step itself tells why it was the last one, better than the sentence of the end.
    let is_met = stairs.last().is_some_and(|last| !last.met.is_empty());
    if is_met {
        all.retain(|finding| finding.verdict != Statement::Alarm);
    }
    all.extend(died(&all, stairs));
    let asked = recording.manifest.plan.steps.as_ref();
    let ended_well = all.iter().all(|finding| finding.verdict.exit_code() == 0);
    all.extend(asked.and_then(|asked| outcome(asked, stairs, ended_well)));
    all.extend(asked.into_iter().flat_map(|asked| blind(asked, stairs)));
    all.extend(rested(stairs));
    all
}

/// In which step the target died, and what of its memory was last seen.
fn died(found: &[Finding], stairs: &[Stair]) -> Option<Finding> {
    found
        .iter()
        .find(|finding| finding.verdict == Statement::TargetDied)?;
    let last = stairs.last()?;
    let memory = last.target_memory_bytes.map_or_else(String::new, |memory| {
        format!("; its memory was last seen at {}", bytes(memory))
    });
    let text = format!(
        "it died in the step of {} users, {} after the step began{memory}",
        last.users,
        duration(last.held_s)
    );
    Some(Finding::plain(Statement::Beside, text))
}

/// The knee, or that there was none.
fn outcome(asked: &StepsFacts, stairs: &[Stair], ended_well: bool) -> Option<Finding> {
    let held = |stair: &Stair| {
        let response = stair.response.or(stair.first_event);
        let p95 = response.map_or_else(String::new, |times| {
            format!(", p95 {}", duration(times.p95_s))
        });
        format!("{} a second{p95}", amount(stair.throughput_per_s))
    };
    let knee = stairs.iter().position(|stair| !stair.met.is_empty());
    let Some(knee) = knee else {
        let last = stairs
            .last()
            .filter(|_| ended_well && stairs.len() == asked.users.len())?;
        let text = format!(
            "{} users were served within every limit ({}); no knee was found up to there",
            last.users,
            held(last)
        );
        return Some(Finding::plain(Statement::Held, text));
    };
    let reached = &stairs[knee];
    let why: Vec<String> = reached.met.iter().map(|met| reached.reason(met)).collect();
    let before = knee.checked_sub(1).map(|before| &stairs[before]);
    let text = match before {
        Some(before) => format!(
            "knee at {} users ({}): at {} {}",
            before.users,
            held(before),
            reached.users,
            why.join("; ")
        ),
        None => format!(
            "already the first step, {} users, was too much: {}",
            reached.users,
            why.join("; ")
        ),
    };
    Some(Finding::plain(Statement::Alarm, text))
}

/// Conditions that were asked for and could never be seen: they did not hold, they are unknown.
fn blind(asked: &StepsFacts, stairs: &[Stair]) -> Vec<Finding> {
    let never = |of: fn(&Seen) -> Option<f64>| {
        !stairs.is_empty() && stairs.iter().all(|stair| of(&stair.seen()).is_none())
    };
    let stops = &asked.stops;
    let rows = [
        (
            stops.target_memory_above.is_some() && never(|seen| seen.memory_share),
            "no limit of the target's own is known, so its memory could not end this run (the machine's memory is not the target's): write `limit = \"512 MiB\"` in `[run.steps]`, or run it in a control group with a limit",
        ),
        (
            stops.cpu_idle_below.is_some() && never(|seen| seen.cpu_idle_share),
            "idle CPU of the machine was not read, so it could not end this run",
        ),
    ];
    rows.into_iter()
        .filter(|(is_blind, _)| *is_blind)
        .map(|(_, text)| Finding::plain(Statement::Beside, text))
        .collect()
}

/// Memory that did not come back in the rests. Shown: users have sessions that live longer than a rest.
fn rested(stairs: &[Stair]) -> Option<Finding> {
    let rested = |stair: &&Stair| stair.target_rested_bytes.is_some();
    let (first, last) = (stairs.iter().find(rested)?, stairs.iter().rfind(rested)?);
    let (before, after) = (first.target_rested_bytes?, last.target_rested_bytes?);
    let after_first = stairs.iter().skip_while(|stair| *stair != first).skip(1);
    let requests: f64 = after_first.map(|stair| stair.requests).sum();
    if requests < 1.0 || after <= before {
        return None;
    }
    let text = format!(
        "after the rests the target held {} more than after the first one, {} B for each of {} conversations since: kept sessions, caches or a leak, which an assay (quick.toml) tells apart",
        bytes(after - before),
        amount((after - before) / requests),
        whole(requests),
    );
    Some(Finding::plain(Statement::Beside, text))
}

#[expect(clippy::cast_possible_truncation, reason = "a count")]
fn whole(count: f64) -> String {
    grouped(count.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Stops, profile::StopSpec};

    fn asked(users: &[u32]) -> StepsFacts {
        StepsFacts {
            users: users.to_vec(),
            hold_s: 20.0,
            rest_s: 10.0,
            think_s: Some(0.0),
            every_s: None,
            stops: Stops::from(&StopSpec::default()),
            limit_bytes: None,
        }
    }

    fn step(users: u32, p95_s: f64, memory: f64, limit: Option<f64>) -> Stair {
        let times = Times {
            count: 100.0,
            mean_s: p95_s,
            sd_s: 0.0,
            min_s: p95_s,
            max_s: p95_s,
            p50_s: p95_s,
            p95_s,
            p99_s: p95_s,
        };
        Stair {
            users,
            held_s: 20.0,
            requests: 200.0,
            failed: 0.0,
            cut: 0.0,
            success_share: Some(1.0),
            response: Some(times),
            first_event: None,
            throughput_per_s: 10.0,
            events_per_s: 50.0,
            target_cores: Some(0.1),
            target_memory_bytes: Some(memory),
            target_rested_bytes: Some(memory / 2.0),
            target_limit_bytes: limit,
            host_idle_share: Some(0.8),
            host_cores: Some(2.0),
            host_available_bytes: Some(10.0),
            host_memory_bytes: Some(1000.0),
            own_cores: Some(0.1),
            met: Vec::new(),
        }
    }

    fn judged(mut stairs: Vec<Stair>, users: &[u32]) -> (Statement, String) {
        let asked = asked(users);
        let first = stairs[0].seen();
        for (index, stair) in stairs.iter_mut().enumerate() {
            stair.met = asked
                .stops
                .met((index > 0).then_some(&first), &stair.seen());
        }
        let found = outcome(&asked, &stairs, true).unwrap();
        (found.verdict, found.text)
    }

    #[test]
    fn the_knee_is_the_last_step_within_every_limit_and_the_reason_is_named() {
        let mib = f64::from(1 << 20);
        let rows = vec![
            step(10, 0.2, 20.0 * mib, Some(64.0 * mib)),
            step(20, 0.21, 60.0 * mib, Some(64.0 * mib)),
        ];
        let (verdict, text) = judged(rows, &[10, 20, 30]);
        assert_eq!(verdict, Statement::Alarm);
        assert_eq!(
            text,
            "knee at 10 users (10 a second, p95 200 ms): at 20 the target's memory was 93.8 % of its own limit, above 90.0 % (60.0 MiB of 64.0 MiB)"
        );
    }

    #[test]
    fn a_full_machine_is_no_knee_and_a_target_without_a_limit_is_said_to_be_blind() {
        let rows = vec![step(10, 0.2, 900.0, None), step(20, 0.3, 950.0, None)];
        let (verdict, text) = judged(rows.clone(), &[10, 20]);
        assert_eq!(verdict, Statement::Held);
        assert!(
            text.starts_with("20 users were served within every limit"),
            "{text}"
        );
        assert!(
            blind(&asked(&[10, 20]), &rows)[0]
                .text
                .contains("not the target's")
        );
    }

    #[test]
    fn a_busy_machine_is_told_apart_from_a_busy_target() {
        let mut busy = step(20, 0.2, 1.0, None);
        busy.host_idle_share = Some(0.1);
        let (_, text) = judged(vec![step(10, 0.2, 1.0, None), busy], &[10, 20]);
        assert!(text.contains("10.0 % idle, below 30.0 % (target 0.10 cores, load 0.10, others 1.60: the machine was the limit"), "{text}");
    }

    #[test]
    fn memory_that_stays_after_the_rests_is_shown_per_conversation() {
        let rows = [step(10, 0.2, 2000.0, None), step(20, 0.2, 4000.0, None)];
        let said = rested(&rows).unwrap();
        assert!(
            said.text.contains("5 B for each of 200 conversations"),
            "{}",
            said.text
        );
        assert_eq!(rested(&rows[..1]), None);
    }
}
