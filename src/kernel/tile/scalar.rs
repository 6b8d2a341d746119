//! The portable tile, and the oracle of the others.

use super::{LANES, Lanes, Tile};

pub const ROWS: usize = 4;
pub const BLOCKS: usize = 1;

pub fn tile(t: &Tile, out: &mut [Lanes]) {
    let mut sums = [[0.0; LANES]; ROWS];
    for (k, weights) in t.panel.iter().take(t.channels).enumerate() {
        for (r, sums) in sums.iter_mut().enumerate().take(t.rows) {
            let pixel = t.pixels[k / LANES * t.rows + r][k % LANES];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += pixel * weight;
            }
        }
    }
    for (r, (sums, out)) in sums.iter().zip(out).enumerate().take(t.rows) {
        for (lane, out) in out.iter_mut().enumerate() {
            let residual = t.residual.map_or(0.0, |[residual, _]| residual[r][lane]);
            let sum = sums[lane] + t.bias[0][lane] + residual;
            *out = if t.relu { sum.max(0.0) } else { sum };
        }
    }
}
