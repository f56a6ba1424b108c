//! The verdict: all evidence of one run, in the order of the method, §7.
//!
//! In: [`Evidence`] and [`Rules`]. Out: a [`Judgement`]: numbers only; sentences are [`finding`](super::finding). Start at
//! [`judge`]. Memory is judged on the best signal, counters beside it; the other memory signals are looked at and shown. A leak
//! of anything beats unexplained growth, which beats an effect that flattens, which beats a clean bill, which needs a bound below
//! the tolerance for every factor. Otherwise: inconclusive, and how long it would take.

use crate::units::Factor;

use super::{
    assay::{Drift, Look, look},
    counters::{self, Counted, Counter},
    envelope::{Envelope, Growth},
    interval::Interval,
    observations::{Kind, Observations},
    outlook::{self, Outlook},
    rests::{self, IdleGrowth, Residue, Rest},
    signal::Signal,
    soak,
    stats::order::median,
    zombies::{self, Waiting, Witness, Zombie},
};

mod explained;

pub use explained::Explained;

/// One memory signal, a row per reading.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Which.
    pub signal: Signal,
    /// Its rows.
    pub rows: Observations,
}

/// Everything a recording has to say.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Memory, best signal first. The first one carries the verdict.
    pub memory: Vec<Memory>,
    /// Counters, in the design of the run.
    pub counters: Vec<Counter>,
    /// The stretches without load, the one before the first connection first.
    pub rests: Vec<Rest>,
    /// Rows of the best memory signal at the ends of the rests; `None` without rests.
    pub waiting: Option<Waiting>,
    /// What resident memory fell back to.
    pub envelope: Option<Envelope>,
    /// Of an assay that was looked at before its end: when the last row of each earlier look was read, seconds since row 0.
    pub looks: Vec<f64>,
}

impl Evidence {
    /// The level that is left for the look at the end: every look spends its part of alpha (the method, §8).
    fn last_level(&self, alpha: f64) -> f64 {
        if self.looks.is_empty() {
            alpha
        } else {
            soak::level(alpha, self.looks.len() + 1)
        }
    }
}

/// What a bound must stay below to be called clean, per unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Bytes per closed connection.
    pub connection: f64,
    /// Bytes per session.
    pub session: f64,
    /// Bytes per turn.
    pub turn: f64,
    /// Bytes per event.
    pub event: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            connection: 1024.0,
            session: 1024.0,
            turn: 1024.0,
            event: 64.0,
        }
    }
}

impl Tolerance {
    /// The tolerance of one factor; drift and the control have none.
    pub fn of(&self, factor: Factor) -> f64 {
        match factor {
            Factor::Closed(_) | Factor::AllClosed | Factor::Left | Factor::Abrupt => {
                self.connection
            }
            Factor::Session => self.session,
            Factor::Turn => self.turn,
            Factor::Event => self.event,
            Factor::Time | Factor::Control => f64::INFINITY,
        }
    }
}

/// How strict the judge is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Probability of any false accusation in a run, before guards.
    pub alpha: f64,
    /// What is clean enough.
    pub tolerance: Tolerance,
    /// Units of every way of leaving and of sessions that a soak delivers before its rows count.
    pub cache_units: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            alpha: 0.001,
            tolerance: Tolerance::default(),
            cache_units: 5000.0,
        }
    }
}

/// What memory follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// So much per unit.
    Per(Factor),
    /// So much per second and closed connection: a zombie.
    PerSecond(Factor),
}

/// The sum of the findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something follows a factor, and goes on.
    Leak,
    /// Something grows, and no factor could be named.
    UnexplainedGrowth,
    /// Something followed a factor until it did not.
    Saturating,
    /// Every bound is below the tolerance.
    Clean,
    /// Not enough is known.
    Inconclusive,
}

/// An accusation of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// What memory follows.
    pub effect: Effect,
    /// How much per unit.
    pub interval: Interval,
    /// Rows seen when it was found.
    pub rows: usize,
}

impl Leak {
    /// The factor of which every unit costs so much at once; `None` of a zombie.
    fn factor(&self) -> Option<Factor> {
        match self.effect {
            Effect::Per(factor) => Some(factor),
            Effect::PerSecond(_) => None,
        }
    }
}

