//! The windows of an allocation profile, after the judged part of the run: what each unit leaves behind, by who allocated it.
//!
//! A window is *forget what was sampled, clients come in rounds, everybody leaves, tidy up, dump*: the dump holds exactly what was
//! allocated in it and is still live. It comes last because it disturbs what is judged: sampled blocks take whole pages, and a
//! dump leaves symbol tables behind. A profiler that refuses ends the windows, never the run.

use std::time::Duration;

use super::{Conductor, Halt, Now, Progress, SoakError, quiet::Baseline};
use crate::{
    plan::{Phase, Plan, Window},
    profile::{Allocations, Instrument},
    record::{Captured, CapturedWindow, Cost, EventKind, Given, HEAP_VERSION, Image},
    target::image,
    timeline::Counts,
};

/// How often we look whether the next round can begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often we look whether everybody is gone.
const QUIET_EVERY: Duration = Duration::from_millis(50);

/// Sampling at this rate samples nothing: how jemalloc is switched off without forgetting how to sample.
const OFF: u8 = 40;

/// What cheap sampling means: jemalloc's own default.
const CHEAP: u8 = 19;

/// Times that every rate's cost is measured, in turns.
const TURNS: u32 = 3;

/// Samples aimed at: their count is known to within 6 % then (95 %).
const SAMPLES: f64 = 1000.0;

/// Where nothing is left behind, the bound must not be larger than so much a unit.
const BOUND_BYTES: f64 = 16.0;

/// Surviving none of so many means of bytes is as likely as 1 in 20: −ln 0.05.
const NONE_IN_20: f64 = 2.9957;

type Tell<'t> = &'t mut dyn FnMut(&Progress);

/// Why a window has no dump.
enum Trouble {
    /// The run ends.
    Halt(Halt),
    /// The profiler does not do it; the run goes on.
    Refused(String),
}

impl<E: Into<Halt>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Halt(error.into())
    }
}

/// The rate at which so many units, that leave about so many bytes each, give enough samples, and no window is blind to
/// [`BOUND_BYTES`]. Between 2¹⁰, where every sample costs four pages' worth of what it stands for, and jemalloc's default.
fn rate(units: f64, bytes_per_unit: f64) -> u8 {
    let for_samples = (units * bytes_per_unit / SAMPLES).log2();
    let for_bound = (BOUND_BYTES * units / NONE_IN_20).log2();
    let chosen = if for_samples > f64::from(LEAST) {
        for_samples.min(for_bound)
    } else if bytes_per_unit >= 1.0 {
        f64::from(LEAST)
    } else {
        for_bound
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 10 … 19"
    )]
    let lg = chosen.floor().clamp(f64::from(LEAST), f64::from(CHEAP)) as u8;
    lg
}

/// The finest rate that is chosen without being asked for.
const LEAST: u8 = 10;

