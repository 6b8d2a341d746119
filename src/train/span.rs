//! Fewer numbers for few pictures: feature rows as coordinates in the space that they span.
//!
//! With N rows of D features, N below D, a head that is penalised for large weights has none outside that space, and
//! lengths, angles and means are the same in it: whatever is trained on N coordinates is what would have been trained
//! on D features, in a fraction of the time. The Cholesky factor L of the rows' products X·Xᵀ has the coordinates as
//! its rows; the basis is L⁻¹·X and never computed.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use crate::head::Dense;

/// A row whose part outside the others' span is shorter than this share of the longest row counts as in it; below, the
/// products' last digits would decide.
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
    /// Of these rows; none where there are too many for it to save time.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn new(rows: &[&[f32]]) -> Result<Option<Self>> {
        let length = rows.first().map_or(0, |row| row.len());
        if 2 * rows.len() > length {
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
        for column in (0..count).rev() {
            let pivot = self.factor[column * count + column];
            let (before, rest) = kernel.split_at_mut(column + 1);
            let solved = before.last_mut().context("a head without inputs")?;
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

/// Makes a matrix of products, [N,N], its lower Cholesky factor, with a column of zeros where nothing is left.
fn decompose(matrix: &mut [f64], count: usize) {
    let longest = (0..count).map(|row| matrix[row * count + row]).fold(0.0, f64::max);
    for row in 0..count {
        let (above, rest) = matrix.split_at_mut(row * count);
        let own = &mut rest[..count];
        for column in 0..=row {
            let other = if column == row { None } else { Some(&above[column * count..][..count]) };
            let products = (0..column).map(|index| own[index] * other.map_or(own[index], |other| other[index]));
            let left = own[column] - products.sum::<f64>();
            own[column] = match other {
                None if left > SMALLEST * SMALLEST * longest => left.sqrt(),
                Some(other) if other[column] > 0.0 => left / other[column],
                _ => 0.0,
            };
        }
        own[row + 1..].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_have_the_products_of_the_rows_and_layers_the_answers() {
        let row = |seed: f32| (0..16).map(|i| (seed * i as f32).sin() + seed).collect::<Vec<f32>>();
        let mut rows: Vec<Vec<f32>> = [0.3, 0.7, 1.1, 1.9, 2.3].map(row).to_vec();
        // One twice, and one that the others make up.
        rows[2] = rows[0].clone();
        rows[4] = rows[0].iter().zip(&rows[1]).map(|(a, b)| a - 2.0 * b).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let span = Span::new(&rows).unwrap().unwrap();
        let found = span.coordinates();
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            assert!((product(found[i], found[j]) - product(rows[i], rows[j])).abs() < 1e-4, "{i} {j}");
        }
        let kernel = Tensor::from_vec((0..10).map(|i| (i as f32).cos()).collect(), (5, 2), &Device::Cpu).unwrap();
        let layer = Dense { kernel, bias: Tensor::new(&[0.5f32, -0.5], &Device::Cpu).unwrap() };
        let answers = |layer: &Dense, rows: &[&[f32]]| {
            let x = Tensor::from_vec(rows.concat(), (5, rows[0].len()), &Device::Cpu).unwrap();
            x.matmul(&layer.kernel).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (whole, own) = (answers(&span.on_features(&layer).unwrap(), &rows), answers(&layer, &found));
        assert!(whole.iter().zip(own).all(|(a, b)| (a - b).abs() < 1e-4), "{whole:?}");
    }

    #[test]
    fn many_rows_stay_as_they_are() {
        let rows = [[1.0; 4].as_slice(); 3];
        assert!(Span::new(&rows).unwrap().is_none());
    }
}
