//! One fitted model: slopes, covariance, and what may be asked of them.

use super::{
    cosines,
    engine::Levels,
    local_level::GRID,
    matrix::{Cholesky, Matrix, dot},
    order::count,
    student,
};

/// No row counts as explaining itself by more than this (HC3 divides by what is left).
const LEVERAGE_CAP: f64 = 0.8;
/// Rows from which the variance also allows for serial correlation that the level model missed.
const COSINES_FROM: usize = 48;
/// The residual of a perfect fit, in squared spreads of the response: no variance is ever exactly zero.
const LEAST_RESIDUAL: f64 = 1e-12;

/// A column of which the others leave less than this share has no slope of its own.
const SEPARATE: f64 = 1e-9;

/// A slope with its standard error, to be read against Student's t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Response per unit of the column.
    pub slope: f64,
    /// Its standard error.
    pub se: f64,
    /// Degrees of freedom.
    pub dof: f64,
}

impl Estimate {
    /// One-sided probability of such a slope if the truth were `floor`.
    pub fn chance_above(&self, floor: f64) -> f64 {
        student::chance_of(self.slope - floor, self.se, self.dof)
    }

    /// Slope over standard error.
    pub fn t(&self) -> f64 {
        self.slope / self.se
    }
}

/// A model for one `q`, in scaled units.
#[derive(Debug)]
pub(super) struct Solved {
    pub(super) inverse: Matrix,
    beta: Vec<f64>,
    covariance: Matrix,
    log_likelihood: f64,
    dof: f64,
}

/// Whitened rows, as independent as the level model can make them.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) columns: Vec<&'a [f64]>,
    pub(super) response: &'a [f64],
    /// Log-determinant of what was whitened away.
    pub(super) log_v: f64,
}

impl Solved {
    /// `jitter` was added to the diagonal of `gram`. The residual is summed up from the rows: taking it from the Gram matrix (total
    /// minus explained) is the same on paper, and pure rounding when columns are nearly collinear, where it would promise
    /// certainty exactly where there is none.
    pub(super) fn new(gram: &Matrix, cross: &[f64], rows: &Rows<'_>, jitter: f64) -> Option<Self> {
        let root = Cholesky::of(gram)?;
        let (inverse, beta) = (root.inverse(), root.solve(cross.to_vec()));
        let errors = errors(rows, &beta);
        let residual = dot(&errors, &errors) + jitter * dot(&beta, &beta);
        if !residual.is_finite() {
            return None;
        }
        let residual = residual.max(LEAST_RESIDUAL);
        let dof = count(rows.response.len()) - count(beta.len());
        let mut covariance = Matrix::symmetric(beta.len(), |i, j| residual / dof * inverse[(i, j)]);
        for i in 0..beta.len() {
            if inverse[(i, i)] * gram[(i, i)] * SEPARATE > 1.0 {
                covariance[(i, i)] = f64::INFINITY; // the others say the same: its slope is whatever the jitter makes of it
            }
        }
        Some(Self {
            log_likelihood: -0.5 * (rows.log_v + root.log_determinant() + dof * residual.ln()),
            inverse,
            beta,
            covariance,
            dof,
        })
    }

    /// Raises the diagonal to HC3 and, on long series, to the cosine variance of the influences. Returns the influence of every
    /// whitened row on every coefficient.
    pub(super) fn make_robust(&mut self, rows: &Rows<'_>) -> Vec<Vec<f64>> {
        let Rows {
            columns, response, ..
        } = rows;
        let influences = self.influences(columns);
        let errors = errors(rows, &self.beta);
        for (j, influence) in influences.iter().enumerate() {
            let leverage = |t: usize| {
                let own: f64 = (0..columns.len())
                    .map(|k| influences[k][t] * columns[k][t])
                    .sum();
                own.min(LEVERAGE_CAP)
            };
            let heteroscedastic: f64 = (0..response.len())
                .map(|t| (errors[t] / (1.0 - leverage(t)) * influence[t]).powi(2))
                .sum();
            let mut variance = self.covariance[(j, j)].max(heteroscedastic);
            if response.len() >= COSINES_FROM {
                let terms: Vec<f64> = influence.iter().zip(&errors).map(|(a, e)| a * e).collect();
                variance = variance.max(count(response.len()) * cosines::long_run_variance(&terms));
            }
            self.covariance[(j, j)] = variance;
        }
        influences
    }

