//! Zombies: a closed connection that goes on eating (the method, §6.5).
//!
//! A loop or producer that outlives its client adds bytes *per second*. Memory then follows the time integral of the closes,
//! and is convex; the guards of the assay rightly call its curve a drift. Here the rests decide: random doses carry the attribution,
//! stretches without load separate eating from drift. In: [`Waiting`]. Out: bytes per second and closed connection, beside bytes per
//! closed connection at once: a zombie also has a body, and either alone fits badly. Without rests nothing is tested.

use crate::units::Factor;

use super::{
    design::{Design, Term},
    interval::Interval,
    observations::Observations,
    stats::{Fit, order::count},
};

const DIFFERENCES_AGREE: f64 = 0.005;
const PARABOLA: f64 = 0.001;
/// Beside a parabola and a cubic; and the same when the CPU in the rests is a second witness.
const CUBIC: (f64, f64) = (0.002, 0.02);
/// Growth in the rests over the growth expected from the rate: all together, and at least in each.
const RESTS_AGREE: (f64, f64, f64) = (0.5, 2.0, 0.3);
/// The body is told if it is there at this level.
const BODY: f64 = 0.05;
const LEAST_DOF: f64 = 5.0;

/// Rows for this test: every reading from row 0 on, and the first and last reading of every rest after priming.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The rows; doses need their `waited` integrals.
    pub rows: Observations,
    /// First and last row of each rest after priming.
    pub rests: Vec<(usize, usize)>,
    /// What the signal gained per second in the rest before the first connection: not the fault of any.
    pub growth_before: f64,
}

impl Waiting {
    /// Without rows in which a number is missing; a rest that lost an end is no witness.
    fn without_gaps(&self) -> Self {
        let (rows, gaps) = self.rows.without_gaps();
        let place = |row: usize| {
            let earlier = gaps.iter().filter(|g| **g < row).count();
            (!gaps.contains(&row)).then_some(row - earlier)
        };
        let rests = self.rests.iter();
        Self {
            rows,
            rests: rests
                .filter_map(|(s, e)| Some((place(*s)?, place(*e)?)))
                .collect(),
            growth_before: self.growth_before,
        }
    }
}

/// Whether another witness saw work going on after everybody had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// None.
    None,
    /// CPU in the rests rose with the closes.
    Cpu,
}

/// A way of leaving after which the server goes on eating.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zombie {
    /// Which.
    pub factor: Factor,
    /// Bytes per second and closed connection.
    pub per_second: Interval,
    /// Bytes per closed connection, at once.
    pub body: Option<Interval>,
}

/// Tests the likeliest way of leaving; `beside` are the factors found to leak otherwise.
pub fn find(waiting: &Waiting, alpha: f64, beside: &[Factor], witness: Witness) -> Option<Zombie> {
    let waiting = &waiting.without_gaps();
    if waiting.rests.len() < 2 {
        return None;
    }
    let design = Design::new(&waiting.rows, 0..waiting.rows.rows());
    let (factor, model, fit) = likeliest(&design, beside)?;
    let eats = Term::Waited(factor);
    let rate = design.slope(&fit, eats);
    let candidates = count(design.factors.connections().len() + 1);
    let convincing = rate.chance_above(design.floor(eats)) < alpha / 2.0 / candidates;
    if !convincing
        || !is_no_drift(&design, &model, eats, witness)
        || !rests_agree(waiting, &design, eats, rate.slope)
    {
        return None;
    }
    let body = interval(waiting, &design, &model, Term::Unit(factor));
    Some(Zombie {
        factor,
        per_second: interval(waiting, &design, &model, eats),
        body: (body.estimate.chance_above(0.0) <= BODY).then_some(body),
    })
}

/// The way of leaving whose closes and waiting times explain the rows best.
fn likeliest(design: &Design, beside: &[Factor]) -> Option<(Factor, Vec<Term>, Fit)> {
    let modes = design.factors.connections();
    let sums = design
        .factors
        .sums()
        .into_iter()
        .filter(|s| *s == Factor::AllClosed);
    let mut best: Option<(Factor, Vec<Term>, Fit)> = None;
    for factor in modes.iter().copied().chain(sums) {
        if !design.has(Term::Waited(factor)) {
            continue;
        }
        let mut model = model_of(factor, &modes, beside);
        if design.has(Term::Control) {
            model.push(Term::Control); // what the target was asked to keep
        }
        let fit = design.fit(&model);
        let better = best
            .as_ref()
            .is_none_or(|b| fit.log_likelihood > b.2.log_likelihood);
        if fit.dof >= LEAST_DOF && better {
            best = Some((factor, model, fit));
        }
    }
    best
}

