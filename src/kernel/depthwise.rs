//! Depthwise 3×3 convolution, stride 1, padding 1, of an input that may pass a ReLU first; and its
//! gradients.
//!
//! The gradient of its input is the same convolution with the kernel turned by 180°.

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::by_blocks;
use super::buffer::LANES;
use super::{Nhwc, inside, vectorized};
use crate::architecture::KERNEL;

const TAPS: usize = KERNEL * KERNEL;

/// Rows of an image whose weight gradient is summed at once.
const ROW_BLOCK: usize = 8;

/// `y[n,h,w,c] = Σ x[n,h+i−1,w+j−1,c] · taps[3i+j,c]`, zeros beyond the border; of the rectified `x` if
/// `relu`.
///
/// Shapes: `x` and the result [N,H,W,C], `taps` [9,C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn depthwise(x: &[f32], shape: Nhwc, taps: &[f32], relu: bool) -> Vec<f32> {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(taps.len(), TAPS * shape.c, "depthwise weight");
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    by_blocks(x.len(), shape.row(), |row, y| {
        vectorized(
            #[inline(always)]
            || depthwise_row(x, shape, row, taps, floor, y),
        );
    })
}

/// Gradient of [`depthwise`]'s input.
///
/// Shapes: `x`, `dy` and the result [N,H,W,C], `taps` [9,C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn depthwise_backward_input(x: &[f32], shape: Nhwc, taps: &[f32], relu: bool, dy: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(dy.len(), shape.elements(), "depthwise gradient");
    assert_eq!(taps.len(), TAPS * shape.c, "depthwise weight");
    let turned: Vec<f32> = taps.chunks_exact(shape.c).rev().flatten().copied().collect();
    by_blocks(x.len(), shape.row(), |row, dx| {
        vectorized(
            #[inline(always)]
            || {
                depthwise_row(dy, shape, row, &turned, f32::NEG_INFINITY, dx);
                if relu {
                    let x = &x[row * shape.row()..][..dx.len()];
                    dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = if *x > 0.0 { *dx } else { 0.0 });
                }
            },
        );
    })
}

/// Row `row` of all the images' rows. Values of `x` below `floor` count as `floor`.
#[inline(always)]
fn depthwise_row(x: &[f32], shape: Nhwc, row: usize, taps: &[f32], floor: f32, y: &mut [f32]) {
    let c = shape.c;
    let (image, h) = (&x[row / shape.h * shape.image()..][..shape.image()], row % shape.h);
    let rows = inside(h as isize - 1, KERNEL, shape.h);
    for (w, y) in y.chunks_exact_mut(c).enumerate() {
        let columns = inside(w as isize - 1, KERNEL, shape.w);
        let input = |i: usize, j: usize| &image[(h + i - 1) * shape.row() + (w + j - 1) * c..][..c];
        if rows.len() * columns.len() == TAPS {
            let x: [&[f32]; TAPS] = std::array::from_fn(|tap| input(tap / KERNEL, tap % KERNEL));
            let taps: [&[f32]; TAPS] = std::array::from_fn(|tap| &taps[tap * c..][..c]);
            pixel(x, taps, floor, y);
        } else {
            for i in rows.clone() {
                for j in columns.clone() {
                    let taps = &taps[(KERNEL * i + j) * c..][..c];
                    for ((y, x), tap) in y.iter_mut().zip(input(i, j)).zip(taps) {
                        let x = if *x < floor { floor } else { *x };
                        *y += x * tap;
                    }
                }
            }
        }
    }
}