/// All numbers of a verdict.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The sum.
    pub verdict: Verdict,
    /// Which memory signal carries it; `None` if memory was not read.
    pub signal: Option<Signal>,
    /// What memory follows.
    pub leaks: Vec<Leak>,
    /// An interval for every effect asked about, as the method has them: those beside a zombie come from the model without it
    /// (its §12.15). What is told comes from `look`.
    pub intervals: Vec<(Effect, Interval)>,
    /// Factors whose effect flattens.
    pub saturating: Vec<Factor>,
    /// The look that carries the verdict, in the presence of the zombies; `None` before a soak has rows enough.
    pub look: Option<Look>,
    /// The other memory signals.
    pub others: Vec<(Signal, Look)>,
    /// The counters.
    pub counters: Vec<Counted>,
    /// The stretches without load.
    pub rests: Vec<Rest>,
    /// CPU that follows the closes while nobody is there.
    pub residue: Option<Residue>,
    /// Live bytes that grow while nobody is there, where an exact account of them exists.
    pub idle_growth: Option<IdleGrowth>,
    /// The envelope of resident memory.
    pub growth: Option<Growth>,
    /// Whether the growth of the envelope is pages that the allocator keeps: live bytes did not follow.
    pub retained: bool,
    /// What the accused account for.
    pub explained: Explained,
    /// Rows left out because a number was missing, by position.
    pub gaps: Vec<usize>,
    /// Readings a soak left out until the caches were full.
    pub skipped: usize,
    /// What keeps an inconclusive run from being clean, and how long that would take.
    pub outlook: Vec<(Factor, Outlook)>,
}

/// Judges a run.
pub fn judge(evidence: &Evidence, rules: &Rules) -> Judgement {
    let mut judgement = Judgement::empty(evidence);
    let Some(best) = evidence.memory.first() else {
        judgement.judge_counters(evidence, rules);
        judgement.conclude(rules);
        return judgement;
    };
    let (rows, gaps) = best.rows.without_gaps();
    judgement.signal = Some(best.signal);
    judgement.gaps = gaps;
    match rows.kind {
        Kind::Soak => judgement.judge_soak(&rows, rules),
        Kind::Drained => {
            judgement.judge_soak(&rows, rules);
            let accused: Vec<Factor> = judgement.leaks.iter().filter_map(Leak::factor).collect();
            judgement.judge_beside(&rows, evidence, rules.alpha, &accused);
        }
        Kind::Assay => judgement.judge_assay(&rows, evidence, rules),
    }
    judgement.outlook = outlook::of(&judgement, &rows, rules);
    judgement.look_at_others(&evidence.memory[1..], rules);
    judgement.judge_counters(evidence, rules);
    judgement.conclude(rules);
    judgement
}

