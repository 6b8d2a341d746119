//! The tile in NEON: 6 pixels by four vectors of 4 output channels fill 24 of 32 registers.

use std::arch::aarch64::*;

use super::{LANES, Tile};
use crate::kernel::isa::Neon;

const VECTOR: usize = 4;
const VECTORS: usize = 4;
pub const ROWS: usize = 6;
pub const COLUMNS: usize = VECTORS * VECTOR;

pub fn tile(_: Neon, t: &Tile, out: &mut [f32], distance: usize) {
    by_rows!(t, out, distance, 1 2 3 4 5 6)
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[target_feature(enable = "neon")]
unsafe fn rows<const R: usize>(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[vdupq_n_f32(0.0); VECTORS]; R];
    for_each_channel!(t, sums, R);
    let mut rows = [[0.0; COLUMNS]; R];
    for (row, sums) in rows.iter_mut().zip(&sums) {
        for (part, sum) in row.chunks_exact_mut(VECTOR).zip(sums) {
            // SAFETY: a part holds one vector.
            unsafe { vst1q_f32(part.as_mut_ptr(), *sum) };
        }
    }
    super::finish(&rows, t, out, distance);
}

/// Adds one input channel's products.
///
/// # Safety
/// `pixels` points to R floats 16 apart, `panel` to 16.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step<const R: usize>(sums: &mut [[float32x4_t; VECTORS]; R], pixels: *const f32, panel: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights: [float32x4_t; VECTORS] = std::array::from_fn(|v| vld1q_f32(panel.add(v * VECTOR)));
        for (r, sums) in sums.iter_mut().enumerate() {
            let pixel = *pixels.add(r * LANES);
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = vfmaq_n_f32(*sum, weight, pixel);
            }
        }
    }
}
