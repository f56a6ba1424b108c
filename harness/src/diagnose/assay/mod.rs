//! One look at the rows of one signal: which factors does memory follow, and how much per unit (the method, §6)?
//!
//! In: [`Observations`]. Out: a [`Look`]: factors found, factors whose effect flattens, an interval for every factor. Start at
//! [`look`]. Three searches, in this order: every factor adjusted for all the others; if rows are few, a forward scan that
//! bets on few leaks; on long soaks, drift. How each carries over to any list of factors is written in
//! [`factors`](super::factors). Never says "leak": the order of the verdicts is [`verdict`](super::verdict).

use std::ops::Range;

use crate::units::Factor;

use super::{
    design::{Design, Term},
    interval::Interval,
    observations::Observations,
    stats::{Estimate, Fit, order::count, student},
};

/// Degrees of freedom from which the model with every factor carries the verdict alone.
const BIG: f64 = 10.0;
/// Degrees of freedom below which a model is not looked at.
const LEAST: f64 = 3.0;
/// Rows from which drift may be accused: eight hours of five-minute blocks.
const TIME_FROM: usize = 97;
/// Steps of the forward scan.
const SCAN_STEPS: usize = 3;

/// What is asked about drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is a nuisance: minutes cannot tell a warm-up from a leak per second.
    Nuisance,
    /// It is accused like a factor, if the soak is long enough.
    Factor,
}

/// What one look found.
#[derive(Clone, Debug)]
pub struct Look {
    /// Rows looked at.
    pub rows: usize,
    /// Factors that memory follows and goes on following, in order of discovery.
    pub leaks: Vec<Factor>,
    /// Factors that memory followed until it did not.
    pub saturating: Vec<Factor>,
    /// An interval for every factor, for `all`, and for what was found beside.
    pub intervals: Vec<(Factor, Interval)>,
    /// The positive control's own interval.
    pub control: Option<Interval>,
    /// Factors named but never given, and factors that cannot be told apart.
    pub factors: super::factors::Factors,
    /// Whether every factor was adjusted for all others.
    pub joint: bool,
    /// The level at which one factor is accused.
    pub level: f64,
    /// How much the level walked, as the geometric mean of `q`.
    pub walk: f64,
    /// Covariance of the effects, for the forecast.
    pub effects: Effects,
}

/// The joint effects: a fit and what it was made of.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The factors in the fit.
    pub factors: Vec<Factor>,
    /// The position of each factor in the fit.
    pub columns: Vec<usize>,
    /// The floors per unit.
    pub floors: Vec<f64>,
    /// The fit.
    pub fit: Fit,
}

impl Look {
    /// The interval of one factor.
    pub fn interval(&self, factor: Factor) -> Option<Interval> {
        let found = self.intervals.iter().find(|i| i.0 == factor);
        found.map(|i| i.1)
    }
}

/// Looks at these rows at level `alpha`.
pub fn look(observations: &Observations, rows: Range<usize>, alpha: f64, drift: Drift) -> Look {
    let design = Design::new(observations, rows);
    let mut search = Search::new(&design, alpha, drift);
    search.every_factor_beside_all_others();
    if !search.joint {
        search.few_factors_one_by_one();
    }
    if drift == Drift::Factor && design.rows() >= TIME_FROM {
        search.drift();
    }
    search.pool();
    search.finish(observations, drift)
}

struct Search<'a> {
    design: &'a Design,
    alpha: f64,
    level: f64,
    joint: bool,
    full: Vec<Term>,
    fit: Fit,
    found: Vec<Factor>,
    saturating: Vec<Factor>,
}

impl<'a> Search<'a> {
    fn new(design: &'a Design, alpha: f64, drift: Drift) -> Self {
        let factors = &design.factors;
        let full = design.model(&factors.units);
        let joint = count(design.rows()) - count(full.len()) >= BIG;
        let stage = if joint { alpha } else { alpha / 2.0 };
        let pools = factors.pools().len();
        let hypotheses = factors.units.len() + pools + usize::from(drift == Drift::Factor);
        Self {
            fit: design.fit(&full),
            level: stage / count(hypotheses.max(1)),
            design,
            alpha,
            joint,
            full,
            found: Vec::new(),
            saturating: Vec::new(),
        }
    }

    /// Stage F.
    fn every_factor_beside_all_others(&mut self) {
        if self.fit.dof < LEAST {
            return;
        }
        for &factor in &self.design.factors.units {
            let estimate = self.design.slope(&self.fit, Term::of(factor));
            if self.is_hit(factor, estimate) && self.passes_guards(&self.full, factor) {
                self.take(factor, &self.full.clone(), estimate.slope);
            }
        }
        self.modes_together();
    }

