//! The conductor: opens a run, starts the stages, orders their facts, stops everything.
//!
//! In: a profile, its plan, and a folder. Out: a run directory, and how the run ended. Start at [`run`].
//! The only owner of the run directory's writer and of the order of steps. Load and observer run on their own threads;
//! here one thread waits, writes rows and heeds signals. Never decides what a number means: that is [`diagnose`](crate::diagnose).

mod alarm;
mod crew;
mod error;
mod exposure;
mod load;
mod open;
mod progress;
mod quiet;
mod stairs;
mod steps;
mod stop;
mod url;
mod windows;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use self::{
    alarm::{Actor, Watchdog},
    crew::Crew,
    exposure::Exposure,
    quiet::Baseline,
    stairs::Stairs,
};
pub use self::{
    crew::WorkerReport,
    error::SoakError,
    load::{Comebacks, HeldByKernel, LoadReport, LoadSetup, Percentiles, load},
    open::rfc3339,
    progress::Progress,
    stop::Stop,
    url::{Carriage, Url, address},
};
use crate::{
    drive::{Farewell, Latency},
    isolate::Isolated,
    observe::{Observer, Sample},
    plan::{Leave, Phase, Plan, Step, Window},
    profile::{Alarm, Allocations, Profile},
    record::{
        AdaptiveFacts, Ended, EventKind, EventRow, LatencyRow, Manifest, RunDir, SampleRow, files,
    },
    target::{Life, Target},
    timeline::{Clock, Counts, Elapsed, Tally},
};

/// How often the conductor looks up while it waits: signals, the target's life, connection-seconds.
const TICK: Duration = Duration::from_millis(20);

/// How long a process may take to end once its listener is gone.
const DYING: Duration = Duration::from_secs(1);

/// What is to be run.
pub struct Setup {
    /// What a person asked for, with what the command line changed.
    pub profile: Profile,
    /// The schedule made of it.
    pub plan: Plan,
    /// The windows of an allocation profile after it, if one is asked for.
    pub windows: Vec<Window>,
    /// The run directory; made by [`run`].
    pub out: PathBuf,
    /// The command line, for the manifest.
    pub command: Vec<String>,
    /// The private network that we are in.
    pub isolated: Option<Isolated>,
    /// What was asked of an assay that is laid out as it goes: then `plan` is its pilot.
    pub adaptive: Option<AdaptiveFacts>,
}

impl Setup {
    /// The longest that the run may take: for one that is laid out as it goes, what it was given, or its pilot if that is longer.
    pub fn longest(&self) -> Duration {
        let given = self.adaptive.as_ref();
        let given = given.and_then(|facts| Duration::try_from_secs_f64(facts.within_s).ok());
        given.map_or(self.plan.longest(), |given| given.max(self.plan.longest()))
    }
}

/// How a run that is laid out as it goes goes on.
#[derive(Clone, Debug)]
pub struct Onward {
    /// What led there, for the manifest.
    pub facts: AdaptiveFacts,
    /// The steps to come; `None`: that was all.
    pub plan: Option<Plan>,
}

/// Says how a run goes on, when all steps so far are done and recorded: from the recording alone.
pub type AskOnward<'o> = &'o mut dyn FnMut() -> Result<Option<Onward>, String>;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Every step was done.
    Finished,
    /// Somebody asked us to stop.
    Interrupted,
    /// The target died.
    TargetDied,
    /// An alarm asked for it.
    Alarm,
    /// A stop condition of a step load was met.
    Stopped,
    /// It could not go on.
    Failed,
}

