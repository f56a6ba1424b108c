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
        let model = model_of(factor, &modes, beside);
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
