//! Pictures in, bottleneck features out: preprocessing, network and pooling as one thing.
//!
//! `classify` and `extract-features` both go through here, so what a head sees is what it was
//! trained on.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use crate::image::{Picture, Preprocessing};
use crate::weights::{Checkpoint, Pool};
use crate::xception::{self, Xception};

/// Pictures that go through the network at once unless told otherwise. One keeps its activations
/// in the caches; four take a third longer for each and twice the memory.
pub const BATCH_SIZE: usize = 1;

#[derive(Debug)]
pub struct FeatureExtractor {
    network: Xception,
    preprocessing: Preprocessing,
    pool: Pool,
}

impl FeatureExtractor {
    /// # Errors
    /// If the checkpoint's backbone is incomplete.
    pub fn new(backbone: &Checkpoint, preprocessing: Preprocessing, pool: Pool, device: &Device) -> Result<Self> {
        let network = Xception::new(backbone, device).with_context(|| backbone.origin.clone())?;
        Ok(Self { network, preprocessing, pool })
    }

    /// The network's input for a picture, [size,size,3].
    pub fn prepare(&self, picture: &Picture) -> Vec<f32> {
        self.preprocessing.apply(picture)
    }

    /// Features of pictures prepared by [`Self::prepare`], all through the network at once.
    ///
    /// Shapes: result [N,2048], or [N,h,w,2048] without pooling.
    ///
    /// # Errors
    /// If the network refuses its input.
    pub fn forward(&self, pixels: &[Vec<f32>]) -> Result<Tensor> {
        let size = self.preprocessing.size;
        let batch = Tensor::from_vec(pixels.concat(), (pixels.len(), size, size, 3), self.network.device())?;
        xception::pool(&self.network.forward_features(&batch)?, self.pool)
    }
}
