//! The pixels of one register tile, packed for [`super::tile`]: a depthwise convolution's results,
//! or the pixels under an ordinary convolution's kernel.
//!
//! Both write [⌈K/16⌉, rows, 16]; lanes beyond K hold anything and are never read.

use std::ops::Range;

use super::buffer::{Buffer, LANES};
use super::{MaxPool, inside};
use crate::architecture::KERNEL;

/// Height, width and channels of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl Image {
    pub fn pixels(&self) -> usize {
        self.h * self.w
    }

    pub fn elements(&self) -> usize {
        self.pixels() * self.c
    }
}

/// Weights of a depthwise convolution, [9, C], each row padded to whole vectors.
#[derive(Debug)]
pub struct DepthwiseWeights {
    rows: Buffer,
    distance: usize,
}

impl DepthwiseWeights {
    /// From timm's layout, [C, 1, 3, 3].
    pub fn new(weight: &[f32]) -> Self {
        let taps = KERNEL * KERNEL;
        let distance = (weight.len() / taps).next_multiple_of(LANES);
        let mut rows = Buffer::zeros(taps * distance);
        for (c, channel) in weight.chunks_exact(taps).enumerate() {
            for (tap, &weight) in channel.iter().enumerate() {
                rows[tap * distance + c] = weight;
            }
        }
        Self { rows, distance }
    }
}

/// Depthwise 3×3 results at output pixels `pixels` (in row order), of the rectified input if `relu`.
/// With `FUSED` a product and its sum round once, which is fast only where the machine has the
/// instruction.
///
/// # Panics
/// If `x` is shorter than the image and a vector behind it, or `packed` than the tile.
#[inline(always)]
pub fn depthwise<const FUSED: bool>(
    x: &[f32],
    image: Image,
    weights: &DepthwiseWeights,
    relu: bool,
    pixels: Range<usize>,
    packed: &mut [f32],
) {
    assert!(x.len() >= image.elements() + LANES && pixels.end <= image.pixels(), "depthwise input");
    let rows = pixels.len();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let chunks = weights.distance / LANES;
    let weights = &weights.rows[..];
    for (r, pixel) in pixels.enumerate() {
        let (h, w) = (pixel / image.w, pixel % image.w);
        let mut taps: [Tap; KERNEL * KERNEL] = [(&[], &[]); KERNEL * KERNEL];
        let mut count = 0;
        for i in inside(h as isize - 1, KERNEL, image.h) {
            for j in inside(w as isize - 1, KERNEL, image.w) {
                let x = &x[((h + i - 1) * image.w + w + j - 1) * image.c..];
                let weights = &weights[(KERNEL * i + j) * chunks * LANES..];
                taps[count] = (&x.as_chunks().0[..chunks], &weights.as_chunks().0[..chunks]);
                count += 1;
            }
        }
        let packed = packed.as_chunks_mut().0.iter_mut().skip(r).step_by(rows).take(chunks);
        match taps[..count].as_array::<{ KERNEL * KERNEL }>() {
            Some(all) => sum_taps::<FUSED>(all, floor, packed),
            None => sum_taps::<FUSED>(&taps[..count], floor, packed),
        }
    }
}

/// Vectors of a pixel under the kernel, and the kernel's weights for it.
type Tap<'a> = (&'a [[f32; LANES]], &'a [[f32; LANES]]);

/// One pixel's sums over its taps, a vector of channels after the other.
#[inline(always)]
fn sum_taps<'a, const FUSED: bool>(taps: &[Tap], floor: f32, packed: impl Iterator<Item = &'a mut [f32; LANES]>) {
    for (chunk, packed) in packed.enumerate() {
        let mut sums = [0.0f32; LANES];
        for (x, weights) in taps {
            for ((sum, x), weight) in sums.iter_mut().zip(&x[chunk]).zip(&weights[chunk]) {
                let x = if *x > floor { *x } else { floor };
                *sum = if FUSED { x.mul_add(*weight, *sum) } else { x * weight + *sum };
            }
        }
        *packed = sums;
    }
}

/// The 3×3/2 max-pool at output pixels `pixels`, as [pixels, C].
///
/// # Panics
/// If `x` is shorter than the pool's input, or `out` than its pixels.
#[inline(always)]
pub fn max_pool(x: &[f32], pool: MaxPool, pixels: Range<usize>, out: &mut [f32]) {
    let (output, channels) = (pool.output(), pool.input.c);
    for (pixel, out) in pixels.zip(out.chunks_exact_mut(channels)) {
        let mut window = pool.window(pixel / output.w, pixel % output.w).map(|offset| &x[offset..][..channels]);
        let mut taps: [&[f32]; KERNEL * KERNEL] = [&[]; KERNEL * KERNEL];
        let mut count = 0;
        for (tap, x) in taps.iter_mut().zip(&mut window) {
            (*tap, count) = (x, count + 1);
        }
        // A window at the border sees its first pixel several times.
        let first = taps[0];
        taps[count..].fill(first);
        for (c, out) in out.iter_mut().enumerate() {
            *out = taps.iter().fold(f32::NEG_INFINITY, |largest, x| if x[c] > largest { x[c] } else { largest });
        }
    }
}

/// An ordinary convolution's kernel without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
}

/// The pixels under the window, [kernel row, kernel column, channel], at output pixels `pixels` of
/// an output `out_w` wide.
///
/// # Panics
/// If the window leaves the image, or `packed` is shorter than the tile.
#[inline(always)]
pub fn window(x: &[f32], image: Image, window: Window, out_w: usize, pixels: Range<usize>, packed: &mut [f32]) {
    let rows = pixels.len();
    let width = window.kernel * image.c;
    for (r, pixel) in pixels.enumerate() {
        let (h, w) = (pixel / out_w * window.stride, pixel % out_w * window.stride);
        for i in 0..window.kernel {
            let source = &x[((h + i) * image.w + w) * image.c..][..width];
            // Runs up to the next multiple of a vector.
            let mut k = i * width;
            let mut source = source;
            while !source.is_empty() {
                let (run, rest) = source.split_at(source.len().min(LANES - k % LANES));
                packed[(k / LANES * rows + r) * LANES + k % LANES..][..run.len()].copy_from_slice(run);
                (k, source) = (k + run.len(), rest);
            }
        }
    }
}
