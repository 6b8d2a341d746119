//! The tile for any vector, its sums in registers: R pixels by B blocks of channels, each block of P
//! vectors.

use pulp::{Simd, WithSimd};

use super::prefetch;
use super::{LANES, Lanes, MOST_BLOCKS, Tile};

pub struct Vector<'a, const R: usize, const B: usize, const P: usize> {
    pub tile: &'a Tile<'a>,
    pub out: [&'a mut [Lanes]; MOST_BLOCKS],
}

/// The sums of one tile.
type Sums<S, const R: usize, const B: usize, const P: usize> = [[[<S as Simd>::f32s; P]; B]; R];

impl<const R: usize, const B: usize, const P: usize> WithSimd for Vector<'_, R, B, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tile, out } = self;
        let mut sums = [[[simd.splat_f32s(0.0); P]; B]; R];
        let mut panel = tile.panel.as_chunks::<B>().0;
        let (pixels, _) = tile.pixels.as_chunks::<R>();
        let (whole, part) = pixels.split_at(tile.channels / LANES);
        let mut ahead = tile.ahead.chunks(tile.ahead.len().div_ceil(whole.len().max(1)).max(1));
        for pixels in whole {
            ahead.next().unwrap_or_default().iter().for_each(prefetch);
            let (weights, rest) = panel.split_at(LANES);
            for (k, weights) in weights.iter().enumerate() {
                add_channel(simd, &mut sums, pixels, k, weights);
            }
            panel = rest;
        }
        if let Some(pixels) = part.first() {
            for (k, weights) in panel.iter().enumerate().take(tile.channels % LANES) {
                add_channel(simd, &mut sums, pixels, k, weights);
            }
        }
        store(simd, sums, tile, out);
    }
}

/// Adds the products of one input channel, lane `k` of each pixel.
#[inline(always)]
fn add_channel<S: Simd, const R: usize, const B: usize, const P: usize>(
    simd: S,
    sums: &mut Sums<S, R, B, P>,
    pixels: &[Lanes; R],
    k: usize,
    weights: &[Lanes; B],
) {
    let weights: [[S::f32s; P]; B] = std::array::from_fn(|b| vectors::<S, P>(&weights[b]));
    for (sums, pixel) in sums.iter_mut().zip(pixels) {
        let pixel = simd.splat_f32s(pixel[k]);
        for (sums, weights) in sums.iter_mut().zip(&weights) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = simd.mul_add_e_f32s(pixel, *weight, *sum);
            }
        }
    }
}

/// Bias, residual and ReLU, and the result to memory.
#[inline(always)]
fn store<S: Simd, const R: usize, const B: usize, const P: usize>(
    simd: S,
    sums: Sums<S, R, B, P>,
    tile: &Tile,
    out: [&mut [Lanes]; MOST_BLOCKS],
) {
    // Through memory: an index that is only known at run time would keep the sums out of the
    // registers all along.
    let mut rows = [[[0.0; LANES]; B]; R];
    for (row, sums) in rows.iter_mut().zip(sums) {
        for (block, sums) in row.iter_mut().zip(sums) {
            S::as_mut_simd_f32s(block).0.copy_from_slice(&sums);
        }
    }
    let floor = simd.splat_f32s(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
    for (b, out) in out.into_iter().enumerate().take(B) {
        let bias = vectors::<S, P>(&tile.bias[b]);
        let finish = |out: &mut Lanes, row: &[Lanes; B], residual: Option<&Lanes>| {
            let out = S::as_mut_simd_f32s(out).0;
            for p in 0..P {
                let mut sum = simd.add_f32s(S::as_simd_f32s(&row[b]).0[p], bias[p]);
                if let Some(residual) = residual {
                    sum = simd.add_f32s(sum, S::as_simd_f32s(residual).0[p]);
                }
                out[p] = simd.max_f32s(floor, sum);
            }
        };
        match tile.residual {
            None => out.iter_mut().zip(&rows).for_each(|(out, row)| finish(out, row, None)),
            Some(residual) => {
                let rows = rows.iter().zip(residual[b]);
                out.iter_mut().zip(rows).for_each(|(out, (row, residual))| finish(out, row, Some(residual)));
            }
        }
    }
}

#[inline(always)]
fn vectors<S: Simd, const P: usize>(lanes: &Lanes) -> [S::f32s; P] {
    std::array::from_fn(|p| S::as_simd_f32s(lanes).0[p])
}