    /// The mean over ways of leaving of which none is guilty alone; of two such pools the one that explains more.
    fn modes_together(&mut self) {
        let factors = &self.design.factors;
        let alone = |f: &Factor| self.found.contains(f) || self.saturating.contains(f);
        let mut best: Option<(Factor, f64)> = None;
        for pool in factors.pools() {
            let members = factors.members(pool);
            let terms: Vec<Term> = members.iter().copied().map(Term::of).collect();
            let mean = self.design.mean_slope(&self.fit, &terms);
            if members.iter().any(alone)
                || !self.is_hit(pool, mean)
                || !self.passes_guards(&self.model_of_sum(pool), pool)
            {
                continue;
            }
            let only = self
                .design
                .model(&[&[pool][..], &factors.others()].concat());
            let likelihood = self.design.fit(&only).log_likelihood;
            if best.is_none_or(|b| likelihood > b.1) {
                best = Some((pool, likelihood));
            }
        }
        if let Some((pool, _)) = best {
            let model = self.model_of_sum(pool);
            let slope = self.slope_in(&model, pool).slope;
            self.take(pool, &model, slope);
        }
    }

    /// Stage S: the likeliest factor first, then the next beside it.
    fn few_factors_one_by_one(&mut self) {
        for _ in 0..SCAN_STEPS {
            let Some((factor, model, estimate)) = self.likeliest() else {
                return;
            };
            let level = self.alpha / 2.0 / count(self.design.factors.units.len());
            let floor = self.design.floor(Term::of(factor));
            if estimate.chance_above(floor) > level || !self.passes_guards(&model, factor) {
                return;
            }
            self.take(factor, &model, estimate.slope);
            if self.saturating.contains(&factor) {
                return;
            }
        }
    }

    fn likeliest(&self) -> Option<(Factor, Vec<Term>, Estimate)> {
        let mut best: Option<(Factor, Vec<Term>, Estimate)> = None;
        let sums = self.design.factors.sums();
        for factor in self.design.factors.units.iter().copied().chain(sums) {
            if self.is_settled(factor) {
                continue;
            }
            let model = self
                .design
                .model(&[self.found.as_slice(), &[factor]].concat());
            let estimate = self.slope_in(&model, factor);
            if estimate.dof < LEAST {
                continue;
            }
            if best.as_ref().is_none_or(|b| estimate.t() > b.2.t()) {
                best = Some((factor, model, estimate));
            }
        }
        best
    }

    /// Never two of: `all`, `left`, `abrupt`, and their members.
    fn is_settled(&self, factor: Factor) -> bool {
        let excludes = |found: &Factor| {
            let second_sum = factor.is_sum() && found.is_connection();
            let member = found.is_sum() && self.design.factors.members(*found).contains(&factor);
            *found == factor || second_sum || member
        };
        self.saturating.contains(&factor) || self.found.iter().any(excludes)
    }

    /// Stage T: drift must convince two estimators of its variance.
    fn drift(&mut self) {
        if self.fit.dof < LEAST {
            return;
        }
        let estimate = self.design.slope(&self.fit, Term::Time);
        let chance = estimate.chance_above(self.design.floor(Term::Time));
        if chance.max(self.design.drift_chance(&self.fit)) < self.level
            && self.passes_guards(&self.full, Factor::Time)
        {
            self.take(Factor::Time, &self.full.clone(), estimate.slope);
        }
    }

    /// The same leak in every mode is one finding: "however the client leaves"; failing that, the same in every mode but one:
    /// "that the client leaves".
    fn pool(&mut self) {
        for pool in self.design.factors.pools() {
            let members = self.design.factors.members(pool);
            let known = self.found.iter().any(|f| f.is_sum());
            let any = self.found.iter().any(|f| members.contains(f));
            if self.joint && any && !known && self.modes_agree(pool) {
                self.found.push(pool);
            }
            if self.found.contains(&pool) {
                self.found.retain(|f| !members.contains(f));
            }
        }
    }

    fn modes_agree(&self, pool: Factor) -> bool {
        let model = self.model_of_sum(pool);
        let pooled = self.slope_in(&model, pool).slope;
        let reach = student::quantile(0.975, self.fit.dof);
        let agrees = |mode: &Factor| {
            let one = self.design.slope(&self.fit, Term::of(*mode));
            one.chance_above(0.0) < 0.05
                && (one.slope - pooled).abs() <= (reach * one.se).max(0.1 * pooled)
        };
        self.design.factors.members(pool).iter().all(agrees)
            && self.design.persists(&model, Term::of(pool), pooled)
    }