    /// `X A^-1`, by coefficient.
    fn influences(&self, columns: &[&[f64]]) -> Vec<Vec<f64>> {
        let rows = columns.first().map_or(0, |c| c.len());
        let at = |j: usize, t: usize| -> f64 {
            (0..columns.len())
                .map(|k| columns[k][t] * self.inverse[(k, j)])
                .sum()
        };
        (0..columns.len())
            .map(|j| (0..rows).map(|t| at(j, t)).collect())
            .collect()
    }
}

/// What a model leaves of each row.
fn errors(rows: &Rows<'_>, beta: &[f64]) -> Vec<f64> {
    let mut left = rows.response.to_vec();
    for (column, slope) in rows.columns.iter().zip(beta) {
        left.iter_mut()
            .zip(*column)
            .for_each(|(e, x)| *e -= slope * x);
    }
    left
}

/// A model averaged over the level models, in the caller's units.
#[derive(Clone, Debug)]
pub struct Fit {
    columns: Vec<usize>,
    weights: Vec<f64>,
    beta: Vec<f64>,
    covariance: Matrix,
    leaning: Vec<f64>,
    /// Rows minus columns; 0 if the model can say nothing.
    pub dof: f64,
    /// Log of the likelihood, summed over the level models; comparable between models of equal size.
    pub log_likelihood: f64,
}

impl Fit {
    pub(super) fn knows_nothing(columns: &[usize]) -> Self {
        let size = columns.len();
        let mut covariance = Matrix::zeros(size, size);
        for i in 0..size {
            covariance[(i, i)] = f64::INFINITY;
        }
        Self {
            columns: columns.to_vec(),
            weights: vec![0.0; GRID.len()],
            beta: vec![0.0; size],
            covariance,
            leaning: vec![0.0; size],
            dof: 0.0,
            log_likelihood: f64::NEG_INFINITY,
        }
    }

    pub(super) fn average(
        columns: &[usize],
        solved: &[Solved],
        scales: &[f64],
        levels: Levels,
    ) -> Self {
        let (weights, log_likelihood) = weigh(solved, levels);
        let size = columns.len();
        let mean = |i: usize| -> f64 {
            solved
                .iter()
                .zip(&weights)
                .map(|(s, w)| w * s.beta[i])
                .sum()
        };
        let centre: Vec<f64> = (0..size).map(mean).collect();
        let covariance = Matrix::symmetric(size, |i, j| {
            let one = |s: &Solved| {
                s.covariance[(i, j)] + (s.beta[i] - centre[i]) * (s.beta[j] - centre[j])
            };
            let mixed: f64 = solved.iter().zip(&weights).map(|(s, w)| w * one(s)).sum();
            mixed * scales[i] * scales[j]
        });
        Self {
            columns: columns.to_vec(),
            beta: centre.iter().zip(scales).map(|(b, s)| b * s).collect(),
            covariance,
            leaning: vec![0.0; size],
            dof: solved[0].dof,
            weights,
            log_likelihood,
        }
    }

    /// The level model with most of the weight, as a position in the grid.
    pub fn likeliest(&self) -> usize {
        let greatest = self
            .weights
            .iter()
            .enumerate()
            .rev()
            .max_by(|a, b| a.1.total_cmp(b.1));
        greatest.map_or(0, |(position, _)| position)
    }

    /// The geometric mean of `q` (plus 0.01): how much the level walks.
    pub fn walk(&self) -> f64 {
        let log: f64 = self
            .weights
            .iter()
            .zip(GRID)
            .map(|(w, q)| w * (q + 0.01).ln())
            .sum();
        log.exp()
    }

    /// The slope of one column.
    ///
    /// # Panics
    /// If the column is not in the model.
    pub fn estimate(&self, column: usize) -> Estimate {
        let i = self.position(column);
        Estimate {
            slope: self.beta[i],
            se: self.covariance[(i, i)].sqrt(),
            dof: self.dof,
        }
    }

    /// The slope of a weighted sum of columns; columns outside the model do not count.
    pub fn combination(&self, weight: impl Fn(usize) -> f64) -> Estimate {
        let weights: Vec<f64> = self.columns.iter().map(|&c| weight(c)).collect();
        Estimate {
            slope: dot(&weights, &self.beta),
            se: self.covariance.quadratic(&weights).max(1e-30).sqrt(),
            dof: self.dof,
        }
    }

    /// Sum of the absolute weights that the rows have in a slope: how far an error of one in every row could move it.
    /// Known after [`Engine::fit_robust`](super::Engine::fit_robust).
    pub fn leaning(&self, column: usize) -> f64 {
        self.leaning[self.position(column)]
    }

