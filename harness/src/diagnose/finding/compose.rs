//! A judgement becomes findings, one builder per kind of statement.

use super::{Finding, Findings, Statement, sentence};
use crate::{
    diagnose::{
        interval::Interval,
        observations::Observations,
        outlook::Outlook,
        signal::{Signal, unit_name},
        verdict::{Effect, Evidence, Judgement, Leak, Rules, Verdict},
    },
    units::{Factor, bytes, grouped},
};

/// This near to its true size the positive control counts as found, share of it, wherever its interval ends: a 95 % interval misses the
/// truth once in twenty runs, and none of those judges was blind.
const CONTROL_NEAR: f64 = 0.05;

/// Everything there is to say about a run's memory and counters.
pub fn findings(evidence: &Evidence, judgement: &Judgement, rules: &Rules) -> Findings {
    let speaker = Speaker {
        rows: evidence.memory.first().map(|m| &m.rows),
        judgement,
        rules,
        signal: judgement.signal.unwrap_or(Signal::Rss),
    };
    let mut all = speaker.leaks();
    all.extend(speaker.counters());
    all.extend(speaker.unexplained());
    all.extend(speaker.saturating());
    all.extend(speaker.bounds());
    all.extend(speaker.retention());
    all.extend(speaker.control());
    all.extend(speaker.not_judged());
    Findings::new(all)
}

struct Speaker<'a> {
    rows: Option<&'a Observations>,
    judgement: &'a Judgement,
    rules: &'a Rules,
    signal: Signal,
}

