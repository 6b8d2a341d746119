//! The tile in NEON: 6 pixels by four vectors of 4 output channels fill 24 of 32 registers.

use std::arch::aarch64::*;

use super::{LANES, Tile};
use crate::kernel::isa::Neon;

const VECTOR: usize = 4;
const VECTORS: usize = 4;
pub const ROWS: usize = 6;
pub const COLUMNS: usize = VECTORS * VECTOR;

pub fn tile(_: Neon, t: &Tile, out: &mut [f32], distance: usize) {
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match t.rows {
                // SAFETY: the token proves NEON; the façade has checked every length.
                $($rows => unsafe { rows::<$rows>(t, out, distance) },)*
                _ => {}
            }
        };
    }
    by_rows!(1 2 3 4 5 6)
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[target_feature(enable = "neon")]
unsafe fn rows<const R: usize>(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[vdupq_n_f32(0.0); VECTORS]; R];
    let (mut pixels, mut panel) = (t.pixels.as_ptr(), t.panel.as_ptr());
    // SAFETY: `pixels` holds ⌈K/16⌉ chunks of R·16 floats and `panel` K rows of 16; each step takes
    // one row of the panel and, after 16 of them, one chunk.
    unsafe {
        for _ in 0..t.channels / LANES {
            for k in 0..LANES {
                step(&mut sums, pixels.add(k), panel);
                panel = panel.add(COLUMNS);
            }
            pixels = pixels.add(R * LANES);
        }
        for k in 0..t.channels % LANES {
            step(&mut sums, pixels.add(k), panel);
            panel = panel.add(COLUMNS);
        }
    }
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