impl EndReason {
    /// The name used in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::TargetDied => "target-died",
            Self::Alarm => "alarm",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// Why the steps ended before their last.
enum Halt {
    Interrupted,
    TargetDied(String),
    Alarm(String),
    Stopped(String),
    Failed(SoakError),
}

impl<E: Into<SoakError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the plan against the target and records it. Everything that was started is stopped when it returns. `onward` is asked for
/// more whenever all steps are done; most runs have no more.
///
/// # Errors
/// The target cannot be started or reached, does not answer as the profile says, or the recording cannot be written.
/// What was recorded until then stays readable.
pub fn run(
    setup: &Setup,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
    onward: AskOnward<'_>,
) -> Result<EndReason, SoakError> {
    let clock = Clock::start();
    let dir = RunDir::create(&setup.out)?;
    dir.text(files::PROFILE, &setup.profile.text)?;
    let mut manifest = open::manifest(setup, &clock);
    dir.manifest(&manifest)?;
    match open::stages(setup, stop, &clock, &mut manifest) {
        Ok(stages) => {
            let mut conductor = Conductor::new(setup, stop, clock, dir, manifest, stages);
            let halt = conductor
                .say_how(setup)
                .map_err(Halt::from)
                .and_then(|()| conductor.play_on(&setup.plan, progress, onward))
                .and_then(|()| conductor.windows(&setup.plan, &setup.windows, progress))
                .err();
            let halt = halt.map(|halt| conductor.cause_of(halt));
            conductor.close(halt)
        }
        Err(_) if stop.asked() => {
            let text = "interrupted before the first client";
            end_early(&dir, manifest, &clock, EndReason::Interrupted, text)
        }
        Err(error) => {
            end_early(&dir, manifest, &clock, EndReason::Failed, &error.chain())?;
            Err(error)
        }
    }
}

/// Writes how a run ended that never began.
fn end_early(
    dir: &RunDir,
    mut manifest: Manifest,
    clock: &Clock,
    reason: EndReason,
    text: &str,
) -> Result<EndReason, SoakError> {
    manifest.ended = Some(Ended {
        t_s: clock.now().seconds(),
        reason: reason.name().into(),
        text: text.into(),
    });
    dir.manifest(&manifest)?;
    Ok(reason)
}

struct Conductor<'a> {
    dir: RunDir,
    manifest: Manifest,
    clock: Clock,
    tally: Arc<Tally>,
    crew: Crew,
    observer: Observer,
    target: Target,
    stop_within: Duration,
    samples: Receiver<Sample>,
    stop: &'a Stop,
    now: Now,
    exposure: Exposure,
    baseline: Baseline,
    /// Sockets by leave mode that were there before the dose under way.
    lingered: [u64; Leave::ALL.len()],
    before_dose: Counts,
    retained: (u64, u64),
    probe: Option<(Sample, u64)>,
    problems_said: usize,
    alarms: &'a [Alarm],
    watchdog: Watchdog,
    actor: Actor,
    /// What alarms have taken since latencies were written.
    latency: Latency,
    losses_said: usize,
    /// Of a step load: the steps.
    stairs: Option<Stairs>,
    /// Counts before the step under way began.
    before_step: Counts,
    /// What could not be read in looks for readings.
    gaps_said: BTreeSet<String>,
    /// How much of what was said of the run's length is in the events.
    said: usize,
    longest: Duration,
    /// When the target's life was last asked for.
    asked_alive: Elapsed,
    allocations: Allocations,
    drain_within: Duration,
}

/// Where the run is.
#[derive(Clone, Copy)]
struct Now {
    phase: Phase,
    cycle: i32,
    began: Elapsed,
}

/// What was started for a run.
struct Stages {
    target: Target,
    observer: Observer,
    crew: Crew,
    tally: Arc<Tally>,
    samples: Receiver<Sample>,
}

impl<'a> Conductor<'a> {
    fn new(
        setup: &'a Setup,
        stop: &'a Stop,
        clock: Clock,
        dir: RunDir,
        manifest: Manifest,
        stages: Stages,
    ) -> Self {
        let Stages {
            target,
            observer,
            crew,
            tally,
            samples,
        } = stages;
        Self {
            stairs: manifest.plan.steps.clone().map(Stairs::new),
            dir,
            manifest,
            clock,
            tally,
            crew,
            observer,
            target,
            stop_within: setup.profile.target.stop_within.get(),
            samples,
            stop,
            now: Now {
                phase: Phase::Rest,
                cycle: 0,
                began: clock.now(),
            },
            exposure: Exposure::default(),
            baseline: Baseline::default(),
            lingered: [0; Leave::ALL.len()],
            before_dose: Counts::default(),
            retained: (0, 0),
            probe: None,
            problems_said: 0,
            alarms: &setup.profile.alarm,
            watchdog: Watchdog::new(&setup.profile.alarm),
            actor: Actor::new(&setup.out),
            latency: Latency::default(),
            losses_said: 0,
            before_step: Counts::default(),
            gaps_said: BTreeSet::new(),
            said: 0,
            longest: setup.longest(),
            asked_alive: clock.now(),
            allocations: setup.profile.allocations.clone(),
            drain_within: setup.profile.run.drain_within(),
        }
    }

