//! The blocks of a soak: a level of streams drawn for each, and every factor's rate on or off (the method, §9).
//!
//! Drained, a block is *dose, drain, probe, settle, read*: a long cycle of an assay. Under load it is *probe, load, read*: the probe
//! first, since everybody of the block before is gone then, and the reading with the load on.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Batch, Design, Factor, Leave, Length, Manners, Phase, Plan, Retain, Stay, Step,
    parts::{self, bare, part, standing, trial},
};
use crate::{
    profile::{Profile, Soak},
    units::Period,
};

/// Every so many blocks each factor is on in half of them (the method, §9).
const GROUP: usize = 12;

/// The part of a drained load in which clients arrive; the rest leaves the last ones time to do what they came for.
const ARRIVALS: f64 = 0.9;

/// The population arrives over this part of the load, all at once being the probe's business.
const COMING: f64 = 0.1;

/// One factor of the design.
struct Rated {
    factor: Factor,
    batch: Option<Batch>,
    retain: Option<Retain>,
}

/// What the blocks of one soak share.
struct Layout<'a> {
    soak: &'a Soak,
    drained: bool,
    load: Duration,
    read: Duration,
    rated: Vec<Rated>,
    population: usize,
    probe: Batch,
}

pub(super) fn plan(profile: &Profile, soak: &Soak, seed: u64) -> Plan {
    let index = |name: &str| parts::index(profile, name);
    let layout = Layout::new(profile, soak, &index);
    let judged = soak.blocks().saturating_sub(soak.priming);
    let blocks = judged as usize;
    let design = halves(seed, blocks, layout.rated.len());
    let levels = levels(seed, blocks, soak.population.live.get_ref());
    let priming = i32::try_from(soak.priming).unwrap_or(i32::MAX);
    let rest = |cycle, length: Option<Period>| {
        length.map(|length| bare(Phase::Rest, cycle, Length::For(length.get())))
    };
    let mut steps = standing(soak.standing.as_ref(), -priming, &index);
    steps.push(trial(layout.batches().iter(), -priming));
    let forgotten = Length::For(soak.drain_within.get());
    steps.push(bare(Phase::Drain, -priming, forgotten));
    steps.extend(rest(-priming, soak.rests.map(|rests| rests.first)));
    for cycle in -priming..0 {
        steps.extend(layout.block(cycle, middle(soak.population.live.get_ref()), |_| true));
    }
    steps.extend(rest(0, soak.rests.map(|rests| rests.primed)));
    for (block, cycle) in (0..blocks).zip(0..) {
        if block > 0 && block == blocks / 2 {
            steps.extend(rest(cycle, soak.rests.map(|rests| rests.middle)));
        }
        steps.extend(layout.block(cycle, levels[block], |factor| design[block][factor]));
    }
    let last = i32::try_from(judged).unwrap_or(i32::MAX);
    steps.extend(rest(last, soak.rests.map(|rests| rests.last)));
    Plan {
        seed,
        scripts: parts::scripts(profile, soak.standing.as_ref()),
        pools: 1,
        standing: soak.standing.as_ref().map_or(0, |one| one.connections),
        factors: layout.rated.iter().map(|rated| rated.factor).collect(),
        control_bytes: soak.rates.control.map(|control| control.bytes.0),
        steps,
        priming: soak.priming,
        cycles: judged,
    }
}

/// What every rate of the profile plays, for those who play one at a time.
pub(super) fn played(profile: &Profile, soak: &Soak) -> Vec<(Factor, Batch)> {
    let index = |name: &str| parts::index(profile, name);
    let rated = Layout::new(profile, soak, &index).rated.into_iter();
    rated
        .filter_map(|rated| Some((rated.factor, rated.batch?)))
        .collect()
}

impl<'a> Layout<'a> {
    fn new(profile: &Profile, soak: &'a Soak, index: &impl Fn(&str) -> usize) -> Self {
        let probe = soak.probe.get_ref();
        let mut layout = Self {
            soak,
            drained: soak.is_drained(&profile.target),
            load: soak.load(&profile.target),
            read: soak.read(&profile.target),
            rated: Vec::new(),
            population: index(soak.population.script.get_ref()),
            probe: Batch {
                script: index(probe.script.get_ref()),
                leave: Leave::Fin,
                count: probe.connections,
                after: Duration::ZERO,
                over: Duration::ZERO,
                stay: Stay::Until(probe.hold.get()),
                manners: Manners::default(),
            },
        };
        layout.rated = layout.rated(index);
        layout
    }

    /// From the beginning of the load to the moment at which everyone is sent away.
    fn present(&self) -> Duration {
        if self.drained {
            self.load
        } else {
            self.load + self.read
        }
    }

    /// Until when those stay who stay for the block. Under load they are sent away when the reading is over, however long its looks
    /// take.
    fn stays(&self) -> Duration {
        if self.drained {
            self.load
        } else {
            self.present() + self.load
        }
    }

    fn arrivals(&self) -> Duration {
        if self.drained {
            self.load.mul_f64(ARRIVALS)
        } else {
            self.present()
        }
    }

