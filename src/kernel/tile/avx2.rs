//! The tile in AVX2 with FMA: 6 pixels by two vectors of 8 output channels fill 12 of 16 registers.

use std::arch::x86_64::*;

use super::{LANES, Tile};
use crate::kernel::isa::Avx2;

const VECTOR: usize = 8;
pub const ROWS: usize = 6;
pub const COLUMNS: usize = 2 * VECTOR;

pub fn tile(_: Avx2, t: &Tile, out: &mut [f32], distance: usize) {
    by_rows!(t, out, distance, 1 2 3 4 5 6)
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const R: usize>(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    for_each_channel!(t, sums, R);
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