    /// The columns of the model.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    pub(super) fn set_leaning(&mut self, leaning: Vec<f64>) {
        self.leaning = leaning;
    }

    fn position(&self, column: usize) -> usize {
        let found = self.columns.iter().position(|&c| c == column);
        found.expect("a slope is asked of a model that has the column")
    }
}

/// Restricted likelihoods as weights that sum to 1, and the log of their sum.
fn weigh(solved: &[Solved], levels: Levels) -> (Vec<f64>, f64) {
    let best = solved
        .iter()
        .map(|s| s.log_likelihood)
        .fold(f64::NEG_INFINITY, f64::max);
    let raw: Vec<f64> = solved
        .iter()
        .map(|s| (s.log_likelihood - best).exp())
        .collect();
    let sum: f64 = raw.iter().sum();
    let log_likelihood = best + sum.ln();
    match levels {
        Levels::Averaged => (raw.iter().map(|w| w / sum).collect(), log_likelihood),
        Levels::Differences => (only(raw.len() - 1, raw.len()), log_likelihood),
        Levels::Independent => (only(0, raw.len()), log_likelihood),
    }
}

fn only(position: usize, models: usize) -> Vec<f64> {
    (0..models)
        .map(|i| f64::from(u8::from(i == position)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Engine, *};

    /// Two doses, a wave and a walk: the same numbers in any language.
    fn recording(rows: u32) -> Engine {
        let row = || (0..rows).map(f64::from);
        let total = |dose: f64, given: fn(u32) -> bool| -> Vec<f64> {
            let doses = (0..rows).map(|i| dose * f64::from(u8::from(given(i))));
            doses
                .scan(0.0, |sum, d| {
                    *sum += d;
                    Some(*sum)
                })
                .collect()
        };
        let (a, b) = (
            total(300.0, |i| i * 7 % 5 < 2),
            total(6000.0, |i| i * i % 7 < 3),
        );
        let walk = row().scan(0.0, |sum, i| {
            *sum += 9000.0 * (3.0 * i * i).cos();
            Some(*sum)
        });
        let wave = row().map(|i| 2e4 * (i * i).sin());
        let noise: Vec<f64> = walk.zip(wave).map(|(x, y)| x + y).collect();
        let y: Vec<f64> = (0..a.len())
            .map(|i| 6e7 + 300.0 * a[i] + 5.0 * b[i] + noise[i])
            .collect();
        Engine::new(
            &y,
            &[vec![1.0; a.len()], row().map(|i| 23.0 * i).collect(), a, b],
        )
    }

    fn assert_close(found: f64, wanted: f64, what: &str) {
        assert!(
            (found / wanted - 1.0).abs() < 1e-7,
            "{what}: {found}, reference {wanted}"
        );
    }

    /// The wanted numbers were computed by the method's reference implementation (numpy).
    #[test]
    fn slopes_errors_and_likelihood_equal_the_reference_implementation() {
        let short = [
            375.18413351427216,
            43.65175116629327,
            0.009999999957060295,
            397.6493517383035,
            26.016428268722258,
        ];
        let long = [
            305.1771511464586,
            23.362219215564316,
            0.010169838028418143,
            306.52145820034985,
            19.32801789342086,
        ];
        for (rows, wanted, likelihood, walk) in [
            (11, short, 18.26440886239913, 0.2814370345556416),
            (60, long, 120.98865377359316, 0.1413985004407367),
        ] {
            let engine = recording(rows);
            let all = [0, 1, 2, 3];
            let robust = engine.fit_robust(&all);
            let differences = engine.fit_with(&all, Levels::Differences);
            assert_close(robust.estimate(2).slope, wanted[0], "slope");
            assert_close(robust.estimate(2).se, wanted[1], "robust se");
            assert_close(robust.leaning(2), wanted[2], "leaning");
            assert_close(
                differences.estimate(2).slope,
                wanted[3],
                "slope of differences",
            );
            assert_close(differences.estimate(2).se, wanted[4], "se of differences");
            assert_close(robust.log_likelihood, likelihood, "log likelihood");
            assert_close(robust.walk(), walk, "walk");
        }
    }

    #[test]
    fn robust_variances_are_never_below_the_classic_ones() {
        let engine = recording(60);
        for column in 0..4 {
            let classic = engine.fit(&[0, 1, 2, 3]).estimate(column).se;
            assert!(engine.fit_robust(&[0, 1, 2, 3]).estimate(column).se >= classic);
        }
    }
}
