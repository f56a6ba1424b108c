//! Zombies: a closed connection that goes on eating (the method, §6.5).
//!
//! A loop or producer that outlives its client adds bytes *per second*. Memory then follows the time integral of the closes,
//! and is convex; the guards of the assay rightly call its curve a drift. Here the rests decide: random doses carry the attribution,
//! stretches without load separate eating from drift. In: [`Waiting`]. Out: bytes per second and closed connection, beside bytes per
//! closed connection at once: a zombie also has a body, and either alone fits badly. Without rests nothing is tested.
//!
//! Candidates are the ways of leaving and their pools ([`Factors::pools`](super::factors::Factors::pools)), each at half of alpha
//! over their number. Beyond the method, two ways of leaving may eat at rates of their own: the likeliest pair is tried where it is
//! likelier than the likeliest one, and each of the two must pass everything that one alone must pass. What the zombies leave of
//! the rows is judged again in their presence: [`Waiting::fed`].
//!
//! Simulated, the shipped profile: no zombie in 7,200 innocent runs (walks, warm-ups, steps, saw-teeth, drips, caches, leaks, growth in
//! the rests). 64 B/s of one way, of `left` or of `all`, and two ways at once, read 15 ms too early or too late (a standard deviation):
//! named and covered in 100 of 100. At 50 ms: in 99 or 100, two ways in 86 to 93.

use crate::units::Factor;

