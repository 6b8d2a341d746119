//! The tile in AVX-512: 14 pixels by two vectors of 16 output channels fill 28 of 32 registers.

use std::arch::x86_64::*;

use super::{LANES, Tile};
use crate::kernel::isa::Avx512;

pub const ROWS: usize = 14;
pub const COLUMNS: usize = 2 * LANES;

pub fn tile(_: Avx512, t: &Tile, out: &mut [f32], distance: usize) {
    by_rows!(t, out, distance, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[target_feature(enable = "avx512f")]
unsafe fn rows<const R: usize>(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for_each_channel!(t, sums, R);
    // Through memory: an index that is only known at run time would keep the sums out of the
    // registers all along.
    let mut rows = [[0.0; COLUMNS]; R];
    for (row, sums) in rows.iter_mut().zip(&sums) {
        // SAFETY: a row holds two vectors.
        unsafe {
            _mm512_storeu_ps(row.as_mut_ptr(), sums[0]);
            _mm512_storeu_ps(row.as_mut_ptr().add(LANES), sums[1]);
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(&rows, t, out, distance) }
}

/// Adds one input channel's products.
///
/// # Safety
/// `pixels` points to R floats 16 apart, `panel` to 32.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn step<const R: usize>(sums: &mut [[__m512; 2]; R], pixels: *const f32, panel: *const f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let weights = [_mm512_loadu_ps(panel), _mm512_loadu_ps(panel.add(LANES))];
        for (r, sums) in sums.iter_mut().enumerate() {
            let pixel = _mm512_set1_ps(*pixels.add(r * LANES));
            sums[0] = _mm512_fmadd_ps(pixel, weights[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(pixel, weights[1], sums[1]);
        }
    }
}

/// # Safety
/// The lengths that [`super::tile`] asserts, with `t.rows == R`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const R: usize>(rows: &[[f32; COLUMNS]; R], t: &Tile, out: &mut [f32], distance: usize) {
    let masks = [lanes(t.stored), lanes(t.stored.saturating_sub(LANES))];
    let floor = if t.relu { 0.0 } else { f32::NEG_INFINITY };
    let floor = _mm512_set1_ps(floor);
    let out = out.as_mut_ptr();
    for (half, mask) in masks.into_iter().enumerate().filter(|(_, mask)| *mask != 0) {
        // SAFETY: the masks keep loads and stores within the `stored` floats of each row.
        unsafe {
            let bias = _mm512_loadu_ps(t.bias.as_ptr().add(half * LANES));
            for (r, row) in rows.iter().enumerate() {
                let mut sum = _mm512_add_ps(_mm512_loadu_ps(row.as_ptr().add(half * LANES)), bias);
                if let Some((residual, distance)) = t.residual {
                    let residual = residual.as_ptr().add(r * distance + half * LANES);
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, residual));
                }
                // The first operand of a max is dropped when it is not a number, so the sum comes second.
                _mm512_mask_storeu_ps(out.add(r * distance + half * LANES), mask, _mm512_max_ps(floor, sum));
            }
        }
    }
}

/// A mask of the first `count` lanes.
fn lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}