impl Speaker<'_> {
    fn leaks(&self) -> Vec<Finding> {
        self.judgement
            .leaks
            .iter()
            .map(|leak| self.leak(leak))
            .collect()
    }

    fn leak(&self, leak: &Leak) -> Finding {
        match leak.effect {
            Effect::Per(factor) => {
                let how_much = sentence::growth(self.signal, factor, &leak.interval);
                let text = format!(
                    "{} grows by {how_much}, in step with {}",
                    self.name(),
                    self.given(factor)
                );
                self.about(Statement::Leak, factor, self.signal, &leak.interval, text)
            }
            Effect::PerSecond(factor) => {
                let ends = sentence::range(self.signal, leak.interval.low(), leak.interval.high());
                let rate = sentence::amount(leak.interval.estimate.slope);
                let text = format!(
                    "every {} goes on eating {rate} B per second after it has closed ({ends}){}",
                    sentence::one(factor),
                    self.busy_too()
                );
                let mut finding =
                    self.about(Statement::Zombie, factor, self.signal, &leak.interval, text);
                finding.unit = "bytes per second and connection".into();
                finding
            }
        }
    }

    /// CPU with nobody connected is a zombie's second witness, and needs no other explanation.
    fn busy_too(&self) -> String {
        let residue = self.judgement.residue.map(|residue| {
            let micros = sentence::amount(residue.cores_per_closed * 1e6);
            format!("; CPU agrees: {micros} µs per second and closed connection with nobody there")
        });
        residue.unwrap_or_default()
    }

    fn has_zombies(&self) -> bool {
        let eats = |leak: &Leak| matches!(leak.effect, Effect::PerSecond(_));
        self.judgement.leaks.iter().any(eats)
    }

    fn counters(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        for counter in &self.judgement.counters {
            for (factor, interval) in &counter.leaks {
                let how_much = sentence::growth(counter.signal, *factor, interval);
                let verb = if counter.signal == Signal::Cpu {
                    "burns"
                } else {
                    "keeps"
                };
                let text = format!(
                    "the target {verb} {how_much}, in step with {}",
                    self.given(*factor)
                );
                all.push(self.about(Statement::Leak, *factor, counter.signal, interval, text));
            }
            let Some(left) = counter.left.filter(|_| counter.leaks.is_empty()) else {
                continue;
            };
            let statement = if left.leak {
                Statement::Leak
            } else {
                Statement::UnexplainedGrowth
            };
            let text = format!(
                "{} {} stay behind per closed connection while nobody is connected ({} … {} between rests)",
                sentence::amount(left.per_closed),
                counter.signal.counts(),
                sentence::amount(left.low),
                sentence::amount(left.high),
            );
            let mut finding = Finding::plain(statement, text);
            finding.signal = Some(counter.signal);
            finding.factor = Some(Factor::AllClosed);
            finding.bytes_per_unit = Some(left.per_closed);
            (finding.low, finding.high) = (Some(left.low), Some(left.high));
            finding.unit = unit(counter.signal, Factor::AllClosed);
            all.push(finding);
        }
        all
    }

    fn unexplained(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        let mut say = |signal, factor, rate: Option<f64>, unit: &str, text: String| {
            let mut finding = Finding::plain(Statement::UnexplainedGrowth, text);
            (finding.signal, finding.factor, finding.bytes_per_unit) = (Some(signal), factor, rate);
            finding.unit = unit.into();
            finding.assumptions.push("no factor was accused: what would decide is a forced collection before every reading, more cycles, or a longer last rest".into());
            all.push(finding);
        };
        let explained = &self.judgement.explained;
        if let Some(growth) = self
            .judgement
            .growth
            .filter(|g| g.found && !self.judgement.retained && !explained.covers(g.last - g.first))
        {
            let text = format!(
                "with nobody connected, memory never fell back: its lowest points rose by {}, more than the {} that a warm process may gain, and did not slow down",
                bytes(growth.grew),
                bytes(growth.threshold),
            );
            say(Signal::Rss, None, None, "bytes", text);
        }
        let idle_growth = self.judgement.idle_growth;
        if let Some(idle) = idle_growth.filter(|g| !explained.covers_idle(g.per_second)) {
            let text = format!(
                "{} grows by {} B per second while nobody is connected, before the first connection as after the last ({} … {} between rests)",
                self.name(),
                sentence::amount(idle.per_second),
                sentence::amount(idle.low),
                sentence::amount(idle.high),
            );
            say(
                self.signal,
                Some(Factor::Time),
                Some(idle.per_second),
                "bytes per second",
                text,
            );
        }
        if let Some(residue) = self.judgement.residue.filter(|_| !self.has_zombies()) {
            let text = format!(
                "with nobody connected, CPU rose by {} of a core as connections had closed ({} µs per second and closed connection): work outlives its clients",
                sentence::amount(residue.rise),
                sentence::amount(residue.cores_per_closed * 1e6),
            );
            say(
                Signal::Cpu,
                Some(Factor::AllClosed),
                Some(residue.cores_per_closed),
                "CPU seconds per second and connection",
                text,
            );
        }
        all
    }

    fn saturating(&self) -> Vec<Finding> {
        let say = |factor: &Factor| {
            let interval = self.interval(*factor)?;
            let text = format!(
                "{} grew with every {} at first and then less than half as fast: a cache or pool that fills, or too early to say",
                self.name(),
                sentence::one(*factor)
            );
            Some(self.about(Statement::Saturating, *factor, self.signal, &interval, text))
        };
        self.judgement.saturating.iter().filter_map(say).collect()
    }

    /// What is *not* leaking, and what cannot be told.
    fn bounds(&self) -> Vec<Finding> {
        let Some(look) = &self.judgement.look else {
            return vec![Finding::plain(
                Statement::Inconclusive,
                "not enough readings for a first look",
            )];
        };
        let units = look.factors.units.iter().copied();
        let open = units.filter(|f| !self.is_accused(*f) && !self.judgement.saturating.contains(f));
        let mut all: Vec<Finding> = open
            .filter_map(|f| Some(self.bound(f, &self.interval(f)?)))
            .collect();
        if self.judgement.verdict == Verdict::Inconclusive
            && all.iter().all(|f| f.verdict != Statement::Inconclusive)
        {
            all.push(Finding::plain(
                Statement::Inconclusive,
                "no factor was given that could be judged",
            ));
        }
        all
    }

    fn bound(&self, factor: Factor, interval: &Interval) -> Finding {
        let upper = sentence::quantity(self.signal, interval.upper().max(0.0));
        if interval.upper() <= self.rules.tolerance.of(factor) {
            let text = format!(
                "no leak above {upper} {} (95 %), after {}",
                sentence::per(factor),
                self.given(factor)
            );
            return self.about(Statement::NoLeak, factor, self.signal, interval, text);
        }
        let outlook = self
            .judgement
            .outlook
            .iter()
            .find(|o| o.0 == factor)
            .map(|o| o.1);
        let tolerance = sentence::quantity(self.signal, self.rules.tolerance.of(factor));
        let remedy = match outlook {
            Some(Outlook::Minutes(minutes)) => format!("about {} more minutes would decide", sentence::amount(minutes.ceil())),
            Some(Outlook::Hidden) => "no time will do: freed pages that the allocator keeps could hide it; read allocator statistics".into(),
            Some(Outlook::TooCoarse) => "no time will do: give more per cycle, or read a sharper signal".into(),
            None => "the run was too short to say".into(),
        };
        let text = format!(
            "up to {upper} {} cannot be excluded (tolerated: {tolerance}); {remedy}",
            sentence::per(factor)
        );
        self.about(Statement::Inconclusive, factor, self.signal, interval, text)
    }

    fn retention(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        if let Some(growth) = self.judgement.growth.filter(|_| self.judgement.retained) {
            let rise = growth.last - growth.first;
            if growth.found {
                let text = format!(
                    "resident memory rose by {} and the allocator's live bytes did not follow: pages it keeps or cannot use, not a leak",
                    bytes(rise)
                );
                let mut finding = Finding::plain(Statement::Retention, text);
                (finding.signal, finding.bytes_per_unit, finding.unit) =
                    (Some(Signal::Rss), Some(rise), "bytes".into());
                all.push(finding);
            }
        }
        for (signal, look) in &self.judgement.others {
            for factor in look.leaks.iter().filter(|f| !self.is_accused(**f)) {
                let Some(interval) = look.interval(*factor) else {
                    continue;
                };
                let how_much = sentence::growth(*signal, *factor, &interval);
                let text = format!(
                    "{} grows by {how_much}, {} does not: retention, not a leak",
                    signal.name(),
                    self.signal.name()
                );
                all.push(self.about(Statement::Retention, *factor, *signal, &interval, text));
            }
        }
        all
    }

    fn control(&self) -> Option<Finding> {
        let control = self.rows?.control.as_ref()?;
        let interval = self.judgement.look.as_ref()?.control?;
        let (kept, wanted) = (interval.estimate.slope, control.bytes_each);
        let holds = (interval.low()..=interval.high()).contains(&wanted);
        let is_near = (kept - wanted).abs() <= CONTROL_NEAR * wanted;
        let seen = interval.low() > 0.0 && (holds || is_near);
        let (statement, verb) = if seen {
            (Statement::ControlFound, "found")
        } else {
            (Statement::ControlMissed, "missed")
        };
        let ends = sentence::range(self.signal, interval.low(), interval.high());
        let hidden = !seen && self.has_zombies() && holds;
        let why = if hidden {
            "; it drowns in what the closed eat"
        } else {
            ""
        };
        let text = format!(
            "the positive control was {verb}: {} blocks of {} B were kept on purpose, and {} B per block were seen ({ends}){why}",
            sentence::amount(control.blocks.last().copied().unwrap_or(0.0)),
            sentence::amount(wanted),
            sentence::amount(kept),
        );
        Some(self.about(statement, Factor::Control, self.signal, &interval, text))
    }

    fn not_judged(&self) -> Vec<Finding> {
        let Some(look) = &self.judgement.look else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for factor in &look.factors.not_dosed {
            let text = format!(
                "no {} was given: nothing is known about it",
                sentence::one(*factor)
            );
            let mut finding = Finding::plain(Statement::NotDosed, text);
            finding.factor = Some(*factor);
            all.push(finding);
        }
        for (factor, mixture) in &look.factors.inseparable {
            let others: Vec<&str> = mixture.iter().map(|f| f.name()).collect();
            let with = if others.is_empty() {
                "at a steady rate, like time itself".into()
            } else {
                format!("together with {}", others.join(", "))
            };
            let text = format!(
                "{} was only given {with}: it cannot be judged apart",
                factor.name()
            );
            let mut finding = Finding::plain(Statement::Inseparable, text);
            finding.factor = Some(*factor);
            all.push(finding);
        }
        all
    }

    fn about(
        &self,
        verdict: Statement,
        factor: Factor,
        signal: Signal,
        interval: &Interval,
        text: String,
    ) -> Finding {
        Finding {
            factor: Some(factor),
            signal: Some(signal),
            units: self.units(factor),
            unit: unit(signal, factor),
            assumptions: self.assumptions(factor, signal, interval),
            ..Finding::plain(verdict, text).measured(interval)
        }
    }

    fn assumptions(&self, factor: Factor, signal: Signal, interval: &Interval) -> Vec<String> {
        let mut all = vec![
            format!(
                "what a server keeps once per dosed cycle, up to {}, is no leak",
                sentence::quantity(signal, signal.floor() * signal.scale())
            ),
            "no legitimate cache is larger than what priming delivered".into(),
        ];
        if interval.hidden > 0.0 {
            let hidden = sentence::amount(interval.hidden);
            all.push(format!("the allocator keeps freed pages: up to {hidden} B per unit could hide in them, and the bound includes it"));
        }
        let Some(look) = &self.judgement.look else {
            return all;
        };
        if !look.joint {
            all.push("few factors leak at once: there were too few readings to adjust each for all others".into());
        }
        let twins: Vec<&str> = look
            .factors
            .twins(factor)
            .iter()
            .map(|f| f.name())
            .collect();
        if !twins.is_empty() {
            all.push(format!(
                "not told from {}: they were never given apart",
                twins.join(", ")
            ));
        }
        all
    }

    fn interval(&self, factor: Factor) -> Option<Interval> {
        self.judgement.look.as_ref()?.interval(factor)
    }

    /// Whether a factor is accused itself or as a member of a sum.
    fn is_accused(&self, factor: Factor) -> bool {
        let members = |f: Factor| {
            self.judgement
                .look
                .as_ref()
                .map_or_else(|| vec![f], |l| l.factors.members(f))
        };
        let accused = |l: &Leak| {
            let (Effect::Per(f) | Effect::PerSecond(f)) = l.effect;
            f == factor || members(f).contains(&factor)
        };
        self.judgement.leaks.iter().any(accused)
    }

    fn units(&self, factor: Factor) -> Option<f64> {
        let rows = self.rows?;
        match factor {
            Factor::Time => rows.seconds.last().copied(),
            Factor::Control => rows.control.as_ref()?.blocks.last().copied(),
            _ => {
                let members = self.judgement.look.as_ref()?.factors.members(factor);
                let given = rows.doses.iter().filter(|d| members.contains(&d.factor));
                Some(given.filter_map(|d| d.total.last()).sum())
            }
        }
    }

    /// `2,400 sessions`.
    #[expect(clippy::cast_possible_truncation, reason = "a count, rounded")]
    fn given(&self, factor: Factor) -> String {
        let units = self.units(factor).unwrap_or(0.0).round() as i64;
        format!("{} {}s", grouped(units), unit_name(factor))
    }

    fn name(&self) -> &'static str {
        match self.signal {
            Signal::Allocated => "live memory",
            Signal::Heap => "the live heap",
            _ => "memory",
        }
    }
}

/// `bytes per connection`, `CPU seconds per second and connection`.
fn unit(signal: Signal, factor: Factor) -> String {
    let joint = if signal == Signal::Cpu { "and" } else { "per" };
    format!("{} {joint} {}", signal.counts(), unit_name(factor))
}
