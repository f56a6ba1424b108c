//! Tolerance against time: how many cycles, with what doses (the method, §3.4).
//!
//! In: [`PilotFacts`] and an [`Ask`]. Out: a [`Prospect`]. With on-doses of `u` units in a share `p` of `n` cycles and readings that
//! differ by `sigma`, a slope has `se = sigma / (u sqrt(p (1 - p) n))`; a leak of `(t + 0.84) se` beyond the floor per unit is found four
//! times in five, and as little can be excluded. Larger doses buy more than more cycles; they are taken only where the profile's own
//! do not reach, and never beyond the probe's concurrency or half of the target's core.

use super::{
    super::{
        signal::{Signal, unit_name},
        stats::student,
        verdict::{Rules, Tolerance},
    },
    pilot::{is_probed, share},
};
use crate::{
    plan::{FIRST_LOOK, PILOT},
    profile::Assay,
    record::PilotFacts,
    units::Factor,
};

/// Doses at most so many times those of the profile.
const DOSES: [u32; 4] = [1, 2, 4, 8];

/// Larger doses must leave the target half of a core.
const BUSY: f64 = 0.5;

/// Four times in five (the method, §3.4).
const POWER: f64 = 0.84;

/// Hypotheses that alpha is shared by (the method, §3.4).
const SHARED: f64 = 10.0;

/// No run is planned longer than this.
const MOST: u32 = 100_000;

/// Cycles get a little longer than those of a pilot: probes grow.
const SLOWER: f64 = 1.05;

/// What is asked of an assay.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The time there is for all of it, seconds.
    pub within_s: f64,
    /// What must be shown.
    pub tolerance: Tolerance,
    /// Judged cycles, the pilot's included, that there is time for.
    pub most_cycles: u32,
    /// Seconds that pass beside judged cycles.
    beside_s: f64,
    cycle_s: f64,
    /// Connections at the height of a probe, and how many more in each later cycle.
    probe: (f64, f64),
}

impl Ask {
    /// What is left of the time after the pilot.
    pub fn of(assay: &Assay, pilot: &PilotFacts, within_s: f64, tolerance: Tolerance) -> Self {
        let beside_s =
            pilot.ended_s - f64::from(pilot.cycles) * pilot.cycle_s + rest_at_the_end(assay);
        let left = within_s - pilot.ended_s - rest_at_the_end(assay);
        Self {
            within_s,
            tolerance,
            most_cycles: pilot.cycles + cycles_in(left, pilot.cycle_s),
            beside_s,
            cycle_s: pilot.cycle_s,
            probe: (
                f64::from(assay.probe.connections),
                f64::from(assay.probe.step),
            ),
        }
    }

    /// How long a run of so many cycles takes in all.
    pub fn seconds_for(&self, cycles: u32) -> f64 {
        self.beside_s + f64::from(cycles) * self.cycle_s
    }
}

/// The rests in the middle and at the end.
pub fn rest_at_the_end(assay: &Assay) -> f64 {
    let rests = assay
        .rests
        .map(|rests| rests.last.get() + rests.middle.get());
    rests.map_or(0.0, |rests| rests.as_secs_f64())
}

/// Whole cycles in so many seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a small count"
)]
pub fn cycles_in(seconds: f64, cycle_s: f64) -> u32 {
    (seconds / (SLOWER * cycle_s.max(1e-3)))
        .floor()
        .clamp(0.0, f64::from(MOST)) as u32
}

/// What can be shown of one kind of unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// `connection`, `session`, `turn`, `event`.
    pub unit: &'static str,
    /// What is asked, bytes.
    pub tolerance: f64,
    /// What the time can show, bytes.
    pub in_time: f64,
    /// Cycles that what is asked needs; `None`: no number of them will do.
    pub needed: Option<u32>,
}

/// What is going to be done, and what it can show.
#[derive(Clone, Debug, PartialEq)]
pub struct Prospect {
    /// How many times the profile's doses.
    pub doses: u32,
    /// Judged cycles, the pilot's included.
    pub planned: u32,
    /// By kind of unit.
    pub shown: Vec<Shown>,
}