fn model_of(factor: Factor, modes: &[Factor], beside: &[Factor]) -> Vec<Term> {
    let includes = |other: &Factor| {
        let sum = matches!(other, Factor::AllClosed | Factor::Abrupt);
        *other == factor || sum || (factor == Factor::AllClosed && modes.contains(other))
    };
    let others = beside
        .iter()
        .filter(|f| !includes(f) && **f != Factor::Time);
    let mut model = vec![Term::One, Term::Time];
    model.extend(others.map(|f| Term::of(*f)));
    model.extend([Term::Unit(factor), Term::Waited(factor)]);
    model
}

fn is_no_drift(design: &Design, model: &[Term], eats: Term, witness: Witness) -> bool {
    let cubic = match witness {
        Witness::None => CUBIC.0,
        Witness::Cpu => CUBIC.1,
    };
    let differences = design.fit_differences(model);
    design.slope(&differences, eats).chance_above(0.0) < DIFFERENCES_AGREE
        && design.survives(model, eats, &[Term::Parabola], PARABOLA)
        && design.survives(model, eats, &[Term::Parabola, Term::Cubic], cubic)
}

/// While nobody is there, memory must grow at the rate that the doses say, in every rest.
fn rests_agree(waiting: &Waiting, design: &Design, eats: Term, rate: f64) -> bool {
    let (readings, seconds, waited) = (
        design.readings(),
        &waiting.rows.seconds,
        design.column(eats),
    );
    let (mut product, mut square, mut each) = (0.0, 0.0, true);
    for &(i, j) in &waiting.rests {
        let got = readings[j] - readings[i] - waiting.growth_before * (seconds[j] - seconds[i]);
        let wanted = rate * (waited[j] - waited[i]);
        product += got * wanted;
        square += wanted * wanted;
        each &= got >= RESTS_AGREE.2 * wanted;
    }
    let ratio = product / f64::max(square, 1e-9);
    each && (RESTS_AGREE.0..=RESTS_AGREE.1).contains(&ratio)
}