    fn play_on(
        &mut self,
        plan: &Plan,
        progress: &mut dyn FnMut(&Progress),
        onward: AskOnward<'_>,
    ) -> Result<(), Halt> {
        self.manifest.target.status = self.observer.status_json();
        self.dir.manifest(&self.manifest)?;
        self.play(plan, progress)?;
        while let Some(next) = onward().map_err(SoakError::Onward)? {
            for said in &next.facts.said[self.said.min(next.facts.said.len())..] {
                let (at, kind, text) = (self.clock.now(), EventKind::Note, said.clone());
                self.dir.event(&EventRow { at, kind, text })?;
            }
            self.said = next.facts.said.len();
            self.manifest.plan.adaptive = Some(next.facts);
            if let Some(plan) = &next.plan {
                self.manifest.plan.cycles = plan.cycles;
            }
            self.dir.manifest(&self.manifest)?;
            match next.plan {
                Some(plan) => self.play(&plan, progress)?,
                None => break,
            }
        }
        Ok(())
    }

    fn play(&mut self, plan: &Plan, progress: &mut dyn FnMut(&Progress)) -> Result<(), Halt> {
        for step in &plan.steps {
            self.wait_while_held(plan, progress)?;
            self.begin(step)?;
            self.step(plan, step, progress)?;
        }
        Ok(())
    }

    /// Somebody who looks may hold a run. Samples go on, and the recording says so.
    fn wait_while_held(
        &mut self,
        plan: &Plan,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), Halt> {
        if !self.stop.held() {
            return Ok(());
        }
        self.event(
            EventKind::Note,
            "held before the next step, as somebody who looks asked".into(),
        )?;
        while self.stop.held() {
            let until = self.clock.now() + TICK;
            self.pump(plan, until, progress)?;
        }
        self.event(EventKind::Note, "went on".into())?;
        Ok(())
    }

    /// What this machine makes of what was asked for.
    fn say_how(&mut self, setup: &Setup) -> Result<(), SoakError> {
        if let Some(isolated) = setup.isolated {
            self.event(EventKind::Note, format!("target and load in a {isolated}"))?;
        }
        for note in self.manifest.target.notes.clone() {
            self.event(EventKind::Note, note)?;
        }
        let mut batches = setup.plan.steps.iter().flat_map(|step| &step.batches);
        if batches.any(|batch| batch.leave == Leave::Vanish) {
            let text = format!(
                "vanish: no FIN, no RST, and nothing that the target sends is acknowledged; at the end of the run {}",
                Farewell::here().words()
            );
            self.event(EventKind::Note, text)?;
        }
        Ok(())
    }

    fn begin(&mut self, step: &Step) -> Result<(), Halt> {
        self.now = Now {
            phase: step.phase,
            cycle: step.cycle,
            began: self.clock.now(),
        };
        self.event(
            EventKind::Phase,
            format!("{} of cycle {}", step.phase, step.cycle),
        )?;
        if matches!(step.phase, Phase::Dose | Phase::Load) {
            self.before_dose = self.crew.counts();
        }
        if step.phase == Phase::Hold {
            self.before_step = self.crew.counts();
        }
        self.crew.play(self.now.began, &step.batches);
        Ok(())
    }

    fn event(&mut self, kind: EventKind, text: String) -> Result<(), SoakError> {
        Ok(self.dir.event(&EventRow {
            at: self.clock.now(),
            kind,
            text,
        })?)
    }

    /// Waits until `until`, and does meanwhile what must never wait: writes samples, heeds signals, sees the target die.
    fn pump(
        &mut self,
        plan: &Plan,
        until: Elapsed,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), Halt> {
        loop {
            let now = self.clock.now();
            let counts = self.tally.counts();
            self.exposure.advance(now, &counts);
            self.heed(now)?;
            let left = until.since(now);
            if left.is_zero() {
                return Ok(());
            }
            if let Ok(sample) = self.samples.recv_timeout(left.min(TICK)) {
                self.take(plan, sample, progress)?;
            }
        }
    }

    fn take(
        &mut self,
        plan: &Plan,
        mut sample: Sample,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), Halt> {
        sample.own = crew::together(sample.own, &self.crew.workers());
        let counts = self.tally.counts();
        for gap in &sample.gaps {
            self.event(EventKind::Gap, gap.clone())?;
        }
        for restart in &sample.restarts {
            self.event(EventKind::Restart, restart.clone())?;
        }
        let told = Progress {
            longest: self.longest,
            ..Progress::new(plan, self.now.phase, self.now.cycle, &counts, &sample)
        };
        if let Some(stairs) = &mut self.stairs {
            stairs.see(&sample);
        }
        progress(&told);
        let row = SampleRow {
            phase: self.now.phase,
            cycle: self.now.cycle,
            counts,
            sample,
            lost: self.observer.lost(),
        };
        self.dir.sample(&row)?;
        self.say_problems()?;
        self.heed_alarms(&row, &told, progress)
    }