use super::{
    design::{Design, Term},
    interval::Interval,
    observations::{Kept, Nuisance, Observations, sum},
    stats::order::count,
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

    /// The rows with what each zombie has waited as a column that is removed before anything is accused: beside a curve of megabytes
    /// a factor's bytes show only in a model that contains the curve.
    pub fn fed(&self, zombies: &[Zombie]) -> Observations {
        let mut rows = self.without_gaps().rows;
        for zombie in zombies {
            rows.nuisances.push(Nuisance {
                name: format!("seconds since {} closed", zombie.factor),
                values: zombie.waited.clone(),
                kept: Kept::Always,
            });
        }
        rows
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
#[derive(Clone, Debug, PartialEq)]
pub struct Zombie {
    /// Which.
    pub factor: Factor,
    /// Bytes per second and closed connection.
    pub per_second: Interval,
    /// Bytes per closed connection, at once.
    pub body: Option<Interval>,
    /// Connection-seconds since the closes, by row of [`Waiting::fed`].
    pub waited: Vec<f64>,
}

/// Tests the likeliest way of leaving, or the likeliest two where one is not all; `beside` are the factors found to leak otherwise.
pub fn find(waiting: &Waiting, alpha: f64, beside: &[Factor], witness: Witness) -> Vec<Zombie> {
    let waiting = &waiting.without_gaps();
    if waiting.rests.len() < 2 {
        return Vec::new();
    }
    let design = &Design::new(&waiting.rows, 0..waiting.rows.rows());
    let mut candidates = design.factors.connections();
    candidates.extend(design.factors.pools());
    let hypotheses = count(candidates.len());
    candidates.retain(|f| design.has(Term::Waited(*f)));
    let trial = Trial {
        waiting,
        design,
        candidates,
        level: alpha / 2.0 / hypotheses,
        beside,
        witness,
    };
    trial.zombies()
}

struct Trial<'a> {
    waiting: &'a Waiting,
    design: &'a Design,
    candidates: Vec<Factor>,
    level: f64,
    beside: &'a [Factor],
    witness: Witness,
}

impl Trial<'_> {
    fn zombies(&self) -> Vec<Zombie> {
        let ones = self.candidates.iter().map(|f| vec![*f]);
        let (one, two) = (self.likeliest(ones.collect()), self.likeliest(self.pairs()));
        // Flat priors on scaled slopes make restricted likelihoods of unequal models comparable: a column must be worth its room.
        let needed = |two: &(_, f64)| one.as_ref().is_none_or(|one| two.1 > one.1);
        let two = two.filter(needed).filter(|two| self.stands(&two.0));
        let found = two.or_else(|| one.filter(|one| self.stands(&one.0)));
        let eaters = found.map(|found| found.0).unwrap_or_default();
        let zombie = |eater: &Factor| self.zombie(*eater, &self.model(&eaters));
        eaters.iter().map(zombie).collect()
    }

    /// The set whose closes and waiting times explain the rows best, and how likely that makes them.
    fn likeliest(&self, sets: Vec<Vec<Factor>>) -> Option<(Vec<Factor>, f64)> {
        let mut best: Option<(Vec<Factor>, f64)> = None;
        for set in sets {
            let fit = self.design.fit(&self.model(&set));
            let better = best.as_ref().is_none_or(|b| fit.log_likelihood > b.1);
            if fit.dof >= LEAST_DOF && better {
                best = Some((set, fit.log_likelihood));
            }
        }
        best
    }

    /// Two candidates that have no way of leaving in common.
    fn pairs(&self) -> Vec<Vec<Factor>> {
        let factors = &self.design.factors;
        let mut pairs = Vec::new();
        for (i, one) in self.candidates.iter().enumerate() {
            let members = factors.members(*one);
            for other in &self.candidates[i + 1..] {
                let overlap = factors.members(*other);
                if !overlap.iter().any(|f| members.contains(f)) {
                    pairs.push(vec![*one, *other]);
                }
            }
        }
        pairs
    }

    /// Whether each of these eats beyond doubt, drift and shapes, and the rests agree with all together.
    fn stands(&self, eaters: &[Factor]) -> bool {
        let model = self.model(eaters);
        let fit = self.design.fit(&model);
        let eats = |eater: &Factor| {
            let eats = Term::Waited(*eater);
            let rate = self.design.slope(&fit, eats);
            rate.chance_above(self.design.floor(eats)) < self.level
                && is_no_drift(self.design, &model, eats, self.witness)
        };
        let rate = |eater: &Factor| {
            let eats = Term::Waited(*eater);
            (eats, self.design.slope(&fit, eats).slope)
        };
        let rates: Vec<(Term, f64)> = eaters.iter().map(rate).collect();
        eaters.iter().all(eats) && rests_agree(self.waiting, self.design, &rates)
    }

    fn model(&self, eaters: &[Factor]) -> Vec<Term> {
        let is_theirs = |f: &Factor| eaters.iter().any(|eater| eater.includes(*f));
        let others = self.beside.iter();
        let others = others.filter(|f| !f.is_sum() && **f != Factor::Time);
        let mut model = vec![Term::One, Term::Time];
        for other in others.flat_map(|f| self.spoken_for(*f)) {
            let term = Term::of(other);
            if !is_theirs(&other) && !model.contains(&term) {
                model.push(term);
            }
        }
        for eater in eaters {
            model.extend([Term::Unit(*eater), Term::Waited(*eater)]);
        }
        if self.design.has(Term::Control) {
            model.push(Term::Control); // what the target was asked to keep
        }
        model
    }

    /// The factor, or those that it is a mixture of: more rows may tell that two factors are one, where the rows that accused it could not.
    fn spoken_for(&self, factor: Factor) -> Vec<Factor> {
        if self.design.has(Term::of(factor)) {
            return vec![factor];
        }
        let mixtures = self.design.factors.inseparable.iter();
        let mut mixtures = mixtures.filter(|(name, _)| *name == factor);
        mixtures.next().map_or_else(Vec::new, |(_, of)| of.clone())
    }

    fn zombie(&self, eater: Factor, model: &[Term]) -> Zombie {
        let body = interval(self.waiting, self.design, model, Term::Unit(eater));
        Zombie {
            factor: eater,
            per_second: interval(self.waiting, self.design, model, Term::Waited(eater)),
            body: (body.estimate.chance_above(0.0) <= BODY).then_some(body),
            waited: self.design.column(Term::Waited(eater)).to_vec(),
        }
    }
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

/// While nobody is there, memory must grow at the rates that the doses say, in every rest.
fn rests_agree(waiting: &Waiting, design: &Design, rates: &[(Term, f64)]) -> bool {
    let (readings, seconds) = (design.readings(), &waiting.rows.seconds);
    let eaten = rates
        .iter()
        .map(|(eats, rate)| design.column(*eats).iter().map(|w| rate * w).collect());
    let eaten: Vec<Vec<f64>> = eaten.collect();
    let eaten = sum(eaten.iter().map(Vec::as_slice));
    let (mut product, mut square, mut each) = (0.0, 0.0, true);
    for &(i, j) in &waiting.rests {
        let got = readings[j] - readings[i] - waiting.growth_before * (seconds[j] - seconds[i]);
        let wanted = eaten[j] - eaten[i];
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
        super::synthetic::{COMPLETE, FIN, RST, STALL, quick, reference, rested},
        *,
    };

    fn found(waiting: &Waiting) -> Vec<Zombie> {
        find(waiting, 0.001, &[], Witness::None)
    }

    fn told(waiting: &Waiting) -> Vec<Factor> {
        found(waiting).iter().map(|z| z.factor).collect()
    }

    #[test]
    fn a_connection_that_eats_on_is_found_with_its_rate_and_its_body() {
        for (recording, bytes) in [
            (quick(1), 50.0),
            (quick(1).noise(500.0), 50.0),
            (reference(2), 300.0),
        ] {
            let eats = rested(recording.leaks(RST, 2000.0)).eats(RST, bytes);
            let [zombie] = &found(&eats.waiting())[..] else {
                panic!("{bytes} B/s");
            };
            let ends = zombie.per_second.low()..=zombie.per_second.high();
            assert!(zombie.factor == RST && ends.contains(&bytes), "{zombie:?}");
            let body = zombie.body.unwrap();
            assert!((body.low()..=body.high()).contains(&2000.0), "{body:?}");
        }
    }

    #[test]
    fn what_the_client_left_is_one_zombie_and_not_its_likeliest_part() {
        for seed in 0..8 {
            for jitter in [0.0, 0.015] {
                let server = |body| rested(quick(seed).cycles(28).leaks(body, 264.0));
                let what = format!("seed {seed}, jitter {jitter} s");
                let left = server(Factor::Left)
                    .eats(Factor::Left, 256.0)
                    .jitters(jitter)
                    .waiting();
                let [zombie] = &found(&left)[..] else {
                    panic!("{what}: {:?}", told(&left));
                };
                let rate = zombie.per_second;
                assert_eq!(zombie.factor, Factor::Left, "{what}");
                assert!(
                    (rate.low()..=rate.high()).contains(&256.0),
                    "{what}: {rate:?}"
                );
                let rarely = server(Factor::Left)
                    .eats(Factor::Left, 4.0)
                    .jitters(jitter)
                    .waiting();
                assert_eq!(told(&rarely), [Factor::Left], "{what}");
                let all = server(Factor::AllClosed)
                    .eats(Factor::AllClosed, 64.0)
                    .jitters(jitter)
                    .waiting();
                assert_eq!(told(&all), [Factor::AllClosed], "{what}");
            }
        }
    }

    #[test]
    fn where_the_server_never_ends_a_stream_left_is_all() {
        let eats = rested(reference(2))
            .eats(Factor::AllClosed, 300.0)
            .waiting();
        assert_eq!(told(&eats), [Factor::AllClosed]);
    }

    #[test]
    fn two_ways_of_leaving_may_eat_at_rates_of_their_own() {
        for seed in 0..8 {
            for two in [
                [(COMPLETE, 50.0), (STALL, 300.0)],
                [(FIN, 100.0), (RST, 300.0)],
                [(COMPLETE, 300.0), (Factor::Left, 60.0)],
            ] {
                let server = rested(quick(seed)).jitters(0.002);
                let eats = server.eats(two[0].0, two[0].1).eats(two[1].0, two[1].1);
                let zombies = found(&eats.waiting());
                for (factor, rate) in two {
                    let zombie = zombies.iter().find(|z| z.factor == factor);
                    let per_second = zombie.map(|z| z.per_second);
                    let right = per_second.is_some_and(|i| (i.low()..=i.high()).contains(&rate));
                    assert!(right && zombies.len() == 2, "seed {seed}: {zombies:?}");
                }
            }
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
                let leaky = clean.clone().leaks(RST, 500.0);
                for (what, innocent) in [
                    ("clean", rested(clean.clone())),
                    ("leaks", rested(leaky)),
                    ("leaks however", rested(clean.clone().leaks_however(500.0))),
                    ("grows in rests", rested(clean).drips(3000.0)),
                ] {
                    assert_eq!(told(&innocent.waiting()), [], "{what}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn what_grows_ever_faster_by_itself_is_a_drift() {
        for seed in 0..8 {
            for noise in [0.0, 2000.0] {
                let mut convex = rested(quick(seed).noise(noise)).waiting();
                let seconds = convex.rows.seconds.clone();
                let curve = seconds.iter().map(|t| 2000.0 * t * t);
                convex
                    .rows
                    .readings
                    .iter_mut()
                    .zip(curve)
                    .for_each(|(y, c)| *y += c);
                assert_eq!(told(&convex), [], "seed {seed}, noise {noise} B");
            }
        }
    }

    #[test]
    fn what_eats_only_under_load_has_no_witness_in_the_rests() {
        for seed in 0..8 {
            let mut asleep = rested(quick(seed)).eats(RST, 50.0).waiting();
            let rows = asleep.rows.rows();
            for (start, end) in asleep.rests.clone() {
                let readings = &mut asleep.rows.readings;
                let gained = readings[end] - readings[start];
                (end..rows).for_each(|row| readings[row] -= 0.8 * gained);
            }
            assert_eq!(told(&asleep), [], "seed {seed}");
        }
    }

    #[test]
    fn every_rest_must_grow_at_about_the_rate_that_the_doses_say() {
        let mut eats = rested(quick(1)).eats(RST, 50.0).waiting();
        let agree = |waiting: &Waiting, rate| {
            let design = Design::new(&waiting.rows, 0..waiting.rows.rows());
            rests_agree(waiting, &design, &[(Term::Waited(RST), rate)])
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
        let mut drips = rested(quick(1)).eats(RST, 50.0).waiting();
        drips.growth_before = 1e6;
        assert!(
            !agree(&drips, 50.0),
            "it grew as fast before the first connection"
        );
    }

    #[test]
    fn what_leaks_beside_may_be_another_factor_by_another_name_here() {
        let mut eats = rested(quick(1)).eats(RST, 50.0).waiting();
        let doses = &mut eats.rows.doses;
        let sessions = doses.iter().find(|d| d.factor == Factor::Session);
        let sessions = sessions.unwrap().total.clone();
        let events = doses.iter_mut().find(|d| d.factor == Factor::Event);
        events.unwrap().total = sessions;
        for beside in [
            vec![],
            vec![Factor::Event],
            vec![Factor::Session, Factor::Event],
        ] {
            let found = find(&eats, 0.001, &beside, Witness::None);
            let eaters: Vec<Factor> = found.iter().map(|z| z.factor).collect();
            assert_eq!(eaters, [RST], "beside {beside:?}");
        }
    }

    #[test]
    fn without_rests_or_without_their_readings_nothing_is_tested() {
        let mut eats = rested(quick(1)).eats(RST, 50.0).waiting();
        assert_eq!(told(&eats), [RST]);
        let (_, end) = eats.rests[1];
        eats.rows.readings[end] = f64::NAN;
        assert_eq!(told(&eats), [RST], "two rests are left");
        eats.rests.truncate(1);
        assert_eq!(told(&eats), []);
    }
}
