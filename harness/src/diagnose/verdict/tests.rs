//! The order of the verdicts, and what each needs.

use super::*;
use crate::diagnose::{
    observations::sum,
    synthetic::{COMPLETE, FIN, RST, Shape, Synthetic, quick, reference, rested, soak},
};

fn evidence(signal: Signal, recording: &Synthetic) -> Evidence {
    let rows = recording.observe();
    Evidence {
        memory: vec![Memory { signal, rows }],
        ..Evidence::default()
    }
}

fn judged(evidence: &Evidence) -> Judgement {
    judge(evidence, &Rules::default())
}

/// Rests in which CPU follows the closes.
fn busy_rests() -> Vec<Rest> {
    let rest = |closed: f64| Rest {
        closed,
        seconds: 10.0,
        cpu: Some(0.01 + closed * 1e-4),
        ..Rest::default()
    };
    [0.0, 1700.0, 3300.0, 4500.0].map(rest).to_vec()
}

fn growing() -> Envelope {
    Envelope {
        least: (0..25).map(|i| 60e6 + 4e6 * f64::from(i)).collect(),
        closed: (0..25).map(|i| 500.0 * f64::from(i)).collect(),
        last_rest: None,
    }
}

#[test]
fn verdicts_are_taken_in_order() {
    use Verdict::{Clean, Inconclusive, Leak, Saturating, UnexplainedGrowth};
    let filling = quick(1).does(Shape::Cache(RST, 1024.0, 420.0));
    let with = |mut e: Evidence, rests: Vec<Rest>, envelope: Option<Envelope>| {
        (e.rests, e.envelope) = (rests, envelope);
        judged(&e).verdict
    };
    let rss = |r: &Synthetic| evidence(Signal::Rss, r);
    for (what, verdict, wanted) in [
        (
            "a leak beats everything",
            with(
                rss(&quick(1).leaks(RST, 64.0)),
                busy_rests(),
                Some(growing()),
            ),
            Leak,
        ),
        (
            "growth beats flattening",
            with(rss(&filling), Vec::new(), Some(growing())),
            UnexplainedGrowth,
        ),
        (
            "so does CPU in the rests",
            with(rss(&filling), busy_rests(), None),
            UnexplainedGrowth,
        ),
        (
            "flattening beats clean",
            with(rss(&filling), Vec::new(), None),
            Saturating,
        ),
        (
            "a tight bound is clean",
            with(rss(&quick(1)), Vec::new(), None),
            Clean,
        ),
        (
            "a wide one is not",
            with(rss(&reference(1).noise(400_000.0)), Vec::new(), None),
            Inconclusive,
        ),
        (
            "nothing read is not clean",
            judged(&Evidence::default()).verdict,
            Inconclusive,
        ),
    ] {
        assert_eq!(verdict, wanted, "{what}");
    }
}

#[test]
fn growth_that_the_allocator_does_not_count_is_retained_and_growth_in_every_rest_is_unexplained() {
    let mut clean = evidence(Signal::Allocated, &quick(1));
    clean.envelope = Some(growing());
    let judgement = judged(&clean);
    assert!(judgement.retained && judgement.growth.is_some_and(|g| g.found));
    assert_eq!(judgement.verdict, Verdict::Clean);

    let mut live = evidence(Signal::Allocated, &quick(1).does(Shape::Drip(2e6)));
    live.envelope = Some(growing());
    assert_eq!(
        judged(&live).verdict,
        Verdict::UnexplainedGrowth,
        "live bytes grew as well"
    );

    let mut idle = evidence(Signal::Allocated, &quick(1));
    let rest = |closed: f64| Rest {
        closed,
        seconds: 10.0,
        heap_growth: Some(300.0),
        ..Rest::default()
    };
    idle.rests = [0.0, 1700.0, 3300.0].map(rest).to_vec();
    assert_eq!(judged(&idle).verdict, Verdict::UnexplainedGrowth);
}

#[test]
fn what_would_decide_is_the_shorter_of_acquittal_and_proof() {
    let outlook = |noise: f64, bytes: f64, floor: f64| {
        let mut e = evidence(Signal::Rss, &reference(1).noise(noise).leaks(FIN, bytes));
        e.memory[0].rows.precision.floor = floor;
        let found = judged(&e).outlook;
        found.into_iter().find(|(f, _)| *f == FIN).map(|(_, o)| o)
    };
    let minutes = |o: Option<Outlook>| match o {
        Some(Outlook::Minutes(minutes)) => minutes,
        other => panic!("{other:?}"),
    };
    assert_eq!(outlook(4000.0, 0.0, 4096.0), None, "already clean");
    assert_eq!(outlook(4000.0, 0.0, 1e6), Some(Outlook::TooCoarse));
    let (quiet, loud) = (
        minutes(outlook(4e5, 0.0, 4096.0)),
        minutes(outlook(8e5, 0.0, 4096.0)),
    );
    assert!(quiet < loud, "{quiet} {loud}");
    let proof = minutes(outlook(4e5, 3000.0, 4096.0)); // can never be clean, is nearly proved
    assert!(proof < 24.0 * 23.0 / 60.0 * 4.0, "{proof}");
}

