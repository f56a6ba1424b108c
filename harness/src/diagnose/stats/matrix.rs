//! Small dense matrices: Cholesky, its log-determinant, the inverse of a symmetric positive definite matrix.
//!
//! A model here has at most some thirty columns, so plain loops are exact enough, fast enough and have no dependency.

use std::ops::{Index, IndexMut};

/// A dense matrix, row after row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    cells: Vec<f64>,
}

impl Matrix {
    /// All zero.
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            cells: vec![0.0; rows * columns],
        }
    }

    /// Fills a square matrix from its lower half: `cell(i, j)` is asked for `j <= i` only.
    pub(super) fn symmetric(size: usize, mut cell: impl FnMut(usize, usize) -> f64) -> Self {
        let mut matrix = Self::zeros(size, size);
        for i in 0..size {
            for j in 0..=i {
                let value = cell(i, j);
                matrix[(i, j)] = value;
                matrix[(j, i)] = value;
            }
        }
        matrix
    }

    /// One row.
    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.columns..(i + 1) * self.columns]
    }

    /// The product with a vector.
    pub(super) fn times(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|i| dot(self.row(i), vector)).collect()
    }

    /// `v' M v`.
    pub(super) fn quadratic(&self, vector: &[f64]) -> f64 {
        dot(&self.times(vector), vector)
    }

    /// The sub-matrix of these rows and the same columns.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        Self::symmetric(indices.len(), |i, j| self[(indices[i], indices[j])])
    }
}

impl Index<(usize, usize)> for Matrix {
    type Output = f64;

    fn index(&self, (row, column): (usize, usize)) -> &f64 {
        &self.cells[row * self.columns + column]
    }
}

impl IndexMut<(usize, usize)> for Matrix {
    fn index_mut(&mut self, (row, column): (usize, usize)) -> &mut f64 {
        &mut self.cells[row * self.columns + column]
    }
}

/// The inner product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The lower triangle `L` of `A = L L'`.
#[derive(Debug)]
pub(super) struct Cholesky(Matrix);

impl Cholesky {
    /// `None` if the matrix is not positive definite (or holds a number that is none).
    pub(super) fn of(matrix: &Matrix) -> Option<Self> {
        let mut lower = Matrix::zeros(matrix.rows, matrix.rows);
        for i in 0..matrix.rows {
            for j in 0..=i {
                let rest = matrix[(i, j)] - dot(&lower.row(i)[..j], &lower.row(j)[..j]);
                if i != j {
                    lower[(i, j)] = rest / lower[(j, j)];
                } else if rest > 0.0 && rest.is_finite() {
                    lower[(i, i)] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(Self(lower))
    }

    /// `log |A|`.
    pub(super) fn log_determinant(&self) -> f64 {
        (0..self.0.rows)
            .map(|i| 2.0 * self.0[(i, i)].ln())
            .sum::<f64>()
    }

    /// `A^-1`, column by column: forward with `L`, backward with `L'`.
    pub(super) fn inverse(&self) -> Matrix {
        let size = self.0.rows;
        let mut inverse = Matrix::zeros(size, size);
        for column in 0..size {
            let mut unit = vec![0.0; size];
            unit[column] = 1.0;
            for (row, value) in self.solve(unit).into_iter().enumerate() {
                inverse[(row, column)] = value;
            }
        }
        Matrix::symmetric(size, |i, j| 0.5 * (inverse[(i, j)] + inverse[(j, i)]))
    }

    /// The `x` of `A x = b`.
    pub(super) fn solve(&self, mut b: Vec<f64>) -> Vec<f64> {
        let lower = &self.0;
        for i in 0..b.len() {
            b[i] = (b[i] - dot(&lower.row(i)[..i], &b[..i])) / lower[(i, i)];
        }
        for i in (0..b.len()).rev() {
            let above: f64 = (i + 1..b.len()).map(|k| lower[(k, i)] * b[k]).sum();
            b[i] = (b[i] - above) / lower[(i, i)];
        }
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hilbert_plus_one(size: usize) -> Matrix {
        Matrix::symmetric(size, |i, j| {
            1.0 / (i as f64 + j as f64 + 1.0) + f64::from(u8::from(i == j))
        })
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_unit_matrix() {
        for size in [1, 2, 5, 22] {
            let matrix = hilbert_plus_one(size);
            let inverse = Cholesky::of(&matrix).unwrap().inverse();
            for i in 0..size {
                let row = inverse.times(matrix.row(i));
                for (j, cell) in row.into_iter().enumerate() {
                    let wanted = f64::from(u8::from(i == j));
                    assert!((cell - wanted).abs() < 1e-12, "{i} {j}: {cell}");
                }
            }
        }
    }

    #[test]
    fn the_log_determinant_is_that_of_the_textbook() {
        // | 4 2 ; 2 3 | = 8
        let matrix = Matrix::symmetric(2, |i, j| [[4.0, 2.0], [2.0, 3.0]][i][j]);
        let found = Cholesky::of(&matrix).unwrap().log_determinant();
        assert!((found - 8f64.ln()).abs() < 1e-14);
    }

    #[test]
    fn what_is_not_positive_definite_has_no_root() {
        for cells in [
            [[1.0, 2.0], [2.0, 1.0]],
            [[0.0, 0.0], [0.0, 0.0]],
            [[1.0, f64::NAN], [f64::NAN, 1.0]],
        ] {
            let matrix = Matrix::symmetric(2, |i, j| cells[i][j]);
            assert!(Cholesky::of(&matrix).is_none(), "{cells:?}");
        }
    }
}
