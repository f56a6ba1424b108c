//! The cycles of an assay: dose, drain, probe, settle, read; rests between them (the method, §3).

use std::time::Duration;

use super::{
    Batch, Design, Factor, Leave, Length, Manners, Phase, Plan, Retain, Stay, Step,
    parts::{self, ARRIVALS, bare, part, standing, stay, trial},
};
use crate::{
    profile::{Assay, ClosedDose, EventDose, Profile},
    units::Period,
};

/// One factor of the design: what is played when it is on.
pub(super) struct Dosed {
    pub(super) factor: Factor,
    /// The share of the cycles in which it is on: a third for leave modes, half for the rest (the method, §3.3).
    pub(super) share: f64,
    batch: Option<Batch>,
    retain: Option<Retain>,
}

pub(super) fn plan(profile: &Profile, assay: &Assay, seed: u64) -> Plan {
    let index = |name: &str| parts::index(profile, name);
    let dosed = dosed(assay, &index);
    let cycles = *assay.cycles.get_ref();
    let count = cycles as usize;
    let parts: Vec<usize> = dosed.iter().map(|dosed| part(dosed.share, count)).collect();
    let design = Design::draw(seed, count, &parts);
    Plan {
        seed,
        scripts: parts::scripts(profile, assay.standing.as_ref()),
        pools: 1,
        standing: assay
            .standing
            .as_ref()
            .map_or(0, |standing| standing.connections),
        factors: dosed.iter().map(|dosed| dosed.factor).collect(),
        control_bytes: assay.doses.control.map(|control| control.bytes.0),
        steps: steps(assay, &dosed, &design, &index),
        priming: assay.priming,
        cycles,
    }
}

/// What every dose of the profile plays, for those who play one at a time.
pub(super) fn played(profile: &Profile, assay: &Assay) -> Vec<(Factor, Batch)> {
    let index = |name: &str| parts::index(profile, name);
    let dosed = dosed(assay, &index).into_iter();
    dosed
        .filter_map(|dosed| Some((dosed.factor, dosed.batch?)))
        .collect()
}

/// What every dose of the profile plays, in the order of the regression.
pub(super) fn dosed(assay: &Assay, index: &impl Fn(&str) -> usize) -> Vec<Dosed> {
    let table = Table {
        dose: assay.dose.get(),
        index,
    };
    let doses = &assay.doses;
    let closed = doses
        .closed
        .iter()
        .map(|(leave, closed)| table.closed(*leave, closed));
    let session = doses.session.iter().map(|dose| {
        let batch = table.to_the_end(dose.script.get_ref(), dose.sessions);
        table.other(Factor::Session, Some(batch), None)
    });
    let turn = doses.turn.iter().map(|dose| {
        let batch = table.to_the_end(dose.script.get_ref(), dose.turns);
        table.other(Factor::Turn, Some(batch), None)
    });
    let event = doses.event.iter().map(|event| table.event(event));
    let control = doses.control.iter().map(|control| {
        let retain = Retain {
            bytes: control.bytes.0,
            blocks: control.blocks,
        };
        table.other(Factor::Control, None, Some(retain))
    });
    closed
        .chain(session)
        .chain(turn)
        .chain(event)
        .chain(control)
        .collect()
}

impl Dosed {
    /// The same with so many times as much of it. The control stays what it is: its size is known.
    pub(super) fn times(self, many: u32) -> Self {
        Self {
            batch: self.batch.map(|batch| Batch {
                count: batch.count.saturating_mul(many),
                ..batch
            }),
            ..self
        }
    }
}

/// What the rows of [`dosed`] share.
struct Table<'a, I: Fn(&str) -> usize> {
    dose: Duration,
    index: &'a I,
}

impl<I: Fn(&str) -> usize> Table<'_, I> {
    fn batch(&self, script: &str, leave: Leave, count: u32, stay: Stay) -> Batch {
        Batch {
            script: (self.index)(script),
            leave,
            count,
            after: Duration::ZERO,
            over: self.dose.mul_f64(ARRIVALS),
            stay,
            manners: Manners::default(),
        }
    }

    fn to_the_end(&self, script: &str, count: u32) -> Batch {
        self.batch(script, Leave::Complete, count, Stay::ToTheEnd)
    }

    fn closed(&self, leave: Leave, closed: &ClosedDose) -> Dosed {
        let stay = stay(leave, closed.stay.map(Period::get), self.dose);
        let batch = Batch {
            manners: Manners::new(closed.reconnect, closed.network),
            ..self.batch(closed.script.get_ref(), leave, closed.connections, stay)
        };
        Dosed {
            factor: Factor::Closed(leave),
            share: 1.0 / 3.0,
            batch: Some(batch),
            retain: None,
        }
    }

    /// Fast streams from the first moment of the dose to its last.
    fn event(&self, event: &EventDose) -> Dosed {
        let stay = Stay::Until(self.dose);
        let batch = self.batch(event.script.get_ref(), Leave::Fin, event.streams, stay);
        self.other(
            Factor::Event,
            Some(Batch {
                over: Duration::ZERO,
                manners: Manners::new(event.reconnect, event.network),
                ..batch
            }),
            None,
        )
    }

    fn other(&self, factor: Factor, batch: Option<Batch>, retain: Option<Retain>) -> Dosed {
        Dosed {
            factor,
            share: 0.5,
            batch,
            retain,
        }
    }
}

