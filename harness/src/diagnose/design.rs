//! The columns of one look: observations become terms, and terms become models.
//!
//! In: [`Observations`] and the rows looked at. Out: a [`Design`] that fits any set of [`Term`]s, with the two questions every
//! accusation must survive: the guards and persistence (the method, §6).

use std::ops::Range;

use crate::units::Factor;

use super::{
    factors::Factors,
    observations::{Kind, Observations, floor_per_unit, sum, takes_part},
    stats::{
        Engine, Estimate, Fit, Levels, cosines,
        order::{count, differences},
    },
};

/// Under any drift, the regression of differences alone must agree at this level.
const DIFFERENCES_AGREE: f64 = 0.005;
/// The effect must survive a parabola, then a warm-up curve, at this level.
const SHAPES_AGREE: f64 = 0.001;
/// The second half of the exposure must still show the effect at this level, and at least half of it.
const PERSISTS: (f64, f64) = (0.05, 0.5);
/// From one of these shares of the exposure on, the rows may convince at this level that the effect is over.
const LATER: [f64; 7] = [0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85];
const OVER: f64 = 0.001;
/// Rows from which a soak can afford a column for the current rate of every factor.
const CURRENT_FROM: usize = 28;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// The level.
    One,
    /// The drift.
    Time,
    /// A nuisance of the observations, by position.
    Nuisance(usize),
    /// The positive control.
    Control,
    /// What was given in this block alone: the level follows the current rate (decay, GC phase).
    Current(Factor),
    /// What was given so far.
    Unit(Factor),
    /// How long the closed have been gone, added up.
    Waited(Factor),
    /// Guards: curves in time.
    Parabola,
    /// A warm-up.
    Exponential,
    /// A third power.
    Cubic,
    /// The exposure of the candidate up to its half, and from there.
    Early,
    /// See [`Early`](Self::Early).
    Late,
}

impl Term {
    /// The column whose slope is the effect of a factor.
    pub fn of(factor: Factor) -> Self {
        match factor {
            Factor::Time => Self::Time,
            Factor::Control => Self::Control,
            unit => Self::Unit(unit),
        }
    }
}

/// Every column of one look, whitened and ready.
#[derive(Debug)]
pub struct Design {
    /// What can be asked.
    pub factors: Factors,
    /// The columns removed before anything is accused.
    pub nuisances: Vec<Term>,
    readings: Vec<f64>,
    columns: Vec<(Term, Vec<f64>)>,
    engine: Engine,
    floors: Vec<(Term, f64)>,
}

