//! The strongest directions of a covariance, by subspace iteration: products that any number of threads
//! computes to the same bits, and a small eigenvalue problem in the end.
//!
//! Source: N. Halko, P. Martinsson, J. Tropp, "Finding Structure with Randomness", 2011, algorithm 4.4 and the
//! Rayleigh-Ritz step of G. Golub, C. Van Loan, "Matrix Computations", 8.2.4; Jacobi's method is its 8.5.2.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Directions that are followed beside those wanted, so that these settle sooner.
const MORE: usize = 8;
/// Products with the covariance. The weakest of 64 directions of features are near one another in strength and
/// may still be mixed then; the sum of their strengths is settled, and no distance needs more.
const ITERATIONS: usize = 30;
/// Jacobi's method has converged long before.
const SWEEPS: usize = 30;

/// The `count` largest eigenvalues of `covariance` [D,D] with their eigenvectors [D], largest first.
///
/// `rank` is an upper bound of the covariance's.
///
/// # Errors
/// If a tensor operation fails.
pub fn strongest(covariance: &[f64], count: usize, rank: usize) -> Result<Vec<(f64, Vec<f64>)>> {
    let length = covariance.len().isqrt();
    let width = (count + MORE).min(rank).min(length);
    if count == 0 {
        return Ok(Vec::new());
    }
    let covariance = Tensor::from_slice(covariance, (length, length), &Device::Cpu)?;
    let tensor = |basis: &[Vec<f64>]| Tensor::from_vec(basis.concat(), (basis.len(), length), &Device::Cpu);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<Vec<f64>> =
        (0..width).map(|_| (0..length).map(|_| random.random_range(-1.0..1.0)).collect()).collect();
    orthonormalise(&mut basis);
    for _ in 0..ITERATIONS {
        basis = tensor(&basis)?.matmul(&covariance)?.to_vec2()?;
        orthonormalise(&mut basis);
    }
    let directions = tensor(&basis)?;
    let within = directions.matmul(&covariance)?.matmul(&directions.t()?)?.to_vec2()?;
    let (values, vectors) = jacobi(within);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let direction = |column: usize| {
        let part = |i: usize| basis.iter().zip(&vectors).map(|(direction, row)| direction[i] * row[column]).sum();
        (0..length).map(part).collect()
    };
    Ok(order.into_iter().take(count).map(|column| (values[column].max(0.0), direction(column))).collect())
}

/// Gram and Schmidt's method, twice: once leaves what rounding brings back. A vector that depends on those before
/// becomes zero.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for index in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(index);
        let vector = &mut rest[0];
        let first = dot(vector, vector).sqrt();
        for other in before.iter().chain(before.iter()) {
            let share = dot(vector, other);
            vector.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
        }
        let norm = dot(vector, vector).sqrt();
        let scale = if norm > 1e-12 * first { 1.0 / norm } else { 0.0 };
        vector.iter_mut().for_each(|value| *value *= scale);
    }
}

/// Eigenvalues of a symmetric matrix, and its eigenvectors as columns.
fn jacobi(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].abs() <= f64::EPSILON * (a[p][p] * a[q][q]).abs().sqrt() {
                    continue;
                }
                // The rotation that makes a[p][q] zero, by the smaller of two angles.
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for row in a.iter_mut().chain(&mut vectors) {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
        }
    }
    ((0..n).map(|i| a[i][i]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_directions_are_the_eigenvectors() {
        // Of the second difference they are known: sin(π i k / (n + 1)), with the eigenvalues 2 + 2 cos(π k / (n + 1)).
        const N: usize = 40;
        let entry = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => 1.0,
            _ => 0.0,
        };
        let matrix: Vec<f64> = (0..N * N).map(|at| entry(at / N, at % N)).collect();
        let found = strongest(&matrix, 2, N).unwrap();
        for (k, (value, vector)) in (1..).zip(found) {
            let angle = std::f64::consts::PI * f64::from(k) / (N + 1) as f64;
            assert!((value - (2.0 + 2.0 * angle.cos())).abs() < 1e-3, "{k}: {value}");
            let norm: f64 = vector.iter().map(|v| v * v).sum();
            assert!((norm - 1.0).abs() < 1e-12, "{norm}");
        }
    }

    #[test]
    fn a_covariance_of_few_directions_gives_them_exactly() {
        // 9 e₁e₁ᵀ + 4 e₂e₂ᵀ with e₁ = (0.6, 0.8, 0), e₂ = (−0.8, 0.6, 0).
        let matrix = [
            9.0 * 0.36 + 4.0 * 0.64,
            (9.0 - 4.0) * 0.48,
            0.0,
            (9.0 - 4.0) * 0.48,
            9.0 * 0.64 + 4.0 * 0.36,
            0.0,
            0.0,
            0.0,
            0.0,
        ];
        let found = strongest(&matrix, 1, 2).unwrap();
        let (value, vector) = &found[0];
        assert!((value - 9.0).abs() < 1e-12, "{value}");
        assert!((vector[0] / vector[1] - 0.75).abs() < 1e-12 && vector[2].abs() < 1e-12, "{vector:?}");
    }
}
