//! Depthwise 3×3 convolution, stride 1, padding 1, of an input that may pass a ReLU first; and its
//! gradients.
//!
//! The gradient of its input is the same convolution with the kernel turned by 180°. Both go along the rows
//! of the image, a vector of channels at a time, and load each column of three pixels once.

use std::array::from_fn;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Nhwc;
use super::blocks::{by_blocks, by_blocks_within};
use super::tiles::part;
use crate::architecture::KERNEL;

const TAPS: usize = KERNEL * KERNEL;

/// Rows of an image whose weight gradient is summed at once.
const ROW_BLOCK: usize = 8;

/// Pixels of a row that are gone through, vector of channels by vector, before the next: those of three rows
/// fit into the second-level cache.
const CHUNK: usize = 24;

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
    let border = vec![0.0; shape.row()];
    by_blocks(x.len(), shape.row(), |row, y| {
        let image = &x[row / shape.h * shape.image()..][..shape.image()];
        let rows = rows_around(image, row % shape.h, shape, &border);
        let along = Forward { rows, taps, relu, y };
        pulp::Arch::new().dispatch(Row { width: shape.w, channels: shape.c, along });
    })
}

/// Gradients of [`depthwise`]'s input and of its taps: `dtaps[3i+j,c] = Σ x[n,h+i−1,w+j−1,c] · dy[n,h,w,c]`.
///
/// Shapes: `x`, `dy` and the first result [N,H,W,C], `taps` and the second result [9,C].
///
/// # Panics
/// If a slice does not have its shape.
pub fn depthwise_backward(x: &[f32], shape: Nhwc, taps: &[f32], relu: bool, dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(x.len(), shape.elements(), "depthwise input");
    assert_eq!(dy.len(), shape.elements(), "depthwise gradient");
    assert_eq!(taps.len(), TAPS * shape.c, "depthwise weight");
    let (border, turned) = (vec![0.0; shape.row()], turned(taps, shape.c));
    let (dx, partials) = by_blocks_within(shape.image(), x.len(), ROW_BLOCK * shape.row(), |n, block, dx| {
        let image = n * shape.image()..(n + 1) * shape.image();
        let (x, dy) = (&x[image.clone()], &dy[image]);
        let mut sums = vec![0.0; TAPS * shape.c];
        for (row, dx) in dx.chunks_exact_mut(shape.row()).enumerate() {
            let h = block * ROW_BLOCK + row;
            let (x, rows) = (&x[h * shape.row()..][..shape.row()], rows_around(dy, h, shape, &border));
            let along = Backward { x, rows, turned: &turned, relu, dx, sums: &mut sums };
            pulp::Arch::new().dispatch(Row { width: shape.w, channels: shape.c, along });
        }
        sums
    });
    let mut dtaps = vec![0.0; TAPS * shape.c];
    for partial in partials {
        dtaps.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += partial);
    }
    (dx, self::turned(&dtaps, shape.c))
}

/// The kernel turned by 180°, [9,C].
fn turned(taps: &[f32], c: usize) -> Vec<f32> {
    taps.chunks_exact(c).rev().flatten().copied().collect()
}

/// Row `h` of an image between its neighbours; beyond the image lies `border`.
fn rows_around<'a>(image: &'a [f32], h: usize, shape: Nhwc, border: &'a [f32]) -> [&'a [f32]; KERNEL] {
    from_fn(|i| match (h + i).checked_sub(1) {
        Some(h) if h < shape.h => &image[h * shape.row()..][..shape.row()],
        _ => border,
    })
}

/// A loop along a row of pixels.
trait Along {
    /// Over some channels of the pixels `columns`.
    fn run<S: Simd, const PARTIAL: bool>(&mut self, channels: Channels<S, PARTIAL>, columns: Range<usize>);
}

/// Runs a loop over all channels and pixels of a row.
struct Row<A> {
    width: usize,
    channels: usize,
    along: A,
}

