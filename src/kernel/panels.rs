//! The weights of a product as [`super::tile`] wants them: panels of output channels.

use rayon::prelude::*;

use super::buffer::{Buffer, LANES, Lanes};
use super::isa::Isa;
use super::tile;

/// Rows of a panel that are packed together: 16 KiB, half of a first-level cache.
const PACKED_AT_ONCE: usize = 128;

/// How the weights of a product lie in memory, with batch normalisation folded in.
#[derive(Debug)]
pub struct Panels {
    isa: Isa,
    channels: usize,
    outputs: usize,
    /// [⌈N/columns⌉, blocks(isa), 16]
    bias: Buffer,
}

impl Panels {
    /// For K = `channels` and a `bias` [N].
    pub fn new(isa: Isa, channels: usize, bias: &[f32]) -> Self {
        let (outputs, blocks) = (bias.len(), tile::blocks(isa));
        let mut padded = Buffer::zeros(outputs.div_ceil(blocks * LANES) * blocks);
        padded.as_flattened_mut()[..outputs].copy_from_slice(bias);
        Self { isa, channels, outputs, bias: padded }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Panels of output channels.
    pub fn count(&self) -> usize {
        self.bias.len() / tile::blocks(self.isa)
    }

    /// Bias of panel `index`.
    pub fn bias(&self, index: usize) -> &[Lanes] {
        let blocks = tile::blocks(self.isa);
        &self.bias[index * blocks..][..blocks]
    }

    /// Vectors of a packed panel, [K, columns].
    pub fn panel_vectors(&self) -> usize {
        self.channels * tile::blocks(self.isa)
    }

    /// Vectors of all packed panels.
    pub fn vectors(&self) -> usize {
        self.count() * self.panel_vectors()
    }

    /// Packs a weight [N, K], each row scaled by its `scale`, into zeros. `read` fills a slice with the
    /// weight's values from an offset on.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn pack(&self, read: impl Fn(usize, &mut [f32]) + Sync, scale: &[f32], packed: &mut [Lanes]) {
        let Self { isa, channels, outputs, .. } = *self;
        let columns = tile::blocks(isa) * LANES;
        assert!(scale.len() == outputs && packed.len() == self.vectors(), "packed weights");
        packed.par_chunks_mut(self.panel_vectors()).enumerate().for_each(|(panel, packed)| {
            let first = panel * columns;
            let mut values = [0.0; PACKED_AT_ONCE];
            for (run, packed) in packed.as_flattened_mut().chunks_mut(PACKED_AT_ONCE * columns).enumerate() {
                let values = &mut values[..packed.len() / columns];
                for (column, n) in (first..outputs).take(columns).enumerate() {
                    read(n * channels + run * PACKED_AT_ONCE, values);
                    for (weight, packed) in values.iter().zip(packed.iter_mut().skip(column).step_by(columns)) {
                        *packed = weight * scale[n];
                    }
                }
            }
        });
    }
}
