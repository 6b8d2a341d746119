//! Matrix products, on all threads, by the `gemm` library.
//!
//! Its sums are taken in an order that does not depend on the number of threads (tested below).

use std::ops::Range;
use std::slice::from_raw_parts_mut;

use rayon::prelude::*;

use super::{AffineMap, vectorized};

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

/// Rows (or columns) of a product that are computed together. The parts are cut without regard to the number
/// of threads: the library packs its left operand on one thread, which parts do side by side.
const PART: usize = 600;
/// From here on a product has two parts at least.
const SHORTEST_IN_PARTS: usize = 128;
const MOST_PARTS: usize = 16;

/// Where a product is written, by several threads at once.
#[derive(Clone, Copy)]
struct Out(*mut f32);

// SAFETY: each thread writes elements of its own only.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    fn at(self, element: usize) -> *mut f32 {
        self.0.wrapping_add(element)
    }
}

/// `a · b`, row-major.
///
/// # Panics
/// If the matrices do not fit.
pub fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    product_then(a, b, None)
}

/// `a · b`, row-major, with a map behind it whose channels are the columns of `b`.
///
/// # Panics
/// If the matrices do not fit, or the map.
pub fn product_then(a: Matrix, b: Matrix, map: Option<AffineMap>) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "matrix product");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(map.is_none_or(|map| map.scale.len() == n && map.shift.len() == n), "map behind a product");
    if m * n * k == 0 {
        return vec![0.0; m * n];
    }
    // Cut across the longer side: what each part packs again is the shorter operand.
    let (longer, by_rows) = (m.max(n), m >= n);
    let fewest = if longer >= SHORTEST_IN_PARTS { 2 } else { 1 };
    let parts = (longer / PART).clamp(fewest, MOST_PARTS);
    let threads = rayon::current_num_threads().div_ceil(parts);
    let mut product: Vec<f32> = Vec::with_capacity(m * n);
    let out = Out(product.as_mut_ptr());
    (0..parts).into_par_iter().for_each(|index| {
        let part = longer * index / parts..longer * (index + 1) / parts;
        let (rows, columns) = if by_rows { (part, 0..n) } else { (0..m, part) };
        part_of_product(a, b, rows.clone(), columns.clone(), threads, out);
        let Some(map) = map else { return };
        vectorized(
            #[inline(always)]
            || {
                for row in rows {
                    // SAFETY: the elements are this part's and have just been written.
                    let y = unsafe { from_raw_parts_mut(out.at(row * n + columns.start), columns.len()) };
                    map.apply(y, columns.clone());
                }
            },
        );
    });
    // SAFETY: the parts cover all m · n elements, and each was written.
    unsafe { product.set_len(m * n) };
    product
}

/// The part of `a · b` in these rows and columns, into its place in `out`, on `threads` threads.
fn part_of_product(a: Matrix, b: Matrix, rows: Range<usize>, columns: Range<usize>, threads: usize, out: Out) {
    let (n, k) = (b.columns, a.columns);
    let ((a_rows, a_columns), (b_rows, b_columns)) = (a.strides(), b.strides());
    // SAFETY: each matrix has rows · columns values at its strides, which `Matrix::new` checked, and `out` has
    // room for all rows of `a` by all columns of `b`; the library only writes the part's elements, of which
    // nothing is read before.
    unsafe {
        gemm::gemm(
            rows.len(),
            columns.len(),
            k,
            out.at(rows.start * n + columns.start),
            1,
            n as isize,
            false,
            a.values.as_ptr().offset(rows.start as isize * a_rows),
            a_columns,
            a_rows,
            b.values.as_ptr().offset(columns.start as isize * b_columns),
            b_columns,
            b_rows,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(threads),
        );
    }
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
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 33, 19), (70, 128, 65), (7, 20, 1300), (1300, 20, 7)] {
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
    fn a_map_follows_whichever_way_a_product_is_cut() {
        for (m, k, n) in [(3, 5, 2), (7, 20, 1300), (1300, 20, 7)] {
            let (a, b, scale, shift) = (values(1, m * k), values(2, k * n), values(3, n), values(4, n));
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            let map = AffineMap { scale: &scale, shift: &shift, relu: true };
            let mut expected = product(a, b);
            expected.chunks_exact_mut(n).for_each(|y| map.apply(y, 0..n));
            // The compiler may contract in one place and not in the other.
            assert!(largest_difference(&product_then(a, b, Some(map)), &expected) < 1e-6);
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
}