impl Judgement {
    fn empty(evidence: &Evidence) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            signal: None,
            leaks: Vec::new(),
            intervals: Vec::new(),
            saturating: Vec::new(),
            look: None,
            others: Vec::new(),
            counters: Vec::new(),
            rests: evidence.rests.clone(),
            residue: rests::residue(&evidence.rests),
            idle_growth: None,
            growth: None,
            retained: false,
            explained: Explained::default(),
            gaps: Vec::new(),
            skipped: 0,
            outlook: Vec::new(),
        }
    }

    fn judge_soak(&mut self, rows: &Observations, rules: &Rules) {
        let soak = soak::judge(rows, rules.alpha, rules.cache_units);
        let leak = |f: soak::Found| Leak {
            effect: Effect::Per(f.factor),
            interval: f.interval,
            rows: f.rows,
        };
        self.skipped = soak.skipped;
        self.leaks = soak.found.into_iter().map(leak).collect();
        if let Some(last) = soak.last {
            self.adopt(last);
        }
    }

    fn judge_assay(&mut self, rows: &Observations, evidence: &Evidence, rules: &Rules) {
        let alpha = evidence.last_level(rules.alpha);
        let mut first = look(rows, 0..rows.rows(), alpha, Drift::Nuisance);
        self.saturating.clone_from(&first.saturating);
        if self.residue.is_some() && !first.leaks.iter().any(|f| f.is_connection()) {
            first = second_witness(rows, first, alpha);
        }
        self.leaks = leaks_of(&first);
        let accused = first.leaks.clone();
        self.adopt(first);
        self.judge_beside(rows, evidence, alpha, &accused);
        self.remember(earlier(rows, &evidence.looks, rules.alpha));
    }

    /// What an earlier look accused stays accused, unless a later one, which saw more, says it better: of the ways of leaving, which.
    fn remember(&mut self, earlier: Vec<Leak>) {
        for leak in earlier {
            let Effect::Per(then) = leak.effect else {
                continue;
            };
            let is_said = |now: &Leak| {
                let (Effect::Per(now) | Effect::PerSecond(now)) = now.effect;
                now == then || (now.is_connection() && then.is_connection())
            };
            if !self.leaks.iter().any(is_said) {
                self.saturating.retain(|f| *f != then);
                self.leaks.push(leak);
            }
        }
    }

    /// What only readings without load can show: who eats on, and what never falls back.
    fn judge_beside(
        &mut self,
        rows: &Observations,
        evidence: &Evidence,
        alpha: f64,
        accused: &[Factor],
    ) {
        if let Some(waiting) = &evidence.waiting {
            self.look_for_zombies(waiting, alpha, accused);
            self.explained = Explained::by(&self.leaks, waiting);
        }
        self.growth = evidence.envelope.as_ref().and_then(Envelope::growth);
        if self.signal == Some(Signal::Allocated) {
            self.idle_growth = rests::idle_growth(&evidence.rests, Signal::Allocated.floor());
            self.retained = self.growth.is_some_and(|g| is_retained(&g, &rows.readings));
        }
    }

    fn adopt(&mut self, look: Look) {
        self.intervals = look
            .intervals
            .iter()
            .map(|(f, i)| (Effect::Per(*f), *i))
            .collect();
        self.saturating.clone_from(&look.saturating);
        self.look = Some(look);
    }

    /// Where closed connections eat on, the joint fit speaks for their ways of leaving, and everything else is looked at again
    /// beside what they ate.
    fn look_for_zombies(&mut self, waiting: &Waiting, alpha: f64, accused: &[Factor]) {
        let witness = if self.residue.is_some() {
            Witness::Cpu
        } else {
            Witness::None
        };
        let find = |beside: &[Factor]| zombies::find(waiting, alpha, beside, witness);
        let look_beside = |zombies: &[Zombie]| {
            let rows = waiting.fed(zombies);
            look(&rows, 0..rows.rows(), alpha, Drift::Nuisance)
        };
        let mut zombies = find(accused);
        if zombies.is_empty() {
            return;
        }
        // What leaks otherwise shows only beside the curve, and the curve's body is sure only beside what leaks otherwise.
        let again = find(&look_beside(&zombies).leaks);
        if !again.is_empty() {
            zombies = again;
        }
        let beside = look_beside(&zombies);
        self.leaks = leaks_of(&beside);
        self.saturating.clone_from(&beside.saturating);
        for zombie in &zombies {
            self.accuse(zombie, &beside);
        }
        self.look = Some(beside);
    }

    /// A zombie speaks for its ways of leaving: their bytes at once are its body, unless they are part of a leak that is wider.
    fn accuse(&mut self, zombie: &Zombie, look: &Look) {
        let eater = zombie.factor;
        let is_its_own = |f: Factor| eater.includes(f) || (eater.is_sum() && f.is_sum());
        self.leaks
            .retain(|l| !matches!(l.effect, Effect::Per(f) if is_its_own(f)));
        let is_wider = |l: &Leak| matches!(l.effect, Effect::Per(f) if f.includes(eater));
        let body = zombie.body.filter(|_| !self.leaks.iter().any(is_wider));
        let body = body.map(|b| (Effect::Per(eater), b));
        let eats = (Effect::PerSecond(eater), zombie.per_second);
        for (effect, interval) in std::iter::once(eats).chain(body) {
            self.leaks.push(Leak {
                effect,
                interval,
                rows: look.rows,
            });
            self.intervals.retain(|i| i.0 != effect);
            self.intervals.push((effect, interval));
        }
    }

    fn look_at_others(&mut self, memory: &[Memory], rules: &Rules) {
        for other in memory {
            let (rows, _) = other.rows.without_gaps();
            let seen = match rows.kind {
                Kind::Assay => Some(look(&rows, 0..rows.rows(), rules.alpha, Drift::Nuisance)),
                Kind::Soak | Kind::Drained => {
                    soak::judge(&rows, rules.alpha, rules.cache_units).last
                }
            };
            self.others.extend(seen.map(|look| (other.signal, look)));
        }
    }

    fn judge_counters(&mut self, evidence: &Evidence, rules: &Rules) {
        let judged = evidence.counters.iter().map(|c| {
            let rows = c.rows.without_gaps().0;
            let whole = Counter {
                signal: c.signal,
                rows,
            };
            counters::judge(&whole, &evidence.rests, evidence.last_level(rules.alpha))
        });
        self.counters = judged.collect();
    }

    fn conclude(&mut self, rules: &Rules) {
        let left = self.counters.iter().any(|c| c.left.is_some());
        let grew = self.growth.is_some_and(|g| g.found) && !self.retained;
        self.verdict = if !self.leaks.is_empty() || self.counters.iter().any(Counted::accuses) {
            Verdict::Leak
        } else if grew || self.residue.is_some() || self.idle_growth.is_some() || left {
            Verdict::UnexplainedGrowth
        } else if !self.saturating.is_empty() {
            Verdict::Saturating
        } else if self.is_clean(&rules.tolerance) {
            Verdict::Clean
        } else {
            Verdict::Inconclusive
        };
    }

    /// Every dosed unit's bound is below the tolerance; nothing asked is nothing acquitted.
    fn is_clean(&self, tolerance: &Tolerance) -> bool {
        let Some(look) = &self.look else {
            return false;
        };
        let below = |f: &Factor| {
            look.interval(*f)
                .is_some_and(|i| i.upper() <= tolerance.of(*f))
        };
        !look.factors.units.is_empty() && look.factors.units.iter().all(below)
    }
}

