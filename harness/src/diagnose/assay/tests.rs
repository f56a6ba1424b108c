//! Both borders: the leak to find, the innocent not to accuse.

use proptest::prelude::*;

use super::{
    super::synthetic::{
        COMPLETE, EARLY, FIN, ORPHAN, QUICK, RST, STALL, Shape, Synthetic, quick, reference,
    },
    *,
};
use crate::diagnose::{observations::Dose, stats::order::greatest};

fn judged(recording: &Synthetic) -> Look {
    let rows = recording.observe();
    look(&rows, 0..rows.rows(), 0.001, Drift::Nuisance)
}

#[test]
fn every_factor_is_found_when_it_leaks_and_no_other_is_accused() {
    for factor in QUICK {
        let bytes = if factor == Factor::Event { 4.0 } else { 64.0 };
        for noise in [0.0, 100.0, 500.0] {
            let found = judged(&quick(3).leaks(factor, bytes).noise(noise));
            assert_eq!(found.leaks, [factor], "{factor}, noise {noise} B");
            let interval = found.interval(factor).unwrap();
            assert!(
                (interval.low()..=interval.high()).contains(&bytes),
                "{interval:?}"
            );
        }
    }
}

#[test]
fn a_leak_in_every_way_of_leaving_is_one_finding() {
    for noise in [0.0, 100.0, 500.0] {
        let found = judged(&quick(5).leaks_however(64.0).noise(noise));
        assert_eq!(found.leaks, [Factor::AllClosed], "noise {noise} B");
    }
    let found = judged(&reference(5).leaks_however(1024.0));
    assert_eq!(found.leaks, [Factor::AllClosed]);
}

#[test]
fn a_leak_in_every_way_that_the_client_leaves_is_one_finding_and_completing_is_clean() {
    for seed in 0..8 {
        for (noise, bytes) in [(0.0, 32.0), (100.0, 128.0), (500.0, 128.0)] {
            let found = judged(&quick(seed).leaks(Factor::Left, bytes).noise(noise));
            let what = format!("seed {seed}, noise {noise} B");
            assert_eq!(found.leaks, [Factor::Left], "{what}");
            let interval = found.interval(Factor::Left).unwrap();
            assert!(
                (interval.low()..=interval.high()).contains(&bytes),
                "{what}: {interval:?}"
            );
            assert!(found.interval(COMPLETE).unwrap().low() <= 0.0, "{what}");
            assert!(
                found.effects.factors.starts_with(&[Factor::Left, COMPLETE]),
                "{what}"
            );
        }
    }
    let few = judged(&quick(5).cycles(12).leaks(Factor::Left, 128.0));
    assert_eq!(
        (few.joint, few.leaks.as_slice()),
        (false, &[Factor::Left][..])
    );
    assert!(few.interval(COMPLETE).unwrap().upper() < 64.0);
}

#[test]
fn a_stream_that_ends_may_leak_otherwise_than_one_that_is_left() {
    let both = quick(3).leaks(Factor::Left, 64.0).leaks(COMPLETE, 256.0);
    let mut found = judged(&both.noise(100.0)).leaks;
    found.sort();
    assert_eq!(found, [COMPLETE, Factor::Left]);
}

#[test]
fn two_leaks_are_two_findings() {
    let found = judged(
        &quick(7)
            .leaks(RST, 256.0)
            .leaks(Factor::Session, 256.0)
            .noise(500.0),
    );
    assert_eq!(found.leaks, [RST, Factor::Session]);
    let found = judged(
        &reference(7)
            .leaks(RST, 1024.0)
            .leaks(Factor::Session, 1024.0),
    );
    assert_eq!(found.leaks, [RST, Factor::Session]);
}

#[test]
fn few_cycles_are_searched_one_factor_at_a_time() {
    let found = judged(&reference(1).cycles(10).leaks(STALL, 1024.0));
    assert_eq!((found.joint, found.leaks.as_slice()), (false, &[STALL][..]));
    let found = judged(&quick(1).cycles(12).leaks(ORPHAN, 256.0));
    assert_eq!(
        (found.joint, found.leaks.as_slice()),
        (false, &[ORPHAN][..])
    );
}

#[test]
fn a_sum_and_its_members_are_never_accused_together() {
    for seed in 0..12 {
        for cycles in [12, 24] {
            let uneven = quick(seed)
                .cycles(cycles)
                .leaks_however(256.0)
                .leaks(RST, 256.0);
            let found = judged(&uneven.noise(100.0));
            let covered = |f: &Factor| {
                let mut others = found.leaks.iter().filter(|other| *other != f);
                others.any(|other| {
                    found.factors.members(*other).contains(f) || f.is_sum() && other.is_sum()
                })
            };
            let connections = || found.leaks.iter().filter(|f| f.is_connection());
            assert!(
                connections().count() > 0 && !connections().any(covered),
                "seed {seed}: {:?}",
                found.leaks
            );
        }
    }
}

