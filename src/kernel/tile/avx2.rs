//! The tile in AVX2 with FMA: 6 pixels by two vectors of 8 output channels fill 12 of 16 registers.

use std::arch::x86_64::*;

use super::{LANES, Tile};
use crate::kernel::isa::Avx2;

const VECTOR: usize = 8;
pub const ROWS: usize = 6;
pub const COLUMNS: usize = 2 * VECTOR;

pub fn tile(_: Avx2, t: &Tile, out: &mut [f32], distance: usize) {
    macro_rules! by_rows {
        ($($rows:literal)*) => {
            match t.rows {
                // SAFETY: the token proves AVX2 and FMA; the façade has checked every length.
                $($rows => unsafe { rows::<$rows>(t, out, distance) },)*
                _ => {}
            }
        };
    }
    by_rows!(1 2 3 4 5 6)
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize>(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
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
        // SAFETY: a row holds two vectors.
        unsafe {
            _mm256_storeu_ps(row.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(row.as_mut_ptr().add(VECTOR), sums[1]);
        }
    }
    super::finish(&rows, t, out, distance);
}

/// Adds one input channel's products.
///
/// # Safety
/// `pixels` points to R floats 16 apart, `panel` to 16.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn step<const R: usize>(sums: &mut [[__m256; 2]; R], pixels: *const f32, panel: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = [_mm256_loadu_ps(panel), _mm256_loadu_ps(panel.add(VECTOR))];
        for (r, sums) in sums.iter_mut().enumerate() {
            let pixel = _mm256_set1_ps(*pixels.add(r * LANES));
            sums[0] = _mm256_fmadd_ps(pixel, weights[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(pixel, weights[1], sums[1]);
        }
    }
}
