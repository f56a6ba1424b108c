//! Recordings for tests: a server that behaves exactly as told, read exactly as well as told, from a seed.
//!
//! Start at [`quick`] (nine factors, the shipped one-minute profile, an allocator's exact account) or [`reference`] (the method's own
//! five factors, resident memory). What one client of each factor does besides (a session also closes a connection, every
//! connection carries events) is modelled, so that columns overlap as they do in life.

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    observations::{Control, Dose, Kind, Observations, Precision},
    signal::Signal,
    stats::order::count,
    zombies::Waiting,
};
use crate::{
    plan::Design,
    units::{Factor, Leave},
};

pub(super) const COMPLETE: Factor = Factor::Closed(Leave::Complete);
pub(super) const FIN: Factor = Factor::Closed(Leave::Fin);
pub(super) const RST: Factor = Factor::Closed(Leave::Rst);
pub(super) const EARLY: Factor = Factor::Closed(Leave::Early);
pub(super) const STALL: Factor = Factor::Closed(Leave::Stall);
pub(super) const ORPHAN: Factor = Factor::Closed(Leave::Orphan);

/// The factors of the shipped one-minute profile.
pub(super) const QUICK: [Factor; 9] = [
    COMPLETE,
    FIN,
    RST,
    EARLY,
    STALL,
    ORPHAN,
    Factor::Session,
    Factor::Turn,
    Factor::Event,
];
const REFERENCE: [Factor; 5] = [FIN, RST, STALL, Factor::Session, Factor::Event];

/// A recording to be.
#[derive(Clone, Debug)]
pub(super) struct Synthetic {
    seed: u64,
    kind: Kind,
    cycles: usize,
    cycle_seconds: f64,
    factors: Vec<Factor>,
    /// Connections, sessions or turns in a dose.
    dose: f64,
    probe: (f64, f64),
    control: Option<f64>,
    never: Vec<Factor>,
    leaks: Vec<(Factor, f64)>,
    shapes: Vec<Shape>,
    noise: f64,
    walk: f64,
    precision: Precision,
}

/// What memory does besides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// So many bytes, with this time constant in cycles.
    WarmUp(f64, f64),
    /// So many bytes from this cycle on.
    Step(f64, usize),
    /// Bytes per unit of a factor, up to so many units after priming.
    Cache(Factor, f64, f64),
    /// A collector that has run a random while ago: up to so many bytes.
    SawTooth(f64),
    /// Load that is not ours comes and goes: so many bytes up and down, once in so many cycles.
    Wave(f64, f64),
    /// A job that runs every so many cycles, and holds so many bytes while it is read.
    Job(f64, usize),
    /// Bytes per second, whatever happens.
    Drip(f64),
    /// So many bytes once per cycle in which a factor was given, however much: a buffer, a table's entry.
    PerDose(Factor, f64),
    /// What thread caches happened to hold when it was read: up to so many bytes, more after a dose of this factor.
    Leftovers(Factor, f64),
}

/// The one-minute profile under an exact account of live bytes.
pub(super) fn quick(seed: u64) -> Synthetic {
    Synthetic {
        seed,
        kind: Kind::Assay,
        cycles: 24,
        cycle_seconds: 2.3,
        factors: QUICK.to_vec(),
        dose: 60.0,
        probe: (150.0, 2.0),
        control: Some(256.0),
        never: Vec::new(),
        leaks: Vec::new(),
        shapes: Vec::new(),
        noise: 0.0,
        walk: 0.0,
        precision: Precision::exact(Signal::Allocated.floor()),
    }
}

/// The method's own assay under resident memory.
pub(super) fn reference(seed: u64) -> Synthetic {
    Synthetic {
        cycles: 24,
        cycle_seconds: 23.0,
        factors: REFERENCE.to_vec(),
        dose: 300.0,
        probe: (200.0, 8.0),
        control: None,
        precision: Precision {
            granularity: 4096.0,
            dither: 2000.0,
            footprint: 8e6,
            ..Precision::exact(Signal::Rss.floor())
        },
        ..quick(seed)
    }
    .noise(4000.0)
}

