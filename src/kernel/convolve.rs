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
    /// The blocked activation, or for [`Inputs::Picture`] the picture from its first vector on.
    pub x: &'a [Lanes],
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
        let buffer = || Buffer::zeros(BLOCK.max(tile) + tile);
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
        assert!(self.x.len() >= self.needed() && self.weights.len() == self.panels.vectors(), "input");
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

    /// Vectors of the input.
    fn needed(&self) -> usize {
        match self.inputs {
            Inputs::Picture { .. } => self.x_shape.elements().div_ceil(LANES),
            Inputs::Depthwise { .. } | Inputs::Window(_) => self.x_shape.vectors(),
        }
    }

    fn pack(&self, scratch: &mut Scratch) {
        let (isa, x, image) = (self.panels.isa(), self.x, self.x_shape);
        let Scratch { tiles, packed, .. } = scratch;
        let segments = &tiles.segments[..];
        match self.inputs {
            Inputs::Picture { stride } => gather::picture(x.as_flattened(), image.w, *stride, segments, packed),
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
        let mut panels = self.weights.chunks_exact(self.panels.panel_vectors()).peekable();
        let mut index = 0;
        while let Some(panel) = panels.next() {
            let next = panels.peek().copied().unwrap_or_default();
            let places = self.places(index);
            for (number, slot) in tiles.slots.iter().enumerate() {
                let rows = slot.rows();
                let pixels = &packed[tile::packed_len(slot.first_row, channels)..];
                let operands = Tile {
                    rows,
                    channels,
                    pixels: &pixels[..tile::packed_len(rows, channels)],
                    panel,
                    bias: self.panels.bias(index),
                    residual: self.residual_rows(places, &slot.pixels, tiles, pooled),
                    relu: self.relu,
                    // Each tile fetches its part of the next panel.
                    ahead: &next[part(0..next.len(), number, tiles.slots.len())],
                };
                // SAFETY: each block of pixels belongs to one thread, which is at this tile only, and
                // the places differ.
                let out = places.map(|place| unsafe { out.rows(place, slot.pixels.clone()) });
                tile(isa, &operands, out);
            }
            index += 1;
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
mod tests {
    use super::*;
    use crate::kernel::Nhwc;
    use crate::kernel::testing::{largest_difference, values};

    /// [H,W,C] in blocks of channels, zeros beyond C.
    fn blocked(x: &[f32], image: Image) -> Buffer {
        let mut out = Buffer::zeros(image.vectors());
        for (index, x) in x.iter().enumerate() {
            let (pixel, c) = (index / image.c, index % image.c);
            out[c / LANES * image.pixels() + pixel][c % LANES] = *x;
        }
        out
    }

    /// Zero beyond the border.
    fn at(x: &[f32], image: Image, h: usize, w: usize, c: usize, before: usize) -> f32 {
        let inside = (before..image.h + before).contains(&h) && (before..image.w + before).contains(&w);
        if inside { x[((h - before) * image.w + w - before) * image.c + c] } else { 0.0 }
    }

    /// What the product multiplies, [pixels, K], one value at a time.
    fn gathered(inputs: &Inputs, depthwise: &[f32], x: &[f32], image: Image, out: Image) -> Vec<f64> {
        let positions = (0..out.pixels()).map(|pixel| (pixel / out.w, pixel % out.w));
        let mut gathered = Vec::new();
        for (h, w) in positions {
            let mut taps = |kernel: usize, stride: usize| {
                for (i, j) in (0..kernel * kernel).map(|tap| (tap / kernel, tap % kernel)) {
                    for c in 0..image.c {
                        gathered.push(at(x, image, h * stride + i, w * stride + j, c, 0).into());
                    }
                }
            };
            match inputs {
                Inputs::Picture { stride } => taps(3, *stride),
                Inputs::Window(window) => taps(window.kernel, window.stride),
                Inputs::Depthwise { relu, .. } => gathered.extend((0..image.c).map(|c| {
                    let product = |tap: usize| {
                        let x = at(x, image, h + tap / 3, w + tap % 3, c, 1);
                        f64::from(if *relu { x.max(0.0) } else { x }) * f64::from(depthwise[9 * c + tap])
                    };
                    (0..9).map(product).sum::<f64>()
                })),
            }
        }
        gathered
    }

    /// Checks a convolution on every instruction set, with each residual, on one thread and on three.
    fn check(inputs: &Inputs, depthwise: &[f32], image: Image, out_shape: Image) {
        let x = values(1, image.elements());
        let channels = match inputs {
            Inputs::Picture { .. } => 27,
            Inputs::Depthwise { .. } => image.c,
            Inputs::Window(window) => image.c * window.kernel * window.kernel,
        };
        let (n, pixels) = (out_shape.c, out_shape.pixels());
        let (weight, scale, bias) = (values(2, n * channels), values(3, n), values(4, n));
        let gathered = gathered(inputs, depthwise, &x, image, out_shape);
        let residual = values(5, out_shape.elements());
        let (height, width) = (2 * out_shape.h - 1, 2 * out_shape.w);
        let pool = MaxPool { input: Nhwc { n: 1, h: height, w: width, c: n }, padding: (1, 0) };
        let unpooled = values(6, height * width * n);
        let pooled = crate::kernel::max_pool(&unpooled, pool);
        let input = match inputs {
            Inputs::Picture { .. } => {
                let mut picture = Buffer::zeros(image.elements().div_ceil(LANES));
                picture.as_flattened_mut()[..x.len()].copy_from_slice(&x);
                picture
            }
            Inputs::Depthwise { .. } | Inputs::Window(_) => blocked(&x, image),
        };
        let blocked_residual = blocked(&residual, out_shape);
        let blocked_pool = blocked(&unpooled, Image { h: height, w: width, c: n });
        let cases = [
            (Residual::None, None, true),
            (Residual::Sum(&blocked_residual), Some(&residual), false),
            (Residual::MaxPool(&blocked_pool, pool), Some(&pooled), false),
        ];
        for (isa, threads) in Isa::all().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]) {
            let panels = Panels::new(isa, channels, &bias);
            let mut weights = Buffer::zeros(panels.vectors());
            panels.pack(|start, out| out.copy_from_slice(&weight[start..][..out.len()]), &scale, &mut weights);
            for (residual, added, relu) in cases {
                let (panels, weights, x, x_shape) = (&panels, &weights[..], &input[..], image);
                let convolve = Convolve { inputs, panels, weights, residual, relu, x, x_shape, out_shape };
                let mut scratch: Vec<_> = (0..threads).map(|_| Scratch::new(isa, channels.max(n))).collect();
                let mut out = Buffer::zeros(out_shape.vectors());
                out.as_flattened_mut().fill(f32::NAN);
                convolve.run(&mut scratch, &mut out);
                let mut expected = vec![0.0; pixels * n];
                for (index, expected) in expected.iter_mut().enumerate() {
                    let (pixel, n) = (index / n, index % n);
                    let row = weight[n * channels..][..channels].iter();
                    let products = row.zip(&gathered[pixel * channels..]).map(|(w, x)| f64::from(*w) * x);
                    let added = added.map_or(0.0, |added| added[index]);
                    let sum = products.sum::<f64>() * f64::from(scale[n]) + f64::from(bias[n] + added);
                    *expected = if relu { sum.max(0.0) } else { sum } as f32;
                }
                let expected = blocked(&expected, out_shape);
                // A few hundred terms about 1 in float32, and zeros in the lanes beyond the channels.
                let difference = largest_difference(out.as_flattened(), expected.as_flattened());
                assert!(difference < 3e-5, "{} {image:?} {out_shape:?} {difference}", isa.name());
            }
        }
    }

    #[test]
    fn a_separable_convolution_equals_its_formula_at_odd_sizes_and_borders() {
        for (h, w, c, n) in [(1, 1, 1, 1), (2, 3, 15, 17), (5, 1, 17, 33), (1, 19, 33, 16), (19, 7, 40, 50)] {
            let depthwise = values(7, 9 * c);
            for relu in [false, true] {
                let inputs = Inputs::Depthwise { weights: DepthwiseWeights::new(&depthwise), relu };
                check(&inputs, &depthwise, Image { h, w, c }, Image { h, w, c: n });
            }
        }
    }

    #[test]
    fn a_convolution_over_more_pixels_than_a_block_equals_its_formula() {
        let (c, depthwise) = (400, values(7, 9 * 400));
        let inputs = Inputs::Depthwise { weights: DepthwiseWeights::new(&depthwise), relu: true };
        check(&inputs, &depthwise, Image { h: 17, w: 23, c }, Image { h: 17, w: 23, c: 5 });
    }

    #[test]
    fn ordinary_convolutions_equal_their_formula_at_odd_sizes_and_strides() {
        for (h, w, c, kernel, stride, n) in
            [(3, 3, 16, 3, 1, 1), (9, 6, 32, 3, 2, 40), (7, 8, 37, 1, 2, 17), (1, 5, 16, 1, 1, 32)]
        {
            let size = |size: usize| (size - kernel) / stride + 1;
            let out = Image { h: size(h), w: size(w), c: n };
            check(&Inputs::Window(Window { kernel, stride }), &[], Image { h, w, c }, out);
        }
    }

    #[test]
    fn the_picture_s_convolution_equals_its_formula() {
        for (h, w, stride) in [(3, 3, 1), (8, 13, 2), (31, 30, 2)] {
            let out = Image { h: (h - 3) / stride + 1, w: (w - 3) / stride + 1, c: 32 };
            check(&Inputs::Picture { stride }, &[], Image { h, w, c: 3 }, out);
        }
    }
}
