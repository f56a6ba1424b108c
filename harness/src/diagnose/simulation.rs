//! How often is the judge right? The one-minute assay under an exact account of live bytes, simulated many times over.
//!
//! `cargo test -p sse-soak --lib simulation -- --ignored --nocapture` prints the whole tables; the tests that always run hold their
//! corners. Measured, 300 runs a cell, noise sd 0 / 100 / 500 / 2,000 B of a reading, floor 512 B a dose:
//!
//! | planted | exactly right % | false alarm % | interval covers % |
//! |---|---|---|---|
//! | nothing | 100 / 100 / 100 / 100 | 0 | 100 / 100 / 100 / 99.7 |
//! | 16 B per RST | 100 / 89 / 0 / 0 | 0 | 100 / 100 / 100 / 99.7 |
//! | 64 B per RST | 100 / 100 / 100 / 5 | 0 | the same |
//! | 256 B, 1,024 B per RST | 100 / 100 / 100 / 100 | 0 | the same |
//! | 16 B in every mode | 100 / 88 / 43 / 0 | 0 | the same |
//! | 64 B in every mode | 100 / 100 / 88 / 45 | 0 | the same |
//! | 64 B per RST and session | 100 / 100 / 97 / 1 | 0 | the same |
//! | 4 B per event | 100 / 100 / 100 / 98 | 0 | the same |
//!
//! Half the interval is 13 / 25 / 76 / 265 B per connection at worst. Without noise it *is* the floor: 512 B over the smallest
//! dose, 40. Servers that do much and leak nothing (steps, warm-ups, caches full after one or two thirds, thread caches, one object
//! per dosed cycle, all with a level that walks): 2 accusations in 26,400 runs, coverage 97 % or more, but 90 % for the cache that
//! fills two thirds of the run and is called saturating.

use super::{
    assay::{Drift, look},
    synthetic::{COMPLETE, RST, Shape, Synthetic, quick, reference},
};
use crate::units::Factor;

const NOISES: [f64; 4] = [0.0, 100.0, 500.0, 2000.0];

/// What was planted.
#[derive(Clone, Copy, Debug)]
enum Planted {
    Nothing,
    One(f64),
    Everywhere(f64),
    Two(f64),
    PerEvent(f64),
}

impl Planted {
    fn into(self, clean: Synthetic) -> Synthetic {
        match self {
            Self::Nothing => clean,
            Self::One(bytes) => clean.leaks(RST, bytes),
            Self::Everywhere(bytes) => clean.leaks_however(bytes),
            Self::Two(bytes) => clean.leaks(RST, bytes).leaks(Factor::Session, bytes),
            Self::PerEvent(bytes) => clean.leaks(Factor::Event, bytes),
        }
    }

    fn truth(self, factor: Factor) -> f64 {
        match self {
            Self::One(bytes) if factor == RST => bytes,
            Self::Two(bytes) if factor == RST || factor == Factor::Session => bytes,
            Self::Everywhere(bytes) if factor.is_connection() => bytes,
            Self::PerEvent(bytes) if factor == Factor::Event => bytes,
            _ => 0.0,
        }
    }

    fn is_guilty(self, factor: Factor) -> bool {
        self.truth(factor) > 0.0
            && (factor != Factor::AllClosed || matches!(self, Self::Everywhere(_)))
    }
}

/// Counts over many runs.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    runs: u32,
    found: u32,
    right: u32,
    false_alarm: u32,
    covered: u32,
    intervals: u32,
    widest: f64,
}

impl Score {
    fn share(part: u32, whole: u32) -> f64 {
        100.0 * f64::from(part) / f64::from(whole.max(1))
    }

    fn add(&mut self, recording: &Synthetic, planted: Planted) {
        let rows = recording.observe();
        let found = look(&rows, 0..rows.rows(), 0.001, Drift::Nuisance);
        let guilty = found
            .factors
            .units
            .iter()
            .filter(|f| planted.is_guilty(**f));
        let wanted: Vec<Factor> = match planted {
            Planted::Everywhere(_) => vec![Factor::AllClosed],
            _ => guilty.copied().collect(),
        };
        self.runs += 1;
        self.found += u32::from(!found.leaks.is_empty());
        self.right += u32::from(found.leaks == wanted);
        self.false_alarm += u32::from(found.leaks.iter().any(|f| !planted.is_guilty(*f)));
        for (factor, interval) in found
            .intervals
            .iter()
            .filter(|i| found.factors.units.contains(&i.0))
        {
            let truth = planted.truth(*factor);
            self.intervals += 1;
            self.covered += u32::from((interval.low()..=interval.high()).contains(&truth));
            if factor.is_connection() {
                self.widest = self.widest.max(interval.half_width(0.95));
            }
        }
    }
}

