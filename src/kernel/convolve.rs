//! A convolution with all that follows it, for a run of output pixels, without leaving the caches.
//!
//! ```text
//! for a block of pixels whose packed inputs fit into the second-level cache:
//!     pack its inputs: depthwise results, or the pixels under the kernel
//!     for each panel of output channels:
//!         for each tile of pixels:
//!             product, bias, residual, ReLU (kernel::tile)
//! ```

use std::ops::Range;

use super::MaxPool;
use super::buffer::Buffer;
use super::gather::{self, DepthwiseWeights, Image, Window};
use super::isa::Isa;
use super::tile::{self, Tile, tile};
use super::vectorized;

/// Floats of packed inputs: half of a small second-level cache.
const BLOCK: usize = 96 * 1024;

/// Weights of a product as panels of output channels, batch normalisation folded in.
#[derive(Debug)]
pub struct Panels {
    isa: Isa,
    channels: usize,
    outputs: usize,
    /// [⌈N/columns⌉, K, columns]
    weights: Buffer,
    /// [⌈N/columns⌉·columns]
    bias: Buffer,
}

impl Panels {
    /// From `weight` [N, K], each row scaled by its `scale`, and `bias` [N].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(isa: Isa, weight: &[f32], scale: &[f32], bias: &[f32]) -> Self {
        use rayon::prelude::*;
        let (outputs, columns) = (bias.len(), tile::columns(isa));
        let channels = weight.len() / outputs;
        assert!(scale.len() == outputs && weight.len() == channels * outputs, "panel weights");
        let mut panels = Buffer::zeros(outputs.div_ceil(columns) * columns * channels);
        panels.par_chunks_mut(channels * columns).enumerate().for_each(|(panel, weights)| {
            for (column, n) in (panel * columns..outputs).take(columns).enumerate() {
                let row = &weight[n * channels..][..channels];
                for (weight, packed) in row.iter().zip(weights.iter_mut().skip(column).step_by(columns)) {
                    *packed = weight * scale[n];
                }
            }
        });
        let mut padded = Buffer::zeros(outputs.next_multiple_of(columns));
        padded[..outputs].copy_from_slice(bias);
        Self { isa, channels, outputs, weights: panels, bias: padded }
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// What the product multiplies.
#[derive(Debug)]
pub enum Inputs {
    /// Results of a depthwise 3×3 convolution with padding 1, of the rectified input if `relu`.
    Depthwise { weights: DepthwiseWeights, relu: bool },
    /// The pixels under an ordinary kernel.
    Window(Window),
}

/// What is added to the product before the ReLU.
#[derive(Debug, Clone, Copy)]
pub enum Residual<'a> {
    None,
    /// An activation of the output's shape.
    Sum(&'a [f32]),
    /// The 3×3/2 max-pool of an activation, whose output has the output's shape.
    MaxPool(&'a [f32], MaxPool),
}

/// One convolution of one image.
#[derive(Debug, Clone, Copy)]
pub struct Convolve<'a> {
    pub inputs: &'a Inputs,
    pub panels: &'a Panels,
    pub residual: Residual<'a>,
    pub relu: bool,
    /// The image, and a vector behind it.
    pub x: &'a [f32],
    pub x_shape: Image,
    pub out_shape: Image,
}

/// Memory of one thread.
#[derive(Debug)]
pub struct Scratch {
    packed: Buffer,
    /// The max-pool's results for the packed pixels.
    pooled: Buffer,
}

impl Scratch {
    /// Enough for every convolution of up to `channels` input and as many pooled channels.
    pub fn new(isa: Isa, channels: usize) -> Self {
        let tile = tile::packed_len(tile::rows(isa), channels);
        Self { packed: Buffer::zeros(tile.max(BLOCK) + tile), pooled: Buffer::zeros(tile.max(BLOCK) + tile) }
    }
}

impl Convolve<'_> {
    /// Computes output pixels `pixels` into `out`, their [pixels, N].
    ///
    /// # Panics
    /// If a slice is shorter than its shape.
    pub fn run(&self, pixels: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) {
        assert!(pixels.end <= self.out_shape.pixels() && out.len() == pixels.len() * self.panels.outputs, "output");
        let tiles = balanced(pixels.clone(), tile::rows(self.panels.isa));
        let widest = match self.residual {
            Residual::MaxPool(..) => self.panels.channels.max(self.panels.outputs),
            Residual::None | Residual::Sum(_) => self.panels.channels,
        };
        let per_tile = tile::packed_len(tile::rows(self.panels.isa), widest);
        for block in tiles.chunks((BLOCK / per_tile).max(1)) {
            self.pack(block, scratch);
            self.multiply(block, pixels.start, scratch, out);
        }
    }