    /// What every rate of the profile plays, in the order of the regression.
    fn rated(&self, index: &impl Fn(&str) -> usize) -> Vec<Rated> {
        let rates = &self.soak.rates;
        let batch = |script: &str, leave, count, stay| Batch {
            script: index(script),
            leave,
            count,
            after: Duration::ZERO,
            over: self.arrivals(),
            stay,
            manners: Manners::default(),
        };
        let rated = |factor, batch| Rated {
            factor,
            batch: Some(batch),
            retain: None,
        };
        let mut all = Vec::new();
        for (leave, rate) in &rates.closed {
            let whole = match leave {
                Leave::Stall | Leave::Slow => self.stays(),
                _ => self.present(),
            };
            let stay = parts::stay(*leave, rate.stay.map(Period::get), whole);
            let count = rate.per_second.count_in(self.present());
            all.push(rated(
                Factor::Closed(*leave),
                batch(rate.script.get_ref(), *leave, count, stay),
            ));
        }
        for (factor, rate) in [
            (Factor::Session, &rates.session),
            (Factor::Turn, &rates.turn),
        ] {
            all.extend(rate.iter().map(|rate| {
                let count = rate.per_second.count_in(self.present());
                rated(
                    factor,
                    batch(
                        rate.script.get_ref(),
                        Leave::Complete,
                        count,
                        Stay::ToTheEnd,
                    ),
                )
            }));
        }
        all.extend(rates.event.iter().map(|event| {
            let stay = Stay::Until(self.stays());
            let streams = batch(event.script.get_ref(), Leave::Fin, event.streams, stay);
            rated(
                Factor::Event,
                Batch {
                    over: Duration::ZERO,
                    manners: Manners::new(event.reconnect, event.network),
                    ..streams
                },
            )
        }));
        all.extend(rates.control.iter().map(|control| Rated {
            factor: Factor::Control,
            batch: None,
            retain: Some(Retain {
                bytes: control.bytes.0,
                blocks: control.blocks,
            }),
        }));
        all
    }

    /// Everything that is ever played, for the trial.
    fn batches(&self) -> Vec<Batch> {
        let rated = self.rated.iter().filter_map(|rated| rated.batch.clone());
        rated
            .chain([self.population(1), self.probe.clone()])
            .collect()
    }

    fn population(&self, level: u32) -> Batch {
        let streams = &self.soak.population;
        Batch {
            script: self.population,
            leave: Leave::Fin,
            count: level,
            after: Duration::ZERO,
            over: self.load.mul_f64(COMING),
            stay: Stay::Until(self.stays()),
            manners: Manners::new(streams.reconnect, streams.network),
        }
    }

    fn block(&self, cycle: i32, level: u32, is_on: impl Fn(usize) -> bool) -> Vec<Step> {
        let on = || {
            self.rated
                .iter()
                .enumerate()
                .filter(|(j, _)| is_on(*j))
                .map(|(_, rated)| rated)
        };
        let batches = on().filter_map(|rated| rated.batch.clone());
        let phase = if self.drained {
            Phase::Dose
        } else {
            Phase::Load
        };
        let load = Step {
            batches: batches.chain([self.population(level)]).collect(),
            retain: on().find_map(|rated| rated.retain),
            ..bare(phase, cycle, Length::For(self.load))
        };
        let hold = self.soak.probe.get_ref().hold.get();
        let probe = Step {
            batches: vec![self.probe.clone()],
            ..bare(Phase::Probe, cycle, Length::For(hold))
        };
        if !self.drained {
            let read = bare(Phase::ReadLoaded, cycle, Length::For(self.read));
            return vec![probe, load, read];
        }
        let quiet = |at_least: Option<Duration>, at_most: Duration| Length::UntilQuiet {
            at_least: at_least.unwrap_or_default().min(at_most),
            at_most,
        };
        let (within, settle) = (self.soak.drain_within.get(), self.soak.settle.get());
        let drain = quiet(self.soak.drain_at_least.map(Period::get), within);
        vec![
            load,
            bare(Phase::Drain, cycle, drain),
            probe,
            bare(
                Phase::Settle,
                cycle,
                quiet(Some(settle), settle.max(within)),
            ),
            bare(Phase::Read, cycle, Length::For(self.read)),
        ]
    }
}

/// Which factor is on in which block: balanced halves, drawn anew for every group; what is left over joins the last group.
fn halves(seed: u64, blocks: usize, factors: usize) -> Vec<Vec<bool>> {
    let mut all = Vec::with_capacity(blocks);
    for group in 0_u64.. {
        let left = blocks - all.len();
        let size = if left < 2 * GROUP { left } else { GROUP };
        if size == 0 || factors == 0 {
            break;
        }
        let drawn = Design::draw(
            seed.wrapping_add(group),
            size,
            &vec![part(0.5, size); factors],
        );
        all.extend((0..size).map(|block| (0..factors).map(|j| drawn.is_on(block, j)).collect()));
    }
    all.resize(blocks, Vec::new());
    all
}

