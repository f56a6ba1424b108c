//! The engine: generalised least squares, averaged over how much the level may walk (the method, §5).
//!
//! Every column is whitened once per `q`; every model is then a small solve on a part of the same Gram matrix. Models are weighted by
//! their restricted likelihood, so nobody has to choose between "noise around a line" and "a random walk".

use super::{
    fit::{Fit, Rows, Solved},
    local_level::{GRID, Whitener},
    matrix::{Cholesky, Matrix, dot},
    order::{mean, spread},
};

/// Added to the diagonal of the scaled Gram matrix: collinear columns give huge variances instead of nothing.
const JITTER: f64 = 1e-10;

/// Which of the level models speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// All, by their likelihood.
    Averaged,
    /// Only the last, `q = 30`: a regression of differences, valid under any drift if the doses are random.
    Differences,
    /// Only the first, `q = 0`: every row on its own.
    Independent,
}

/// A response and its columns, ready to be fitted in any combination.
#[derive(Debug)]
pub struct Engine {
    models: Vec<LevelModel>,
    scales: Vec<f64>,
    response_scale: f64,
    rows: usize,
}

/// Everything whitened for one `q`.
#[derive(Debug)]
pub(super) struct LevelModel {
    pub(super) filter: Whitener,
    pub(super) columns: Vec<Vec<f64>>,
    pub(super) response: Vec<f64>,
    gram: Matrix,
    cross: Vec<f64>,
}