    fn pack(&self, block: &[Range<usize>], scratch: &mut Scratch) {
        let mut packed = &mut scratch.packed[..];
        for pixels in block {
            let (tile, rest) = packed.split_at_mut(tile::packed_len(pixels.len(), self.panels.channels));
            match self.panels.isa {
                Isa::Scalar => self.gather::<false>(pixels.clone(), tile),
                _ => vectorized(
                    #[inline(always)]
                    || self.gather::<true>(pixels.clone(), tile),
                ),
            }
            packed = rest;
        }
        if let (Residual::MaxPool(x, pool), [first, ..]) = (self.residual, block) {
            let pixels = first.start..block[block.len() - 1].end;
            let pooled = &mut scratch.pooled[..pixels.len() * pool.input.c];
            vectorized(
                #[inline(always)]
                || gather::max_pool(x, pool, pixels, pooled),
            );
        }
    }

    #[inline(always)]
    fn gather<const FUSED: bool>(&self, pixels: Range<usize>, tile: &mut [f32]) {
        match self.inputs {
            Inputs::Depthwise { weights, relu } => {
                gather::depthwise::<FUSED>(self.x, self.x_shape, weights, *relu, pixels, tile);
            }
            Inputs::Window(window) => gather::window(self.x, self.x_shape, *window, self.out_shape.w, pixels, tile),
        }
    }

    fn multiply(&self, block: &[Range<usize>], first: usize, scratch: &mut Scratch, out: &mut [f32]) {
        let Panels { isa, channels, outputs, weights, bias } = self.panels;
        let columns = tile::columns(*isa);
        for (panel, weights) in weights.chunks_exact(channels * columns).enumerate() {
            let n = panel * columns;
            let stored = columns.min(outputs - n);
            let mut packed = &scratch.packed[..];
            for pixels in block {
                let (tile_pixels, rest) = packed.split_at(tile::packed_len(pixels.len(), *channels));
                let residual = match self.residual {
                    Residual::None => None,
                    Residual::Sum(sum) => Some((&sum[pixels.start * outputs + n..], *outputs)),
                    Residual::MaxPool(..) => {
                        let row = (pixels.start - block[0].start) * outputs;
                        Some((&scratch.pooled[row + n..], *outputs))
                    }
                };
                let operands = Tile {
                    rows: pixels.len(),
                    channels: *channels,
                    pixels: tile_pixels,
                    panel: weights,
                    bias: &bias[n..n + columns],
                    residual,
                    relu: self.relu,
                    stored,
                };
                tile(*isa, &operands, &mut out[(pixels.start - first) * outputs + n..], *outputs);
                packed = rest;
            }
        }
    }
}

/// `pixels` in the fewest tiles of at most `rows`, all about equal: no thin tile at the end.
fn balanced(pixels: Range<usize>, rows: usize) -> Vec<Range<usize>> {
    let count = pixels.len().div_ceil(rows);
    let bound = |tile: usize| pixels.start + pixels.len() * tile / count.max(1);
    (0..count).map(|tile| bound(tile)..bound(tile + 1)).collect()
}
