//! Batch normalisation with the statistics of the batch, and its gradient.
//!
//! Means and variances are taken block by block of pixels, each in two passes while it is in the
//! caches, and joined in float64 in the order of the blocks (Chan, Golub and LeVeque 1983), so they
//! neither cancel nor depend on the number of threads.

use rayon::prelude::*;

use super::blocks::by_blocks;
use super::vectorized;

/// Pixels whose statistics are taken at once.
const PIXEL_BLOCK: usize = 64;

/// Mean and biased variance of each channel, [C].
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// What normalises a channel: everything is [C].
#[derive(Debug, Clone, Copy)]
pub struct Normalisation<'a> {
    pub statistics: &'a Statistics,
    pub gamma: &'a [f32],
    pub epsilon: f32,
}

impl Normalisation<'_> {
    fn deviation(&self, channel: usize) -> f32 {
        (self.statistics.variance[channel] + self.epsilon).sqrt()
    }
}

/// Statistics over the pixels of a batch.
///
/// Shapes: `x` [P,C].
///
/// # Panics
/// If `x` is empty or no whole number of pixels.
pub fn statistics(x: &[f32], c: usize) -> Statistics {
    assert!(c > 0 && !x.is_empty() && x.len().is_multiple_of(c), "pixels of a batch");
    let blocks: Vec<(usize, Statistics)> = x
        .par_chunks(PIXEL_BLOCK * c)
        .map(|x| {
            vectorized(
                #[inline(always)]
                || (x.len() / c, block_statistics(x, c)),
            )
        })
        .collect();
    let (mut count, mut mean, mut sum_of_squares) = (0.0, vec![0.0_f64; c], vec![0.0_f64; c]);
    for (pixels, block) in blocks {
        let pixels = pixels as f64;
        let total = count + pixels;
        for channel in 0..c {
            let delta = f64::from(block.mean[channel]) - mean[channel];
            mean[channel] += delta * pixels / total;
            sum_of_squares[channel] +=
                f64::from(block.variance[channel]) * pixels + delta * delta * count * pixels / total;
        }
        count = total;
    }
    Statistics {
        mean: mean.into_iter().map(|mean| mean as f32).collect(),
        variance: sum_of_squares.into_iter().map(|sum| (sum / count) as f32).collect(),
    }
}

#[inline(always)]
fn block_statistics(x: &[f32], c: usize) -> Statistics {
    let per_pixel = 1.0 / (x.len() / c) as f32;
    let (mut mean, mut variance) = (vec![0.0; c], vec![0.0; c]);
    // Relative to the first pixel: no digits are lost far from zero.
    let first = &x[..c];
    for x in x.chunks_exact(c) {
        mean.iter_mut().zip(x).zip(first).for_each(|((mean, x), first)| *mean += x - first);
    }
    mean.iter_mut().zip(first).for_each(|(mean, first)| *mean = first + *mean * per_pixel);
    for x in x.chunks_exact(c) {
        for ((variance, mean), x) in variance.iter_mut().zip(&mean).zip(x) {
            *variance += (x - mean) * (x - mean);
        }
    }
    variance.iter_mut().for_each(|variance| *variance *= per_pixel);
    Statistics { mean, variance }
}

/// `gamma · (x − mean) / √(variance + ε) + beta`, rectified if `relu`.
///
/// Shapes: `x` and the result [P,C], `beta` [C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn batch_norm(x: &[f32], norm: Normalisation, beta: &[f32], relu: bool) -> Vec<f32> {
    let c = beta.len();
    assert!(norm.gamma.len() == c && norm.statistics.mean.len() == c, "batch norm");
    assert!(x.len().is_multiple_of(c), "batch norm input");
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let scale: Vec<f32> = (0..c).map(|channel| norm.gamma[channel] / norm.deviation(channel)).collect();
    let mean = &norm.statistics.mean;
    by_blocks(x.len(), PIXEL_BLOCK * c, |index, y| {
        let x = &x[index * PIXEL_BLOCK * c..][..y.len()];
        vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                    let channels = y.iter_mut().zip(x).zip(mean).zip(&scale).zip(beta);
                    for ((((y, x), mean), scale), beta) in channels {
                        let value = (x - mean) * scale + beta;
                        *y = if value < floor { floor } else { value };
                    }
                }
            },
        );
    })
}

