//! The pixels of register tiles, packed for [`super::tile`]: a depthwise convolution's results, or the
//! pixels under an ordinary convolution's kernel; and the max-pool beside them.
//!
//! All take a run of output pixels in row order. The packed pixels are one tile after the other, each
//! [⌈K/16⌉, rows, 16]; they are written block of channels by block, so that the input is read from
//! end to end.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::buffer::{LANES, Lanes};
use super::tiles::{Segment, segments};
use super::{MaxPool, Nhwc};
use crate::architecture::KERNEL;

const TAPS: usize = KERNEL * KERNEL;

/// Height, width and channels of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    pub h: usize,
    pub w: usize,
    pub c: usize,
}

impl From<Nhwc> for Image {
    fn from(Nhwc { h, w, c, .. }: Nhwc) -> Self {
        Self { h, w, c }
    }
}

impl Image {
    pub fn pixels(&self) -> usize {
        self.h * self.w
    }

    pub fn elements(&self) -> usize {
        self.pixels() * self.c
    }

    /// Blocks of 16 channels.
    pub fn blocks(&self) -> usize {
        self.c.div_ceil(LANES)
    }

    /// Vectors of a blocked activation.
    pub fn vectors(&self) -> usize {
        self.pixels() * self.blocks()
    }
}

/// Weights of a depthwise convolution: for each block of channels the kernel's nine vectors.
#[derive(Debug)]
pub struct DepthwiseWeights(Vec<[Lanes; TAPS]>);

impl DepthwiseWeights {
    /// From timm's layout, [C, 1, 3, 3].
    pub fn new(weight: &[f32]) -> Self {
        let channels = weight.as_chunks::<TAPS>().0;
        let block = |channels: &[[f32; TAPS]]| {
            std::array::from_fn(|tap| std::array::from_fn(|lane| channels.get(lane).map_or(0.0, |taps| taps[tap])))
        };
        Self(channels.chunks(LANES).map(block).collect())
    }

    /// Blocks of 16 channels.
    pub fn blocks(&self) -> usize {
        self.0.len()
    }
}

/// Depthwise 3×3 results, padding 1, of the rectified input if `relu`.
pub struct Depthwise<'a> {
    /// Blocked, of shape `image`.
    pub x: &'a [Lanes],
    pub image: Image,
    pub weights: &'a DepthwiseWeights,
    pub relu: bool,
    pub tiles: &'a [Segment],
    pub packed: &'a mut [Lanes],
}

impl WithSimd for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.relu { self.blocks::<S, true>(simd) } else { self.blocks::<S, false>(simd) }
    }
}

impl Depthwise<'_> {
    #[inline(always)]
    fn blocks<S: Simd, const RELU: bool>(self, simd: S) {
        let Self { image: Image { h, w, .. }, weights: DepthwiseWeights(weights), .. } = self;
        for (block, (x, taps)) in self.x.chunks_exact(h * w).zip(weights).enumerate() {
            for segment in self.tiles {
                // Beyond the border any row will do, with weights of zero.
                let inside = |i: usize| (1..=h).contains(&(segment.row + i));
                let rows = std::array::from_fn(|i| {
                    let row = if inside(i) { segment.row + i - 1 } else { segment.row };
                    &x[row * w..][..w]
                });
                let mut at_border = [[0.0; LANES]; TAPS];
                let taps = if inside(0) && inside(2) {
                    taps
                } else {
                    for (tap, weights) in taps.iter().enumerate().filter(|(tap, _)| inside(tap / KERNEL)) {
                        at_border[tap] = *weights;
                    }
                    &at_border
                };
                let packed = &mut self.packed[segment.place(block, weights.len())];
                for part in 0..LANES / S::F32_LANES {
                    Columns::<S, RELU>::new(simd, part, rows, taps).convolve(segment.columns.clone(), packed);
                }
            }
        }
    }
}

/// Vector `part` of a block of channels in the three rows under the kernel, and the kernel's weights.
struct Columns<'a, S: Simd, const RELU: bool> {
    simd: S,
    part: usize,
    rows: [&'a [Lanes]; KERNEL],
    taps: [S::f32s; TAPS],
}