/// Hours of load in blocks of five minutes, under resident memory: a block gives two of everything a second.
pub(super) fn soak(seed: u64, hours: usize) -> Synthetic {
    Synthetic {
        kind: Kind::Soak,
        cycles: 12 * hours,
        cycle_seconds: 300.0,
        dose: 600.0,
        probe: (600.0, 0.0),
        ..reference(seed)
    }
}

impl Synthetic {
    pub(super) fn cycles(mut self, cycles: usize) -> Self {
        self.cycles = cycles;
        self
    }

    pub(super) fn leaks(mut self, factor: Factor, bytes: f64) -> Self {
        self.leaks.push((factor, bytes));
        self
    }

    /// Every way of leaving leaks the same.
    pub(super) fn leaks_however(mut self, bytes: f64) -> Self {
        self.leaks.push((Factor::AllClosed, bytes));
        self
    }

    pub(super) fn noise(mut self, sd: f64) -> Self {
        self.noise = sd;
        self
    }

    pub(super) fn walks(mut self, sd: f64) -> Self {
        self.walk = sd;
        self
    }

    pub(super) fn does(mut self, shape: Shape) -> Self {
        self.shapes.push(shape);
        self
    }

    pub(super) fn never_gives(mut self, factor: Factor) -> Self {
        self.never.push(factor);
        self
    }

    pub(super) fn retains(mut self, share: f64) -> Self {
        self.precision.retained = share;
        self
    }

    /// The rows.
    pub(super) fn observe(&self) -> Observations {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let design = self.design();
        let totals = self.totals(&design, &mut random);
        let seconds: Vec<f64> = (0..=self.cycles)
            .map(|i| self.cycle_seconds * count(i))
            .collect();
        let control = self
            .control
            .map(|bytes_each| self.control_blocks(&design, bytes_each));
        let readings = self.readings(&totals, &seconds, control.as_ref(), &mut random);
        let dose = |(i, factor): (usize, &Factor)| Dose {
            factor: *factor,
            total: totals.iter().map(|row| row[i]).collect(),
            waited: None,
        };
        Observations {
            kind: self.kind,
            readings,
            doses: self.factors.iter().enumerate().map(dose).collect(),
            nuisances: Vec::new(),
            control,
            precision: self.precision,
            time_floor: self.precision.floor / self.cycle_seconds,
            cycle_seconds: self.cycle_seconds,
            seconds,
        }
    }

    fn design(&self) -> Design {
        let third = |f: &Factor| {
            if f.is_connection() && self.kind == Kind::Assay {
                3
            } else {
                2
            }
        };
        let mut parts: Vec<usize> = self
            .factors
            .iter()
            .map(|f| self.cycles / third(f))
            .collect();
        parts.push(self.cycles / 2);
        Design::draw(self.seed % 16, self.cycles, &parts)
    }

    /// Units given by the end of each cycle, row 0 included.
    fn totals(&self, design: &Design, random: &mut impl Rng) -> Vec<Vec<f64>> {
        let mut row = vec![0.0; self.factors.len()];
        let mut rows = vec![row.clone()];
        for cycle in 0..self.cycles {
            let mut give = |factor: Factor, units: f64| {
                if let Some(i) = self
                    .factors
                    .iter()
                    .position(|f| *f == factor && !self.never.contains(f))
                {
                    row[i] += units;
                }
            };
            let probe = self.probe.0 + self.probe.1 * count(cycle);
            give(FIN, probe);
            give(
                Factor::Event,
                4.0 * probe + random.random_range(-5.0..5.0f64).round(),
            );
            for (i, factor) in self.factors.iter().enumerate() {
                if design.is_on(cycle, i) {
                    self.dose_of(*factor, &mut give);
                }
            }
            rows.push(row.clone());
        }
        rows
    }

