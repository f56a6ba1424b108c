//! Step load: what is gathered of a step while it is held, and whether the run goes on after it.
//!
//! [`Tread`] is pure: samples, counts and times in, a row out. The conductor's part below holds, rests, writes the row, and ends the run
//! when a stop condition is met: at the end of a step, but for memory, for which the next sample may be too late.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Conductor, Halt, Progress, SoakError};
use crate::{
    drive::Latency,
    observe::Sample,
    plan::{Met, Plan, Seen, Step},
    record::{Spread, StepRow, StepsFacts},
    timeline::{Counts, Elapsed},
};

/// How often a held step looks whether it must end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A step load under way.
#[derive(Debug)]
pub(super) struct Stairs {
    facts: StepsFacts,
    cores: Option<f64>,
    first: Option<Seen>,
    now: Option<Tread>,
}

/// CPU seconds used by a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cpu {
    at: Elapsed,
    target: Option<f64>,
    own: Option<f64>,
}

/// One step: what was gathered of it so far.
#[derive(Clone, Debug)]
struct Tread {
    step: u32,
    users: u32,
    began: Elapsed,
    before: Counts,
    held: Option<(Elapsed, Counts)>,
    /// At the first and the last sample of the hold.
    cpu: [Option<Cpu>; 2],
    idle: (f64, u32),
    memory: Option<u64>,
    rested: Option<u64>,
    limit: Option<u64>,
    available: Option<u64>,
    host_memory: Option<u64>,
}

impl Stairs {
    pub(super) fn new(facts: StepsFacts) -> Self {
        let cores = std::thread::available_parallelism().ok();
        Self {
            facts,
            cores: cores.map(|cores| cores.get() as f64),
            first: None,
            now: None,
        }
    }

    fn begin(&mut self, step: u32, began: Elapsed, before: Counts) {
        let users = usize::try_from(step)
            .ok()
            .and_then(|step| self.facts.users.get(step).copied())
            .unwrap_or(0);
        self.now = Some(Tread {
            step,
            users,
            began,
            before,
            held: None,
            cpu: [None; 2],
            idle: (0.0, 0),
            memory: None,
            rested: None,
            limit: self.facts.limit_bytes,
            available: None,
            host_memory: None,
        });
    }

    /// Takes in one sample.
    pub(super) fn see(&mut self, sample: &Sample) {
        if let Some(tread) = &mut self.now {
            tread.see(sample);
        }
    }

    /// Whether the target's memory must not be waited for.
    fn is_too_full(&self) -> bool {
        let share = self.now.as_ref().and_then(Tread::memory_share);
        let above = self.facts.stops.target_memory_above;
        share.zip(above).is_some_and(|(share, above)| share > above)
    }

    /// The row of the step under way, and what of it must not be.
    fn end(
        &mut self,
        at: Elapsed,
        counts: &Counts,
        latency: &Latency,
    ) -> Option<(StepRow, Vec<Met>)> {
        let tread = self.now.take()?;
        let row = StepRow {
            host_cores: self.cores,
            ..tread.row(at, counts, latency)
        };
        let seen = row.seen();
        let met = self.facts.stops.met(self.first.as_ref(), &seen);
        self.first.get_or_insert(seen);
        Some((row, met))
    }
}

impl Tread {
    fn see(&mut self, sample: &Sample) {
        let tree = sample.tree.as_ref();
        // Shared pages of workers count once where that is known.
        let memory = tree.and_then(|tree| tree.pss_bytes.or(tree.rss_bytes));
        let host = &sample.host;
        self.memory = self.memory.max(memory);
        self.rested = memory.or(self.rested);
        self.limit = self.limit.or(host.cgroup_limit_bytes);
        self.host_memory = host.memory_total_bytes.or(self.host_memory);
        self.available = [self.available, host.memory_available_bytes]
            .into_iter()
            .flatten()
            .min();
        if self.held.is_some() {
            return;
        }
        let cpu = Cpu {
            at: sample.at,
            target: tree.and_then(|tree| tree.cpu_seconds),
            own: sample.own.cpu_seconds,
        };
        self.cpu[0].get_or_insert(cpu);
        self.cpu[1] = Some(cpu);
        // The first sample's idle time began before the step did.
        if let Some(idle) = host.cpu_idle_share.filter(|_| self.cpu[0] != self.cpu[1]) {
            self.idle = (self.idle.0 + idle, self.idle.1 + 1);
        }
    }