/// The level of every block: each level equally often, in random order.
fn levels(seed: u64, blocks: usize, levels: &[u32]) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x001e_7e15);
    let mut all: Vec<u32> = levels.iter().copied().cycle().take(blocks).collect();
    for last in (1..all.len()).rev() {
        all.swap(last, rng.random_range(0..=last));
    }
    all
}

fn middle(levels: &[u32]) -> u32 {
    let mut sorted = levels.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = r#"
seed = 1
[target]
url = "http://127.0.0.1:8080"
[scripts.feed]
steps = [{ get = "/events" }]
[run.soak]
length = "24h"
drain-within = "30s"
probe = { script = "feed", connections = 600, step = 0, hold = "10s" }
population = { script = "feed", live = [150, 300, 450] }
[run.soak.rates]
closed.fin = { script = "feed", per-second = 2 }
closed.rst = { script = "feed", per-second = 2.0 }
closed.stall = { script = "feed", per-second = 0.5 }
"#;

    fn day(from: &str, to: &str) -> Plan {
        let profile = Profile::parse("day", "day.toml", DAY.replace(from, to)).unwrap();
        Plan::new(&profile, 7)
    }

    #[test]
    fn a_soak_that_would_never_be_judged_is_refused_with_the_numbers() {
        let refused = |from: &str, to: &str| {
            let text = DAY.replace(from, to);
            let profile = Profile::parse("day", "day.toml", text);
            profile.err().map(|error| error.to_string())
        };
        assert_eq!(refused("24h", "24h"), None);
        let said = refused("24h", "4h").unwrap();
        for part in ["line 15", "`stall`", "5000", "cache-units"] {
            assert!(said.contains(part), "no {part} in: {said}");
        }
    }

    #[test]
    fn a_day_is_288_blocks_of_five_minutes_and_small_in_memory() {
        let plan = day("", "");
        assert_eq!((plan.priming, plan.cycles), (2, 286));
        assert_eq!(plan.longest().as_secs(), 24 * 3600 + 30 + 30); // and the trial, and the drain after it
        let batches: usize = plan.steps.iter().map(|step| step.batches.len()).sum();
        let size = plan.steps.len() * size_of::<Step>() + batches * size_of::<Batch>();
        assert!(size < 1 << 19, "{size} B");
    }

    #[test]
    fn under_load_a_block_is_probe_load_and_read_and_drained_it_is_a_long_cycle() {
        let phases = |plan: &Plan| {
            let block = plan.steps.iter().filter(|step| step.cycle == 3);
            block.map(|step| step.phase).collect::<Vec<_>>()
        };
        assert_eq!(
            phases(&day("", "")),
            [Phase::Probe, Phase::Load, Phase::ReadLoaded]
        );
        let drained = day("drain-within", "drain-to-read = true\ndrain-within");
        assert_eq!(
            phases(&drained),
            [
                Phase::Dose,
                Phase::Drain,
                Phase::Probe,
                Phase::Settle,
                Phase::Read
            ]
        );
    }

    #[test]
    fn rates_count_over_everything_that_is_load() {
        let plan = day("", "");
        let load = plan
            .steps
            .iter()
            .find(|step| step.phase == Phase::Load && step.cycle < 0);
        let counts: Vec<_> = load
            .unwrap()
            .batches
            .iter()
            .map(|batch| (batch.leave, batch.count))
            .collect();
        assert_eq!(
            counts,
            [
                (Leave::Fin, 580), // 2 a second in the 290 s beside the probe
                (Leave::Rst, 580),
                (Leave::Stall, 145),
                (Leave::Fin, 300), // the population, at its middle level while priming
            ]
        );
    }

    #[test]
    fn every_factor_is_on_in_half_of_every_group_and_levels_are_drawn_equally_often() {
        let on = halves(3, 40, 4);
        assert_eq!(on.len(), 40);
        for group in [0..12, 12..24, 24..40] {
            for factor in 0..4 {
                let count = on[group.clone()]
                    .iter()
                    .filter(|block| block[factor])
                    .count();
                assert_eq!(count, group.len() / 2, "factor {factor} in {group:?}");
            }
        }
        let levels = levels(3, 40, &[150, 300, 450]);
        for level in [150, 300, 450] {
            let often = levels.iter().filter(|one| **one == level).count();
            assert!((13..=14).contains(&often), "{level}: {often}");
        }
        assert_eq!(halves(3, 5, 0), vec![Vec::<bool>::new(); 5]);
    }

    #[test]
    fn what_makes_no_soak_is_refused_with_the_reason() {
        for (from, to, part) in [
            ("\"24h\"", "\"1h\"", "12 blocks"),
            ("\"24h\"", "\"800h\"", "9600 blocks"),
            ("connections = 600", "connections = 450", "more than 450"),
            ("[150, 300, 450]", "[]", "`live` is empty"),
            ("hold = \"10s\"", "hold = \"4min\"", "leaves"),
            ("per-second = 0.5", "per-second = -1", "not a rate"),
        ] {
            let text = DAY.replace(from, to);
            let message = Profile::parse("day", "day.toml", text)
                .unwrap_err()
                .to_string();
            assert!(message.contains(part), "`{to}`: {message}");
        }
    }
}
