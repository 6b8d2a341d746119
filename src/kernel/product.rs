//! Matrix products, on all threads, by the `gemm` library.
//!
//! Its sums are taken in an order that does not depend on the number of threads (tested below).

use rayon::prelude::*;

/// A matrix in memory: row-major, or the transpose of a row-major one.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    is_transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `values` [rows, columns].
    ///
    /// # Panics
    /// If there are not as many values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "matrix");
        Self { values, rows, columns, is_transposed: false }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, is_transposed: !self.is_transposed, ..self }
    }

    /// Distance in memory of neighbours in a column, and in a row.
    fn strides(&self) -> (isize, isize) {
        if self.is_transposed { (1, self.rows as isize) } else { (self.columns as isize, 1) }
    }
}

/// `a · b`, row-major.
///
/// # Panics
/// If the matrices do not fit.
pub fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "matrix product");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let mut out = vec![0.0_f32; m * n];
    let ((a_rows, a_columns), (b_rows, b_columns)) = (a.strides(), b.strides());
    let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
    // SAFETY: each matrix has rows · columns values at its strides, which `Matrix::new` checked; `out`
    // has m · n, which nothing else borrows.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false, // what stands in `out` is not read
            a.values.as_ptr(),
            a_columns,
            a_rows,
            b.values.as_ptr(),
            b_columns,
            b_rows,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
    out
}

/// Multiplies each row of `matrix` [R, ·] by its factor of `scale` [R].
///
/// # Panics
/// If the rows are not equally long.
pub fn scale_rows(matrix: &mut [f32], scale: &[f32]) {
    assert!(matrix.len().is_multiple_of(scale.len()), "rows of a matrix");
    let rows = matrix.par_chunks_mut((matrix.len() / scale.len()).max(1)).zip(scale);
    rows.for_each(|(row, scale)| row.iter_mut().for_each(|value| *value *= scale));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{largest_difference, values};

    /// `a · b` as the formula says, in float64.
    fn oracle(a: &[f32], b: &[f32], k: usize, n: usize) -> Vec<f32> {
        let element = |row: &[f32], column: usize| {
            (0..k).map(|i| f64::from(row[i]) * f64::from(b[i * n + column])).sum::<f64>() as f32
        };
        a.chunks_exact(k).flat_map(|row| (0..n).map(|column| element(row, column)).collect::<Vec<_>>()).collect()
    }

    fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
    }

    #[test]
    fn a_product_is_the_formula_whichever_operand_is_transposed() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 33, 19), (70, 128, 65)] {
            let (a, b) = (values(1, m * k), values(2, k * n));
            let (a_t, b_t) = (transposed(&a, m, k), transposed(&b, k, n));
            let expected = oracle(&a, &b, k, n);
            for a in [Matrix::new(&a, m, k), Matrix::new(&a_t, k, m).t()] {
                for b in [Matrix::new(&b, k, n), Matrix::new(&b_t, n, k).t()] {
                    // Sums of at most 128 products of values below 1.
                    assert!(largest_difference(&product(a, b), &expected) < 1e-5, "{m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn a_product_is_the_same_on_any_number_of_threads() {
        // The three products of a pointwise convolution, 19×19 pixels of 728 channels.
        let (p, c) = (361, 728);
        let (x, w, dy) = (values(1, p * c), values(2, c * c), values(3, p * c));
        let products = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (x, w, dy) = (Matrix::new(&x, p, c), Matrix::new(&w, c, c), Matrix::new(&dy, p, c));
            pool.install(|| [product(x, w.t()), product(dy, w), product(dy.t(), x)])
        };
        let one = products(1);
        assert!(one == products(2) && one == products(3) && one == products(8));
    }

    #[test]
    fn every_row_has_its_own_factor() {
        let mut matrix = [1., 2., 3., 4.];
        scale_rows(&mut matrix, &[10., 100.]);
        assert_eq!(matrix, [10., 20., 300., 400.]);
    }
}
