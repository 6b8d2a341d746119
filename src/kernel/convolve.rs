//! A convolution with all that follows it, block of pixels by block, without leaving the caches.
//!
//! ```text
//! for a block of pixels whose packed inputs fit into the second-level cache (blocks go to whichever
//! thread is free):
//!     pack its inputs: depthwise results, or the pixels under the kernel
//!     for each panel of output channels:
//!         for each tile of pixels:
//!             product, bias, residual, ReLU (kernel::tile)
//! ```

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::MaxPool;
use super::buffer::{Buffer, LANES, Lanes};
use super::gather::{self, Depthwise, DepthwiseWeights, Image, Pooled, Window};
use super::isa::Isa;
use super::panels::Panels;
use super::tile::{self, MOST_BLOCKS, Tile, tile};
use super::tiles::{Tiles, part};
use crate::architecture::KERNEL;

/// Vectors of packed inputs, 576 KiB: beside a panel and the next, this fits into a second-level cache
/// of 1 MiB, and 19×19 pixels of 728 channels are one block for each of two threads.
const BLOCK: usize = 9 * 1024;

/// What the product multiplies.
#[derive(Debug)]
pub enum Inputs {
    /// The pixels of a picture [H,W,3] under a 3×3 kernel without padding.
    Picture { stride: usize },
    /// Results of a depthwise 3×3 convolution with padding 1, of the rectified input if `relu`.
    Depthwise { weights: DepthwiseWeights, relu: bool },
    /// The pixels of an activation under an ordinary kernel; more than one tap needs whole blocks of
    /// channels.
    Window(Window),
}

/// What is added to the product before the ReLU.
#[derive(Debug, Clone, Copy)]
pub enum Residual<'a> {
    None,
    /// An activation of the output's shape.
    Sum(&'a [Lanes]),
    /// The 3×3/2 max-pool of an activation, whose output has the output's shape.
    MaxPool(&'a [Lanes], MaxPool),
}

/// One convolution of one image.
#[derive(Debug, Clone, Copy)]
pub struct Convolve<'a> {
    pub inputs: &'a Inputs,
    pub panels: &'a Panels,
    /// Packed by [`Panels::pack`].
    pub weights: &'a [Lanes],
    pub residual: Residual<'a>,
    pub relu: bool,
    /// The blocked activation, or for [`Inputs::Picture`] the picture.
    pub x: &'a [f32],
    pub x_shape: Image,
    pub out_shape: Image,
}

/// Memory of one thread.
#[derive(Debug)]
pub struct Scratch {
    tiles: Tiles,
    packed: Buffer,
    /// The max-pool's results for the packed pixels.
    pooled: Buffer,
}

impl Scratch {
    /// Enough for every convolution of up to `channels` input and as many pooled channels.
    pub fn new(isa: Isa, channels: usize) -> Self {
        let tile = tile::packed_len(tile::rows(isa), channels);
        let buffer = || Buffer::zeros(BLOCK.max(tile));
        Self { tiles: Tiles::default(), packed: buffer(), pooled: buffer() }
    }
}

