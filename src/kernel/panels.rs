//! The weights of a product as [`super::tile`] wants them: panels of output channels.

use rayon::prelude::*;

use super::buffer::{Buffer, LANES, Lanes};
use super::isa::Isa;
use super::tile;

/// How the weights of a product lie in memory, with batch normalisation folded in.
#[derive(Debug)]
pub struct Panels {
    isa: Isa,
    channels: usize,
    outputs: usize,
    /// [⌈N/columns⌉, columns]
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

    /// Packs `weight` [N, K], each row scaled by its `scale`, into zeros.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn pack(&self, weight: &[f32], scale: &[f32], packed: &mut [Lanes]) {
        let Self { isa, channels, outputs, .. } = *self;
        let columns = tile::blocks(isa) * LANES;
        assert!(scale.len() == outputs && weight.len() == channels * outputs, "panel weights");
        assert!(packed.len() == self.vectors(), "packed weights");
        packed.par_chunks_mut(self.panel_vectors()).enumerate().for_each(|(panel, packed)| {
            let packed = packed.as_flattened_mut();
            for (column, n) in (panel * columns..outputs).take(columns).enumerate() {
                let row = &weight[n * channels..][..channels];
                for (weight, packed) in row.iter().zip(packed.iter_mut().skip(column).step_by(columns)) {
                    *packed = weight * scale[n];
                }
            }
        });
    }
}