/// A pixel with all nine neighbours inside, block of channels by block: nine products in registers.
#[inline(always)]
fn pixel(x: [&[f32]; TAPS], taps: [&[f32]; TAPS], floor: f32, y: &mut [f32]) {
    let (x_blocks, taps_blocks) = (x.map(|x| x.as_chunks::<LANES>()), taps.map(|taps| taps.as_chunks::<LANES>()));
    let (y_blocks, y_rest) = y.as_chunks_mut::<LANES>();
    for (block, y) in y_blocks.iter_mut().enumerate() {
        let mut sums = [0.0; LANES];
        for ((x, _), (taps, _)) in x_blocks.iter().zip(&taps_blocks) {
            let (x, taps) = (&x[block], &taps[block]);
            for lane in 0..LANES {
                let x = if x[lane] < floor { floor } else { x[lane] };
                sums[lane] += x * taps[lane];
            }
        }
        *y = sums;
    }
    for ((_, x), (_, taps)) in x_blocks.iter().zip(&taps_blocks) {
        for ((y, x), tap) in y_rest.iter_mut().zip(*x).zip(*taps) {
            let x = if *x < floor { floor } else { *x };
            *y += x * tap;
        }
    }
}

/// Gradient of [`depthwise`]'s taps: `dtaps[3i+j,c] = Σ x[n,h+i−1,w+j−1,c] · dy[n,h,w,c]`.
///
/// Shapes: `x` and `dy` [N,H,W,C], the result [9,C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn depthwise_backward_taps(x: &[f32], shape: Nhwc, relu: bool, dy: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(dy.len(), shape.elements(), "depthwise gradient");
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let blocks = shape.h.div_ceil(ROW_BLOCK);
    let partial = |block: usize| {
        let (n, first) = (block / blocks, block % blocks * ROW_BLOCK);
        let image = n * shape.image()..(n + 1) * shape.image();
        let mut sums = vec![0.0; TAPS * shape.c];
        vectorized(
            #[inline(always)]
            || {
                let rows = first..shape.h.min(first + ROW_BLOCK);
                backward_taps_rows(&x[image.clone()], &dy[image], shape, rows, floor, &mut sums);
            },
        );
        sums
    };
    let partials: Vec<Vec<f32>> = (0..shape.n * blocks).into_par_iter().map(partial).collect();
    let mut dtaps = vec![0.0; TAPS * shape.c];
    for partial in partials {
        dtaps.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += partial);
    }
    dtaps
}

/// Adds the part of the taps' gradient that comes from `rows` of an image, block of channels by block: nine
/// sums in registers.
#[inline(always)]
fn backward_taps_rows(x: &[f32], dy: &[f32], shape: Nhwc, rows: Range<usize>, floor: f32, sums: &mut [f32]) {
    let c = shape.c;
    for first in (0..c).step_by(LANES) {
        let width = LANES.min(c - first);
        if width == LANES {
            let block = backward_taps_block::<LANES>(x, dy, shape, rows.clone(), floor, first);
            for (sums, block) in sums.chunks_exact_mut(c).zip(block) {
                sums[first..][..LANES].copy_from_slice(&block);
            }
        } else {
            for channel in first..c {
                let block = backward_taps_block::<1>(x, dy, shape, rows.clone(), floor, channel);
                sums.chunks_exact_mut(c).zip(block).for_each(|(sums, [sum])| sums[channel] = sum);
            }
        }
    }
}

/// The part of `W` channels from `first` on.
#[inline(always)]
fn backward_taps_block<const W: usize>(
    x: &[f32],
    dy: &[f32],
    shape: Nhwc,
    rows: Range<usize>,
    floor: f32,
    first: usize,
) -> [[f32; W]; TAPS] {
    let mut sums = [[0.0; W]; TAPS];
    for h in rows {
        let inside_rows = inside(h as isize - 1, KERNEL, shape.h);
        for w in 0..shape.w {
            let dy = channels::<W>(dy, shape, h, w, first);
            let inside_columns = inside(w as isize - 1, KERNEL, shape.w);
            if inside_rows.len() * inside_columns.len() == TAPS {
                for (tap, sums) in sums.iter_mut().enumerate() {
                    let x = channels::<W>(x, shape, h + tap / KERNEL - 1, w + tap % KERNEL - 1, first);
                    add_products(sums, x, dy, floor);
                }
            } else {
                // Tap by tap as above: an index known only at run time would keep the sums out of the registers.
                for (tap, sums) in sums.iter_mut().enumerate() {
                    let (i, j) = (tap / KERNEL, tap % KERNEL);
                    if inside_rows.contains(&i) && inside_columns.contains(&j) {
                        add_products(sums, channels::<W>(x, shape, h + i - 1, w + j - 1, first), dy, floor);
                    }
                }
            }
        }
    }
    sums
}