    /// One dose of a factor, and what comes with it.
    fn dose_of(&self, factor: Factor, give: &mut impl FnMut(Factor, f64)) {
        let dose = self.dose;
        match factor {
            COMPLETE | FIN | RST => {
                give(factor, dose);
                give(Factor::Event, 3.0 * dose);
            }
            EARLY => give(factor, dose),
            STALL => give(factor, (dose / 1.5).round()),
            ORPHAN => {
                give(factor, (dose / 1.5).round());
                give(Factor::Session, (dose / 1.5).round());
            }
            Factor::Session | Factor::Turn => {
                give(factor, dose);
                give(COMPLETE, dose);
                give(Factor::Event, 7.0 * dose);
            }
            _ => {
                give(FIN, 8.0);
                give(Factor::Event, 45.0 * dose);
            }
        }
    }

    fn control_blocks(&self, design: &Design, bytes_each: f64) -> Control {
        let given = (0..self.cycles)
            .map(|c| 100.0 * f64::from(u8::from(design.is_on(c, self.factors.len()))));
        let later = given.scan(0.0, |sum, blocks| {
            *sum += blocks;
            Some(*sum)
        });
        Control {
            blocks: std::iter::once(0.0).chain(later).collect(),
            bytes_each,
        }
    }

    fn readings(
        &self,
        totals: &[Vec<f64>],
        seconds: &[f64],
        control: Option<&Control>,
        random: &mut impl Rng,
    ) -> Vec<f64> {
        let mut level = 40e6;
        let mut readings = Vec::new();
        for (row, given) in totals.iter().enumerate() {
            let of = |factor: Factor| {
                self.factors
                    .iter()
                    .position(|f| *f == factor)
                    .map_or(0.0, |i| given[i])
            };
            let until = |factor: Factor, end: usize| {
                let i = self.factors.iter().position(|f| *f == factor);
                let given =
                    |row: &usize| i.is_some_and(|i| totals[*row][i] > totals[*row - 1][i] + 0.5);
                count((1..=end).filter(given).count())
            };
            let doses = |factor: Factor| until(factor, row);
            let was_given = |factor: Factor| row > 0 && doses(factor) > until(factor, row - 1);
            let of_sum = |sum: Factor| -> f64 {
                let parts = self.factors.iter().zip(given);
                let parts = parts.filter(|(f, _)| sum.includes(**f));
                parts.map(|(_, units)| units).sum()
            };
            let leaks = self.leaks.iter();
            let leaked: f64 = leaks.map(|(f, bytes)| bytes * of_sum(*f)).sum();
            let kept = control.map_or(0.0, |c| c.blocks[row] * c.bytes_each);
            level += self.walk * normal(random);
            let mut shaped = 0.0;
            for shape in &self.shapes {
                shaped += match *shape {
                    Shape::WarmUp(bytes, cycles) => bytes * (1.0 - (-count(row) / cycles).exp()),
                    Shape::Step(bytes, cycle) => {
                        if row >= cycle {
                            bytes
                        } else {
                            0.0
                        }
                    }
                    Shape::Cache(factor, bytes, most) => bytes * of(factor).min(most),
                    Shape::SawTooth(bytes) => bytes * random.random::<f64>(),
                    Shape::Wave(bytes, cycles) => {
                        let turns = (count(row) + self.seed as f64) / cycles;
                        bytes * (std::f64::consts::TAU * turns).sin()
                    }
                    Shape::Job(bytes, every) => {
                        let is_on = (row + (self.seed % 16) as usize).is_multiple_of(every);
                        bytes * f64::from(u8::from(is_on))
                    }
                    Shape::Drip(bytes) => bytes * seconds[row],
                    Shape::PerDose(factor, bytes) => bytes * doses(factor),
                    Shape::Leftovers(factor, bytes) => {
                        let busy = if was_given(factor) { 1.0 } else { 0.1 };
                        bytes * busy * random.random::<f64>()
                    }
                };
            }
            readings.push(level + leaked + kept + shaped + self.noise * normal(random));
        }
        readings
    }
}