impl Convolve<'_> {
    /// Computes the blocked output on as many threads as there is scratch.
    ///
    /// # Panics
    /// If a slice does not have its shape.
    pub fn run(&self, scratch: &mut [Scratch], out: &mut [Lanes]) {
        assert!(out.len() == self.out_shape.vectors() && self.panels.outputs() == self.out_shape.c, "output");
        self.check_input();
        let (pixels, rows) = (self.out_shape.pixels(), tile::rows(self.panels.isa()));
        let widest = match self.residual {
            Residual::MaxPool(..) => self.panels.channels().max(self.panels.outputs()),
            Residual::None | Residual::Sum(_) => self.panels.channels(),
        };
        // Blocks of whole tiles, as many of these for each thread.
        let tiles = pixels.div_ceil(rows).next_multiple_of(scratch.len()).min(pixels);
        let most = (BLOCK / tile::packed_len(rows, widest)).max(1);
        let blocks = tiles.div_ceil(most).next_multiple_of(scratch.len()).min(tiles);
        let (next, out) = (AtomicUsize::new(0), Output::new(out, pixels));
        scratch.par_iter_mut().for_each(|scratch| {
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    break;
                }
                let block = part(0..tiles, block, blocks);
                let bound = |tile| part(0..pixels, tile, tiles).start;
                let pixels = bound(block.start)..bound(block.end);
                scratch.tiles.cut(pixels, block.len(), self.out_shape.w);
                self.pack(scratch);
                self.multiply(scratch, &out);
            }
        });
    }

    fn check_input(&self) {
        let Image { c, .. } = self.x_shape;
        let (needed, channels) = match self.inputs {
            Inputs::Picture { .. } => (self.x_shape.elements(), KERNEL * KERNEL * c),
            Inputs::Depthwise { weights, .. } => {
                assert!(weights.blocks() == self.x_shape.blocks(), "depthwise weights");
                (self.x_shape.vectors() * LANES, c)
            }
            Inputs::Window(Window { kernel, .. }) => {
                assert!(*kernel == 1 || c.is_multiple_of(LANES), "several taps need whole blocks of channels");
                (self.x_shape.vectors() * LANES, kernel * kernel * c)
            }
        };
        assert!(self.x.len() == needed && self.panels.channels() == channels, "input");
        assert!(self.weights.len() == self.panels.vectors(), "weights");
        let (residual, needed) = match self.residual {
            Residual::None => return,
            Residual::Sum(x) => (x.len(), self.out_shape.vectors()),
            Residual::MaxPool(x, pool) => (x.len(), Image::from(pool.input).vectors()),
        };
        assert!(residual == needed, "residual");
    }

    fn pack(&self, scratch: &mut Scratch) {
        let (isa, image) = (self.panels.isa(), self.x_shape);
        let (x, _) = self.x.as_chunks();
        let Scratch { tiles, packed, .. } = scratch;
        let segments = &tiles.segments[..];
        match self.inputs {
            Inputs::Picture { stride } => gather::picture(self.x, image.w, *stride, segments, packed),
            Inputs::Depthwise { weights, relu } => {
                isa.vectorize(Depthwise { x, image, weights, relu: *relu, tiles: segments, packed });
            }
            Inputs::Window(window) => gather::window(x, image, *window, segments, packed),
        }
        if let Residual::MaxPool(x, pool) = self.residual {
            let pixels = tiles.pixels.clone();
            let packed = &mut scratch.pooled[..pixels.len() * self.out_shape.blocks()];
            isa.vectorize(Pooled { x, pool, pixels, packed });
        }
    }

    fn multiply(&self, scratch: &Scratch, out: &Output) {
        let (isa, channels) = (self.panels.isa(), self.panels.channels());
        let Scratch { tiles, packed, pooled } = scratch;
        let panels = self.weights.chunks_exact(self.panels.panel_vectors());
        let mut following = panels.clone().skip(1);
        for (index, panel) in panels.enumerate() {
            let next = following.next().unwrap_or_default();
            let places = self.places(index);
            for (number, pixels) in tiles.tiles.iter().enumerate() {
                let packed = &packed[tile::packed_len(pixels.start - tiles.pixels.start, channels)..];
                let operands = Tile {
                    rows: pixels.len(),
                    channels,
                    pixels: &packed[..tile::packed_len(pixels.len(), channels)],
                    panel,
                    bias: self.panels.bias(index),
                    residual: self.residual_rows(places, pixels, tiles, pooled),
                    relu: self.relu,
                    // Each tile fetches its part of the next panel.
                    ahead: &next[part(0..next.len(), number, tiles.tiles.len())],
                };
                // SAFETY: each block of pixels belongs to one thread, which is at this tile only, and
                // the places differ.
                let out = places.map(|place| unsafe { out.rows(place, pixels.clone()) });
                tile(isa, &operands, out);
            }
        }
    }

    /// The output's blocks of channels that panel `index` computes.
    fn places(&self, index: usize) -> [Option<usize>; MOST_BLOCKS] {
        let per_panel = tile::blocks(self.panels.isa());
        std::array::from_fn(|b| {
            let place = index * per_panel + b;
            (b < per_panel && place < self.out_shape.blocks()).then_some(place)
        })
    }

    /// What is added to the tile at `pixels` in each of the blocks at `places`.
    fn residual_rows<'a>(
        &'a self,
        places: [Option<usize>; MOST_BLOCKS],
        pixels: &Range<usize>,
        tiles: &Tiles,
        pooled: &'a [Lanes],
    ) -> Option<[&'a [Lanes]; MOST_BLOCKS]> {
        let (x, first, distance) = match self.residual {
            Residual::None => return None,
            Residual::Sum(x) => (x, 0, self.out_shape.pixels()),
            Residual::MaxPool(..) => (pooled, tiles.pixels.start, tiles.pixels.len()),
        };
        let rows = |place| &x[place * distance + pixels.start - first..][..pixels.len()];
        Some(places.map(|place| place.map_or(&[][..], rows)))
    }
}

/// An activation that several threads write, each its own pixels.
struct Output<'a> {
    start: *mut Lanes,
    len: usize,
    pixels: usize,
    borrow: PhantomData<&'a mut [Lanes]>,
}

// SAFETY: the only way to what it points to is `rows`, whose caller promises that no two threads ask
// for the same pixels.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    fn new(out: &'a mut [Lanes], pixels: usize) -> Self {
        Self { start: out.as_mut_ptr(), len: out.len(), pixels, borrow: PhantomData }
    }

    /// The vectors of `pixels` in channel block `place`; none without a place.
    ///
    /// # Safety
    /// While the result is in use, nobody else asks for one of its pixels in the same place.
    #[allow(clippy::mut_from_ref)]
    unsafe fn rows(&self, place: Option<usize>, pixels: Range<usize>) -> &mut [Lanes] {
        let Some(place) = place else { return &mut [] };
        let start = place * self.pixels + pixels.start;
        assert!(pixels.end <= self.pixels && start + pixels.len() <= self.len, "rows beyond the output");
        // SAFETY: within the exclusively borrowed slice, as just checked; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), pixels.len()) }
    }
}

#[cfg(test)]
mod tests;
