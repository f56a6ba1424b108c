//! What the conductor does in each kind of step.

use std::time::Duration;

use super::{
    Conductor, Halt, Progress, SoakError,
    quiet::{Baseline, Drain},
};
use crate::{
    observe::Sample,
    plan::{Leave, Length, Phase, Plan, Step},
    record::{EventKind, ReadingKind, ReadingRow},
    timeline::{Counts, Elapsed},
};

/// How often a drain looks whether it is quiet. Times to clean are known to within this.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks in the window of a reading. Their median is the reading, their spread its dither.
const LOOKS: u32 = 3;

/// The same while load goes on: it takes more of them to see past what comes and goes. Odd, so that one is in the middle.
const LOOKS_LOADED: u32 = 13;

/// How far the readings of a rest stay from its ends, at most.
const REST_MARGIN: Duration = Duration::from_millis(300);

/// Counts, and connection-seconds since the closes.
type Given = (Counts, [f64; Leave::ALL.len()]);

type Tell<'t> = &'t mut dyn FnMut(&Progress);

impl Conductor<'_> {
    pub(super) fn step(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        match step.phase {
            Phase::Standing => self.standing(plan, step, tell),
            Phase::Trial => self.trial(plan, step, tell),
            Phase::Rest => self.rest(plan, step, tell),
            Phase::Dose => {
                self.load(plan, step, tell)?;
                self.crew.recall();
                Ok(())
            }
            Phase::Load => self.load(plan, step, tell),
            Phase::Drain => self.drain(plan, step, tell),
            Phase::Probe => self.probe(plan, step, tell),
            Phase::Settle => self.settle(plan, step, tell),
            Phase::Hold => self.hold(plan, step, tell),
            Phase::Pause => self.pause(plan, step, tell),
            Phase::Read => self.read(plan, step, LOOKS, tell),
            Phase::ReadLoaded => {
                self.read(plan, step, LOOKS_LOADED, tell)?;
                self.crew.recall();
                Ok(())
            }
            Phase::Window => Ok(()), // played after the plan, see `windows`
        }
    }

    fn end_of(&self, step: &Step) -> Elapsed {
        self.now.began + step.length.longest()
    }

    fn standing(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let end = self.end_of(step);
        while self.crew.standing() < u64::from(plan.standing) {
            if self.clock.now() >= end || self.tally.counts().errors() > 0 {
                return Err(self.not_as_the_profile_says().into());
            }
            self.pump(plan, self.clock.now() + LOOK_EVERY, tell)?;
        }
        Ok(())
    }

    fn trial(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let end = self.end_of(step);
        loop {
            self.pump(plan, self.clock.now() + LOOK_EVERY, tell)?;
            let counts = self.tally.counts();
            let over = counts.is_nobody_due() && counts.live() <= u64::from(plan.standing);
            if counts.errors() > 0
                || counts.captures_failed > 0
                || (!over && self.clock.now() >= end)
            {
                return Err(self.not_as_the_profile_says().into());
            }
            if over {
                return Ok(());
            }
        }
    }

    fn not_as_the_profile_says(&self) -> SoakError {
        SoakError::Trial {
            problems: self.crew.troubles(),
        }
    }

    fn rest(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let length = step.length.longest();
        let margin = REST_MARGIN.min(length / 8);
        for (kind, after) in [
            (ReadingKind::RestStart, margin),
            (ReadingKind::RestEnd, length - margin),
        ] {
            self.pump(plan, self.now.began + after, tell)?;
            let look = self.settled_look()?;
            let given = self.given();
            self.write_reading(kind, vec![look], given)?;
        }
        self.pump(plan, self.end_of(step), tell)
    }

    fn load(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        if let Some(retain) = step.retain {
            let kept = self
                .observer
                .retain(retain.bytes, u64::from(retain.blocks))?;
            self.retained.0 += kept.blocks;
            self.retained.1 += kept.bytes;
        }
        self.pump(plan, self.end_of(step), tell)
    }

    /// Looks until every count is back, and writes what lingered. A drain of fixed length only takes the baseline.
    fn drain(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let Length::UntilQuiet { at_least, .. } = step.length else {
            self.pump(plan, self.end_of(step), tell)?;
            let look = self.observer.look();
            self.baseline = Baseline::of(&self.crew.counts(), &look);
            self.remember_lingering(&look);
            if let Err(error) = self.observer.take_roll() {
                let text = format!("restarts of the target's workers will not be noticed: {error}");
                self.event(EventKind::Gap, text)?;
            }
            return Ok(());
        };
        let (earliest, end) = (self.now.began + at_least, self.end_of(step));
        let mut drain = Drain::begin(self.now.began, self.baseline);
        let look = loop {
            let look = self.observer.look();
            drain.see(&look, &self.lingered);
            let now = self.clock.now();
            let quiet = now >= earliest && self.baseline.all_gone(&self.tally.counts(), &look);
            if quiet || now >= end {
                break look;
            }
            self.pump(plan, now + LOOK_EVERY, tell)?;
        };
        let counts = self.crew.counts();
        let dose = counts.since(&self.before_dose);
        for row in drain.end(self.clock.now(), self.now.cycle, &dose) {
            self.dir.cleanup(&row)?;
        }
        self.remember_lingering(&look);
        self.baseline = Baseline {
            own: self.baseline.own,
            ..Baseline::of(&counts, &look)
        };
        Ok(())
    }

    fn remember_lingering(&mut self, look: &Sample) {
        if let Some(sockets) = &look.sockets {
            self.lingered = sockets.held_by_leave;
        }
    }

    fn probe(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let end = self.end_of(step);
        self.pump(plan, end - step.length.longest() / 4, tell)?;
        let live = self.crew.counts().live();
        self.probe = Some((self.observer.full_look(), live));
        self.pump(plan, end, tell)?;
        self.crew.recall();
        Ok(())
    }

    /// Waits for the probe's connections to go; sessions have had their time in the drain.
    fn settle(&mut self, plan: &Plan, step: &Step, tell: Tell<'_>) -> Result<(), Halt> {
        let Length::UntilQuiet { at_least, .. } = step.length else {
            return self.pump(plan, self.end_of(step), tell);
        };
        let (earliest, end) = (self.now.began + at_least, self.end_of(step));
        self.pump(plan, earliest, tell)?;
        loop {
            let look = self.observer.look();
            let now = self.clock.now();
            if now >= end || self.baseline.connections_gone(&self.tally.counts(), &look) {
                return Ok(());
            }
            self.pump(plan, now + LOOK_EVERY, tell)?;
        }
    }

    /// The doses are those in the middle of the window: under load they go on, and memory must be laid beside what had been given
    /// at the same moment, not at the end (the method, §4: a slope that is 10 % too small).
    fn read(&mut self, plan: &Plan, step: &Step, count: u32, tell: Tell<'_>) -> Result<(), Halt> {
        let spacing = step.length.longest() / count;
        let mut looks = Vec::new();
        let mut given = None;
        for number in 0..count {
            self.pump(plan, self.now.began + spacing * number, tell)?;
            looks.push(self.settled_look()?);
            if number == count / 2 {
                given = Some(self.given());
            }
        }
        let given = given.unwrap_or_else(|| self.given());
        self.write_reading(ReadingKind::Cycle, looks, given)?;
        self.probe = None;
        self.pump(plan, self.end_of(step), tell)?;
        self.write_latency()?;
        Ok(())
    }

    /// A look after the target was asked to tidy up. What could not be asked is said once: its empty cells say the rest.
    fn settled_look(&mut self) -> Result<Sample, SoakError> {
        let look = self.observer.settled_look();
        let new: Vec<String> = look
            .gaps
            .iter()
            .filter(|gap| self.gaps_said.insert((*gap).clone()))
            .cloned()
            .collect();
        new.into_iter()
            .try_for_each(|gap| self.event(EventKind::Gap, gap))?;
        Ok(look)
    }

    /// What the load has done by now.
    fn given(&mut self) -> Given {
        let counts = self.crew.counts();
        self.exposure.advance(self.clock.now(), &counts);
        (counts, self.exposure.sums())
    }

    fn write_reading(
        &mut self,
        kind: ReadingKind,
        looks: Vec<Sample>,
        (counts, exposure): Given,
    ) -> Result<(), SoakError> {
        let (probe, probe_live) = self.probe.clone().unzip();
        let row = ReadingRow {
            kind,
            cycle: self.now.cycle,
            looks,
            counts,
            exposure,
            retained_blocks: self.retained.0,
            retained_bytes: self.retained.1,
            probe,
            probe_live,
        };
        Ok(self.dir.reading(&row)?)
    }
}