impl<A: Along> WithSimd for Row<A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let chunks = self.width.div_ceil(CHUNK);
        for chunk in 0..chunks {
            let columns = part(0..self.width, chunk, chunks);
            let mut first = 0;
            while first + S::F32_LANES <= self.channels {
                let channels = Channels::<S, false> { simd, first, count: S::F32_LANES, of: self.channels };
                self.along.run(channels, columns.clone());
                first += S::F32_LANES;
            }
            if first < self.channels {
                let count = self.channels - first;
                self.along.run(Channels::<S, true> { simd, first, count, of: self.channels }, columns);
            }
        }
    }
}

/// A vector of channels, `count` from `first` on, of pixels that have `of`; fewer than a vector holds if
/// `PARTIAL`.
#[derive(Clone, Copy)]
struct Channels<S: Simd, const PARTIAL: bool> {
    simd: S,
    first: usize,
    count: usize,
    of: usize,
}

impl<S: Simd, const PARTIAL: bool> Channels<S, PARTIAL> {
    /// Of the pixel `index`.
    #[inline(always)]
    fn load(self, pixels: &[f32], index: usize) -> S::f32s {
        let values = &pixels[index * self.of + self.first..][..self.count];
        if PARTIAL { self.simd.partial_load_f32s(values) } else { S::as_simd_f32s(values).0[0] }
    }

    /// Of the pixel `index`, behind a ReLU if asked for.
    #[inline(always)]
    fn load_rectified(self, pixels: &[f32], index: usize, relu: bool) -> S::f32s {
        let x = self.load(pixels, index);
        // In this order a NaN stays one.
        if relu { self.simd.max_f32s(self.simd.splat_f32s(0.0), x) } else { x }
    }

    #[inline(always)]
    fn store(self, pixels: &mut [f32], index: usize, vector: S::f32s) {
        let values = &mut pixels[index * self.of + self.first..][..self.count];
        if PARTIAL {
            self.simd.partial_store_f32s(values, vector);
        } else {
            S::as_mut_simd_f32s(values).0[0] = vector;
        }
    }

    /// Of each tap of [9,C].
    #[inline(always)]
    fn load_taps(self, taps: &[f32]) -> [S::f32s; TAPS] {
        let mut vectors = [self.simd.splat_f32s(0.0); TAPS];
        for (tap, vector) in vectors.iter_mut().enumerate() {
            *vector = self.load(taps, tap);
        }
        vectors
    }

    /// Of the pixel `index` in each row.
    #[inline(always)]
    fn load_column(self, [top, middle, bottom]: [&[f32]; KERNEL], index: usize, relu: bool) -> [S::f32s; KERNEL] {
        [
            self.load_rectified(top, index, relu),
            self.load_rectified(middle, index, relu),
            self.load_rectified(bottom, index, relu),
        ]
    }

    /// Adds a column's products with column `j` of the kernel.
    #[inline(always)]
    fn add(self, mut sum: S::f32s, column: [S::f32s; KERNEL], taps: &[S::f32s; TAPS], j: usize) -> S::f32s {
        for (i, value) in column.into_iter().enumerate() {
            sum = self.simd.mul_add_e_f32s(value, taps[KERNEL * i + j], sum);
        }
        sum
    }
}

/// A row of [`depthwise`].
struct Forward<'a> {
    rows: [&'a [f32]; KERNEL],
    taps: &'a [f32],
    relu: bool,
    y: &'a mut [f32],
}

impl Along for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd, const PARTIAL: bool>(&mut self, channels: Channels<S, PARTIAL>, columns: Range<usize>) {
        let (zero, width) = (channels.simd.splat_f32s(0.0), self.y.len() / channels.of);
        let (taps, rows, relu) = (channels.load_taps(self.taps), self.rows, self.relu);
        let Range { start, end } = columns;
        let before =
            if start > 0 { channels.add(zero, channels.load_column(rows, start - 1, relu), &taps, 0) } else { zero };
        let first = channels.load_column(rows, start, relu);
        // Sums of the pixel left of the next column, and of the pixel at it.
        let (mut left, mut here) = (channels.add(before, first, &taps, 1), channels.add(zero, first, &taps, 0));
        for w in start + 1..end {
            let x = channels.load_column(rows, w, relu);
            channels.store(self.y, w - 1, channels.add(left, x, &taps, 2));
            (left, here) = (channels.add(here, x, &taps, 1), channels.add(zero, x, &taps, 0));
        }
        if end < width {
            left = channels.add(left, channels.load_column(rows, end, relu), &taps, 2);
        }
        channels.store(self.y, end - 1, left);
    }
}