impl Engine {
    /// Columns are divided by their largest absolute value, the response is centred and divided by its spread (at least 1).
    pub fn new(response: &[f64], columns: &[Vec<f64>]) -> Self {
        let largest = |c: &Vec<f64>| c.iter().fold(0.0, |m: f64, x| m.max(x.abs())).max(1e-12);
        let scales: Vec<f64> = columns.iter().map(largest).collect();
        let response_scale = spread(response).max(1.0);
        let centre = mean(response);
        let scaled: Vec<f64> = response
            .iter()
            .map(|y| (y - centre) / response_scale)
            .collect();
        let divided = |(c, s): (&Vec<f64>, &f64)| c.iter().map(|x| x / s).collect();
        let columns: Vec<Vec<f64>> = columns.iter().zip(&scales).map(divided).collect();
        let model = |q: &f64| LevelModel::new(*q, &scaled, &columns);
        Self {
            models: GRID.iter().map(model).collect(),
            scales,
            response_scale,
            rows: response.len(),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The model of these columns.
    pub fn fit(&self, columns: &[usize]) -> Fit {
        self.fit_with(columns, Levels::Averaged)
    }

    /// The model of these columns, with the levels that are asked for.
    pub fn fit_with(&self, columns: &[usize], levels: Levels) -> Fit {
        let solved = self.solve(columns);
        let scales = self.result_scales(columns);
        solved.map_or_else(
            || Fit::knows_nothing(columns),
            |solved| Fit::average(columns, &solved, &scales, levels),
        )
    }

    /// The same with variances that survive unequal noise (HC3, leverage capped) and, from 48 rows on, correlated noise (EWC).
    /// For intervals: it never has less variance than [`fit`](Self::fit).
    pub fn fit_robust(&self, columns: &[usize]) -> Fit {
        let Some(mut solved) = self.solve(columns) else {
            return Fit::knows_nothing(columns);
        };
        let mut influences = Vec::new();
        for (one, model) in solved.iter_mut().zip(&self.models) {
            influences.push(one.make_robust(&model.rows(columns)));
        }
        let scales = self.result_scales(columns);
        let mut fit = Fit::average(columns, &solved, &scales, Levels::Averaged);
        let likeliest = fit.likeliest();
        let weights = |influence: &Vec<f64>| {
            self.models[likeliest]
                .filter
                .unwhiten_weights(influence)
                .into_iter()
                .map(f64::abs)
                .sum::<f64>()
        };
        let leaning = influences[likeliest].iter().map(weights);
        let leaning = leaning.zip(columns).map(|(w, &c)| w / self.scales[c]);
        fit.set_leaning(leaning.collect());
        fit
    }

    /// The share of a column's variance that the others leave unexplained: 0 when it is a mixture of them.
    pub fn unexplained_share(&self, column: usize, others: &[usize]) -> f64 {
        self.models[0].unexplained_share(column, others)
    }

    /// What the others leave of a column, as a sum of squares in its own unit: how much the rows have said about it so far.
    pub fn information(&self, column: usize, others: &[usize]) -> f64 {
        let own = self.models[0].gram[(column, column)];
        self.unexplained_share(column, others) * own * self.scales[column].powi(2)
    }

    fn solve(&self, columns: &[usize]) -> Option<Vec<Solved>> {
        if self.rows <= columns.len() {
            return None;
        }
        self.models
            .iter()
            .map(|model| model.solve(columns))
            .collect()
    }

    fn result_scales(&self, columns: &[usize]) -> Vec<f64> {
        let scale = |&c: &usize| self.response_scale / self.scales[c];
        columns.iter().map(scale).collect()
    }
}

impl LevelModel {
    fn new(q: f64, response: &[f64], columns: &[Vec<f64>]) -> Self {
        let filter = Whitener::new(q, response.len());
        let response = filter.whiten(response);
        let columns: Vec<Vec<f64>> = columns.iter().map(|c| filter.whiten(c)).collect();
        Self {
            gram: Matrix::symmetric(columns.len(), |i, j| dot(&columns[i], &columns[j])),
            cross: columns.iter().map(|c| dot(c, &response)).collect(),
            filter,
            columns,
            response,
        }
    }

    fn rows(&self, columns: &[usize]) -> Rows<'_> {
        Rows {
            columns: columns
                .iter()
                .map(|&c| self.columns[c].as_slice())
                .collect(),
            response: &self.response,
            log_v: self.filter.log_determinant(),
        }
    }

    /// `None` where a number was none: such a model can say nothing.
    fn solve(&self, columns: &[usize]) -> Option<Solved> {
        let mut gram = self.gram.select(columns);
        for i in 0..columns.len() {
            gram[(i, i)] += JITTER;
        }
        let cross: Vec<f64> = columns.iter().map(|&c| self.cross[c]).collect();
        Solved::new(&gram, &cross, &self.rows(columns), JITTER)
    }

    /// The share of a column that the others leave unexplained.
    fn unexplained_share(&self, column: usize, others: &[usize]) -> f64 {
        let all = [others, &[column]].concat();
        let mut gram = self.gram.select(&all);
        for i in 0..all.len() {
            gram[(i, i)] += JITTER;
        }
        let last = others.len();
        let left = Cholesky::of(&gram).map_or(0.0, |root| 1.0 / root.inverse()[(last, last)]);
        let own = self.gram[(column, column)];
        if own > 0.0 { left / own } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(slope: f64, rows: usize) -> Vec<f64> {
        (0..rows).map(|i| slope * i as f64).collect()
    }

    fn wobble(rows: usize) -> Vec<f64> {
        (0..rows).map(|i| (i * i % 11) as f64).collect()
    }

    #[test]
    fn exact_data_give_exact_slopes_and_no_nan() {
        let (ones, time, dose) = (vec![1.0; 21], line(1.0, 21), wobble(21));
        for slope in [0.0, 16.0, 1e6] {
            let y: Vec<f64> = dose.iter().map(|x| 5e6 + slope * x).collect();
            let engine = Engine::new(&y, &[ones.clone(), time.clone(), dose.clone()]);
            for fit in [engine.fit(&[0, 1, 2]), engine.fit_robust(&[0, 1, 2])] {
                let found = fit.estimate(2);
                assert!((found.slope - slope).abs() <= 1e-6 * slope, "{found:?}");
                assert!(found.se.is_finite() && found.se >= 0.0, "{found:?}");
            }
        }
    }

    #[test]
    fn a_column_that_is_a_mixture_of_others_is_recognised() {
        let (ones, time, dose) = (vec![1.0; 12], line(1.0, 12), wobble(12));
        let mixture: Vec<f64> = dose.iter().zip(&time).map(|(a, b)| 2.0 * a + b).collect();
        let engine = Engine::new(&time, &[ones, time.clone(), dose, mixture, vec![0.0; 12]]);
        assert!(engine.unexplained_share(2, &[0, 1]) > 0.1);
        assert!(engine.unexplained_share(3, &[0, 1, 2]) < 1e-6);
        assert!(engine.unexplained_share(4, &[0, 1]) < 1e-6);
    }

    /// A difference of large numbers would leave no residual here, hence certainty, exactly where nothing can be told apart.
    #[test]
    fn twins_in_one_model_claim_nothing_whatever_the_noise() {
        let rows = 30;
        let curve = |i: usize| 1.0 - (-0.1 * i as f64).exp();
        let twin: Vec<f64> = (0..rows).map(|i| 3000.0 * curve(i)).collect();
        let other: Vec<f64> = (0..rows).map(|i| 1.0 - curve(i)).collect();
        for noise in [5.0, 500.0, 50_000.0] {
            let y: Vec<f64> = (0..rows)
                .map(|i| 2e6 * curve(i) + noise * ((i * i) as f64).sin())
                .collect();
            let columns = [
                vec![1.0; rows],
                line(1.0, rows),
                twin.clone(),
                other.clone(),
            ];
            let found = Engine::new(&y, &columns).fit(&[0, 1, 2, 3]).estimate(2);
            assert!(found.chance_above(0.0) > 0.05, "noise {noise}: {found:?}");
        }
    }

    #[test]
    fn more_columns_than_rows_know_nothing() {
        let engine = Engine::new(&[1.0, 2.0, 4.0], &[vec![1.0; 3], line(1.0, 3), wobble(3)]);
        let found = engine.fit(&[0, 1, 2]).estimate(2);
        assert!(found.se.is_infinite() && found.chance_above(0.0) >= 0.5);
    }

    #[test]
    fn not_a_number_in_the_response_claims_nothing() {
        let engine = Engine::new(&[1.0, f64::NAN, 4.0, 5.0], &[vec![1.0; 4], line(1.0, 4)]);
        assert!(engine.fit_robust(&[0, 1]).estimate(1).se.is_infinite());
    }
}