impl Conductor<'_> {
    /// All windows, and what they cost. Nothing of it is judged by what is judged otherwise.
    pub(super) fn windows(
        &mut self,
        plan: &Plan,
        windows: &[Window],
        tell: Tell<'_>,
    ) -> Result<(), Halt> {
        let asked = self.allocations.clone();
        if asked.instrument == Instrument::None || windows.is_empty() {
            return Ok(());
        }
        let mut captured = Captured {
            version: HEAP_VERSION,
            instrument: asked.instrument,
            images: self.images(),
            ..Captured::default()
        };
        let done = self.all_windows(plan, windows, &asked, &mut captured, tell);
        if let Err(Trouble::Refused(why)) = &done {
            self.event(EventKind::Problem, format!("no allocation profile: {why}"))?;
            captured.problem = Some(why.clone());
        }
        self.dir.captured(&captured).map_err(SoakError::from)?;
        match done {
            Err(Trouble::Halt(halt)) => Err(halt),
            _ => Ok(()),
        }
    }

    fn all_windows(
        &mut self,
        plan: &Plan,
        windows: &[Window],
        asked: &Allocations,
        captured: &mut Captured,
        tell: Tell<'_>,
    ) -> Result<(), Trouble> {
        for (number, window) in windows.iter().enumerate() {
            self.now = Now {
                phase: Phase::Window,
                cycle: i32::try_from(number).unwrap_or(i32::MAX),
                began: self.clock.now(),
            };
            let text = format!("window of {}", window.factor);
            self.event(EventKind::Phase, text).map_err(Halt::from)?;
            let lg_sample = self.rate_for(plan, window, asked, tell)?;
            if number == 0 {
                captured.cost = self.cost(plan, window, lg_sample, tell)?;
            }
            let file = format!("{number:02}-{}.{}", window.factor, ending(asked.instrument));
            let taken = self.window(plan, window, lg_sample, file, tell)?;
            captured.windows.push(taken);
            self.dir
                .captured(captured)
                .map_err(SoakError::from)
                .map_err(Halt::from)?;
        }
        Ok(())
    }

    /// What the target has mapped now: it may be replaced on disk before anybody looks its addresses up.
    fn images(&self) -> Vec<Image> {
        let pid = self.target.pid();
        let files = pid.map(image::mapped_files).unwrap_or_default().into_iter();
        let hex = |id: Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect();
        files
            .map(|file| Image {
                path: file.path,
                build_id: file.build_id.map(hex),
            })
            .collect()
    }

    /// The rate for a window: what was asked for, or what fits the bytes that one round leaves. `None`: every allocation is noted.
    fn rate_for(
        &mut self,
        plan: &Plan,
        window: &Window,
        asked: &Allocations,
        tell: Tell<'_>,
    ) -> Result<Option<u8>, Trouble> {
        if asked.instrument == Instrument::Dhat {
            return Ok(None);
        }
        if asked.lg_sample.is_some() {
            return Ok(asked.lg_sample);
        }
        self.quiet(plan, tell)?;
        let (before, counts) = (self.allocated(), self.crew.counts());
        self.rounds(plan, window, window.round.count, window.within, tell)?;
        self.quiet(plan, tell)?;
        let given = Given::between(&counts, &self.crew.counts()).of(window.factor);
        let left = self
            .allocated()
            .zip(before)
            .map(|(after, before)| after - before);
        let per_unit = left.unwrap_or(0.0).max(0.0) / (given.max(1) as f64);
        let units = match window.factor {
            crate::plan::Factor::Event => given as f64 * 20.0,
            _ => f64::from(window.units),
        };
        Ok(Some(rate(units, per_unit)))
    }

    /// Live bytes by the allocator's own count, after it tidied up.
    fn allocated(&self) -> Option<f64> {
        let heap = self.observer.settled_look().target?.heap?;
        Some(heap.allocated_bytes as f64)
    }

    /// What the same clients cost the target with the profiler off, at jemalloc's own rate, and at the chosen one.
    fn cost(
        &mut self,
        plan: &Plan,
        window: &Window,
        lg_sample: Option<u8>,
        tell: Tell<'_>,
    ) -> Result<Vec<Cost>, Trouble> {
        let mut cost: Vec<Cost> = match lg_sample {
            Some(CHEAP) => vec![cost(None, false), cost(Some(CHEAP), false)],
            Some(lg) => vec![
                cost(None, false),
                cost(Some(CHEAP), false),
                cost(Some(lg), false),
            ],
            None => vec![cost(None, false), cost(None, true)],
        };
        for _ in 0..TURNS {
            for arm in &mut cost {
                self.arm(lg_sample, arm)?;
                let (clients, cpu) = (self.tally.counts().closed_total(), self.cpu());
                self.rounds(plan, window, window.round.count * 2, window.within, tell)?;
                self.everyone_gone(plan, tell)?;
                arm.clients += self.tally.counts().closed_total() - clients;
                arm.cpu_s += self.cpu().zip(cpu).map_or(0.0, |(now, then)| now - then);
                self.disarm(arm)?;
            }
        }
        Ok(cost)
    }

    fn arm(&self, lg_sample: Option<u8>, arm: &Cost) -> Result<(), Trouble> {
        match (lg_sample, arm.exact) {
            (Some(_), _) => self.start(Some(arm.lg_sample.unwrap_or(OFF))),
            (None, true) => self.start(None),
            (None, false) => Ok(()),
        }
    }

    fn disarm(&self, arm: &Cost) -> Result<(), Trouble> {
        if !arm.exact {
            return Ok(());
        }
        let nowhere = std::fs::File::create("/dev/null").map_err(|error| refused(&error))?;
        let thrown_away = self.observer.stop_dhat(nowhere);
        thrown_away.map(drop).map_err(|error| refused(&error))
    }

    fn cpu(&self) -> Option<f64> {
        self.observer.look().tree?.cpu_seconds
    }

    /// Opens a window: whatever was sampled before is forgotten.
    fn start(&self, lg_sample: Option<u8>) -> Result<(), Trouble> {
        let started = match lg_sample {
            Some(lg) => self.observer.start_profile(lg),
            None => self.observer.start_dhat(),
        };
        started.map_err(|error| refused(&error))
    }

    fn window(
        &mut self,
        plan: &Plan,
        window: &Window,
        lg_sample: Option<u8>,
        file: String,
        tell: Tell<'_>,
    ) -> Result<CapturedWindow, Trouble> {
        self.quiet(plan, tell)?;
        self.observer.settled_look();
        self.start(lg_sample)?;
        let (began, counts) = (self.clock.now(), self.crew.counts());
        self.rounds(plan, window, window.units, window.within, tell)?;
        let quiet = self.quiet(plan, tell)?;
        self.observer.settled_look();
        let given = Given::between(&counts, &self.crew.counts());
        let dump = self
            .dir
            .dump(&file)
            .map_err(SoakError::from)
            .map_err(Halt::from)?;
        let taken = match lg_sample {
            Some(_) => self.observer.fetch_profile(dump),
            None => self.observer.stop_dhat(dump),
        };
        taken.map_err(|error| refused(&error))?;
        Ok(CapturedWindow {
            of: crate::profile::Unit(window.factor),
            file,
            lg_sample,
            began_s: began.seconds(),
            ended_s: self.clock.now().seconds(),
            quiet,
            given,
        })
    }

    /// Plays rounds until so many units are delivered, or the time is over: the next round when half of the last has left.
    fn rounds(
        &mut self,
        plan: &Plan,
        window: &Window,
        units: u32,
        within: Duration,
        tell: Tell<'_>,
    ) -> Result<(), Halt> {
        let end = self.clock.now() + within;
        let before = self.crew.counts();
        let mut asked_for = 0;
        let is_counted = matches!(window.factor, crate::plan::Factor::Event);
        loop {
            let counts = self.tally.counts();
            let enough = asked_for >= units
                || (is_counted
                    && Given::between(&before, &counts).of(window.factor) >= u64::from(units));
            if enough || self.clock.now() >= end {
                break;
            }
            if self.has_room(plan, window, &counts) {
                let round = window.round_of(units - asked_for);
                if !is_counted {
                    asked_for += round.count;
                }
                self.crew.play(self.clock.now(), &[round]);
            }
            self.pump(plan, self.clock.now() + LOOK_EVERY, tell)?;
        }
        Ok(())
    }

    fn has_room(&self, plan: &Plan, window: &Window, counts: &Counts) -> bool {
        let there = counts.live().saturating_sub(u64::from(plan.standing));
        counts.is_nobody_due() && there <= u64::from(window.round.count) / 2
    }

    /// Waits for those who are still there to leave by themselves, then sends away who stays.
    fn everyone_gone(&mut self, plan: &Plan, tell: Tell<'_>) -> Result<(), Halt> {
        let end = self.clock.now() + self.drain_within;
        while !(self.tally.counts().is_nobody_due()
            && self.tally.counts().live() <= u64::from(plan.standing))
            && self.clock.now() < end
        {
            self.pump(plan, self.clock.now() + LOOK_EVERY, tell)?;
        }
        self.crew.recall();
        Ok(())
    }

    /// Everybody leaves; then waits until every count is back, or the target has had its time. Whether it was quiet.
    fn quiet(&mut self, plan: &Plan, tell: Tell<'_>) -> Result<bool, Halt> {
        self.everyone_gone(plan, tell)?;
        let end = self.clock.now() + self.drain_within;
        loop {
            let look = self.observer.look();
            let now = self.clock.now();
            let quiet = self.baseline.all_gone(&self.tally.counts(), &look);
            if quiet || now >= end {
                self.baseline = Baseline {
                    own: self.baseline.own,
                    ..Baseline::of(&self.crew.counts(), &look)
                };
                return Ok(quiet);
            }
            self.pump(plan, now + QUIET_EVERY, tell)?;
        }
    }
}

const fn cost(lg_sample: Option<u8>, exact: bool) -> Cost {
    Cost {
        lg_sample,
        exact,
        clients: 0,
        cpu_s: 0.0,
    }
}

/// How the dumps of an instrument are called.
const fn ending(instrument: Instrument) -> &'static str {
    match instrument {
        Instrument::Dhat => "dhat.json",
        _ => "heap",
    }
}

fn refused(error: &dyn std::error::Error) -> Trouble {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    Trouble::Refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_gives_enough_samples_and_leaves_no_window_blind() {
        for (units, bytes, lg, why) in [
            (
                20_000.0,
                0.0,
                16,
                "nothing is left: 9.8 B would still be seen",
            ),
            (20_000.0, 620.0, 13, "1,500 samples"),
            (
                20_000.0,
                10_000.0,
                16,
                "enough samples, and the bound holds",
            ),
            (20_000.0, 4.0, 10, "as fine as is sensible"),
            (
                1_000_000.0,
                620.0,
                19,
                "1,200 samples at jemalloc's own rate",
            ),
            (100.0, 0.0, 10, "few units need fine sampling"),
        ] {
            assert_eq!(rate(units, bytes), lg, "{why}");
        }
    }
}