impl Design {
    /// The columns of these rows.
    pub fn new(observations: &Observations, rows: Range<usize>) -> Self {
        let mut columns = nuisance_columns(observations, rows.clone());
        let ground: Vec<Vec<f64>> = columns.iter().map(|c| c.1.clone()).collect();
        let factors = Factors::of(observations, rows.clone(), &ground);
        if observations.kind == Kind::Soak && rows.len() >= CURRENT_FROM {
            columns.extend(current_columns(observations, &factors, rows.clone()));
        }
        let nuisances = columns.iter().map(|c| c.0).collect();
        let mut floors = vec![(Term::Time, observations.time_floor)];
        for (term, total) in dose_columns(observations, &factors) {
            floors.push((term, floor_per_unit(observations.precision.floor, &total)));
            columns.push((term, since_first(&total[rows.clone()])));
        }
        columns.extend(curves(&columns[1].1));
        let readings = observations.readings[rows].to_vec();
        let bare: Vec<Vec<f64>> = columns.iter().map(|c| c.1.clone()).collect();
        Self {
            engine: Engine::new(&readings, &bare),
            factors,
            nuisances,
            readings,
            columns,
            floors,
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.readings.len()
    }

    /// The response.
    pub fn readings(&self) -> &[f64] {
        &self.readings
    }

    /// Whether there is such a column.
    pub fn has(&self, term: Term) -> bool {
        self.columns.iter().any(|c| c.0 == term)
    }

    /// The values of a column; nothing if there is none.
    pub fn column(&self, term: Term) -> &[f64] {
        let found = self.columns.iter().find(|c| c.0 == term);
        found.map_or(&[], |c| c.1.as_slice())
    }

    /// What an innocent server may do per unit of this term.
    pub fn floor(&self, term: Term) -> f64 {
        let found = self.floors.iter().find(|f| f.0 == term);
        found.map_or(0.0, |f| f.1)
    }

    /// The nuisances and these factors.
    pub fn model(&self, factors: &[Factor]) -> Vec<Term> {
        let mut terms = self.nuisances.clone();
        for term in factors.iter().map(|f| Term::of(*f)) {
            if !terms.contains(&term) {
                terms.push(term);
            }
        }
        terms
    }

    /// The model of these terms.
    pub fn fit(&self, terms: &[Term]) -> Fit {
        self.engine.fit(&self.positions(terms))
    }

    /// With variances for intervals.
    pub fn fit_robust(&self, terms: &[Term]) -> Fit {
        self.engine.fit_robust(&self.positions(terms))
    }

    /// With differences only.
    pub fn fit_differences(&self, terms: &[Term]) -> Fit {
        self.engine
            .fit_with(&self.positions(terms), Levels::Differences)
    }

    /// The slope of a term in a fit of this design.
    pub fn slope(&self, fit: &Fit, term: Term) -> Estimate {
        fit.estimate(self.place(term))
    }

    /// The mean of the slopes of these terms.
    pub fn mean_slope(&self, fit: &Fit, terms: &[Term]) -> Estimate {
        let members = self.positions(terms);
        let weight = 1.0 / count(members.len().max(1));
        fit.combination(|c| if members.contains(&c) { weight } else { 0.0 })
    }

    /// How far an error of one in every row could move a slope.
    pub fn leaning(&self, fit: &Fit, term: Term) -> f64 {
        fit.leaning(self.place(term))
    }

    /// Whether an effect is there under any drift, beside a parabola and beside a warm-up curve: what looks like a dose response
    /// only because both rise dies here. Drift itself must survive only the parabola.
    pub fn passes_guards(&self, terms: &[Term], candidate: Term) -> bool {
        let differences = self.fit_differences(terms);
        if self.slope(&differences, candidate).chance_above(0.0) >= DIFFERENCES_AGREE {
            return false;
        }
        let curves: &[Term] = match candidate {
            Term::Time => &[Term::Parabola],
            _ => &[Term::Parabola, Term::Exponential],
        };
        curves
            .iter()
            .all(|curve| self.survives(terms, candidate, &[*curve], SHAPES_AGREE))
    }

    /// Whether an effect is still there beside these curves.
    pub fn survives(&self, terms: &[Term], candidate: Term, curves: &[Term], level: f64) -> bool {
        let fit = self.fit(&[terms, curves].concat());
        self.slope(&fit, candidate).chance_above(0.0) < level
    }

    /// Whether the second half of a factor's own exposure still shows the effect, and not less than half of it. A cache, a pool, a
    /// high-water mark does not.
    ///
    /// One thing beyond the method: an effect that is *convincingly* less than half from some later point on is over, too. That costs
    /// no power (it needs evidence against, not for), and under an exact signal it unmasks a cache that fills late in the run.
    pub fn persists(&self, terms: &[Term], candidate: Term, slope: f64) -> bool {
        let half = PERSISTS.1 * slope;
        let late = self.slope_from(0.5, terms, candidate);
        let is_over = |share: &f64| {
            let last = self.slope_from(*share, terms, candidate);
            let missing = Estimate {
                slope: half - last.slope,
                ..last
            };
            missing.chance_above(0.0) < OVER / count(LATER.len())
        };
        late.slope > half && late.chance_above(0.0) < PERSISTS.0 && !LATER.iter().any(is_over)
    }

    /// The slope of a term from this share of its own exposure on, beside the same below.
    fn slope_from(&self, share: f64, terms: &[Term], candidate: Term) -> Estimate {
        let exposure = self.column(candidate);
        let knee = share * exposure.last().copied().unwrap_or(0.0);
        let rest = terms.iter().copied().filter(|t| *t != candidate);
        let mut columns: Vec<Vec<f64>> = rest.map(|t| self.column(t).to_vec()).collect();
        columns.push(exposure.iter().map(|x| x.min(knee)).collect());
        columns.push(exposure.iter().map(|x| (x - knee).max(0.0)).collect());
        let all: Vec<usize> = (0..columns.len()).collect();
        Engine::new(&self.readings, &columns)
            .fit(&all)
            .estimate(columns.len() - 1)
    }

    /// A second opinion on a drift: cosines on what the factors leave unexplained.
    pub fn drift_chance(&self, fit: &Fit) -> f64 {
        let mut rest = self.readings.clone();
        for &column in fit.columns() {
            let (term, values) = &self.columns[column];
            if !matches!(term, Term::One | Term::Time) {
                let slope = fit.estimate(column).slope;
                rest.iter_mut()
                    .zip(values)
                    .for_each(|(r, x)| *r -= slope * x);
            }
        }
        cosines::drift_chance(&rest)
    }

    fn positions(&self, terms: &[Term]) -> Vec<usize> {
        terms.iter().map(|t| self.place(*t)).collect()
    }

    /// The position of a term in every fit of this design.
    ///
    /// # Panics
    /// If the design has no such column.
    pub fn place(&self, term: Term) -> usize {
        let found = self.columns.iter().position(|c| c.0 == term);
        found.expect("models are made of the terms of their design")
    }
}

/// The level, the drift, and whatever memory legitimately follows.
fn nuisance_columns(observations: &Observations, rows: Range<usize>) -> Vec<(Term, Vec<f64>)> {
    let seconds = since_first(&observations.seconds[rows.clone()]);
    let mut columns = vec![(Term::One, vec![1.0; rows.len()]), (Term::Time, seconds)];
    for (i, nuisance) in observations.nuisances.iter().enumerate() {
        let values = &nuisance.values[rows.clone()];
        if takes_part(nuisance, values) {
            columns.push((Term::Nuisance(i), values.to_vec()));
        }
    }
    if let Some(control) = &observations.control {
        let blocks = since_first(&control.blocks[rows]);
        if blocks.iter().any(|b| *b > 0.0) {
            columns.push((Term::Control, blocks));
        }
    }
    columns
}

/// What each block gave, whatever came before.
fn current_columns(
    observations: &Observations,
    factors: &Factors,
    rows: Range<usize>,
) -> Vec<(Term, Vec<f64>)> {
    let current = |factor: &Factor| {
        let total = total_of(observations, *factor);
        let steps: Vec<f64> = std::iter::once(total[0])
            .chain(differences(total))
            .collect();
        (Term::Current(*factor), steps[rows.clone()].to_vec())
    };
    factors.units.iter().map(current).collect()
}

/// Every factor, the sums over ways of leaving, and, where everybody left before the reading, the waiting times, over *all* rows: floors come from all of them.
fn dose_columns(observations: &Observations, factors: &Factors) -> Vec<(Term, Vec<f64>)> {
    let singles = factors.units.iter().copied();
    let mut columns = Vec::new();
    for factor in singles.chain(factors.sums()) {
        let members = factors.members(factor);
        let totals = members.iter().map(|f| total_of(observations, *f));
        columns.push((Term::Unit(factor), sum(totals)));
        let waited: Option<Vec<&[f64]>> = members
            .iter()
            .map(|f| waited_of(observations, *f))
            .collect();
        if let Some(waited) = waited.filter(|_| observations.kind != Kind::Soak) {
            columns.push((Term::Waited(factor), sum(waited)));
        }
    }
    columns
}

fn total_of(observations: &Observations, factor: Factor) -> &[f64] {
    let dose = observations.doses.iter().find(|d| d.factor == factor);
    dose.map_or(&[], |d| d.total.as_slice())
}

fn waited_of(observations: &Observations, factor: Factor) -> Option<&[f64]> {
    let dose = observations.doses.iter().find(|d| d.factor == factor)?;
    dose.waited.as_deref()
}

/// Curves for the guards, over time from 0 to 1.
fn curves(seconds: &[f64]) -> [(Term, Vec<f64>); 3] {
    let end = seconds.last().copied().unwrap_or(1.0);
    let shape = |curve: fn(f64) -> f64| seconds.iter().map(|s| curve(s / end)).collect();
    [
        (Term::Parabola, shape(|u| (u - 0.5).powi(2))),
        (Term::Exponential, shape(|u| (-3.0 * u).exp())),
        (Term::Cubic, shape(|u| (u - 0.5).powi(3))),
    ]
}

fn since_first(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v - values[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            observations::{Dose, Precision},
            synthetic::FIN,
        },
        *,
    };

