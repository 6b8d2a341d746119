//! Which pictures are unlike those that a classifier was trained on, told by the distance of their features.
//!
//! The features of a class are taken for normally distributed about the class's mean. The covariance is
//! the same for all classes: a variance for each of its strongest directions, and one for all others.
//!
//! Sources: K. Lee, K. Lee, H. Lee, J. Shin, "A Simple Unified Framework for Detecting Out-of-Distribution
//! Samples and Adversarial Attacks", 2018; the form of the covariance is that of M. Tipping and C. Bishop,
//! "Probabilistic Principal Component Analysis", 1999.

mod spectrum;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

use crate::weights::{RawTensor, Tensors, ood};

/// Directions with a variance of their own, where there are twice as many pictures.
const COMPONENTS: usize = 64;
/// The least variance: a direction in which no picture differs. 16-bit floats still hold it.
const LEAST_VARIANCE: f64 = 1e-6;
/// Rows whose products are summed at once.
const ROWS_AT_ONCE: usize = 1024;

/// Where the features of known pictures lie.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Of the classes, [K,D].
    means: Vec<f32>,
    /// Orthonormal directions, strongest first, [r,D].
    components: Vec<f32>,
    /// Along the components, then along every other direction, [r+1].
    variances: Vec<f32>,
    /// Distances of pictures that were not trained on: the least, then equal shares up to the largest.
    quantiles: Vec<f32>,
    /// The means along the components, [K,r].
    projected: Vec<f64>,
    /// D
    length: usize,
}

impl Known {
    /// From the features of training pictures, `rows` of these `classes`, and of pictures that are as known
    /// but were not trained on, `held_out`.
    ///
    /// Shapes: each row [D].
    ///
    /// # Errors
    /// If there are no rows or not one class for each.
    pub fn fit<R: AsRef<[f32]>>(rows: &[R], classes: &[usize], held_out: &[R]) -> Result<Self> {
        ensure!(!rows.is_empty() && rows.len() == classes.len() && !held_out.is_empty(), "no pictures to learn from");
        let rows: Vec<&[f32]> = rows.iter().map(AsRef::as_ref).collect();
        let length = rows[0].len();
        let means = class_means(&rows, classes);
        // Each mean takes one degree of freedom.
        let free = rows.len().saturating_sub(means.len());
        let covariance = covariance(&rows, classes, &means, free.max(1))?;
        let count = COMPONENTS.min(free / 2).min(length / 2);
        let strongest = spectrum::strongest(&covariance, count, free)?;
        let trace: f64 = (0..length).map(|i| covariance[i * length + i]).sum();
        let explained: f64 = strongest.iter().map(|(variance, _)| variance).sum();
        let rest = (trace - explained) / (length - count) as f64;
        let variances = strongest.iter().map(|(variance, _)| *variance).chain([rest]);
        let mut known = Self::new(
            means.concat().into_iter().map(|mean| mean as f32).collect(),
            strongest.iter().flat_map(|(_, direction)| direction).map(|&value| value as f32).collect(),
            variances.map(|variance| variance.max(LEAST_VARIANCE) as f32).collect(),
            length,
        );
        known.quantiles = quantiles(held_out.iter().map(|row| known.distance(row.as_ref())).collect());
        Ok(known)
    }

    /// The same with the distances that another saw of pictures held out from it.
    pub fn with_quantiles_of(self, other: &Self) -> Self {
        Self { quantiles: other.quantiles.clone(), ..self }
    }

    fn new(means: Vec<f32>, components: Vec<f32>, variances: Vec<f32>, length: usize) -> Self {
        let projections = |mean: &[f32]| components.chunks_exact(length).map(|c| dot(mean, c)).collect::<Vec<f64>>();
        let projected = means.chunks_exact(length).flat_map(projections).collect();
        Self { means, components, variances, quantiles: Vec::new(), projected, length }
    }

    /// How far features lie from the nearest class, about 1 for known pictures: the root of the mean square
    /// over all directions, in standard deviations.
    ///
    /// Shapes: `features` [D].
    ///
    /// # Panics
    /// If the features have another length.
    pub fn distance(&self, features: &[f32]) -> f64 {
        assert_eq!(features.len(), self.length, "the features' length");
        let along: Vec<f64> = self.components.chunks_exact(self.length).map(|c| dot(features, c)).collect();
        let (rest, own) = self.variances.split_last().map_or((1.0, &[][..]), |(rest, own)| (f64::from(*rest), own));
        let squared = |class: usize| {
            let mean = &self.means[class * self.length..][..self.length];
            let whole: f64 = features.iter().zip(mean).map(|(x, m)| (f64::from(*x) - f64::from(*m)).powi(2)).sum();
            let (mut inside, mut scaled) = (0.0, 0.0);
            let projected = &self.projected[class * own.len()..][..own.len()];
            for ((x, mean), variance) in along.iter().zip(projected).zip(own) {
                let square = (x - mean).powi(2);
                (inside, scaled) = (inside + square, scaled + square / f64::from(*variance));
            }
            scaled + (whole - inside).max(0.0) / rest
        };
        let classes = self.means.len() / self.length;
        ((0..classes).map(squared).fold(f64::INFINITY, f64::min) / self.length as f64).sqrt()
    }

