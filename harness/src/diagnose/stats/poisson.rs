//! What a sample of blocks says of all of them: estimates, exact Poisson intervals and bounds.
//!
//! A sampler that takes a byte in R on average takes a block of s bytes with probability p = 1 − exp(−s/R), so a sampled block
//! stands for 1/p blocks. Different stacks have different weights; their sum is treated as a scaled Poisson count whose first two
//! moments fit (Fay and Feuer, 1997, "Confidence intervals for directly standardized rates"), thinned by 1 − p since what is sampled
//! almost surely is almost exact.

use statrs::distribution::{ContinuousCDF as _, Gamma};

/// Above this a block is as good as counted.
const SURE: f64 = 0.99;

/// −ln 0.05: surviving none of so many means is as likely as 1 in 20.
const NONE_IN_20: f64 = 2.995_732_273_553_991;

/// Blocks of about one size that were sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// How many, raw.
    pub blocks: f64,
    /// Their bytes, raw.
    pub bytes: f64,
}

/// Sums over stacks: what they stand for, and how sure that is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// Raw samples.
    pub samples: f64,
    /// Bytes that they stand for.
    pub bytes: f64,
    /// Blocks that they stand for.
    pub blocks: f64,
    /// Bytes of it that are as good as counted.
    counted: f64,
    /// Samples of the rest.
    drawn: f64,
    /// Variance of the rest.
    variance: f64,
}

impl Sum {
    /// Adds a stack. `mean` is the mean number of bytes between samples; `None`: every block was noted.
    pub fn add(&mut self, stack: Sampled, mean: Option<f64>) {
        if stack.blocks <= 0.0 {
            return;
        }
        let size = stack.bytes / stack.blocks;
        let p = mean
            .map_or(1.0, |mean| -(-size / mean).exp_m1())
            .max(f64::MIN_POSITIVE);
        self.samples += stack.blocks;
        self.blocks += stack.blocks / p;
        self.bytes += stack.bytes / p;
        if p >= SURE {
            self.counted += stack.bytes / p;
        } else {
            self.drawn += stack.blocks;
            self.variance += stack.blocks * (size / p).powi(2) * (1.0 - p);
        }
    }

    /// The 95 % interval of the bytes. With nothing sampled it reaches from 0 to what could have been missed.
    pub fn interval(&self, mean: Option<f64>) -> (f64, f64) {
        (
            self.quantile(0.025, 0.0, mean),
            self.quantile(0.975, 1.0, mean),
        )
    }

    /// The one-sided 95 % bound of the bytes: not more than this.
    pub fn upper(&self, mean: Option<f64>) -> f64 {
        self.quantile(0.95, 1.0, mean)
    }

    /// A quantile of the scaled Poisson count: `more` is 1 for upper ends, 0 for lower ones.
    fn quantile(&self, share: f64, more: f64, mean: Option<f64>) -> f64 {
        let Some(mean) = mean else {
            return self.bytes;
        };
        let drawn = self.bytes - self.counted;
        if self.drawn < 0.5 || drawn <= 0.0 || self.variance <= 0.0 {
            let missed = if more > 0.0 {
                mean * -(1.0 - share).ln()
            } else {
                0.0
            };
            return self.counted + missed.max(if more > 0.0 { NONE_IN_20 * mean } else { 0.0 });
        }
        let (weight, count) = (self.variance / drawn, drawn * drawn / self.variance);
        // An upper end adds a sample that was not drawn: as heavy as the mean gap, not lighter.
        let added = more * (mean / weight).max(1.0);
        self.counted + weight * gamma(count + added, share)
    }
}

/// A quantile of the gamma distribution of this shape and scale 1.
fn gamma(shape: f64, share: f64) -> f64 {
    Gamma::new(shape, 1.0).map_or(f64::NAN, |law| law.inverse_cdf(share))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn sum(stacks: &[(f64, f64)], mean: Option<f64>) -> Sum {
        let mut sum = Sum::default();
        for (blocks, size) in stacks {
            let (blocks, bytes) = (*blocks, blocks * size);
            sum.add(Sampled { blocks, bytes }, mean);
        }
        sum
    }

    #[test]
    fn everything_noted_is_exact_and_nothing_sampled_is_a_bound() {
        let exact = sum(&[(1000.0, 700.0)], None);
        assert_eq!(exact.interval(None), (700_000.0, 700_000.0));
        let none = Sum::default();
        let bound = none.upper(Some(8192.0));
        assert!((bound / 8192.0 - 2.9957).abs() < 1e-3, "{bound}");
        assert!(none.interval(Some(8192.0)).0.abs() < 1e-9);
    }

    #[test]
    fn many_samples_of_small_blocks_are_as_sure_as_their_number_says() {
        let mean = Some(8192.0);
        let sum = sum(&[(400.0, 64.0)], mean);
        let (low, high) = sum.interval(mean);
        let relative = (high - low) / 2.0 / sum.bytes;
        assert!((relative - 0.098).abs() < 0.004, "{relative}");
        assert!(low < sum.bytes && sum.bytes < high);
    }

    /// Draws blocks as jemalloc does, and asks how often the interval holds what is there.
    #[test]
    fn intervals_hold_the_truth_in_nearly_all_of_many_draws() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for (name, mean, kinds) in [
            ("one size, fine", 4096.0, vec![(4000, 320.0)]),
            ("few samples", 65_536.0, vec![(4000, 96.0)]),
            (
                "mixed",
                8192.0,
                vec![(4000, 320.0), (4000, 96.0), (400, 2048.0), (3, 65_536.0)],
            ),
            ("large blocks", 8192.0, vec![(200, 8192.0), (50, 20_480.0)]),
        ] {
            let truth: f64 = kinds
                .iter()
                .map(|(count, size)| f64::from(*count) * size)
                .sum();
            let draws = 400;
            let mut held = 0;
            for _ in 0..draws {
                let mut sum = Sum::default();
                for (count, size) in &kinds {
                    let p = -(-size / mean).exp_m1();
                    let blocks = (0..*count).filter(|_| rng.random::<f64>() < p).count() as f64;
                    let bytes = blocks * size;
                    sum.add(Sampled { blocks, bytes }, Some(mean));
                }
                let (low, high) = sum.interval(Some(mean));
                held += i32::from(low <= truth && truth <= high);
            }
            assert!(held * 100 >= draws * 93, "{name}: {held} of {draws}");
        }
    }
}
