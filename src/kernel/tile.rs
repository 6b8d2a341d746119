//! The matrix product's register tile: some pixels times some output channels, over all input
//! channels, with everything that follows a convolution done before the result is stored.
//!
//! ```text
//! out[n/16,r,n%16] = relu(Σ_k pixels[k/16,r,k%16] · panel[k,n] + bias[n] + residual[n/16,r,n%16])
//! ```
//!
//! `pixels` is packed by chunks of 16 input channels: a vector of a depthwise convolution's result
//! goes there as it is, and the product finds each pixel at a constant offset.

mod scalar;
mod vector;

use super::buffer::{LANES, Lanes};
use super::isa::Isa;
use vector::Vector;

/// Blocks of 16 output channels in the widest panel.
pub const MOST_BLOCKS: usize = 2;

/// The operands of one register tile but its output.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Pixels of the tile, at most [`rows`].
    pub rows: usize,
    /// K, input channels.
    pub channels: usize,
    /// [⌈K/16⌉, rows, 16]
    pub pixels: &'a [Lanes],
    /// [K, blocks(isa), 16]
    pub panel: &'a [Lanes],
    /// [blocks(isa), 16]
    pub bias: &'a [Lanes],
    /// What is added before the ReLU, for each block [rows, 16].
    pub residual: Option<[&'a [Lanes]; MOST_BLOCKS]>,
    pub relu: bool,
    /// What to fetch meanwhile, for the tiles after this one.
    pub ahead: &'a [Lanes],
}

/// Asks for a line of memory to be brought into the second-level cache.
#[inline(always)]
fn prefetch(line: &Lanes) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing; every x86-64 has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(std::ptr::from_ref(line).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Most pixels that a tile of this instruction set holds.
pub fn rows(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => scalar::ROWS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => 6,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => 14,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => 6,
    }
}

/// Blocks of 16 output channels in a panel of this instruction set.
pub fn blocks(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => scalar::BLOCKS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => 1,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => 2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => 1,
    }
}

/// Vectors of `pixels` for a tile of `rows`.
pub fn packed_len(rows: usize, channels: usize) -> usize {
    channels.div_ceil(LANES) * rows
}

/// Calls the tile for its number of rows, each of which is compiled by itself.
macro_rules! by_rows {
    ($simd:ident, $tile:ident, $out:ident, $blocks:literal blocks of $parts:literal, $($rows:literal)*) => {
        match $tile.rows {
            $($rows => pulp::Simd::vectorize($simd, Vector::<$rows, $blocks, $parts> { tile: $tile, out: $out }),)*
            _ => unreachable!("the number of rows is checked above"),
        }
    };
}

/// Computes the tile: for each block `out` is [rows, 16], or empty for a block that does not exist.
///
/// # Panics
/// If a slice is shorter than the tile needs.
pub fn tile(isa: Isa, tile: &Tile, out: [&mut [Lanes]; MOST_BLOCKS]) {
    assert!((1..=rows(isa)).contains(&tile.rows), "tile rows");
    assert!(tile.pixels.len() == packed_len(tile.rows, tile.channels), "tile pixels");
    assert!(tile.panel.len() == tile.channels * blocks(isa) && tile.bias.len() == blocks(isa), "tile panel");
    assert!(out.iter().all(|out| out.is_empty() || out.len() == tile.rows), "tile output");
    if let Some(residual) = tile.residual {
        assert!(residual.iter().zip(&out).all(|(residual, out)| residual.len() == out.len()), "tile residual");
    }
    // Sums fill 12 of 16 registers of AVX2, 28 of 32 of AVX-512, 24 of 32 of NEON: the others hold a row
    // of the panel and a pixel.
    match isa {
        Isa::Scalar => scalar::tile(tile, out.into_iter().next().unwrap_or_default()),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(simd) => by_rows!(simd, tile, out, 1 blocks of 2, 1 2 3 4 5 6),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(simd) => by_rows!(simd, tile, out, 2 blocks of 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(simd) => by_rows!(simd, tile, out, 1 blocks of 4, 1 2 3 4 5 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{lanes, largest_difference};

    /// The tile's formula, one output at a time: [blocks, rows, 16].
    fn oracle(t: &Tile, blocks: usize) -> Vec<Lanes> {
        let mut out = vec![[0.0; LANES]; t.rows * blocks];
        for (index, out) in out.as_flattened_mut().iter_mut().enumerate() {
            let (b, r, lane) = (index / LANES / t.rows, index / LANES % t.rows, index % LANES);
            let product = |k: usize| {
                let pixel = t.pixels[k / LANES * t.rows + r][k % LANES];
                f64::from(pixel) * f64::from(t.panel[k * blocks + b][lane])
            };
            let residual = t.residual.map_or(0.0, |residual| residual[b][r][lane]);
            let sum = (0..t.channels).map(product).sum::<f64>() + f64::from(t.bias[b][lane]) + f64::from(residual);
            *out = if t.relu { sum.max(0.0) } else { sum } as f32;
        }
        out
    }

    #[test]
    fn every_instruction_set_computes_the_formula_at_every_size() {
        for isa in Isa::all() {
            let blocks = blocks(isa);
            for rows in 1..=rows(isa) {
                for channels in [1, 15, 16, 37, 64] {
                    let (pixels, panel) = (lanes(1, packed_len(rows, channels)), lanes(2, channels * blocks));
                    let (bias, residual) = (lanes(3, blocks), lanes(4, rows * 2));
                    for (residual, relu) in [(None, true), (Some(residual.split_at(rows).into()), false)] {
                        let (pixels, panel, bias) = (&pixels[..], &panel[..], &bias[..]);
                        let t = Tile { rows, channels, pixels, panel, bias, residual, relu, ahead: panel };
                        let mut out = vec![[7.0; LANES]; rows * 2];
                        tile(isa, &t, out.split_at_mut(rows).into());
                        let (found, beside) = out.split_at(rows * blocks);
                        // At most 66 terms below 1 in float32.
                        let expected = oracle(&t, blocks);
                        let difference = largest_difference(found.as_flattened(), expected.as_flattened());
                        assert!(difference < 1e-5, "{} {rows} {channels}", isa.name());
                        assert!(beside.as_flattened().iter().all(|&v| v == 7.0), "{} stored beside", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn a_block_that_does_not_exist_is_not_stored() {
        for isa in Isa::all().into_iter().filter(|isa| blocks(*isa) == 2) {
            let (pixels, panel, bias, residual) = (lanes(1, 3), lanes(2, 32), lanes(3, 2), lanes(4, 3));
            let (rows, channels, relu) = (3, 16, false);
            let (pixels, panel, bias) = (&pixels[..], &panel[..], &bias[..]);
            let residual = Some([&residual[..], &[]]);
            let t = Tile { rows, channels, pixels, panel, bias, residual, relu, ahead: &[] };
            let mut out = vec![[0.0; LANES]; rows];
            tile(isa, &t, [&mut out, &mut []]);
            let expected = oracle(&Tile { residual: residual.map(|[first, _]| [first, first]), ..t }, 2);
            assert!(largest_difference(out.as_flattened(), expected[..rows].as_flattened()) < 1e-5);
        }
    }
}
