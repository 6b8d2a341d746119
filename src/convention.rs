//! The two families of pretrained weights and the numbers in which they differ.
//!
//! A convention travels with the weights, in the metadata of their file; it is never guessed.
//! Sources: Keras Applications `xception.py` with TensorFlow's SAME padding; timm's
//! `legacy_xception`.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// Keras Applications: epsilon 1e-3, max-pool with SAME padding, the picture squashed to a square
    Keras,
    /// timm: epsilon 1e-5, max-pool with padding 1, the centre of the picture cropped
    Timm,
}

impl Convention {
    /// Added to the variance in batch normalisation.
    pub fn epsilon(self) -> f64 {
        match self {
            Convention::Keras => 1e-3,
            Convention::Timm => 1e-5,
        }
    }

    /// The share that a running average of batch normalisation keeps of itself at each training step
    /// (Keras' `momentum`; PyTorch's counts the other way round, 0.1).
    pub fn batch_norm_momentum(self) -> f64 {
        match self {
            Convention::Keras => 0.99,
            Convention::Timm => 0.9,
        }
    }

    /// The factor from a batch's biased variance over `count` values to what goes into the running
    /// average: PyTorch takes the unbiased variance there.
    pub fn running_variance_factor(self, count: usize) -> f64 {
        match self {
            Convention::Keras => 1.0,
            Convention::Timm => count as f64 / (count as f64 - 1.0).max(1.0),
        }
    }

    /// Rows (or columns) of padding before the first pixel of a 3×3/2 max-pool over `size` pixels;
    /// what is needed after the last one follows from the output size, `size / 2` rounded up.
    pub fn max_pool_padding(self, size: usize) -> usize {
        match self {
            Convention::Keras => size % 2,
            Convention::Timm => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Convention::Keras => "keras",
            Convention::Timm => "timm",
        }
    }
}

impl std::fmt::Display for Convention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