    /// A target that dies takes its admin listener along: what failed first is then not what happened. The listener is gone some
    /// milliseconds before the process is.
    fn cause_of(&mut self, halt: Halt) -> Halt {
        if !matches!(halt, Halt::Failed(SoakError::Observe(_))) {
            return halt;
        }
        let end = self.clock.now() + DYING;
        while self.clock.now() < end {
            match self.target.alive() {
                Life::Running | Life::Unseen => {}
                gone => return Halt::TargetDied(gone.to_string()),
            }
            self.samples.recv_timeout(TICK).ok(); // nobody writes samples any more: this is how we wait
        }
        halt
    }

    fn heed(&mut self, now: Elapsed) -> Result<(), Halt> {
        if self.stop.asked() {
            return Err(Halt::Interrupted);
        }
        if now.since(self.asked_alive) < Duration::from_millis(100) {
            return Ok(());
        }
        self.asked_alive = now;
        if let Some(why) = self.crew.died() {
            return Err(SoakError::DriveDied(why).into());
        }
        match self.target.alive() {
            Life::Running | Life::Unseen => Ok(()),
            gone => Err(Halt::TargetDied(gone.to_string())),
        }
    }

    /// New problems of the load and workers that died go to the events once each.
    fn say_problems(&mut self) -> Result<(), SoakError> {
        let problems = self.crew.problems();
        let losses = self.crew.losses();
        for loss in losses.iter().skip(self.losses_said) {
            self.event(EventKind::Loss, loss.clone())?;
        }
        self.losses_said = losses.len();
        for problem in problems.iter().skip(self.problems_said) {
            self.event(EventKind::Problem, problem.to_string())?;
        }
        self.problems_said = self.problems_said.max(problems.len());
        Ok(())
    }

    fn write_latency(&mut self) -> Result<(), SoakError> {
        let at = self.clock.now();
        let mut latency = std::mem::take(&mut self.latency);
        latency.add(&self.crew.take_latency());
        for (of, histogram) in [
            ("connect", &latency.connect),
            ("first-event", &latency.first_event),
            ("gap", &latency.gap),
            ("late", &latency.late),
            ("answer", &latency.answer),
        ] {
            if histogram.is_empty() {
                continue;
            }
            let percentiles_us = [
                histogram.value_at_quantile(0.5),
                histogram.value_at_quantile(0.9),
                histogram.value_at_quantile(0.99),
                histogram.max(),
            ];
            self.dir.latency(&LatencyRow {
                at,
                of,
                count: histogram.len(),
                percentiles_us,
            })?;
        }
        Ok(())
    }

    /// Stops everything, in the order in which nothing can hang on anything, and writes how it ended.
    fn close(mut self, halt: Option<Halt>) -> Result<EndReason, SoakError> {
        let step = self.write_step(); // a step that was cut short is written as far as it got
        self.crew.stop();
        self.manifest.target.status_at_end = self.observer.status_json();
        let (reason, text, error) = match halt {
            None => (EndReason::Finished, "every step was done".to_owned(), None),
            Some(Halt::Interrupted) => (
                EndReason::Interrupted,
                "the run was interrupted".to_owned(),
                None,
            ),
            Some(Halt::TargetDied(how)) => (
                EndReason::TargetDied,
                format!("the target died: {how}"),
                None,
            ),
            Some(Halt::Alarm(text)) => (
                EndReason::Alarm,
                format!("stopped by an alarm: {text}"),
                None,
            ),
            Some(Halt::Stopped(text)) => (EndReason::Stopped, format!("stopped: {text}"), None),
            Some(Halt::Failed(error)) => (EndReason::Failed, error.chain(), Some(error)),
        };
        let ended = Ended {
            t_s: self.clock.now().seconds(),
            reason: reason.name().into(),
            text: text.clone(),
        };
        self.manifest.ended = Some(ended);
        let kind = if reason == EndReason::TargetDied {
            EventKind::Death
        } else {
            EventKind::End
        };
        let unsaid = std::mem::take(&mut self.actor).finish();
        let said = unsaid
            .into_iter()
            .try_for_each(|lost| self.event(EventKind::Loss, lost))
            .and_then(|()| step.map(|_| ()))
            .and_then(|()| self.event(kind, text))
            .and_then(|()| Ok(self.dir.manifest(&self.manifest)?));
        self.observer.stop();
        self.target.stop(self.stop_within);
        match error {
            Some(error) => Err(error),
            None => said.map(|()| reason),
        }
    }
}