fn steps(
    assay: &Assay,
    dosed: &[Dosed],
    design: &Design,
    index: &impl Fn(&str) -> usize,
) -> Vec<Step> {
    let cycles = i32::try_from(*assay.cycles.get_ref()).unwrap_or(i32::MAX);
    let rests = assay.rests;
    let mut steps = beginning(assay, dosed, index);
    for cycle in 0..cycles {
        if cycle == cycles / 2 && cycle > 0 {
            steps.extend(rest(cycle, rests.map(|rests| rests.middle)));
        }
        let is_on =
            |factor: usize| usize::try_from(cycle).is_ok_and(|cycle| design.is_on(cycle, factor));
        let on = (0..dosed.len()).filter(|j| is_on(*j)).map(|j| &dosed[j]);
        steps.extend(cycle_steps(assay, cycle, on, index));
    }
    steps.extend(rest(cycles, rests.map(|rests| rests.last)));
    steps
}

/// A stretch without load, if the profile has it.
pub(super) fn rest(cycle: i32, length: Option<Period>) -> Option<Step> {
    length.map(|length| bare(Phase::Rest, cycle, Length::For(length.get())))
}

/// Everything before the first judged cycle: the standing population, the trial, the first rest, priming, the rest after it.
pub(super) fn beginning(
    assay: &Assay,
    dosed: &[Dosed],
    index: &impl Fn(&str) -> usize,
) -> Vec<Step> {
    let priming = i32::try_from(assay.priming).unwrap_or(i32::MAX);
    let rests = assay.rests;
    let mut steps = standing(assay.standing.as_ref(), -priming, index);
    let played = dosed.iter().filter_map(|dosed| dosed.batch.as_ref());
    steps.push(trial(played, -priming));
    steps.push(bare(
        Phase::Drain,
        -priming,
        Length::For(assay.drain_within.get()),
    ));
    steps.extend(rest(-priming, rests.map(|rests| rests.first)));
    for cycle in -priming..0 {
        steps.extend(cycle_steps(assay, cycle, dosed.iter(), index));
    }
    steps.extend(rest(0, rests.map(|rests| rests.primed)));
    steps
}

pub(super) fn cycle_steps<'a>(
    assay: &Assay,
    cycle: i32,
    on: impl Iterator<Item = &'a Dosed> + Clone,
    index: &impl Fn(&str) -> usize,
) -> [Step; 5] {
    let hold = assay.probe.hold.get();
    let probe = Batch {
        script: index(assay.probe.script.get_ref()),
        leave: Leave::Fin,
        count: assay.probe.connections + assay.probe.step * cycle.max(0).unsigned_abs(),
        after: Duration::ZERO,
        over: Duration::ZERO,
        stay: Stay::Until(hold),
        manners: Manners::default(),
    };
    let at_most = assay.drain_within.get();
    let at_least = assay
        .drain_at_least
        .map_or(Duration::ZERO, |period| period.get())
        .min(at_most);
    let settle = assay.settle.get();
    [
        Step {
            batches: on.clone().filter_map(|dosed| dosed.batch.clone()).collect(),
            retain: on.clone().find_map(|dosed| dosed.retain),
            ..bare(Phase::Dose, cycle, Length::For(assay.dose.get()))
        },
        bare(
            Phase::Drain,
            cycle,
            Length::UntilQuiet { at_least, at_most },
        ),
        Step {
            batches: vec![probe],
            ..bare(Phase::Probe, cycle, Length::For(hold))
        },
        bare(
            Phase::Settle,
            cycle,
            Length::UntilQuiet {
                at_least: settle,
                at_most: settle.max(at_most),
            },
        ),
        bare(Phase::Read, cycle, Length::For(assay.read.get())),
    ]
}