/// A row of [`depthwise_backward`].
struct Backward<'a> {
    x: &'a [f32],
    /// The rows of `dy`.
    rows: [&'a [f32]; KERNEL],
    /// Turned by 180°.
    turned: &'a [f32],
    relu: bool,
    dx: &'a mut [f32],
    /// The taps' gradients so far, turned too.
    sums: &'a mut [f32],
}

impl Along for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd, const PARTIAL: bool>(&mut self, channels: Channels<S, PARTIAL>, columns: Range<usize>) {
        let Channels { simd, .. } = channels;
        let (zero, width) = (simd.splat_f32s(0.0), self.x.len() / channels.of);
        let (taps, mut sums) = (channels.load_taps(self.turned), channels.load_taps(self.sums));
        let Range { start, end } = columns;
        let (mut dx_left, mut dx_here) = (zero, zero);
        // The rectified input left of the column, at it and right of it, where it belongs to `columns`.
        let (mut x_left, mut x_here) = (zero, zero);
        let mut x_right = channels.load_rectified(self.x, start, self.relu);
        for w in start..=end + 1 {
            // Column w − 1 of the gradients, which the first and last image columns have no neighbour of.
            let dy = match w.checked_sub(1) {
                Some(w) if w < width => channels.load_column(self.rows, w, false),
                _ => [zero; KERNEL],
            };
            let done = channels.add(dx_left, dy, &taps, 2);
            for (i, dy) in dy.into_iter().enumerate() {
                for (j, x) in [x_right, x_here, x_left].into_iter().enumerate() {
                    sums[KERNEL * i + j] = simd.mul_add_e_f32s(x, dy, sums[KERNEL * i + j]);
                }
            }
            if w > start + 1 {
                let passes = simd.less_than_f32s(zero, x_left);
                let dx = if self.relu { simd.select_f32s(passes, done, zero) } else { done };
                channels.store(self.dx, w - 2, dx);
            }
            (dx_left, dx_here) = (channels.add(dx_here, dy, &taps, 1), channels.add(zero, dy, &taps, 0));
            (x_left, x_here) = (x_here, x_right);
            x_right = if w + 1 < end { channels.load_rectified(self.x, w + 1, self.relu) } else { zero };
        }
        for (tap, sum) in sums.into_iter().enumerate() {
            channels.store(self.sums, tap, sum);
        }
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

    const SHAPES: [Nhwc; 6] = [
        Nhwc { n: 1, h: 1, w: 1, c: 1 },
        Nhwc { n: 2, h: 2, w: 3, c: 15 },
        Nhwc { n: 1, h: 5, w: 4, c: 17 },
        Nhwc { n: 3, h: 3, w: 1, c: 65 },
        Nhwc { n: 1, h: 7, w: 9, c: 130 },
        // Three chunks of a row, three blocks of rows.
        Nhwc { n: 2, h: 17, w: 53, c: 5 },
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
                let (dx, dtaps) = depthwise_backward(&x, shape, &taps, relu, &dy);
                for index in [0, taps.len() / 2, taps.len() - 1] {
                    let mut unit = vec![0.0; taps.len()];
                    unit[index] = 1.0;
                    let expected = dot(&oracle(&rectified, shape, &unit), &dy);
                    // Half a unit in the last place for each of so many terms below 1, summed in another order.
                    let tolerance = 1e-5_f32.max(1e-7 * (shape.n * shape.h * shape.w) as f32);
                    assert!((dtaps[index] - expected).abs() < tolerance, "{index}");
                }
                // And in the rectified input, where the ReLU lets it pass.
                for index in [0, x.len() / 2, x.len() - 1] {
                    let mut unit = vec![0.0; x.len()];
                    unit[index] = if relu && x[index] <= 0.0 { 0.0 } else { 1.0 };
                    assert!((dx[index] - dot(&oracle(&unit, shape, &taps), &dy)).abs() < 1e-5, "{index}");
                }
            }
        }
    }
}