    /// The distance within which this share of known pictures lies.
    pub fn threshold(&self, share: f64) -> f64 {
        let last = self.quantiles.len() - 1;
        let position = share.clamp(0.0, 1.0) * last as f64;
        between(&self.quantiles, position)
    }

    /// As a model file holds it.
    pub fn tensors(&self) -> Tensors {
        let tensor = |shape: Vec<usize>, data: &[f32]| RawTensor { shape, data: data.to_vec().into() };
        let rows = |data: &[f32]| tensor(vec![data.len() / self.length, self.length], data);
        let vector = |data: &[f32]| tensor(vec![data.len()], data);
        let named = [
            (ood::MEANS, rows(&self.means)),
            (ood::COMPONENTS, rows(&self.components)),
            (ood::VARIANCES, vector(&self.variances)),
            (ood::QUANTILES, vector(&self.quantiles)),
        ];
        named.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
    }

    /// What a model file holds of it, if it does; shapes have been checked when the file was read.
    ///
    /// # Errors
    /// Names a tensor whose values make no sense.
    pub fn from_tensors(tensors: &Tensors) -> Result<Option<Self>> {
        let Some(means) = tensors.get(ood::MEANS) else { return Ok(None) };
        let values = |name: &str| tensors.get(name).map_or_else(Vec::new, |tensor| tensor.data.floats().into_owned());
        let length = means.shape.last().copied().unwrap_or(0).max(1);
        let known = Self::new(values(ood::MEANS), values(ood::COMPONENTS), values(ood::VARIANCES), length);
        let known = Self { quantiles: values(ood::QUANTILES), ..known };
        let check = |name: &str, holds: bool| {
            ensure!(holds, "tensor `{name}` has values that make no sense; the file is damaged, train the model again");
            Ok(())
        };
        let are_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        check(ood::MEANS, are_finite(&known.means))?;
        check(ood::COMPONENTS, are_finite(&known.components))?;
        check(ood::VARIANCES, are_finite(&known.variances) && known.variances.iter().all(|&variance| variance > 0.0))?;
        check(ood::QUANTILES, are_finite(&known.quantiles) && known.quantiles.is_sorted())?;
        Ok(Some(known))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// [K,D]
fn class_means(rows: &[&[f32]], classes: &[usize]) -> Vec<Vec<f64>> {
    let count = 1 + classes.iter().max().copied().unwrap_or(0);
    let mut means = vec![vec![0.0; rows[0].len()]; count];
    let mut pictures = vec![0_usize; count];
    for (row, &class) in rows.iter().zip(classes) {
        means[class].iter_mut().zip(*row).for_each(|(sum, value)| *sum += f64::from(*value));
        pictures[class] += 1;
    }
    for (mean, pictures) in means.iter_mut().zip(pictures) {
        mean.iter_mut().for_each(|sum| *sum /= pictures.max(1) as f64);
    }
    means
}

/// Of the rows about their classes' means, [D,D], with `free` degrees of freedom.
fn covariance(rows: &[&[f32]], classes: &[usize], means: &[Vec<f64>], free: usize) -> Result<Vec<f64>> {
    let length = rows[0].len();
    let mut sum = Tensor::zeros((length, length), DType::F64, &Device::Cpu)?;
    for (rows, classes) in rows.chunks(ROWS_AT_ONCE).zip(classes.chunks(ROWS_AT_ONCE)) {
        let centred = rows
            .iter()
            .zip(classes)
            .flat_map(|(row, &class)| row.iter().zip(&means[class]).map(|(value, mean)| f64::from(*value) - mean));
        let centred = Tensor::from_vec(centred.collect::<Vec<f64>>(), (rows.len(), length), &Device::Cpu)?;
        sum = (sum + centred.t()?.matmul(&centred)?)?;
    }
    Ok((sum / free as f64)?.flatten_all()?.to_vec1()?)
}

/// The values between which equal shares of `values` lie, as numpy's `quantile` finds them.
fn quantiles(mut values: Vec<f64>) -> Vec<f32> {
    values.sort_by(f64::total_cmp);
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    let last = (values.len() - 1) as f64;
    (0..ood::SHARES).map(|share| between(&values, last * share as f64 / (ood::SHARES - 1) as f64) as f32).collect()
}

/// The value at a position that may lie between two.
fn between(values: &[f32], position: f64) -> f64 {
    let (below, share) = (position.floor() as usize, position.fract());
    let at = |index: usize| f64::from(values[index.min(values.len() - 1)]);
    at(below) + share * (at(below + 1) - at(below))
}

#[cfg(test)]
mod tests;
