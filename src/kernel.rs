//! Loops over slices: the operations that Candle lacks or runs too slowly on a CPU.
//!
//! Layout is NHWC (letters in the crate's documentation), float32. Each function asserts its shapes,
//! spreads rows or channels over rayon's threads and runs its loop compiled for the best instruction
//! set of the machine ([`pulp`]). What the engine runs ([`convolve`] and its parts) is blocked by
//! channels instead ([`buffer`]) and takes its instruction set as an argument ([`isa`]). No result
//! depends on the number of threads: every output element is summed by one thread in one order.

mod affine;
mod batch_norm;
mod blocks;
pub mod buffer;
pub mod convolve;
mod depthwise;
pub mod gather;
pub mod isa;
mod max_pool;
pub mod panels;
mod patches;
mod process;
mod product;
mod recycle;
mod sgd;
pub mod tile;
mod tiles;

pub use affine::{AffineMap, add, affine_backward, relu_backward};
pub use batch_norm::{Normalisation, Statistics, batch_norm, batch_norm_backward, statistics};
pub use depthwise::{depthwise, depthwise_backward};
pub use max_pool::{MaxPool, max_pool, max_pool_backward};
pub use patches::{Patches, patches, patches_backward};
pub use process::prepare_process;
pub use product::{Matrix, product, product_then};
pub use recycle::{Recycling, recycle};
pub use sgd::Sgd;

/// Shape of an activation: N images of H×W pixels with C channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nhwc {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Nhwc {
    pub fn elements(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Elements of one row of pixels.
    fn row(&self) -> usize {
        self.w * self.c
    }

    /// Elements of one image.
    fn image(&self) -> usize {
        self.h * self.row()
    }
}

/// Runs a loop compiled for the best instruction set that this machine has.
#[inline(always)]
fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// The window of kernel taps that fall inside the input: taps `t` with `0 <= start + t < size`.
fn inside(start: isize, kernel: usize, size: usize) -> std::ops::Range<usize> {
    let first = (-start).max(0) as usize;
    let end = (size as isize - start).clamp(0, kernel as isize) as usize;
    first.min(end)..end
}

#[cfg(test)]
pub(crate) mod testing {
    use rand::{RngExt, SeedableRng};

    use super::buffer::{LANES, Lanes};

    /// Seeded values in [−1, 1).
    pub fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    /// Seeded values in whole vectors.
    pub fn lanes(seed: u64, count: usize) -> Vec<Lanes> {
        values(seed, count * LANES).as_chunks().0.to_vec()
    }

    pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        differences.max_by(f32::total_cmp).unwrap_or(0.0) // not a number is above all numbers
    }
}