/// Closes of each way before row 0: priming gave some of everything, and they eat, too.
const PRIMED: f64 = 180.0;
/// Length of a rest, in cycles.
const REST: f64 = 4.0;

/// A recording with rests after priming, at half time and at the end.
#[derive(Clone, Debug)]
pub(super) struct Rested {
    recording: Synthetic,
    eaters: Vec<(Factor, f64)>,
    idle: f64,
    jitter: f64,
}

/// The same recording, with rests.
pub(super) fn rested(recording: Synthetic) -> Rested {
    Rested {
        recording,
        eaters: Vec::new(),
        idle: 0.0,
        jitter: 0.0,
    }
}

impl Rested {
    /// After its close each connection of this way of leaving, or of this sum, eats so many bytes per second.
    pub(super) fn eats(mut self, factor: Factor, per_second: f64) -> Self {
        self.eaters.push((factor, per_second));
        self
    }

    /// In the rests so many bytes per second come on top, whoever closed.
    pub(super) fn drips(mut self, per_second: f64) -> Self {
        self.idle = per_second;
        self
    }

    /// What eats is read too early or too late by this standard deviation, seconds: a real zombie eats in bites.
    pub(super) fn jitters(mut self, seconds: f64) -> Self {
        self.jitter = seconds;
        self
    }

    /// The rows of the zombie test.
    pub(super) fn waiting(&self) -> Waiting {
        let mut rows = self.recording.observe();
        let order = places(rows.rows());
        let step = rows.cycle_seconds;
        let length = |place: &(usize, bool)| if place.1 { REST * step } else { step };
        let since = |row: usize| order[1..=row].iter().map(length).sum();
        rows.seconds = (0..order.len()).map(since).collect();
        rows.readings = order.iter().map(|p| rows.readings[p.0]).collect();
        let control = rows.control.iter_mut();
        control.for_each(|c| c.blocks = order.iter().map(|p| c.blocks[p.0]).collect());
        for dose in &mut rows.doses {
            dose.total = order.iter().map(|p| dose.total[p.0]).collect();
            dose.waited = dose
                .factor
                .is_connection()
                .then(|| waited(dose, &rows.seconds));
        }
        self.feed(&mut rows);
        let rested = |row: usize| order[1..=row].iter().filter(|p| p.1).count();
        for row in 1..order.len() {
            rows.readings[row] += self.idle * REST * step * count(rested(row));
        }
        let rests = (1..order.len())
            .filter(|&row| order[row].1)
            .map(|row| (row - 1, row));
        Waiting {
            rests: rests.collect(),
            rows,
            growth_before: 0.0,
        }
    }

    fn feed(&self, rows: &mut Observations) {
        let mut random = ChaCha8Rng::seed_from_u64(self.recording.seed + 1000);
        for row in 0..rows.rows() {
            let late = self.jitter * normal(&mut random);
            for (eater, rate) in &self.eaters {
                for dose in rows.doses.iter().filter(|d| eater.includes(d.factor)) {
                    let waited = dose.waited.as_ref().map_or(0.0, |w| w[row]);
                    rows.readings[row] += rate * (waited + late * (dose.total[row] + PRIMED));
                }
            }
        }
    }
}

/// Which cycle each row belongs to, and whether it ends a rest.
fn places(cycles: usize) -> Vec<(usize, bool)> {
    let rests = [0, cycles / 2, cycles - 1];
    (0..cycles)
        .flat_map(|i| [Some((i, false)), rests.contains(&i).then_some((i, true))])
        .flatten()
        .collect()
}

/// The time integral of the closes, priming included.
fn waited(dose: &Dose, seconds: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut out = vec![0.0];
    for row in 1..seconds.len() {
        let mean = f64::midpoint(dose.total[row - 1], dose.total[row]) + PRIMED;
        sum += mean * (seconds[row] - seconds[row - 1]);
        out.push(sum);
    }
    out
}

/// A standard normal number (Box, Muller).
fn normal(random: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