impl<'a, S: Simd, const RELU: bool> Columns<'a, S, RELU> {
    #[inline(always)]
    fn new(simd: S, part: usize, rows: [&'a [Lanes]; KERNEL], weights: &[Lanes; TAPS]) -> Self {
        let mut taps = [simd.splat_f32s(0.0); TAPS];
        for (tap, weights) in taps.iter_mut().zip(weights) {
            *tap = S::as_simd_f32s(weights).0[part];
        }
        Self { simd, part, rows, taps }
    }

    /// The results at `columns`. Each column of the input is loaded once and added to the three
    /// results that it belongs to.
    #[inline(always)]
    fn convolve(&self, columns: Range<usize>, packed: &mut [Lanes]) {
        let (zero, Range { start, end }) = (self.simd.splat_f32s(0.0), columns);
        let before = if start > 0 { self.add(zero, self.column(start - 1), 0) } else { zero };
        let first = self.column(start);
        // Sums of the pixel left of the next column, and of the pixel at it.
        let (mut left, mut here) = (self.add(before, first, 1), self.add(zero, first, 0));
        let [top, middle, bottom] = self.rows;
        let next = top[start + 1..end].iter().zip(&middle[start + 1..end]).zip(&bottom[start + 1..end]);
        for (((top, middle), bottom), packed) in next.zip(&mut *packed) {
            let x = [self.load(top), self.load(middle), self.load(bottom)];
            S::as_mut_simd_f32s(packed).0[self.part] = self.add(left, x, 2);
            (left, here) = (self.add(here, x, 1), self.add(zero, x, 0));
        }
        if end < top.len() {
            left = self.add(left, self.column(end), 2);
        }
        if let Some(packed) = packed.last_mut() {
            S::as_mut_simd_f32s(packed).0[self.part] = left;
        }
    }

    #[inline(always)]
    fn column(&self, w: usize) -> [S::f32s; KERNEL] {
        let [top, middle, bottom] = self.rows;
        [self.load(&top[w]), self.load(&middle[w]), self.load(&bottom[w])]
    }

    #[inline(always)]
    fn load(&self, lanes: &Lanes) -> S::f32s {
        let x = S::as_simd_f32s(lanes).0[self.part];
        if RELU { self.simd.max_f32s(self.simd.splat_f32s(0.0), x) } else { x }
    }

    /// Adds a column's products with column `j` of the kernel.
    #[inline(always)]
    fn add(&self, mut sum: S::f32s, x: [S::f32s; KERNEL], j: usize) -> S::f32s {
        for (i, x) in x.into_iter().enumerate() {
            sum = self.simd.mul_add_e_f32s(x, self.taps[KERNEL * i + j], sum);
        }
        sum
    }
}

/// The 3×3/2 max-pool.
pub struct Pooled<'a> {
    /// Blocked, of the pool's input shape.
    pub x: &'a [Lanes],
    pub pool: MaxPool,
    pub pixels: Range<usize>,
    pub packed: &'a mut [Lanes],
}

impl WithSimd for Pooled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (input, output) = (self.pool.input, self.pool.output());
        let blocks = self.x.chunks_exact(input.h * input.w);
        let count = blocks.len();
        for (block, x) in blocks.enumerate() {
            for segment in segments(self.pixels.clone(), 0, output.w) {
                // A window that hangs over the border sees the border's pixels twice.
                let rows = self.pool.rows(segment.row).map(|row| &x[row * input.w..][..input.w]);
                let packed = &mut self.packed[segment.place(block, count)];
                for (column, packed) in segment.columns.zip(packed) {
                    let columns = self.pool.columns(column);
                    let packed = S::as_mut_simd_f32s(packed).0;
                    for (part, packed) in packed.iter_mut().enumerate() {
                        let mut largest = S::as_simd_f32s(&rows[0][columns[0]]).0[part];
                        for row in rows {
                            for column in columns {
                                largest = simd.max_f32s(largest, S::as_simd_f32s(&row[column]).0[part]);
                            }
                        }
                        *packed = largest;
                    }
                }
            }
        }
    }
}

/// An ordinary convolution's kernel without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: usize,
    pub stride: usize,
}

/// The pixels of a blocked activation under the window, [kernel row, kernel column, block].
pub fn window(x: &[Lanes], image: Image, window: Window, tiles: &[Segment], packed: &mut [Lanes]) {
    let Window { kernel, stride } = window;
    let chunks = kernel * kernel * image.blocks();
    for chunk in 0..chunks {
        let (tap, block) = (chunk / image.blocks(), chunk % image.blocks());
        let (i, j) = (tap / kernel, tap % kernel);
        for segment in tiles {
            let row = block * image.h + segment.row * stride + i;
            let x = &x[row * image.w + segment.columns.start * stride + j..];
            let packed = &mut packed[segment.place(chunk, chunks)];
            if stride == 1 {
                packed.copy_from_slice(&x[..packed.len()]);
            } else {
                packed.iter_mut().zip(x.iter().step_by(stride)).for_each(|(packed, x)| *packed = *x);
            }
        }
    }
}

/// The values of a picture [H,W,3] under a 3×3 window, [kernel row, kernel column, channel] and zeros
/// up to whole vectors.
pub fn picture(x: &[f32], width: usize, stride: usize, tiles: &[Segment], packed: &mut [Lanes]) {
    const RUN: usize = KERNEL * 3;
    const CHUNKS: usize = (KERNEL * RUN).div_ceil(LANES);
    for segment in tiles {
        for (offset, w) in segment.columns.clone().enumerate() {
            let mut taps = [0.0; CHUNKS * LANES];
            for (i, taps) in taps.as_chunks_mut::<RUN>().0.iter_mut().enumerate() {
                taps.copy_from_slice(&x[((segment.row * stride + i) * width + w * stride) * 3..][..RUN]);
            }
            for (chunk, taps) in taps.as_chunks().0.iter().enumerate() {
                packed[segment.place(chunk, CHUNKS).start + offset] = *taps;
            }
        }
    }
}