#[test]
fn the_scan_skips_what_a_finding_already_covers() {
    let rows = quick(1).observe();
    let design = Design::new(&rows, 0..rows.rows());
    let settled = |found: Factor, factor: Factor| {
        let mut search = Search::new(&design, 0.001, Drift::Nuisance);
        search.found.push(found);
        search.is_settled(factor)
    };
    use Factor::{Abrupt, AllClosed, Left, Session, Turn};
    for (found, factor, wanted) in [
        (RST, RST, true),
        (RST, FIN, false),
        (RST, AllClosed, true),
        (RST, Abrupt, true),
        (AllClosed, STALL, true),
        (Abrupt, STALL, true),
        (Abrupt, FIN, false),
        (Abrupt, AllClosed, true),
        (Left, RST, true),
        (Left, COMPLETE, false),
        (Left, AllClosed, true),
        (COMPLETE, Left, true),
        (AllClosed, Session, false),
        (Session, AllClosed, false),
        (Session, Turn, false),
    ] {
        assert_eq!(settled(found, factor), wanted, "{factor} after {found}");
    }
}

#[test]
fn a_scan_over_many_factors_does_not_find_chance() {
    for seed in 0..150 {
        let found = judged(&quick(seed).cycles(12).noise(500.0));
        assert_eq!(found.leaks, [], "seed {seed}");
    }
}

#[test]
fn the_innocent_are_not_accused() {
    let kib = 1024.0;
    for (what, shape) in [
        ("warms up fast", Shape::WarmUp(20_000.0 * kib, 2.0)),
        ("warms up slowly", Shape::WarmUp(20_000.0 * kib, 10.0)),
        ("takes one step", Shape::Step(3_000.0 * kib, 9)),
        ("collects when it likes", Shape::SawTooth(4_000.0 * kib)),
        ("grows with time alone", Shape::Drip(5.0 * kib)),
        (
            "breathes with somebody else's load",
            Shape::Wave(2_000.0 * kib, 7.3),
        ),
        ("breathes slowly", Shape::Wave(2_000.0 * kib, 31.0)),
        ("runs a job every fifth cycle", Shape::Job(3_000.0 * kib, 5)),
        (
            "fills a cache in the first third",
            Shape::Cache(RST, kib, 150.0),
        ),
    ] {
        for seed in 0..8 {
            for recording in [quick(seed), reference(seed), reference(seed).cycles(10)] {
                let found = judged(&recording.does(shape));
                assert_eq!(found.leaks, [], "a server that {what}, seed {seed}");
            }
        }
    }
    for seed in 0..8 {
        for recording in [
            quick(seed),
            quick(seed).noise(500.0),
            quick(seed).walks(2_000.0),
        ] {
            assert_eq!(judged(&recording).leaks, [], "a clean server, seed {seed}");
        }
    }
}