    const ROWS: usize = 30;

    /// One factor, given as told; memory as told; a little noise, the same every time.
    fn design(total: impl Fn(f64) -> f64, memory: impl Fn(f64) -> f64, noise: f64) -> Design {
        let rows = || (0..ROWS).map(count);
        let rough = |i: f64| noise * ((i * i * 7.3 + i).sin() + (i * 12.9).cos());
        let observations = Observations {
            kind: Kind::Assay,
            readings: rows().map(|i| memory(i) + rough(i)).collect(),
            seconds: rows().collect(),
            cycle_seconds: 1.0,
            doses: vec![Dose {
                factor: FIN,
                total: rows().map(total).collect(),
                waited: None,
            }],
            nuisances: Vec::new(),
            control: None,
            precision: Precision::exact(0.0),
            time_floor: 0.0,
        };
        Design::new(&observations, 0..ROWS)
    }

    /// Given in every third cycle.
    fn now_and_then(i: f64) -> f64 {
        300.0 * (i / 3.0).floor()
    }

    fn chance(design: &Design) -> f64 {
        let fit = design.fit(&design.model(&[FIN]));
        design.slope(&fit, Term::of(FIN)).chance_above(0.0)
    }

    fn passes(design: &Design) -> bool {
        design.passes_guards(&design.model(&[FIN]), Term::of(FIN))
    }

