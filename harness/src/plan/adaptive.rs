//! An assay that is laid out as it goes: the pilot first, then stretch after stretch, up to the next look.
//!
//! In: the profile and the seed, and from where to where. Out: a [`Plan`] with the steps of that stretch. Which factor is on in a cycle
//! follows from the seed and the cycle's number alone: designs are drawn for blocks of 10, 10, 20, 40, … cycles, so a run that goes on
//! is the one that was planned longer. Never decides how far to go: that is [`diagnose::adaptive`](crate::diagnose::adaptive).

use super::{
    Design, Plan,
    assay::{Dosed, beginning, cycle_steps, dosed, rest},
    parts::{self, part},
};
use crate::profile::{Assay, Profile};

/// Cycles before the first look; every later block is as long as everything before it (the method, §8).
pub const FIRST_LOOK: u32 = 10;

/// Judged cycles that also measure how well the target can be judged.
pub const PILOT: u32 = 6;

/// Lays out stretches of an assay.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive<'p> {
    profile: &'p Profile,
    assay: &'p Assay,
    seed: u64,
}

impl<'p> Adaptive<'p> {
    /// For this profile, whose run is this assay.
    pub const fn new(profile: &'p Profile, assay: &'p Assay, seed: u64) -> Self {
        Self {
            profile,
            assay,
            seed,
        }
    }

    /// Everything up to the end of the pilot: the standing population, priming, and the first [`PILOT`] cycles.
    pub fn pilot(&self) -> Plan {
        let index = |name: &str| parts::index(self.profile, name);
        let dosed = dosed(self.assay, &index);
        let mut plan = self.empty(PILOT);
        plan.steps = beginning(self.assay, &dosed, &index);
        plan.steps.extend(self.cycles(&dosed, 0, PILOT));
        plan
    }

    /// The cycles from one number up to another, after a rest, with so many times the profile's doses.
    pub fn stretch(&self, from: u32, to: u32, doses: u32) -> Plan {
        let index = |name: &str| parts::index(self.profile, name);
        let dosed: Vec<Dosed> = dosed(self.assay, &index)
            .into_iter()
            .map(|dosed| dosed.times(doses))
            .collect();
        let mut plan = self.empty(to);
        if from > PILOT {
            let middle = self.assay.rests.map(|rests| rests.middle);
            plan.steps.extend(rest(signed(from), middle));
        }
        plan.steps.extend(self.cycles(&dosed, from, to));
        plan
    }

    /// The rest after the last cycle; no steps if the profile has none.
    pub fn last(&self, cycles: u32) -> Plan {
        let mut plan = self.empty(cycles);
        let last = self.assay.rests.map(|rests| rests.last);
        plan.steps.extend(rest(signed(cycles), last));
        plan
    }

    fn empty(&self, cycles: u32) -> Plan {
        let index = |name: &str| parts::index(self.profile, name);
        let dosed = dosed(self.assay, &index);
        let standing = self.assay.standing.as_ref();
        Plan {
            seed: self.seed,
            scripts: parts::scripts(self.profile, standing),
            pools: 1,
            standing: standing.map_or(0, |standing| standing.connections),
            factors: dosed.iter().map(|dosed| dosed.factor).collect(),
            control_bytes: self.assay.doses.control.map(|control| control.bytes.0),
            steps: Vec::new(),
            priming: self.assay.priming,
            cycles,
        }
    }

    fn cycles(&self, dosed: &[Dosed], from: u32, to: u32) -> Vec<super::Step> {
        let index = |name: &str| parts::index(self.profile, name);
        let mut steps = Vec::new();
        let mut block = None;
        for cycle in from..to {
            let (begins, length) = block_of(cycle);
            let design = match block.take() {
                Some((known, design)) if known == begins => design,
                _ => self.design(dosed, begins, length),
            };
            let place = (cycle - begins) as usize;
            let on = (0..dosed.len()).filter(|j| design.is_on(place, *j));
            let on = on.map(|j| &dosed[j]);
            steps.extend(cycle_steps(self.assay, signed(cycle), on, &index));
            block = Some((begins, design));
        }
        steps
    }