    fn has_all(&self) -> bool {
        self.design.has(Term::of(Factor::AllClosed))
    }

    fn is_hit(&self, factor: Factor, estimate: Estimate) -> bool {
        estimate.chance_above(self.design.floor(Term::of(factor))) < self.level
    }

    fn passes_guards(&self, model: &[Term], factor: Factor) -> bool {
        self.design.passes_guards(model, Term::of(factor))
    }

    fn slope_in(&self, model: &[Term], factor: Factor) -> Estimate {
        self.design.slope(&self.design.fit(model), Term::of(factor))
    }

    fn take(&mut self, factor: Factor, model: &[Term], slope: f64) {
        if self.design.persists(model, Term::of(factor), slope) {
            self.found.push(factor);
        } else {
            self.saturating.push(factor);
        }
    }

    /// A sum over ways of leaving beside everything that is not in it.
    fn model_of_sum(&self, sum: Factor) -> Vec<Term> {
        self.design.model(&self.beside_sum(sum))
    }

    fn beside_sum(&self, sum: Factor) -> Vec<Factor> {
        let factors = &self.design.factors;
        [
            &[sum][..],
            &factors.other_connections(sum),
            &factors.others(),
        ]
        .concat()
    }

    fn finish(self, observations: &Observations, drift: Drift) -> Look {
        let design = self.design;
        let mut asked = design.factors.units.clone();
        asked.extend(self.has_all().then_some(Factor::AllClosed));
        let sums = self.found.iter().copied().filter(|f| f.is_sum());
        asked.extend(sums.filter(|f| *f != Factor::AllClosed));
        asked.extend((drift == Drift::Factor).then_some(Factor::Time));
        let interval = |f: &Factor| {
            (
                *f,
                Interval::of(
                    design,
                    &self.interval_model(*f),
                    Term::of(*f),
                    &observations.precision,
                ),
            )
        };
        let control = || {
            let model = if self.joint {
                self.full.clone()
            } else {
                design.model(&self.found)
            };
            Interval::of(design, &model, Term::Control, &observations.precision)
        };
        Look {
            rows: design.rows(),
            intervals: asked.iter().map(interval).collect(),
            control: design.has(Term::Control).then(control),
            factors: design.factors.clone(),
            joint: self.joint,
            level: self.level,
            walk: self.fit.walk(),
            effects: self.effects(),
            leaks: self.found,
            saturating: self.saturating,
        }
    }

    /// Beside which terms a factor's interval is taken: all of them if there are rows enough, else only what was found.
    fn interval_model(&self, factor: Factor) -> Vec<Term> {
        if factor.is_sum() {
            return self.interval_model_of_sum(factor);
        }
        if self.joint {
            return self.full.clone();
        }
        let beside = self
            .found
            .iter()
            .copied()
            .filter(|f| !(f.is_sum() && self.includes(*f, factor)));
        let mut all: Vec<Factor> = beside.collect();
        all.push(factor);
        self.design.model(&all)
    }

    /// Whether a sum says something about a factor: `left` says nothing about `complete`; what is abrupt is judged against all.
    fn includes(&self, sum: Factor, factor: Factor) -> bool {
        match sum {
            Factor::Left => self.design.factors.members(sum).contains(&factor),
            _ => factor.is_connection(),
        }
    }

    fn interval_model_of_sum(&self, sum: Factor) -> Vec<Term> {
        let mut beside = self.beside_sum(sum);
        beside.retain(|f| f.is_connection() || self.joint || self.found.contains(f));
        self.design.model(&beside)
    }

    /// Every effect at once, with a sum in place of the modes where they were pooled.
    fn effects(&self) -> Effects {
        let pools = self.design.factors.pools();
        let pooled = self.found.iter().find(|f| pools.contains(f));
        let mut factors = match (self.joint, pooled) {
            (true, Some(pool)) => self.beside_sum(*pool),
            (true, None) => self.design.factors.units.clone(),
            (false, _) => self.found.clone(),
        };
        factors.retain(|f| *f != Factor::Time);
        let model = self.design.model(&factors);
        factors.push(Factor::Time);
        Effects {
            fit: self.design.fit_robust(&model),
            columns: factors
                .iter()
                .map(|f| self.design.place(Term::of(*f)))
                .collect(),
            floors: factors
                .iter()
                .map(|f| self.design.floor(Term::of(*f)))
                .collect(),
            factors,
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
