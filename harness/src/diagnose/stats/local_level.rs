//! The noise model: a level that walks, seen through white noise (the method, §5).
//!
//! `Var = sigma^2 V`, `V[a,b] = [a = b] + q min(a, b)`. At `q = 0` rows are independent; at `q = 30` nearly a random walk, and
//! whitening is nearly differencing. The inverse Cholesky factor of `V` is never formed: applying it is one pass of the
//! Kalman filter of the local-level model (Durbin, Koopman 2012, chapter 2), and its transpose is the same pass backwards.

/// The grid of `q`, the variance of a step of the level over the variance of the white noise.
pub(super) const GRID: [f64; 7] = [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0];

/// `V_q^(-1/2)` for a number of rows, as the gains of the filter.
#[derive(Debug)]
pub(super) struct Whitener {
    /// How much of each surprise moves the level.
    gains: Vec<f64>,
    /// Standard deviation of each surprise.
    spreads: Vec<f64>,
}

impl Whitener {
    /// The filter for this many rows.
    pub(super) fn new(q: f64, rows: usize) -> Self {
        let (mut gains, mut spreads) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut uncertain = 0.0; // the level is known at row 0: min(0, b) = 0
        for _ in 0..rows {
            let surprise = uncertain + 1.0;
            let gain = uncertain / surprise;
            gains.push(gain);
            spreads.push(f64::sqrt(surprise));
            uncertain = uncertain * (1.0 - gain) + q;
        }
        Self { gains, spreads }
    }

    /// `log |V|`.
    pub(super) fn log_determinant(&self) -> f64 {
        self.spreads.iter().map(|s| 2.0 * s.ln()).sum()
    }

    /// `L^-1 z`, where `V = L L'`: rows become independent, with variance 1.
    pub(super) fn whiten(&self, column: &[f64]) -> Vec<f64> {
        let mut level = 0.0;
        let step = |((value, gain), spread): ((&f64, &f64), &f64)| {
            let surprise = value - level;
            level += gain * surprise;
            surprise / spread
        };
        column
            .iter()
            .zip(&self.gains)
            .zip(&self.spreads)
            .map(step)
            .collect()
    }

    /// `(L^-1)' u`: what weight each row had, given weights on the whitened rows.
    pub(super) fn unwhiten_weights(&self, weights: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; weights.len()];
        let mut later = 0.0;
        for t in (0..weights.len()).rev() {
            out[t] = weights[t] / self.spreads[t] + self.gains[t] * later;
            later -= out[t];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::matrix::{Cholesky, Matrix, dot},
        *,
    };

    fn covariance(q: f64, rows: usize) -> Matrix {
        Matrix::symmetric(rows, |a, b| {
            f64::from(u8::from(a == b)) + q * a.min(b) as f64
        })
    }

    #[test]
    fn the_filter_whitens_as_the_dense_covariance_would() {
        let rows = 9;
        let a: Vec<f64> = (0..rows).map(|i| ((i * i) as f64).sin()).collect();
        let b: Vec<f64> = (0..rows).map(|i| (i as f64).cos()).collect();
        for q in GRID {
            let root = Cholesky::of(&covariance(q, rows)).unwrap();
            let filter = Whitener::new(q, rows);
            let dense = dot(&root.solve(a.clone()), &b);
            let fast = dot(&filter.whiten(&a), &filter.whiten(&b));
            assert!((dense - fast).abs() < 1e-12, "q {q}: {dense} {fast}");
            assert!((root.log_determinant() - filter.log_determinant()).abs() < 1e-12);
        }
    }

    #[test]
    fn weights_go_back_the_way_the_rows_came() {
        let rows = 12;
        let weights: Vec<f64> = (0..rows).map(|i| f64::from(i).sin()).collect();
        let column: Vec<f64> = (0..rows).map(|i| f64::from(i * i % 7)).collect();
        for q in GRID {
            let filter = Whitener::new(q, 12);
            let there = dot(&filter.whiten(&column), &weights);
            let back = dot(&column, &filter.unwhiten_weights(&weights));
            assert!((there - back).abs() < 1e-12, "q {q}: {there} {back}");
        }
    }
}
