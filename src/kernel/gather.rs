//! The pixels of one register tile, packed for [`super::tile`]: a depthwise convolution's results,
//! or the pixels under an ordinary convolution's kernel.
//!
//! Both write [⌈K/16⌉, rows, 16]; lanes beyond K hold anything and are never read.

use std::ops::Range;

use super::buffer::{Buffer, LANES};
use super::inside;
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
///
/// # Panics
/// If `x` is shorter than the image and a vector behind it, or `packed` than the tile.
#[inline(always)]
pub fn depthwise(
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
    for (r, pixel) in pixels.enumerate() {
        let (h, w) = (pixel / image.w, pixel % image.w);
        let mut taps = [(0, 0); KERNEL * KERNEL];
        let mut count = 0;
        for i in inside(h as isize - 1, KERNEL, image.h) {
            for j in inside(w as isize - 1, KERNEL, image.w) {
                let at = ((h + i - 1) * image.w + w + j - 1) * image.c;
                taps[count] = (at, (KERNEL * i + j) * weights.distance);
                count += 1;
            }
        }
        match count {
            9 => sum_taps(x, weights, &taps, floor, r, rows, packed),
            _ => sum_taps(x, weights, &taps[..count], floor, r, rows, packed),
        }
    }
}

/// One pixel's sums over its taps, a vector of channels after the other.
#[inline(always)]
fn sum_taps(
    x: &[f32],
    weights: &DepthwiseWeights,
    taps: &[(usize, usize)],
    floor: f32,
    r: usize,
    rows: usize,
    packed: &mut [f32],
) {
    let vectors = packed.as_chunks_mut::<LANES>().0.iter_mut().skip(r).step_by(rows);
    for (chunk, packed) in vectors.enumerate().take(weights.distance / LANES) {
        let mut sums = [0.0; LANES];
        for &(x_at, weight_at) in taps {
            let x = &x[x_at + chunk * LANES..][..LANES];
            let weights = &weights.rows[weight_at + chunk * LANES..][..LANES];
            for ((sum, x), weight) in sums.iter_mut().zip(x).zip(weights) {
                *sum += x.max(floor) * weight;
            }
        }
        *packed = sums;
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