fn simulate(planted: Planted, noise: f64, runs: u64) -> Score {
    let mut score = Score::default();
    for seed in 0..runs {
        score.add(&planted.into(quick(seed).noise(noise)), planted);
    }
    score
}

#[test]
#[ignore = "a table for people; takes a minute"]
fn power_false_alarms_and_coverage_of_the_one_minute_assay() {
    println!(
        "planted, noise sd B: found %, exactly right %, false alarm %, coverage %, widest half interval B per connection"
    );
    let sizes = [16.0, 64.0, 256.0, 1024.0];
    let mut plans = vec![Planted::Nothing];
    plans.extend(sizes.map(Planted::One));
    plans.extend(sizes.map(Planted::Everywhere));
    plans.extend(sizes.map(Planted::Two));
    plans.push(Planted::PerEvent(4.0));
    for planted in plans {
        for noise in NOISES {
            let s = simulate(planted, noise, 300);
            println!(
                "{planted:?}, {noise}: {:.0}, {:.0}, {:.2}, {:.1}, {:.0}",
                Score::share(s.found, s.runs),
                Score::share(s.right, s.runs),
                Score::share(s.false_alarm, s.runs),
                Score::share(s.covered, s.intervals),
                s.widest,
            );
        }
    }
}

/// Servers that do much and leak nothing.
fn innocents() -> Vec<(&'static str, Vec<Shape>)> {
    let kib = 1024.0;
    vec![
        ("a step", vec![Shape::Step(64.0 * kib, 11)]),
        (
            "three steps, doubling",
            vec![
                Shape::Step(8.0 * kib, 4),
                Shape::Step(16.0 * kib, 9),
                Shape::Step(32.0 * kib, 18),
            ],
        ),
        ("a fast warm-up", vec![Shape::WarmUp(500.0 * kib, 2.0)]),
        ("a slow warm-up", vec![Shape::WarmUp(500.0 * kib, 12.0)]),
        ("a collector", vec![Shape::SawTooth(64.0 * kib)]),
        (
            "one object per dosed cycle",
            vec![Shape::PerDose(RST, 400.0)],
        ),
        ("thread caches", vec![Shape::Leftovers(COMPLETE, 8.0 * kib)]),
        (
            "a cache, full after a third",
            vec![Shape::Cache(RST, kib, 160.0)],
        ),
        (
            "a cache, full after two thirds",
            vec![Shape::Cache(RST, kib, 320.0)],
        ),
        ("a drip", vec![Shape::Drip(200.0)]),
        (
            "everything",
            vec![
                Shape::Step(64.0 * kib, 7),
                Shape::WarmUp(500.0 * kib, 6.0),
                Shape::Leftovers(RST, 8.0 * kib),
                Shape::Drip(100.0),
            ],
        ),
    ]
}

#[test]
#[ignore = "a table for people; takes a minute"]
fn false_alarms_of_servers_that_do_much_and_leak_nothing() {
    println!(
        "server, noise or walk B: false alarm %, coverage %, widest half interval B per connection"
    );
    for (name, shapes) in innocents() {
        for (noise, walk) in [(0.0, 0.0), (100.0, 0.0), (500.0, 500.0), (0.0, 2000.0)] {
            for clean in [quick, reference] {
                let mut s = Score::default();
                for seed in 0..300 {
                    let recording = clean(seed).noise(noise).walks(walk);
                    s.add(
                        &shapes.iter().fold(recording, |r, shape| r.does(*shape)),
                        Planted::Nothing,
                    );
                }
                let (alarms, covered) = (
                    Score::share(s.found, s.runs),
                    Score::share(s.covered, s.intervals),
                );
                println!(
                    "{name}, {noise}, {walk}: {alarms:.2}, {covered:.1}, {:.0}",
                    s.widest
                );
            }
        }
    }
}

#[test]
fn clean_servers_are_acquitted_and_the_truth_lies_in_the_interval() {
    for noise in NOISES {
        let score = simulate(Planted::Nothing, noise, 60);
        assert_eq!(score.found, 0, "noise {noise} B: {score:?}");
        assert!(
            Score::share(score.covered, score.intervals) >= 93.0,
            "noise {noise} B: {score:?}"
        );
    }
}

#[test]
fn a_quiet_minute_finds_64_bytes_per_connection_and_4_bytes_per_event() {
    for planted in [
        Planted::One(64.0),
        Planted::Everywhere(64.0),
        Planted::PerEvent(4.0),
    ] {
        for noise in [0.0, 100.0] {
            let score = simulate(planted, noise, 40);
            assert_eq!(
                score.right, score.runs,
                "{planted:?}, noise {noise} B: {score:?}"
            );
        }
    }
}