/// `W` channels from `first` on of a pixel.
#[inline(always)]
fn channels<const W: usize>(values: &[f32], shape: Nhwc, h: usize, w: usize, first: usize) -> &[f32; W] {
    values[h * shape.row() + w * shape.c + first..].first_chunk().expect("a pixel has these channels")
}

#[inline(always)]
fn add_products<const W: usize>(sums: &mut [f32; W], x: &[f32; W], dy: &[f32; W], floor: f32) {
    for lane in 0..W {
        let x = if x[lane] < floor { floor } else { x[lane] };
        sums[lane] += x * dy[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{largest_difference, values};

    /// One output element at a time, as the formula says.
    fn oracle(x: &[f32], s: Nhwc, weight: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        for (index, y) in y.iter_mut().enumerate() {
            let (c, w) = (index % s.c, index / s.c % s.w);
            let (h, n) = (index / s.row() % s.h, index / s.image());
            for (i, j) in (0..9).map(|t| (t / 3, t % 3)) {
                let (h, w) = (h + i, w + j);
                if (1..=s.h).contains(&h) && (1..=s.w).contains(&w) {
                    *y += x[((n * s.h + h - 1) * s.w + w - 1) * s.c + c] * weight[(3 * i + j) * s.c + c];
                }
            }
        }
        y
    }

    const SHAPES: [Nhwc; 5] = [
        Nhwc { n: 1, h: 1, w: 1, c: 1 },
        Nhwc { n: 2, h: 2, w: 3, c: 15 },
        Nhwc { n: 1, h: 5, w: 4, c: 17 },
        Nhwc { n: 3, h: 3, w: 1, c: 65 },
        Nhwc { n: 1, h: 7, w: 9, c: 130 },
    ];

    #[test]
    fn depthwise_equals_the_formula_at_odd_sizes() {
        for shape in SHAPES {
            let (x, weight) = (values(1, shape.elements()), values(2, 9 * shape.c));
            // The same nine products in the same order: at most a contraction's rounding apart.
            for relu in [false, true] {
                let rectified: Vec<f32> = x.iter().map(|&x| if relu { x.max(0.0) } else { x }).collect();
                let (found, expected) = (depthwise(&x, shape, &weight, relu), oracle(&rectified, shape, &weight));
                assert!(largest_difference(&found, &expected) < 1e-6);
            }
        }
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn gradients_are_the_derivatives_of_the_map() {
        for shape in SHAPES {
            let (x, taps) = (values(3, shape.elements()), values(4, TAPS * shape.c));
            let dy = values(5, shape.elements());
            for relu in [false, true] {
                let rectified: Vec<f32> = x.iter().map(|&x| if relu { x.max(0.0) } else { x }).collect();
                // The map is linear in the taps: ⟨dy, depthwise(x, unit)⟩ is that tap's gradient.
                let dtaps = depthwise_backward_taps(&x, shape, relu, &dy);
                for index in [0, taps.len() / 2, taps.len() - 1] {
                    let mut unit = vec![0.0; taps.len()];
                    unit[index] = 1.0;
                    assert!((dtaps[index] - dot(&oracle(&rectified, shape, &unit), &dy)).abs() < 1e-5, "{index}");
                }
                // And in the rectified input, where the ReLU lets it pass.
                let dx = depthwise_backward_input(&x, shape, &taps, relu, &dy);
                for index in [0, x.len() / 2, x.len() - 1] {
                    let mut unit = vec![0.0; x.len()];
                    unit[index] = if relu && x[index] <= 0.0 { 0.0 } else { 1.0 };
                    assert!((dx[index] - dot(&oracle(&unit, shape, &taps), &dy)).abs() < 1e-5, "{index}");
                }
            }
        }
    }
}
