//! The order of the verdicts, and what each needs.

use super::*;
use crate::diagnose::synthetic::{FIN, RST, Shape, Synthetic, quick, reference, soak};

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

#[test]
fn a_soak_is_judged_by_its_looks() {
    let judgement = judged(&evidence(Signal::Rss, &soak(1, 8).leaks(RST, 256.0)));
    assert_eq!(judgement.verdict, Verdict::Leak);
    assert!(judgement.skipped > 0 && judgement.leaks[0].rows < 96);
}