#[test]
fn a_run_in_which_nothing_was_given_is_never_clean() {
    let mut nothing = evidence(Signal::Allocated, &quick(1));
    nothing.memory[0]
        .rows
        .doses
        .iter_mut()
        .for_each(|d| d.total.fill(0.0));
    let judgement = judged(&nothing);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(judgement.look.unwrap().factors.not_dosed.len(), 9);
}

#[test]
fn a_second_witness_lowers_the_bar_for_ways_of_leaving_and_for_nothing_else() {
    let accused = |factor: Factor, rests: Vec<Rest>| {
        let found = |seed: &u64| {
            let bytes = if factor == RST { 29.0 } else { 22.0 };
            let mut e = evidence(
                Signal::Allocated,
                &quick(*seed).noise(400.0).leaks(factor, bytes),
            );
            e.rests.clone_from(&rests);
            judged(&e)
                .leaks
                .iter()
                .any(|l| l.effect == Effect::Per(factor))
        };
        (0..40).filter(found).count()
    };
    let (alone, supported) = (accused(RST, Vec::new()), accused(RST, busy_rests()));
    assert!(supported > alone, "{supported} of 40 with, {alone} without");
    assert_eq!(
        accused(Factor::Session, Vec::new()),
        accused(Factor::Session, busy_rests())
    );
}

#[test]
fn rows_with_gaps_are_left_out_and_reported() {
    let mut torn = evidence(Signal::Allocated, &quick(1).leaks(RST, 64.0));
    torn.memory[0].rows.readings[7] = f64::NAN;
    let judgement = judged(&torn);
    assert_eq!(judgement.gaps, [7]);
    assert_eq!(judgement.leaks[0].effect, Effect::Per(RST));
}

#[test]
fn the_first_memory_signal_carries_the_verdict() {
    let mut two = evidence(Signal::Allocated, &quick(1));
    let rows = quick(1).leaks(FIN, 20_000.0).observe();
    two.memory.push(Memory {
        signal: Signal::Rss,
        rows,
    });
    let judgement = judged(&two);
    assert_eq!(
        (judgement.verdict, judgement.signal),
        (Verdict::Clean, Some(Signal::Allocated))
    );
    assert_eq!(judgement.others[0].1.leaks, [FIN]);
}

/// What `--defect zombie-producer` looks like: whoever leaves goes on eating, in bites, and its task has a body.
fn zombies(seed: u64, per_second: f64) -> Evidence {
    let server = quick(seed).cycles(28).leaks(Factor::Left, per_second);
    let server = rested(server).eats(Factor::Left, per_second);
    let mut evidence = with_rests(server.jitters(0.015).waiting());
    let rows = &evidence.memory[0].rows;
    let closed = rows.doses.iter().filter(|d| d.factor.is_connection());
    evidence.envelope = Some(Envelope {
        least: rows.readings.iter().map(|live| 20e6 + live).collect(),
        closed: sum(closed.map(|d| d.total.as_slice())),
        last_rest: None,
    });
    evidence.rests = busy_rests();
    evidence
}

fn with_rests(waiting: Waiting) -> Evidence {
    let mut cycles = waiting.rows.clone();
    for (_, end) in &waiting.rests {
        cycles.readings[*end] = f64::NAN; // the end of a rest is no cycle's reading
    }
    Evidence {
        memory: vec![Memory {
            signal: Signal::Allocated,
            rows: cycles.without_gaps().0,
        }],
        waiting: Some(waiting),
        ..Evidence::default()
    }
}

#[test]
fn beside_a_zombie_everything_else_is_judged_without_its_curve() {
    for seed in 0..8 {
        for per_second in [16.0, 64.0, 256.0] {
            let evidence = zombies(seed, per_second);
            let judgement = judged(&evidence);
            let what = format!("seed {seed}, {per_second} B/s");
            let accused: Vec<Effect> = judgement.leaks.iter().map(|l| l.effect).collect();
            let eats = Effect::PerSecond(Factor::Left);
            assert_eq!(accused[0], eats, "{what}");
            let only_its_own = |e: &Effect| *e == eats || *e == Effect::Per(Factor::Left);
            assert!(accused.iter().all(only_its_own), "{what}: {accused:?}");
            let look = judgement.look.as_ref().unwrap();
            let tolerance = Tolerance::default();
            for factor in [COMPLETE, Factor::Session, Factor::Turn, Factor::Event] {
                let bound = look.interval(factor).unwrap().upper();
                assert!(bound < tolerance.of(factor), "{what}: {factor} {bound}");
            }
            assert!(
                judgement
                    .growth
                    .is_some_and(|g| judgement.explained.covers(g.last - g.first))
            );
            let control = look.control.unwrap();
            assert!(
                (control.low()..=control.high()).contains(&256.0),
                "{what}: {control:?}"
            );
            assert!(
                per_second > 64.0 || control.low() > 0.0,
                "{what}: {control:?}"
            );
        }
    }
}