/// Resident memory grew, and less than half of it is live by the allocator's own account: fragmentation, caches of the allocator,
/// high-water marks.
fn is_retained(growth: &Growth, live: &[f64]) -> bool {
    let third = (live.len() / 3).max(1);
    let first = median(&live[..third.min(live.len())]);
    let last = median(&live[live.len().saturating_sub(third)..]);
    let grown = last.zip(first).map_or(0.0, |(last, first)| last - first);
    grown < 0.5 * (growth.last - growth.first)
}

/// What the looks before the last found, the first accusation of each factor.
fn earlier(rows: &Observations, looks: &[f64], alpha: f64) -> Vec<Leak> {
    let mut all: Vec<Leak> = Vec::new();
    for (k, until) in looks.iter().enumerate() {
        let seen = rows.seconds.iter().filter(|s| **s <= until + 1e-6).count();
        let found = look(rows, 0..seen, soak::level(alpha, k + 1), Drift::Nuisance);
        for leak in leaks_of(&found) {
            if all.iter().all(|known| known.effect != leak.effect) {
                all.push(leak);
            }
        }
    }
    all
}

fn leaks_of(look: &Look) -> Vec<Leak> {
    let leak = |f: &Factor| {
        Some(Leak {
            effect: Effect::Per(*f),
            interval: look.interval(*f)?,
            rows: look.rows,
        })
    };
    look.leaks.iter().filter_map(leak).collect()
}

/// CPU in the rests follows the closes: the ways of leaving are looked at again at ten times the level, all guards unchanged.
fn second_witness(rows: &Observations, first: Look, alpha: f64) -> Look {
    let mut again = look(rows, 0..rows.rows(), 10.0 * alpha, Drift::Nuisance);
    let kept = |f: &Factor| first.leaks.contains(f) || f.is_connection();
    again.leaks.retain(kept);
    if again.leaks.iter().any(|f| !first.leaks.contains(f)) {
        // what the stricter look had found stays found
        let missed = first.leaks.iter().filter(|f| !again.leaks.contains(f));
        let missed: Vec<Factor> = missed.copied().collect();
        again.leaks.extend(missed);
        again
    } else {
        first
    }
}

#[cfg(test)]
mod tests;