/// Chooses the smallest doses with which everything asked fits into the time; if none do, the largest that are allowed.
pub fn plan(pilot: &PilotFacts, ask: &Ask) -> Prospect {
    let allowed = || {
        DOSES
            .into_iter()
            .filter(|doses| is_allowed(*doses, pilot, ask))
    };
    let with = |doses| prospect(pilot, ask, doses);
    let fits = |prospect: &Prospect| {
        let fits = |needed: Option<u32>| needed.is_some_and(|n| n <= ask.most_cycles);
        prospect.shown.iter().all(|shown| fits(shown.needed))
    };
    let enough = allowed().map(with).find(fits);
    enough.unwrap_or_else(|| with(allowed().next_back().unwrap_or(1)))
}

/// The profile's own doses are what was asked for; more must stay below the probe and leave the target room.
fn is_allowed(doses: u32, pilot: &PilotFacts, ask: &Ask) -> bool {
    let many = f64::from(doses);
    let stays_below = pilot.open_at_once * many <= ask.probe.0;
    let leaves_room = pilot.cpu_share.is_some_and(|share| share * many <= BUSY);
    doses == 1 || (stays_below && leaves_room)
}

fn prospect(pilot: &PilotFacts, ask: &Ask, doses: u32) -> Prospect {
    let mut shown: Vec<Shown> = Vec::new();
    for (name, units) in &pilot.units {
        let Ok(factor) = name.parse::<Factor>() else {
            continue;
        };
        let dose = Dose {
            factor,
            units: units * f64::from(doses),
            ask,
        };
        let tolerance = ask.tolerance.of(factor);
        let one = Shown {
            unit: unit_name(factor),
            tolerance,
            in_time: dose.shows(pilot, ask.most_cycles.max(PILOT)),
            needed: dose.needs(pilot, tolerance),
        };
        match shown.iter_mut().find(|known| known.unit == one.unit) {
            Some(known) => {
                known.in_time = known.in_time.max(one.in_time);
                known.needed = known.needed.zip(one.needed).map(|(a, b)| a.max(b));
            }
            None => shown.push(one),
        }
    }
    let wanted = shown.iter().map(|s| s.needed.unwrap_or(MOST)).max();
    let planned = wanted.unwrap_or(FIRST_LOOK).max(FIRST_LOOK);
    Prospect {
        doses,
        planned: planned.min(ask.most_cycles.max(PILOT)),
        shown,
    }
}

/// One factor's doses.
struct Dose<'a> {
    factor: Factor,
    units: f64,
    ask: &'a Ask,
}

impl Dose<'_> {
    /// Bytes per unit that so many cycles can show.
    fn shows(&self, pilot: &PilotFacts, cycles: u32) -> f64 {
        let n = f64::from(cycles);
        let p = share(self.factor);
        let spread = self.units * (p * (1.0 - p)).sqrt();
        let reach = student::quantile(1.0 - Rules::default().alpha / SHARED, (n - 2.0).max(1.0));
        let se = pilot.noise_bytes / (spread * n.sqrt());
        let floor = signal(pilot).floor() / self.units;
        (reach + POWER) * se + floor + pilot.hidden_bytes / self.given(n)
    }

    /// Units that so many cycles give in all.
    fn given(&self, cycles: f64) -> f64 {
        let probes = self.ask.probe.0 * cycles + 0.5 * self.ask.probe.1 * cycles * cycles;
        let probes = if is_probed(self.factor) { probes } else { 0.0 };
        (share(self.factor) * cycles * self.units + probes).max(1.0)
    }

    /// Cycles that it takes to show so much: more cycles never show less.
    fn needs(&self, pilot: &PilotFacts, tolerance: f64) -> Option<u32> {
        if self.shows(pilot, MOST) > tolerance {
            return None;
        }
        let (mut too_few, mut enough) = (FIRST_LOOK - 1, MOST);
        while enough - too_few > 1 {
            let middle = too_few.midpoint(enough);
            if self.shows(pilot, middle) <= tolerance {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Some(enough)
    }
}

/// The signal by its name in the manifest.
pub fn signal(pilot: &PilotFacts) -> Signal {
    Signal::MEMORY
        .into_iter()
        .find(|signal| signal.name() == pilot.signal)
        .unwrap_or(Signal::Rss)
}
