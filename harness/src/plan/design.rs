//! The design of an assay: which factor is on in which cycle.

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Designs drawn, of which the best is kept (the method, §3.3).
const DRAWS: usize = 60;

/// Which factor is on in which cycle: `on[cycle][factor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    on: Vec<Vec<bool>>,
}

impl Design {
    /// Draws [`DRAWS`] balanced designs and keeps the one with the largest `log det(D' D)`, where D are the doses after
    /// the mean and the linear drift of each column are removed (D-optimality; the method, §3.3).
    ///
    /// `parts[j]` is the number of cycles in which factor `j` is on; it is kept exactly. Same seed, same design.
    pub fn draw(seed: u64, cycles: usize, parts: &[usize]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draws = (0..DRAWS).map(|_| Self {
            on: balanced(&mut rng, cycles, parts),
        });
        let scored = draws.map(|design| (design.information(), design));
        scored
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .expect("at least one design is drawn")
            .1
    }

    /// Whether a factor is on in a cycle.
    pub fn is_on(&self, cycle: usize, factor: usize) -> bool {
        self.on[cycle][factor]
    }

    /// `log det(D' D)` of the doses without mean and linear drift.
    fn information(&self) -> f64 {
        let cycles = self.on.len();
        let columns: Vec<_> = (0..self.on[0].len())
            .map(|factor| {
                without_drift(cycles, |cycle| f64::from(u8::from(self.on[cycle][factor])))
            })
            .collect();
        let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        log_determinant(
            columns
                .iter()
                .map(|a| columns.iter().map(|b| products(a, b)).collect())
                .collect(),
        )
    }
}

fn balanced(rng: &mut impl Rng, cycles: usize, parts: &[usize]) -> Vec<Vec<bool>> {
    let mut on = vec![vec![false; parts.len()]; cycles];
    for (factor, part) in parts.iter().enumerate() {
        let mut order: Vec<usize> = (0..cycles).collect();
        for last in (1..cycles).rev() {
            order.swap(last, rng.random_range(0..=last));
        }
        for &cycle in order.iter().take(*part) {
            on[cycle][factor] = true;
        }
    }
    on
}

/// A column minus its least-squares line over the cycles.
fn without_drift(cycles: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
    let count = cycles as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = (0..cycles).map(&value).sum::<f64>() / count;
    let spread: f64 = (0..cycles)
        .map(|cycle| (cycle as f64 - middle).powi(2))
        .sum();
    let slope = (0..cycles)
        .map(|cycle| (cycle as f64 - middle) * value(cycle))
        .sum::<f64>()
        / spread.max(1e-12);
    (0..cycles)
        .map(|cycle| value(cycle) - mean - slope * (cycle as f64 - middle))
        .collect()
}

/// By elimination; minus infinity for a singular matrix: two factors that nobody could tell apart.
fn log_determinant(mut matrix: Vec<Vec<f64>>) -> f64 {
    let mut sum = 0.0;
    for column in 0..matrix.len() {
        let (above, below) = matrix.split_at_mut(column + 1);
        let lead = &above[column];
        if lead[column] <= 1e-9 {
            return f64::NEG_INFINITY;
        }
        sum += lead[column].ln();
        for row in below {
            let factor = row[column] / lead[column];
            row.iter_mut()
                .zip(lead)
                .for_each(|(cell, pivot)| *cell -= factor * pivot);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_factor_is_on_in_exactly_its_part_of_the_cycles() {
        let design = Design::draw(7, 24, &[8, 8, 12]);
        for (factor, part) in [8, 8, 12].into_iter().enumerate() {
            assert_eq!(
                (0..24).filter(|cycle| design.is_on(*cycle, factor)).count(),
                part
            );
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_design_and_another_seed_another() {
        let draw = |seed| Design::draw(seed, 24, &[8, 8, 12]);
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn two_factors_that_are_always_on_together_carry_no_information() {
        let twins = Design {
            on: (0..10).map(|cycle| vec![cycle % 3 == 0; 2]).collect(),
        };
        assert!(twins.information().is_infinite());
        assert!(Design::draw(1, 10, &[5, 5]).information().is_finite());
    }
}
