//! Few pictures take less time: their feature rows as coordinates in the space that they span.
//!
//! N rows of D features, N well below D, span a space of at most N dimensions. A linear head that is penalised for large
//! weights has none outside it, and lengths, angles and means are the same in it, so the head that is best on
//! coordinates is the one that is best on features. A dense head keeps random weights beside what it learns; those
//! outside the space, which no training picture ever reaches, it does without.
//!
//! The Cholesky factor L of the rows' products X·Xᵀ has the coordinates as its rows; the basis, L⁻¹·X, is never computed.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use crate::head::Dense;

/// A row counts as in the span of the rows before it if what is left of it is shorter than this share of the longest
/// row: the last digits of the products would decide otherwise.
const SMALLEST: f64 = 1e-6;

#[derive(Debug)]
pub struct Span {
    /// X, [N,D].
    rows: Tensor,
    /// L, [N,N], row-major; a column of zeros for a row that lies in the span of those before it.
    factor: Vec<f64>,
    /// L as the solver takes its rows.
    coordinates: Vec<Vec<f32>>,
}

impl Span {
    /// The span of these rows; `None` if there are none, or too many for it to save time.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(rows: &[&[f32]]) -> Result<Option<Self>> {
        let length = rows.first().map_or(0, |row| row.len());
        if rows.is_empty() || 2 * rows.len() > length {
            return Ok(None);
        }
        let rows = Tensor::from_vec(rows.concat(), (rows.len(), length), &Device::Cpu)?.to_dtype(DType::F64)?;
        let mut factor = rows.matmul(&rows.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        let count = rows.dim(0)?;
        decompose(&mut factor, count);
        let coordinates =
            factor.chunks_exact(count).map(|row| row.iter().map(|value| *value as f32).collect()).collect();
        Ok(Some(Self { rows, factor, coordinates }))
    }

    /// Each row in the space of all, [N].
    pub fn coordinates(&self) -> Vec<&[f32]> {
        self.coordinates.iter().map(Vec::as_slice).collect()
    }

    /// A layer on coordinates, [N,O], as one on features, [D,O].
    ///
    /// # Errors
    /// If the layer is not on coordinates.
    pub fn on_features(&self, layer: &Dense) -> Result<Dense> {
        // Xᵀ·L⁻ᵀ·kernel, from the last coordinate back.
        let mut kernel = layer.kernel.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let count = self.coordinates.len();
        ensure!(kernel.len() == count, "a layer of {} inputs, expected {count}", kernel.len());
        for column in (0..count).rev() {
            let pivot = self.factor[column * count + column];
            let (before, rest) = kernel.split_at_mut(column + 1);
            let solved = &mut before[column];
            for (row, weights) in (column + 1..count).zip(&*rest) {
                let factor = self.factor[row * count + column];
                solved.iter_mut().zip(weights).for_each(|(value, weight)| *value -= factor * weight);
            }
            solved.iter_mut().for_each(|value| *value = if pivot > 0.0 { *value / pivot } else { 0.0 });
        }
        let shape = (count, layer.bias.dim(0)?);
        let kernel = self.rows.t()?.matmul(&Tensor::from_vec(kernel.concat(), shape, &Device::Cpu)?)?;
        Ok(Dense { kernel: kernel.to_dtype(DType::F32)?, bias: layer.bias.clone() })
    }
}

/// Turns a matrix of products, [N,N], into its lower Cholesky factor, with a column of zeros for each row that lies in
/// the span of those before it.
fn decompose(matrix: &mut [f64], count: usize) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let longest_square = (0..count).map(|row| matrix[row * count + row]).fold(0.0, f64::max);
    for row in 0..count {
        let (above, rest) = matrix.split_at_mut(row * count);
        let own = &mut rest[..count];
        for (column, other) in above.chunks_exact(count).enumerate() {
            let left = own[column] - dot(&own[..column], &other[..column]);
            own[column] = if other[column] > 0.0 { left / other[column] } else { 0.0 };
        }
        let left = own[row] - dot(&own[..row], &own[..row]);
        own[row] = if left > SMALLEST * SMALLEST * longest_square { left.sqrt() } else { 0.0 };
        own[row + 1..].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::logistic::{Design, Problem};

    /// Five rows of 16 features: the third is the first again, the fifth is made of the first two.
    fn rows() -> Vec<Vec<f32>> {
        let row = |seed: f32| (0..16).map(|i| (seed * i as f32).sin() + seed).collect::<Vec<f32>>();
        let mut rows = [0.3, 0.7, 0.3, 1.9, 2.3].map(row).to_vec();
        rows[4] = rows[0].iter().zip(&rows[1]).map(|(a, b)| a - 2.0 * b).collect();
        rows
    }

    #[test]
    fn coordinates_have_the_products_of_the_rows_and_no_direction_twice() {
        let rows = rows();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let span = Span::new(&rows).unwrap().unwrap();
        let found = span.coordinates();
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            assert!((product(found[i], found[j]) - product(rows[i], rows[j])).abs() < 1e-4, "{i} {j}");
        }
        assert!(found.iter().all(|row| row[2] == 0.0 && row[4] == 0.0), "{found:?}");
    }

    #[test]
    fn a_head_solved_on_coordinates_is_the_one_solved_on_features() {
        let rows = rows();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let span = Span::new(&rows).unwrap().unwrap();
        for unit_length in [false, true] {
            let solve = |rows: &[&[f32]]| {
                let design = Design::new(rows, unit_length).unwrap();
                let weights = [vec![1.0; 5]];
                let problem = Problem { design: &design, classes: &[0, 1, 2, 1, 0], class_count: 3, weights: &weights };
                let models = problem.solve(1.0, None, &|| Ok(())).unwrap();
                design.scaling.unscaled(&models[0]).layer().unwrap()
            };
            let (found, expected) = (span.on_features(&solve(&span.coordinates())).unwrap(), solve(&rows));
            let values = |layer: &Dense| {
                let kernel = layer.kernel.flatten_all().unwrap();
                Tensor::cat(&[kernel, layer.bias.clone()], 0).unwrap().to_vec1::<f32>().unwrap()
            };
            for (found, expected) in values(&found).iter().zip(values(&expected)) {
                assert!((found - expected).abs() < 1e-3, "{found}, expected {expected}");
            }
        }
    }

    #[test]
    fn many_rows_and_none_stay_as_they_are() {
        assert!(Span::new(&[[1.0; 4].as_slice(); 3]).unwrap().is_none());
        assert!(Span::new(&[]).unwrap().is_none());
        let span = Span::new(&[[0.0; 4].as_slice(); 2]).unwrap().unwrap();
        assert_eq!(span.coordinates(), [[0.0; 2]; 2]);
    }
}
