//! What must not matter: which innocent cycle came when, what the factors are called, which readings are missing.

use proptest::prelude::*;

use super::{
    super::synthetic::{EARLY, QUICK, RST, Synthetic, quick},
    *,
};
use crate::diagnose::stats::order::differences;

/// A recording, taken apart into its cycles and what noise did to each reading.
struct Cycles {
    rows: Observations,
    given: Vec<Vec<f64>>,
    blocks: Vec<f64>,
    noise: Vec<f64>,
    leak: Option<(Factor, f64)>,
}

impl Cycles {
    fn of(recording: &Synthetic, leak: Option<(Factor, f64)>) -> Self {
        let rows = recording.observe();
        let control = rows.control.as_ref().expect("quick has a control");
        let mut noise = rows.readings.clone();
        for (reading, blocks) in noise.iter_mut().zip(&control.blocks) {
            *reading -= blocks * control.bytes_each;
        }
        if let Some((factor, bytes)) = leak {
            let dose = rows.doses.iter().find(|dose| dose.factor == factor);
            let total = &dose.expect("quick doses it").total;
            noise
                .iter_mut()
                .zip(total)
                .for_each(|(n, t)| *n -= bytes * t);
        }
        Self {
            given: rows
                .doses
                .iter()
                .map(|dose| differences(&dose.total))
                .collect(),
            blocks: differences(&control.blocks),
            noise,
            leak,
            rows,
        }
    }

    /// The same cycles in another order.
    fn in_order(&self, order: &[usize]) -> Observations {
        let sums = |parts: &[f64]| {
            let later = order.iter().scan(0.0, |sum, &i| {
                *sum += parts[i];
                Some(*sum)
            });
            std::iter::once(0.0).chain(later).collect::<Vec<f64>>()
        };
        let mut rows = self.rows.clone();
        for (dose, given) in rows.doses.iter_mut().zip(&self.given) {
            dose.total = sums(given);
        }
        let moved = order.iter().map(|&i| self.noise[i + 1]);
        rows.readings = std::iter::once(self.noise[0]).chain(moved).collect();
        if let Some(control) = &mut rows.control {
            control.blocks = sums(&self.blocks);
            for (reading, blocks) in rows.readings.iter_mut().zip(&control.blocks) {
                *reading += blocks * control.bytes_each;
            }
        }
        if let Some((factor, bytes)) = self.leak {
            let dose = rows.doses.iter().find(|dose| dose.factor == factor);
            let total = dose.map_or(Vec::new(), |dose| dose.total.clone());
            rows.readings
                .iter_mut()
                .zip(&total)
                .for_each(|(y, t)| *y += bytes * t);
        }
        rows
    }
}

fn accused(rows: &Observations) -> Vec<Factor> {
    look(rows, 0..rows.rows(), 0.001, Drift::Nuisance).leaks
}

fn cycles_in_any_order() -> impl Strategy<Value = Vec<usize>> {
    Just((0..24).collect::<Vec<usize>>()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_cycles_accuses_nobody_innocent(seed in 0u64..1000, order in cycles_in_any_order()) {
        let clean = Cycles::of(&quick(seed).noise(400.0), None);
        prop_assert_eq!(accused(&clean.in_order(&order)), []);
    }

    #[test]
    fn the_order_of_cycles_does_not_hide_the_guilty(seed in 0u64..1000, order in cycles_in_any_order()) {
        let leak = (RST, 256.0);
        let leaking = Cycles::of(&quick(seed).leaks(leak.0, leak.1).noise(200.0), Some(leak));
        prop_assert_eq!(accused(&leaking.in_order(&order)), [RST]);
    }

    #[test]
    fn swapped_names_swap_the_accused(seed in 0u64..1000, guilty in 0usize..9, other in 0usize..9) {
        let rows = quick(seed).leaks(QUICK[guilty], 256.0).noise(200.0).observe();
        let mut swapped = rows.clone();
        (swapped.doses[guilty].factor, swapped.doses[other].factor) = (QUICK[other], QUICK[guilty]);
        // what is a way of leaving and what is not decides which sums there are: those who keep their kind swap exactly
        if QUICK[guilty].is_connection() == QUICK[other].is_connection() {
            prop_assert_eq!(accused(&rows), [QUICK[guilty]]);
            prop_assert_eq!(accused(&swapped), [QUICK[other]]);
        }
    }

    #[test]
    fn missing_readings_neither_accuse_nor_acquit(seed in 0u64..1000, lost in proptest::collection::btree_set(1usize..25, 1..5)) {
        for (leak, wanted) in [(None, vec![]), (Some(EARLY), vec![EARLY])] {
            let recording = quick(seed).noise(100.0);
            let recording = leak.map_or(recording.clone(), |factor| recording.leaks(factor, 256.0));
            let mut rows = recording.observe();
            lost.iter().for_each(|&row| rows.readings[row] = f64::NAN);
            let (rows, gaps) = rows.without_gaps();
            prop_assert_eq!(gaps.len(), lost.len());
            prop_assert_eq!(accused(&rows), wanted);
        }
    }
}
