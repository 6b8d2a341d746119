//! Pictures in, bottleneck features out: preprocessing, network and pooling as one thing.
//!
//! `classify` and `extract-features` both go through here, so what a head sees is what it was
//! trained on.

use std::sync::Mutex;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::architecture::BLOCKS;
use crate::engine::{Engine, Workspace};
use crate::image::{self, Augmentation, Preprocessing};
use crate::kernel::isa::Isa;
use crate::weights::{Checkpoint, Pool};
use crate::xception::{self, Xception, ensure_finite};

/// Pictures that go through the network at once unless told otherwise: one for each thread, twice.
pub fn batch_size() -> usize {
    2 * rayon::current_num_threads()
}

#[derive(Debug)]
pub struct FeatureExtractor {
    network: Network,
    preprocessing: Preprocessing,
    pool: Pool,
    device: Device,
}

/// The engine on a CPU, the Candle modules elsewhere, and for no blocks at all the pictures themselves.
#[derive(Debug)]
enum Network {
    Engine(Engine, Mutex<Vec<Workspace>>),
    Modules(Xception),
    Nothing,
}

impl FeatureExtractor {
    /// # Errors
    /// If the checkpoint's backbone is incomplete.
    pub fn new(backbone: &Checkpoint, preprocessing: Preprocessing, pool: Pool, device: &Device) -> Result<Self> {
        Self::with_blocks(*BLOCKS.end(), backbone, preprocessing, pool, device)
    }

    /// What block `first_block` takes instead of features: the activation in front of it, or pictures.
    ///
    /// # Errors
    /// If the checkpoint's backbone is incomplete.
    pub fn below(
        first_block: usize,
        backbone: &Checkpoint,
        preprocessing: Preprocessing,
        device: &Device,
    ) -> Result<Self> {
        Self::with_blocks(first_block - 1, backbone, preprocessing, Pool::None, device)
    }

    fn with_blocks(
        last: usize,
        backbone: &Checkpoint,
        preprocessing: Preprocessing,
        pool: Pool,
        device: &Device,
    ) -> Result<Self> {
        let size = preprocessing.size;
        let network = if last == 0 {
            Network::Nothing
        } else if device.is_cpu() {
            let engine = Engine::up_to(last, backbone, size, size, Isa::detect()?)?;
            Network::Engine(engine, Mutex::default())
        } else {
            let blocks = Xception::of_blocks(backbone, *BLOCKS.start()..=last, device);
            Network::Modules(blocks.with_context(|| backbone.origin.clone())?)
        };
        Ok(Self { network, preprocessing, pool, device: device.clone() })
    }

    /// The network's input, [size,size,3], for a picture's file.
    ///
    /// # Errors
    /// As [`image::decode`].
    pub fn prepare(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let picture = image::decode(bytes, self.preprocessing.needed_side())?;
        Ok(self.preprocessing.apply(&picture))
    }

    /// The network's input for the mirror image of a picture, from the picture's own, [size,size,3].
    pub fn mirror(&self, mut pixels: Vec<f32>) -> Vec<f32> {
        image::mirror(&mut pixels, self.preprocessing.size);
        pixels
    }

    /// [`Self::prepare`] for a picture that is augmented on the way.
    ///
    /// # Errors
    /// As [`image::decode`].
    pub fn prepare_augmented(&self, bytes: &[u8], augment: &Augmentation, random: &mut ChaCha8Rng) -> Result<Vec<f32>> {
        let picture = image::decode(bytes, self.preprocessing.needed_side())?;
        Ok(self.preprocessing.normalise(&augment.apply(&picture, &self.preprocessing, random)))
    }

    /// Features of the pictures that could be prepared, flattened, all through the network at once; the errors of the
    /// others stay in their places, and a picture whose features are not finite gets one.
    ///
    /// # Errors
    /// If the network refuses its input.
    pub fn features(&self, prepared: Vec<Result<Vec<f32>>>) -> Result<Vec<Result<Vec<f32>>>> {
        let pixels: Vec<&[f32]> = prepared.iter().flatten().map(Vec::as_slice).collect();
        let rows = if pixels.is_empty() { Vec::new() } else { self.forward(&pixels)?.flatten_from(1)?.to_vec2()? };
        let mut rows = rows.into_iter();
        let mut row = |_| {
            let row: Vec<f32> = rows.next().context("a picture without features")?;
            ensure_finite("features", &row)?;
            Ok(row)
        };
        Ok(prepared.into_iter().map(|pixels| pixels.and_then(&mut row)).collect())
    }

    /// Features of pictures prepared by [`Self::prepare`], all through the network at once.
    ///
    /// Shapes: result [N,2048], or [N,h,w,C] without pooling.
    ///
    /// # Errors
    /// If the network refuses its input.
    pub fn forward(&self, pixels: &[&[f32]]) -> Result<Tensor> {
        let (count, size) = (pixels.len(), self.preprocessing.size);
        let pictures = || Tensor::from_vec(pixels.concat(), (count, size, size, 3), &self.device);
        match &self.network {
            Network::Engine(engine, workspaces) => {
                // A panic elsewhere leaves nothing half done in the buffers: each run overwrites them.
                let mut workspaces = workspaces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let features = engine.features(pixels, self.pool, &mut workspaces)?;
                let output = engine.plan().output;
                let shape = match self.pool {
                    Pool::None => vec![count, output.h, output.w, output.c],
                    Pool::Avg | Pool::Max => vec![count, output.c],
                };
                Ok(Tensor::from_vec(features.concat(), shape, &self.device)?)
            }
            Network::Modules(network) => xception::pool(&network.forward_features(&pictures()?)?, self.pool),
            Network::Nothing => Ok(pictures()?),
        }
    }
}
