//! The tile for any vector, its sums in registers: R pixels by B blocks of channels, each block of P
//! vectors.

use pulp::{Simd, WithSimd};

use super::{LANES, Lanes, MOST_BLOCKS, Tile, prefetch};

pub struct Vector<'a, const R: usize, const B: usize, const P: usize> {
    pub tile: &'a Tile<'a>,
    pub out: [&'a mut [Lanes]; MOST_BLOCKS],
}

/// Runs a body for each row, written out: an index that is only known at run time would keep the sums
/// out of the registers all along.
macro_rules! for_each_row {
    ($row:ident in $rows:ident, $body:expr) => {
        for_each_row!(@ $row $rows $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $row:ident $rows:ident $body:expr, $($index:literal)*) => {
        $(if $index < $rows {
            let $row: usize = $index;
            $body
        })*
    };
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
        let [first, second] = out;
        store(simd, &sums, tile, 0, first);
        if B > 1 {
            store(simd, &sums, tile, 1, second);
        }
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

/// Bias, residual and ReLU of block `b`, and the result to memory.
#[inline(always)]
fn store<S: Simd, const R: usize, const B: usize, const P: usize>(
    simd: S,
    sums: &Sums<S, R, B, P>,
    tile: &Tile,
    b: usize,
    out: &mut [Lanes],
) {
    let Some(out) = out.first_chunk_mut::<R>() else { return };
    let bias = vectors::<S, P>(&tile.bias[b]);
    let floor = simd.splat_f32s(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
    let residual = tile.residual.and_then(|residual| residual[b].first_chunk::<R>());
    for_each_row!(r in R, {
        let residual = residual.map(|residual| S::as_simd_f32s(&residual[r]).0);
        for (p, out) in S::as_mut_simd_f32s(&mut out[r]).0.iter_mut().enumerate() {
            let mut sum = simd.add_f32s(sums[r][b][p], bias[p]);
            if let Some(residual) = residual {
                sum = simd.add_f32s(sum, residual[p]);
            }
            *out = simd.max_f32s(floor, sum);
        }
    });
}

#[inline(always)]
fn vectors<S: Simd, const P: usize>(lanes: &Lanes) -> [S::f32s; P] {
    std::array::from_fn(|p| S::as_simd_f32s(lanes).0[p])
}