/// Every reading of a rest is one moment: half a step of the signal in each is always allowed for.
fn interval(waiting: &Waiting, design: &Design, model: &[Term], term: Term) -> Interval {
    let fit = design.fit_robust(model);
    Interval {
        estimate: design.slope(&fit, term),
        systematic: design.floor(term)
            + 0.5 * waiting.rows.precision.floor * design.leaning(&fit, term),
        hidden: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            observations::Dose,
            synthetic::{FIN, RST, Synthetic, quick, reference},
        },
        *,
    };

    /// Closes of each way before row 0: priming gave some of everything, and they eat, too.
    const PRIMED: f64 = 180.0;
    /// Length of a rest, in cycles.
    const REST: f64 = 4.0;

    /// The rows of a recording with rests after priming, at half time and at the end. After its close each connection of a way of
    /// leaving eats `rate` bytes per second; in the rests `idle` bytes per second come on top, whoever closed.
    fn waiting(recording: &Synthetic, eater: Factor, rate: f64, idle: f64) -> Waiting {
        let mut rows = recording.observe();
        let order = places(rows.rows());
        let step = rows.cycle_seconds;
        let since = |row: usize| -> f64 {
            order[1..=row]
                .iter()
                .map(|p| if p.1 { REST * step } else { step })
                .sum()
        };
        rows.seconds = (0..order.len()).map(since).collect();
        rows.readings = order.iter().map(|p| rows.readings[p.0]).collect();
        let control = rows.control.iter_mut();
        control.for_each(|c| c.blocks = order.iter().map(|p| c.blocks[p.0]).collect());
        for dose in &mut rows.doses {
            dose.total = order.iter().map(|p| dose.total[p.0]).collect();
            let waited = waited(dose, &rows.seconds);
            if dose.factor == eater {
                rows.readings
                    .iter_mut()
                    .zip(&waited)
                    .for_each(|(y, w)| *y += rate * w);
            }
            dose.waited = dose.factor.is_connection().then_some(waited);
        }
        let rested = |row: usize| order[1..=row].iter().filter(|p| p.1).count();
        for row in 1..order.len() {
            rows.readings[row] += idle * REST * step * count(rested(row));
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

    fn found(waiting: &Waiting) -> Option<Zombie> {
        find(waiting, 0.001, &[], Witness::None)
    }

    #[test]
    fn a_connection_that_eats_on_is_found_with_its_rate_and_its_body() {
        for (recording, bytes) in [
            (quick(1), 50.0),
            (quick(1).noise(500.0), 50.0),
            (reference(2), 300.0),
        ] {
            let zombie = found(&waiting(&recording.leaks(RST, 2000.0), RST, bytes, 0.0)).unwrap();
            let ends = zombie.per_second.low()..=zombie.per_second.high();
            assert!(zombie.factor == RST && ends.contains(&bytes), "{zombie:?}");
            let body = zombie.body.unwrap();
            assert!((body.low()..=body.high()).contains(&2000.0), "{body:?}");
        }
    }

    #[test]
    fn what_only_grows_with_time_or_with_the_closes_is_no_zombie() {
        for seed in 0..8 {
            for clean in [
                quick(seed),
                quick(seed).noise(500.0),
                quick(seed).walks(2000.0),
            ] {
                assert_eq!(
                    found(&waiting(&clean, FIN, 0.0, 0.0)),
                    None,
                    "clean, seed {seed}"
                );
                assert_eq!(
                    found(&waiting(&clean.clone().leaks(RST, 500.0), FIN, 0.0, 0.0)),
                    None,
                    "leaks, seed {seed}"
                );
                assert_eq!(
                    found(&waiting(&clean, FIN, 0.0, 3000.0)),
                    None,
                    "grows in rests, seed {seed}"
                );
            }
        }
    }

    #[test]
    fn what_grows_ever_faster_by_itself_is_a_drift() {
        for seed in 0..8 {
            for noise in [0.0, 2000.0] {
                let mut convex = waiting(&quick(seed).noise(noise), FIN, 0.0, 0.0);
                let seconds = convex.rows.seconds.clone();
                let curve = seconds.iter().map(|t| 2000.0 * t * t);
                convex
                    .rows
                    .readings
                    .iter_mut()
                    .zip(curve)
                    .for_each(|(y, c)| *y += c);
                assert_eq!(found(&convex), None, "seed {seed}, noise {noise} B");
            }
        }
    }

    #[test]
    fn what_eats_only_under_load_has_no_witness_in_the_rests() {
        for seed in 0..8 {
            let mut asleep = waiting(&quick(seed), RST, 50.0, 0.0);
            let rows = asleep.rows.rows();
            for (start, end) in asleep.rests.clone() {
                let readings = &mut asleep.rows.readings;
                let gained = readings[end] - readings[start];
                (end..rows).for_each(|row| readings[row] -= 0.8 * gained);
            }
            assert_eq!(found(&asleep), None, "seed {seed}");
        }
    }

    #[test]
    fn every_rest_must_grow_at_about_the_rate_that_the_doses_say() {
        let mut eats = waiting(&quick(1), RST, 50.0, 0.0);
        let agree = |waiting: &Waiting, rate| {
            let design = Design::new(&waiting.rows, 0..waiting.rows.rows());
            rests_agree(waiting, &design, Term::Waited(RST), rate)
        };
        for (rate, wanted) in [
            (50.0, true),
            (80.0, true),
            (30.0, true),
            (150.0, false),
            (20.0, false),
        ] {
            assert_eq!(agree(&eats, rate), wanted, "{rate} B/s");
        }
        let (start, end) = eats.rests[0];
        eats.rows.readings[end] = eats.rows.readings[start];
        assert!(!agree(&eats, 50.0), "one rest in which nothing grew");
        let mut drips = waiting(&quick(1), RST, 50.0, 0.0);
        drips.growth_before = 1e6;
        assert!(
            !agree(&drips, 50.0),
            "it grew as fast before the first connection"
        );
    }

    #[test]
    fn without_rests_or_without_their_readings_nothing_is_tested() {
        let mut eats = waiting(&quick(1), RST, 50.0, 0.0);
        assert!(found(&eats).is_some());
        let (_, end) = eats.rests[1];
        eats.rows.readings[end] = f64::NAN;
        assert!(found(&eats).is_some(), "two rests are left");
        eats.rests.truncate(1);
        assert_eq!(found(&eats), None);
    }
}