    fn design(&self, dosed: &[Dosed], begins: u32, length: u32) -> Design {
        let count = length as usize;
        let parts: Vec<usize> = dosed.iter().map(|dosed| part(dosed.share, count)).collect();
        // Blocks differ in their seeds; the first has the profile's own.
        Design::draw(
            self.seed.wrapping_add(u64::from(begins) << 32),
            count,
            &parts,
        )
    }
}

fn signed(cycle: u32) -> i32 {
    i32::try_from(cycle).unwrap_or(i32::MAX)
}

/// Where the block of a cycle begins, and how long it is: 10 from 0, 10 from 10, 20 from 20, 40 from 40, …
fn block_of(cycle: u32) -> (u32, u32) {
    let mut begins = 0;
    let mut length = FIRST_LOOK;
    while cycle - begins >= length {
        begins += length;
        length = begins;
    }
    (begins, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Phase, Step},
        profile::Kind,
    };

    fn with_quick<T>(ask: impl FnOnce(Adaptive<'_>) -> T) -> T {
        let text = include_str!("../../../soak-profiles/quick.toml").to_owned();
        let profile = Profile::parse("quick", "quick.toml", text).unwrap();
        let Kind::Assay(assay) = &profile.run else {
            panic!("quick is an assay")
        };
        ask(Adaptive::new(&profile, assay, 7))
    }

    fn doses(steps: &[Step]) -> Vec<&Step> {
        steps
            .iter()
            .filter(|s| s.phase == Phase::Dose && s.cycle >= 0)
            .collect()
    }

    #[test]
    fn blocks_double() {
        for (cycle, block) in [
            (0, (0, 10)),
            (9, (0, 10)),
            (10, (10, 10)),
            (19, (10, 10)),
            (20, (20, 20)),
            (39, (20, 20)),
            (40, (40, 40)),
            (640, (640, 640)),
        ] {
            assert_eq!(block_of(cycle), block, "cycle {cycle}");
        }
    }

    #[test]
    fn a_run_that_goes_on_is_the_one_that_was_planned_longer() {
        with_quick(|layout| {
            let whole = layout.stretch(PILOT, 40, 1).steps;
            let (first, second) = (
                layout.stretch(PILOT, 26, 1).steps,
                layout.stretch(26, 40, 1).steps,
            );
            let parts = [doses(&first), doses(&second)].concat();
            assert_eq!(doses(&whole), parts);
            let again = layout.stretch(0, PILOT, 1).steps;
            assert_eq!(doses(&layout.pilot().steps), doses(&again));
        });
    }

    #[test]
    fn the_first_block_is_as_balanced_as_a_plan_of_ten_cycles() {
        with_quick(|layout| {
            let plan = layout.stretch(0, FIRST_LOOK, 1);
            let control = plan.steps.iter().filter(|step| step.retain.is_some());
            assert_eq!(control.count(), 5, "half of the cycles have the control");
        });
    }

    #[test]
    fn larger_doses_are_the_same_doses_and_the_probe_and_the_control_stay() {
        with_quick(|layout| {
            let (once, thrice) = (
                layout.stretch(10, 20, 1).steps,
                layout.stretch(10, 20, 3).steps,
            );
            for (one, three) in once.iter().zip(&thrice) {
                let factor = if one.phase == Phase::Dose { 3 } else { 1 };
                let counts = |step: &Step| step.batches.iter().map(|b| b.count).collect::<Vec<_>>();
                let wanted: Vec<u32> = counts(one).iter().map(|c| factor * c).collect();
                assert_eq!(counts(three), wanted);
                assert_eq!(one.retain, three.retain);
            }
        });
    }

    #[test]
    fn rests_lie_before_the_pilot_between_stretches_and_at_the_end() {
        with_quick(|layout| {
            let rests = |plan: &Plan| plan.steps.iter().filter(|s| s.phase == Phase::Rest).count();
            assert_eq!(rests(&layout.pilot()), 2);
            assert_eq!(
                rests(&layout.stretch(PILOT, 10, 1)),
                0,
                "no rest in the middle of the first block"
            );
            assert_eq!(rests(&layout.stretch(10, 20, 1)), 1);
            assert_eq!(rests(&layout.last(20)), 1);
        });
    }
}