    fn memory_share(&self) -> Option<f64> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        Some(self.memory? as f64 / limit as f64)
    }

    fn row(&self, at: Elapsed, counts: &Counts, latency: &Latency) -> StepRow {
        let (held_at, held) = self.held.unwrap_or((at, *counts));
        let (all, within) = (counts.since(&self.before), held.since(&self.before));
        let ended = |counts: &Counts| counts.ended.iter().sum::<u64>();
        let stopped = |counts: &Counts| counts.ended[crate::timeline::End::Stopped as usize];
        let cores = |which: fn(&Cpu) -> Option<f64>| {
            let [first, last] = [self.cpu[0].as_ref()?, self.cpu[1].as_ref()?];
            let seconds = last.at.since(first.at).as_secs_f64();
            let used = which(last)? - which(first)?;
            (seconds > 0.0).then_some(used / seconds)
        };
        StepRow {
            at,
            step: self.step,
            users: self.users,
            held_s: held_at.since(self.began).as_secs_f64(),
            answers: ended(&all) - stopped(&all),
            failed: all.errors(),
            cut: stopped(&all),
            not_opened: all.not_opened,
            answers_held: ended(&within) - stopped(&within) - within.errors(),
            events_held: within.events,
            bytes_held: within.bytes,
            answer: spread(&latency.answer),
            first_event: spread(&latency.first_event),
            late_p99_s: (!latency.late.is_empty())
                .then(|| seconds(latency.late.value_at_quantile(0.99))),
            target_cores: cores(|cpu| cpu.target),
            target_memory_bytes: self.memory,
            target_rested_bytes: self.rested.filter(|_| self.held.is_some()),
            target_limit_bytes: self.limit,
            host_idle_share: (self.idle.1 > 0).then(|| self.idle.0 / f64::from(self.idle.1)),
            host_cores: None,
            host_available_bytes: self.available,
            host_memory_bytes: self.host_memory,
            own_cores: cores(|cpu| cpu.own),
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn spread(histogram: &Histogram<u32>) -> Option<Spread> {
    let at = |quantile| seconds(histogram.value_at_quantile(quantile));
    (!histogram.is_empty()).then(|| Spread {
        count: histogram.len(),
        mean_s: histogram.mean() / 1e6,
        sd_s: histogram.stdev() / 1e6,
        min_s: seconds(histogram.min()),
        max_s: seconds(histogram.max()),
        p50_s: at(0.5),
        p95_s: at(0.95),
        p99_s: at(0.99),
    })
}

type Tell<'t> = &'t mut dyn FnMut(&Progress);

impl Conductor<'_> {
    /// Holds the users of a step; a target whose memory comes too near to its limit is not waited for.
    pub(super) fn hold(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        self.write_latency()?; // what came before the step is not the step's
        let before = self.before_step;
        let number = step.cycle.unsigned_abs();
        if let Some(stairs) = &mut self.stairs {
            stairs.begin(number, self.now.began, before);
        }
        let end = self.now.began + step.length.longest();
        loop {
            let now = self.clock.now();
            if self.stairs.as_ref().is_some_and(Stairs::is_too_full) {
                return self.end_step();
            }
            if now >= end {
                break;
            }
            self.pump(plan, end.min(now + LOOK_EVERY), tell)?;
        }
        let held = (self.clock.now(), self.crew.counts());
        if let Some(tread) = self.stairs.as_mut().and_then(|stairs| stairs.now.as_mut()) {
            tread.held = Some(held);
        }
        Ok(())
    }

    /// Who is in the middle of an answer reads it to its end; then the step is written down and judged.
    pub(super) fn pause(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        self.pump(plan, self.now.began + step.length.longest(), tell)?;
        self.crew.recall();
        while self.crew.counts().live() > 0 {
            self.pump(plan, self.clock.now() + LOOK_EVERY, tell)?;
        }
        self.end_step()
    }

    /// Writes the step down. `Err` if what it shows ends the run.
    fn end_step(&mut self) -> Result<(), Halt> {
        let met = self.write_step()?;
        match met.first() {
            None => Ok(()),
            Some(_) => {
                let said: Vec<String> = met.iter().map(ToString::to_string).collect();
                Err(Halt::Stopped(said.join("; ")))
            }
        }
    }

    /// Writes the step under way, if there is one: also of a run that ends in the middle of it.
    pub(super) fn write_step(&mut self) -> Result<Vec<Met>, SoakError> {
        let counts = self.crew.counts();
        let fresh = self.crew.take_latency();
        self.latency.add(&fresh);
        let at = self.clock.now();
        let Some(stairs) = &mut self.stairs else {
            return Ok(vec![]);
        };
        let Some((row, met)) = stairs.end(at, &counts, &self.latency) else {
            return Ok(vec![]);
        };
        self.dir.step(&row)?;
        self.write_latency()?;
        Ok(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observe::{Host, Own, Tree},
        plan::{Condition, Stops},
        timeline::End,
    };

    fn stairs(limit_bytes: Option<u64>) -> Stairs {
        let facts = StepsFacts {
            users: vec![10, 20],
            hold_s: 20.0,
            rest_s: 10.0,
            think_s: Some(0.0),
            every_s: None,
            stops: Stops {
                target_memory_above: Some(0.9),
                error_share_above: Some(0.05),
                ..Stops::default()
            },
            limit_bytes,
        };
        Stairs::new(facts)
    }

    fn sample(at: u64, rss: u64, host_available: u64) -> Sample {
        Sample {
            at: Elapsed(Duration::from_secs(at)),
            tree: Some(Tree {
                rss_bytes: Some(rss),
                cpu_seconds: Some(at as f64 / 2.0),
                ..Tree::default()
            }),
            host: Host {
                memory_total_bytes: Some(1000),
                memory_available_bytes: Some(host_available),
                cpu_idle_share: Some(0.5),
                ..Host::default()
            },
            own: Own::default(),
            ..Sample::default()
        }
    }

    fn counts(good: u64, bad: u64) -> Counts {
        let mut counts = Counts {
            opened: good + bad,
            ..Counts::default()
        };
        counts.ended[End::AsPlanned as usize] = good;
        counts.ended[End::HttpStatus as usize] = bad;
        counts
    }

    #[test]
    fn a_machine_that_is_full_says_nothing_of_a_target_that_is_not() {
        for (limit, full) in [(None, false), (Some(1000), false), (Some(200), true)] {
            let mut stairs = stairs(limit);
            stairs.begin(0, Elapsed::default(), Counts::default());
            stairs.see(&sample(1, 190, 50)); // the machine has 5 % left
            assert_eq!(stairs.is_too_full(), full, "limit {limit:?}");
            let end = Elapsed(Duration::from_secs(2));
            let (row, met) = stairs
                .end(end, &Counts::default(), &Latency::default())
                .unwrap();
            let memory = met
                .iter()
                .any(|met| met.condition == Condition::TargetMemory);
            assert_eq!(memory, full, "{met:?}");
            assert_eq!(row.host_available_bytes, Some(50));
        }
    }

    #[test]
    fn a_step_is_what_was_done_since_it_began() {
        let mut stairs = stairs(None);
        stairs.begin(1, Elapsed(Duration::from_secs(10)), counts(100, 7));
        for second in 10..=30 {
            stairs.see(&sample(second, 5, 900));
        }
        let held = (Elapsed(Duration::from_secs(30)), counts(190, 7));
        stairs.now.as_mut().unwrap().held = Some(held);
        let mut latency = Latency::default();
        latency.answer.saturating_record(250_000);
        let end = Elapsed(Duration::from_secs(40));
        let (row, met) = stairs.end(end, &counts(195, 12), &latency).unwrap();
        assert_eq!(
            (row.users, row.answers, row.failed, row.answers_held),
            (20, 100, 5, 90)
        );
        assert_eq!(
            (row.target_cores, row.host_idle_share),
            (Some(0.5), Some(0.5))
        );
        assert!((row.held_s - 20.0).abs() < 1e-9);
        assert!(
            row.answer
                .is_some_and(|spread| (spread.p95_s - 0.25).abs() < 0.01)
        );
        assert_eq!(met, [], "5 % is not more than 5 %");
        assert!(
            stairs.end(end, &counts(0, 0), &latency).is_none(),
            "written once"
        );
    }
}