    #[test]
    fn a_dose_response_passes_the_guards() {
        let honest = design(now_and_then, |i| 64.0 * now_and_then(i), 500.0);
        assert!(chance(&honest) < 1e-6 && passes(&honest));
    }

    #[test]
    fn doses_that_happen_to_look_like_a_warm_up_do_not_accuse_it() {
        let warming = |i: f64| 1.0 - (-3.0 * i / 29.0).exp();
        let alike = design(|i| 3000.0 * warming(i), |i| 2e6 * warming(i), 500.0);
        assert!(chance(&alike) < 1e-6, "convincing at first sight");
        assert!(!passes(&alike));
    }

    #[test]
    fn a_likeness_of_slow_curves_that_no_step_confirms_is_no_evidence() {
        let hump = |i: f64| (i * std::f64::consts::TAU / 30.0).sin() + i / 5.0; // neither parabola nor warm-up
        let alike = design(|i| 300.0 * hump(i), |i| 18e3 * hump(i), 4000.0);
        let model = alike.model(&[FIN]);
        let survives = |curve| alike.survives(&model, Term::of(FIN), &[curve], SHAPES_AGREE);
        assert!(chance(&alike) < 1e-5, "{}", chance(&alike));
        assert!(survives(Term::Parabola) && survives(Term::Exponential));
        assert!(!passes(&alike));
    }

    #[test]
    fn an_effect_persists_until_it_is_over() {
        let persists = |memory: fn(f64) -> f64, noise| {
            let design = design(now_and_then, memory, noise);
            let model = design.model(&[FIN]);
            let slope = design.slope(&design.fit(&model), Term::of(FIN)).slope;
            design.persists(&model, Term::of(FIN), slope)
        };
        let leaks = |i: f64| 64.0 * now_and_then(i);
        assert!(persists(leaks, 0.0) && persists(leaks, 500.0));
        assert!(
            !persists(|i| 64.0 * now_and_then(i).min(1200.0), 500.0),
            "over before half"
        );
        assert!(
            !persists(|i| 64.0 * now_and_then(i).min(2100.0), 500.0),
            "over at three quarters"
        );
        // much noise: nothing convinces that it is over, and nothing shows that it goes on
        assert!(!persists(|i| 64.0 * now_and_then(i).min(1200.0), 12_000.0));
    }
}
