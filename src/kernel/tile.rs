//! The matrix product's register tile: some pixels times some output channels, over all input
//! channels, with everything that follows a convolution done before the result is stored.
//!
//! ```text
//! out[r,n] = relu(Σ_k pixels[r,k] · panel[k,n] + bias[n] + residual[r,n])
//! ```
//!
//! `pixels` is packed by chunks of 16 input channels, [⌈K/16⌉, rows, 16]: a vector of a depthwise
//! convolution's result goes there as it is, and the product finds each pixel at a constant offset.

/// Calls `rows::<R>` for the tile's number of rows, each of which is compiled by itself.
macro_rules! by_rows {
    ($t:ident, $out:ident, $distance:ident, $($rows:literal)*) => {
        match $t.rows {
            // SAFETY: the token proves the instruction set; the façade has checked every length.
            $($rows => unsafe { rows::<$rows>($t, $out, $distance) },)*
            _ => {}
        }
    };
}

/// Calls `step` with the tile's pixels and row of the panel for each input channel in turn.
macro_rules! for_each_channel {
    ($t:ident, $sums:ident, $rows:ident) => {{
        let (mut pixels, mut panel) = ($t.pixels.as_ptr(), $t.panel.as_ptr());
        // SAFETY: `pixels` holds ⌈K/16⌉ chunks of R·16 floats and `panel` K rows of COLUMNS; each
        // step takes one row of the panel and, after 16 of them, one chunk.
        unsafe {
            for _ in 0..$t.channels / LANES {
                for k in 0..LANES {
                    step(&mut $sums, pixels.add(k), panel);
                    panel = panel.add(COLUMNS);
                }
                pixels = pixels.add($rows * LANES);
            }
            for k in 0..$t.channels % LANES {
                step(&mut $sums, pixels.add(k), panel);
                panel = panel.add(COLUMNS);
            }
        }
    }};
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use super::buffer::LANES;
use super::isa::Isa;

/// The operands of one register tile but its output.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// Pixels of the tile, at most [`rows`].
    pub rows: usize,
    /// K, input channels.
    pub channels: usize,
    /// [⌈K/16⌉, rows, 16]
    pub pixels: &'a [f32],
    /// [K, columns(isa)]
    pub panel: &'a [f32],
    /// [columns(isa)]
    pub bias: &'a [f32],
    /// What is added before the ReLU: rows at this distance, and readable a vector past their end.
    pub residual: Option<(&'a [f32], usize)>,
    pub relu: bool,
    /// Output channels that are stored, at most [`columns`].
    pub stored: usize,
}

/// Most pixels that a tile of this instruction set holds.
pub fn rows(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => scalar::ROWS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => avx2::ROWS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => avx512::ROWS,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => neon::ROWS,
    }
}

/// Output channels of a panel of this instruction set.
pub fn columns(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => scalar::COLUMNS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(_) => avx2::COLUMNS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) => avx512::COLUMNS,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(_) => neon::COLUMNS,
    }
}

/// Length of `pixels` for a tile of `rows`.
pub fn packed_len(rows: usize, channels: usize) -> usize {
    channels.next_multiple_of(LANES) * rows
}

/// Computes the tile into the rows of `out`, which lie `distance` apart.
///
/// # Panics
/// If a slice is shorter than the tile needs.
pub fn tile(isa: Isa, tile: &Tile, out: &mut [f32], distance: usize) {
    let columns = columns(isa);
    assert!((1..=rows(isa)).contains(&tile.rows) && (1..=columns).contains(&tile.stored), "tile size");
    assert!(tile.pixels.len() >= packed_len(tile.rows, tile.channels), "tile pixels");
    assert!(tile.panel.len() >= tile.channels * columns && tile.bias.len() >= columns, "tile panel");
    assert!(distance >= tile.stored && out.len() >= (tile.rows - 1) * distance + tile.stored, "tile output");
    if let Some((residual, distance)) = tile.residual {
        assert!(residual.len() >= (tile.rows - 1) * distance + tile.stored, "tile residual");
    }
    match isa {
        Isa::Scalar => scalar::tile(tile, out, distance),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => avx2::tile(token, tile, out, distance),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => avx512::tile(token, tile, out, distance),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => neon::tile(token, tile, out, distance),
    }
}

/// What follows the product, for sums in memory.
#[inline(always)]
fn finish<const COLUMNS: usize>(sums: &[[f32; COLUMNS]], t: &Tile, out: &mut [f32], distance: usize) {
    for (r, sums) in sums.iter().enumerate().take(t.rows) {
        let out = &mut out[r * distance..][..t.stored];
        for ((out, sum), bias) in out.iter_mut().zip(sums).zip(t.bias) {
            *out = sum + bias;
        }
        if let Some((residual, distance)) = t.residual {
            out.iter_mut().zip(&residual[r * distance..]).for_each(|(out, residual)| *out += residual);
        }
        if t.relu {
            out.iter_mut().for_each(|out| *out = out.max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{largest_difference, values};

    /// The tile's formula, one output at a time.
    fn oracle(t: &Tile, panel_columns: usize) -> Vec<f32> {
        let mut out = vec![0.0; t.rows * t.stored];
        for (index, out) in out.iter_mut().enumerate() {
            let (r, n) = (index / t.stored, index % t.stored);
            let product = |k: usize| {
                let pixel = t.pixels[(k / LANES * t.rows + r) * LANES + k % LANES];
                f64::from(pixel) * f64::from(t.panel[k * panel_columns + n])
            };
            let residual = t.residual.map_or(0.0, |(residual, distance)| residual[r * distance + n]);
            let sum = (0..t.channels).map(product).sum::<f64>() + f64::from(t.bias[n]) + f64::from(residual);
            *out = if t.relu { sum.max(0.0) } else { sum } as f32;
        }
        out
    }

    #[test]
    fn every_instruction_set_computes_the_formula_at_every_size() {
        for isa in Isa::all() {
            let columns = columns(isa);
            for rows in 1..=rows(isa) {
                for (channels, stored) in [(1, 1), (15, columns), (16, columns - 1), (37, columns / 2 + 1), (64, 3)] {
                    let pixels = values(1, packed_len(rows, channels));
                    let (panel, bias) = (values(2, channels * columns), values(3, columns));
                    let distance = stored + 5;
                    let residual = values(4, rows * distance + LANES);
                    for (residual, relu) in [(None, true), (Some((residual.as_slice(), distance)), false)] {
                        let t = Tile {
                            rows,
                            channels,
                            pixels: &pixels,
                            panel: &panel,
                            bias: &bias,
                            residual,
                            relu,
                            stored,
                        };
                        let mut out = vec![7.0; rows * distance];
                        tile(isa, &t, &mut out, distance);
                        let found: Vec<f32> =
                            out.chunks_exact(distance).flat_map(|row| &row[..stored]).copied().collect();
                        // At most 66 terms below 1 in float32.
                        assert!(largest_difference(&found, &oracle(&t, columns)) < 1e-5, "{isa:?} {rows} {channels}");
                        let beside = out.chunks_exact(distance).flat_map(|row| &row[stored..]);
                        assert!(beside.into_iter().all(|&v| v == 7.0), "{isa:?} stored beside the tile");
                    }
                }
            }
        }
    }
}
