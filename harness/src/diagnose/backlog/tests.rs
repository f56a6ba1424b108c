use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

/// What memory does behind one reader, bytes per second, early and late in the stretch.
#[derive(Clone, Copy)]
struct Behind {
    stall: (f64, f64),
    slow: (f64, f64),
    /// What everything else in a dose does, and how much that differs from dose to dose.
    beside: (f64, f64),
}

const NOTHING: Behind = Behind {
    stall: (0.0, 0.0),
    slow: (0.0, 0.0),
    beside: (0.0, 0.0),
};

fn doses(seed: usize, many: usize, behind: Behind) -> Vec<Window> {
    let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
    (0..many)
        .map(|i| {
            let readers = [[20.0, 0.0], [0.0, 0.0], [0.0, 10.0]][(i + seed) % 3];
            let mut rate = |part: fn((f64, f64)) -> f64| {
                let noise = behind.beside.1 * (random.random::<f64>() - 0.5) * 3.46;
                readers[0] * part(behind.stall)
                    + readers[1] * part(behind.slow)
                    + behind.beside.0
                    + noise
            };
            let (early, late) = (rate(|b| b.0), rate(|b| b.1));
            Window {
                readers,
                seconds: 2.0,
                growth: 0.5 * (early + late),
                early,
                late,
                added: None,
                stayed: None,
                kernel: None,
            }
        })
        .collect()
}

fn accused(windows: &[Window]) -> Vec<(Leave, f64)> {
    let judged = judge(windows, Signal::Allocated);
    let guilty = judged.iter().filter(|b| b.is_backlog());
    guilty
        .map(|b| (b.reader, b.interval.estimate.slope))
        .collect()
}

#[test]
fn what_grows_to_the_end_of_every_dose_with_stalled_readers_is_a_backlog_of_the_right_size() {
    for seed in 0..20 {
        let behind = Behind {
            stall: (50_000.0, 50_000.0),
            beside: (3_000.0, 20_000.0),
            ..NOTHING
        };
        let windows = doses(seed, 15, behind);
        let judged = judge(&windows, Signal::Allocated);
        let [stalled, slow] = &judged[..] else {
            panic!("{judged:?}")
        };
        assert!(
            stalled.is_backlog() && !slow.is_backlog(),
            "seed {seed}: {judged:?}"
        );
        let interval = stalled.interval;
        assert!(
            (interval.low()..=interval.high()).contains(&50_000.0),
            "{interval:?}"
        );
        assert_eq!((stalled.doses, stalled.readers), ((5, 15), 20.0));
    }
}

#[test]
fn slow_readers_are_told_from_stalled_ones() {
    let behind = Behind {
        slow: (9_000.0, 9_000.0),
        beside: (0.0, 500.0),
        ..NOTHING
    };
    let found = accused(&doses(3, 15, behind));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, Leave::Slow);
}

#[test]
fn a_queue_that_fills_and_stops_is_none() {
    for late in [0.0, 5_000.0, 15_000.0] {
        let behind = Behind {
            stall: (50_000.0, late),
            beside: (0.0, 500.0),
            ..NOTHING
        };
        let judged = judge(&doses(1, 15, behind), Signal::Allocated);
        assert!(judged[0].grew && !judged[0].goes_on, "{late}: {judged:?}");
    }
}

#[test]
fn the_innocent_are_acquitted_however_noisy_the_rest_of_a_dose_is() {
    let mut covered = 0;
    for seed in 0..200 {
        let beside = (1e6, [0.0, 10.0, 1_000.0, 300_000.0][seed % 4]);
        let windows = doses(seed, 12 + seed % 9, Behind { beside, ..NOTHING });
        assert_eq!(accused(&windows), [], "seed {seed}");
        let interval = judge(&windows, Signal::Allocated)[0].interval;
        covered += usize::from(interval.low() <= 0.0 && interval.high() >= 0.0);
    }
    assert!(covered >= 186, "{covered} of 200 intervals hold the truth");
}

#[test]
fn it_takes_doses_with_such_readers_and_others_without() {
    let all = doses(0, 15, NOTHING);
    let only = |readers: fn(&Window) -> bool| -> Vec<Window> {
        all.iter().copied().filter(readers).collect()
    };
    assert!(judge(&only(|w| w.readers(Leave::Stall) > 0.0), Signal::Rss).is_empty());
    assert!(
        judge(
            &only(|w| w.readers(Leave::Stall) == 0.0 && w.readers(Leave::Slow) == 0.0),
            Signal::Rss
        )
        .is_empty()
    );
    assert!(judge(&[], Signal::Rss).is_empty());
}

#[test]
fn twice_the_bytes_are_twice_the_backlog_and_the_order_of_doses_means_nothing() {
    let behind = Behind {
        stall: (4_000.0, 4_000.0),
        beside: (500.0, 2_000.0),
        ..NOTHING
    };
    let windows = doses(7, 15, behind);
    let twice = windows.iter().map(|w| Window {
        growth: 2.0 * w.growth,
        early: 2.0 * w.early,
        late: 2.0 * w.late,
        ..*w
    });
    let (once, twice) = (accused(&windows), accused(&twice.collect::<Vec<_>>()));
    assert!((twice[0].1 / once[0].1 - 2.0).abs() < 1e-6);
    let mut moved = windows;
    moved.rotate_left(4);
    assert_eq!(accused(&moved).len(), 1);
}
