//! The portable tile, and the oracle of the others.

use super::{LANES, Tile};

pub const ROWS: usize = 4;
pub const COLUMNS: usize = 16;

pub fn tile(t: &Tile, out: &mut [f32], distance: usize) {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (k, weights) in t.panel.chunks_exact(COLUMNS).take(t.channels).enumerate() {
        for (r, sums) in sums.iter_mut().enumerate().take(t.rows) {
            let pixel = t.pixels[(k / LANES * t.rows + r) * LANES + k % LANES];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += pixel * weight;
            }
        }
    }
    super::finish(&sums, t, out, distance);
}