#[test]
fn a_cache_that_fills_late_in_the_run_is_saturating() {
    for seed in 0..8 {
        let late = [
            quick(seed).does(Shape::Cache(RST, 1024.0, 420.0)),
            reference(seed).does(Shape::Cache(RST, 1024.0, 2000.0)),
        ];
        for found in late.iter().map(judged) {
            assert_eq!(
                (found.leaks.as_slice(), found.saturating.as_slice()),
                (&[][..], &[RST][..]),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn an_exact_account_without_noise_claims_no_more_than_its_floor_allows() {
    for recording in [
        quick(1),
        quick(2).leaks(FIN, 16.0),
        quick(4).does(Shape::Drip(100.0)),
    ] {
        let found = judged(&recording);
        for (factor, interval) in &found.intervals {
            let floor = interval.systematic;
            let finite = [
                interval.low(),
                interval.high(),
                interval.upper(),
                interval.estimate.se,
            ];
            assert!(
                finite.iter().all(|x| x.is_finite()),
                "{factor}: {interval:?}"
            );
            assert!(
                floor > 0.0 && interval.half_width(0.95) >= floor,
                "{factor}: {interval:?}"
            );
        }
    }
}

#[test]
fn a_leak_below_the_floor_of_its_signal_is_not_claimed() {
    // 4 B per connection: 240 B a dose, less than the 512 B that an innocent table may take
    assert_eq!(judged(&quick(1).leaks(RST, 4.0)).leaks, []);
    assert_eq!(judged(&quick(1).leaks(RST, 16.0)).leaks, [RST]);
}

#[test]
fn the_positive_control_is_measured_beside_everything_else() {
    for noise in [0.0, 500.0] {
        let control = judged(&quick(6).leaks(RST, 64.0).noise(noise))
            .control
            .unwrap();
        assert!(
            (control.low()..=control.high()).contains(&256.0),
            "{control:?}"
        );
        assert!(control.low() > 0.0);
    }
}

#[test]
fn a_factor_that_was_never_given_is_not_dosed_and_has_no_interval() {
    let found = judged(&quick(1).never_gives(EARLY).leaks(RST, 64.0));
    assert_eq!(found.factors.not_dosed, [EARLY]);
    assert_eq!(
        (found.interval(EARLY), found.leaks.as_slice()),
        (None, &[RST][..])
    );
}

#[test]
fn a_factor_always_given_with_another_is_told_to_be_inseparable() {
    let mut rows = quick(1).leaks(RST, 64.0).observe();
    let total = rows
        .doses
        .iter()
        .find(|d| d.factor == RST)
        .unwrap()
        .total
        .clone();
    let vanish = Factor::Closed(crate::units::Leave::Vanish);
    rows.doses.push(Dose {
        factor: vanish,
        total,
        waited: None,
    });
    let found = look(&rows, 0..rows.rows(), 0.001, Drift::Nuisance);
    assert_eq!(found.leaks, [RST]);
    assert_eq!(found.factors.twins(RST), [vanish]);
}

#[test]
fn an_allocator_that_gives_nothing_back_widens_the_bound_and_nothing_else() {
    let (open, closed) = (judged(&reference(1)), judged(&reference(1).retains(0.9)));
    let (a, b) = (open.interval(RST).unwrap(), closed.interval(RST).unwrap());
    assert!(b.upper() > a.upper() + 1000.0);
    assert!((b.low() - a.low()).abs() < 1e-9);
}

#[test]
fn a_recording_of_nothing_but_gaps_and_zeros_says_nothing() {
    let mut rows = quick(1).observe();
    for broken in [0.0, 1e300, f64::NAN, f64::INFINITY] {
        rows.readings.iter_mut().for_each(|y| *y = broken);
        let found = look(&rows, 0..rows.rows(), 0.001, Drift::Nuisance);
        assert_eq!(found.leaks, [], "all readings {broken}");
    }
    for cut in 1..6 {
        let found = look(
            &quick(1).leaks(RST, 1e4).observe(),
            0..cut,
            0.001,
            Drift::Nuisance,
        );
        assert_eq!(found.leaks, [], "{cut} rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shifting_time_and_level_changes_no_verdict(seed in 0u64..1000, later in 0.0..1e6f64, more in 0.0..1e9f64) {
        let rows = quick(seed).leaks(RST, 64.0).noise(400.0).observe();
        let mut shifted = rows.clone();
        shifted.seconds.iter_mut().for_each(|s| *s += later.round());
        shifted.readings.iter_mut().for_each(|y| *y += more.round());
        prop_assert_eq!(summary(&rows, 1.0), summary(&shifted, 1.0));
    }

    #[test]
    fn scaling_every_byte_changes_no_verdict(seed in 0u64..1000, scale in 1.0..1e4f64) {
        let rows = quick(seed).leaks(Factor::Session, 64.0).noise(400.0).observe();
        let mut scaled = rows.clone();
        scaled.readings.iter_mut().for_each(|y| *y *= scale);
        scaled.precision.floor *= scale;
        prop_assert_eq!(summary(&rows, 1.0), summary(&scaled, scale));
    }

    #[test]
    fn the_order_of_the_columns_changes_no_verdict(seed in 0u64..1000, order in Just((0..9).collect::<Vec<usize>>()).prop_shuffle()) {
        let rows = quick(seed).leaks(STALL, 64.0).noise(400.0).observe();
        let mut shuffled = rows.clone();
        shuffled.doses = order.iter().map(|&i| rows.doses[i].clone()).collect();
        prop_assert_eq!(summary(&rows, 1.0), summary(&shuffled, 1.0));
    }
}

/// What was decided, and every bound to six digits of the widest.
fn summary(rows: &Observations, scale: f64) -> String {
    let found = look(rows, 0..rows.rows(), 0.001, Drift::Nuisance);
    let uppers: Vec<f64> = found
        .intervals
        .iter()
        .map(|i| i.1.upper() / scale)
        .collect();
    let digits = 1e4 / greatest(&uppers).max(1.0);
    let rounded: Vec<f64> = uppers.iter().map(|u| (u * digits).round()).collect();
    format!("{:?} {:?} {rounded:?}", found.leaks, found.saturating)
}