/// Gradients of input, gamma and beta, given the gradient of the result in front of any ReLU.
///
/// Shapes: `x`, `dy` and the first result [P,C], the others [C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn batch_norm_backward(x: &[f32], norm: Normalisation, dy: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let c = norm.gamma.len();
    assert!(x.len() == dy.len() && x.len().is_multiple_of(c), "batch norm gradient");
    let mean = &norm.statistics.mean;
    let partials: Vec<Vec<f32>> = x
        .par_chunks(PIXEL_BLOCK * c)
        .zip(dy.par_chunks(PIXEL_BLOCK * c))
        .map(|(x, dy)| {
            vectorized(
                #[inline(always)]
                || block_sums(x, dy, mean),
            )
        })
        .collect();
    // Σ dy and Σ dy·(x − mean), block after block.
    let mut sums = vec![0.0_f64; 2 * c];
    for partial in partials {
        sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += f64::from(partial));
    }
    let (of_dy, of_product) = sums.split_at(c);
    let pixels = (x.len() / c) as f64;
    let deviation: Vec<f64> = (0..c).map(|channel| f64::from(norm.deviation(channel))).collect();
    let factor = |channel: usize| (f64::from(norm.gamma[channel]) / deviation[channel]) as f32;
    let slope = |channel: usize| (of_product[channel] / deviation[channel].powi(2) / pixels) as f32;
    let factors: Vec<f32> = (0..c).map(factor).collect();
    let offsets: Vec<f32> = of_dy.iter().map(|sum| (sum / pixels) as f32).collect();
    let slopes: Vec<f32> = (0..c).map(slope).collect();
    let dx = by_blocks(x.len(), PIXEL_BLOCK * c, |index, dx| {
        let [x, dy] = [x, dy].map(|values| &values[index * PIXEL_BLOCK * c..][..dx.len()]);
        vectorized(
            #[inline(always)]
            || {
                for ((dx, x), dy) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(dy.chunks_exact(c)) {
                    let constants = factors.iter().zip(&offsets).zip(&slopes).zip(mean);
                    for (((dx, x), dy), (((factor, offset), slope), mean)) in
                        dx.iter_mut().zip(x).zip(dy).zip(constants)
                    {
                        *dx = factor * (dy - offset - (x - mean) * slope);
                    }
                }
            },
        );
    });
    let dgamma = of_product.iter().zip(&deviation).map(|(sum, deviation)| (sum / deviation) as f32).collect();
    (dx, dgamma, of_dy.iter().map(|sum| *sum as f32).collect())
}

/// [Σ dy, Σ dy·(x − mean)] of a block, [2,C].
#[inline(always)]
fn block_sums(x: &[f32], dy: &[f32], mean: &[f32]) -> Vec<f32> {
    let c = mean.len();
    let mut sums = vec![0.0; 2 * c];
    let (of_dy, of_product) = sums.split_at_mut(c);
    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
        for ((((of_dy, of_product), x), dy), mean) in of_dy.iter_mut().zip(&mut *of_product).zip(x).zip(dy).zip(mean) {
            *of_dy += dy;
            *of_product += dy * (x - mean);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{largest_difference, values};

    #[test]
    fn statistics_are_those_of_the_formula_far_from_zero() {
        // 300 pixels make five blocks, the last of them short.
        let (pixels, c) = (300, 19);
        let x: Vec<f32> = values(1, pixels * c).iter().map(|x| 1000.0 + x).collect();
        let found = statistics(&x, c);
        for channel in 0..c {
            let column = || x.iter().skip(channel).step_by(c).map(|&x| f64::from(x));
            let mean = column().sum::<f64>() / pixels as f64;
            let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / pixels as f64;
            // Half a unit in the last place of 1000, and of sums of 64 squares.
            assert!((f64::from(found.mean[channel]) - mean).abs() < 1e-4);
            assert!((f64::from(found.variance[channel]) / variance - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn a_normalised_batch_has_mean_beta_and_deviation_gamma() {
        let (x, c) = (values(2, 200 * 3), 3);
        let (gamma, beta) = ([2.0, 0.5, 1.0], [1.0, -1.0, 0.0]);
        let norm = Normalisation { statistics: &statistics(&x, c), gamma: &gamma, epsilon: 1e-8 };
        let found = statistics(&batch_norm(&x, norm, &beta, false), c);
        assert!(largest_difference(&found.mean, &beta) < 1e-5);
        let squares: Vec<f32> = gamma.iter().map(|gamma| gamma * gamma).collect();
        assert!(largest_difference(&found.variance, &squares) < 1e-5);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let (x, c, epsilon) = (values(3, 70 * 2), 2, 1e-3);
        let (gamma, beta, dy) = (values(4, c), values(5, c), values(6, 70 * 2));
        let loss = |x: &[f32], gamma: &[f32], beta: &[f32]| -> f64 {
            let norm = Normalisation { statistics: &statistics(x, c), gamma, epsilon };
            batch_norm(x, norm, beta, false).iter().zip(&dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        };
        let norm = Normalisation { statistics: &statistics(&x, c), gamma: &gamma, epsilon };
        let (dx, dgamma, dbeta) = batch_norm_backward(&x, norm, &dy);
        const STEP: f32 = 1e-2;
        let moved = |values: &[f32], index: usize, by: f32| {
            let mut values = values.to_vec();
            values[index] += by;
            values
        };
        let slope = |loss: &dyn Fn(f32) -> f64| (loss(STEP) - loss(-STEP)) / f64::from(2.0 * STEP);
        // Central differences in float32: the third derivative's share and rounding stay below 2e-3.
        for index in [0, 1, 77, 139] {
            let expected = slope(&|by| loss(&moved(&x, index, by), &gamma, &beta));
            assert!((f64::from(dx[index]) - expected).abs() < 2e-3, "{} {expected}", dx[index]);
        }
        for index in 0..c {
            let expected = slope(&|by| loss(&x, &moved(&gamma, index, by), &beta));
            assert!((f64::from(dgamma[index]) - expected).abs() < 2e-3, "{} {expected}", dgamma[index]);
            let expected = slope(&|by| loss(&x, &gamma, &moved(&beta, index, by)));
            assert!((f64::from(dbeta[index]) - expected).abs() < 2e-3, "{} {expected}", dbeta[index]);
        }
    }
}