#[test]
fn a_body_that_is_part_of_a_wider_leak_is_not_told_beside_it() {
    let accused = |eater: Factor, leaky: Factor| {
        let server = rested(quick(1).leaks(leaky, 256.0)).eats(eater, 64.0);
        let leaks = judged(&with_rests(server.waiting())).leaks.into_iter();
        leaks.map(|l| l.effect).collect::<Vec<Effect>>()
    };
    use Effect::{Per, PerSecond};
    let all = Factor::AllClosed;
    for (eater, leaky, wanted) in [
        (FIN, all, vec![Per(all), PerSecond(FIN)]),
        (FIN, FIN, vec![PerSecond(FIN), Per(FIN)]),
        (all, all, vec![PerSecond(all), Per(all)]),
        (
            Factor::Left,
            Factor::Session,
            vec![Per(Factor::Session), PerSecond(Factor::Left)],
        ),
    ] {
        assert_eq!(accused(eater, leaky), wanted, "{eater} eats, {leaky} leaks");
    }
}

#[test]
fn a_leak_explains_what_it_took_and_nothing_else() {
    let mut leak = evidence(Signal::Rss, &quick(1).leaks(RST, 4096.0));
    let rows = rested(quick(1).leaks(RST, 4096.0)).waiting();
    leak.waiting = Some(rows);
    let explained = judged(&leak).explained;
    let taken = 4096.0 * 480.0; // eight doses of sixty
    assert!(
        (explained.bytes / taken - 1.0).abs() < 0.05,
        "{explained:?}"
    );
    assert!(explained.covers(1.9 * taken) && !explained.covers(2.2 * taken));
    assert!(
        !explained.covers_idle(100.0),
        "nothing was taken in the rests: {explained:?}"
    );
    assert!(
        !Explained::default().covers_idle(0.0),
        "without rests nothing is known of them"
    );
}

#[test]
fn a_soak_is_judged_by_its_looks() {
    let judgement = judged(&evidence(Signal::Rss, &soak(1, 8).leaks(RST, 256.0)));
    assert_eq!(judgement.verdict, Verdict::Leak);
    assert!(judgement.skipped > 0 && judgement.leaks[0].rows < 96);
}

/// Looked at after 10 and 20 cycles, and at the end.
fn looked_at(recording: &Synthetic) -> Evidence {
    let mut evidence = evidence(Signal::Allocated, recording);
    let seconds = &evidence.memory[0].rows.seconds;
    evidence.looks = [10, 20].map(|cycles| seconds[cycles]).to_vec();
    evidence
}

#[test]
fn looks_before_the_end_accuse_nobody_innocent() {
    for seed in 0..60 {
        for clean in [
            quick(seed),
            quick(seed).noise(500.0),
            quick(seed).walks(1_000.0),
        ] {
            let judgement = judged(&looked_at(&clean.cycles(40)));
            assert_eq!(judgement.leaks, [], "seed {seed}");
        }
    }
}

#[test]
fn the_end_says_better_what_an_earlier_look_began_to_say() {
    for seed in 0..12 {
        let leaking = quick(seed).cycles(40).leaks(RST, 256.0).noise(100.0);
        let judgement = judged(&looked_at(&leaking));
        let effects: Vec<Effect> = judgement.leaks.iter().map(|leak| leak.effect).collect();
        assert_eq!(effects, [Effect::Per(RST)], "seed {seed}");
        assert_eq!(judgement.leaks[0].rows, 41, "the interval is the last one");
    }
}

#[test]
fn what_an_earlier_look_accused_stays_accused() {
    let mut stood = 0;
    for seed in 0..24 {
        // Four doses of RST leak, and then it is over: at the end that looks like a cache.
        let over = quick(seed)
            .cycles(40)
            .does(Shape::Cache(RST, 4096.0, 240.0));
        let (looked, once) = (
            judged(&looked_at(&over)),
            judged(&evidence(Signal::Allocated, &over)),
        );
        assert_eq!(once.leaks, [], "seed {seed}");
        if let Some(leak) = looked.leaks.first() {
            stood += 1;
            assert!(
                leak.rows < 41 && looked.verdict == Verdict::Leak,
                "seed {seed}: {leak:?}"
            );
        }
    }
    assert!(stood >= 3, "an early look found {stood} of 24");
}

#[test]
fn every_look_spends_its_part_of_alpha() {
    let once = evidence(Signal::Allocated, &quick(1));
    assert!((once.last_level(0.001) - 0.001).abs() < 1e-12);
    let thrice = looked_at(&quick(1).cycles(40));
    assert!((thrice.last_level(0.001) - 0.001 / 12.0).abs() < 1e-12);
}
