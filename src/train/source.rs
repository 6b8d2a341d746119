//! Where a phase takes its examples from: feature rows in memory, activations at the boundary on disk,
//! or pictures.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

use super::boundary::Boundary;
use crate::image::{self, Augmentation};
use crate::network::FeatureExtractor;
use crate::weights::Digest;

/// Labelled examples. What [`Self::read`] gives may be made on any thread; [`Self::assemble`] then makes the
/// model's input of a batch.
pub trait Source: Sync {
    /// The class of each example.
    fn classes(&self) -> &[usize];

    /// Example `index` as `epoch` shows it.
    ///
    /// # Errors
    /// If it can't be read any more.
    fn read(&self, index: usize, epoch: usize) -> Result<Vec<f32>>;

    /// # Errors
    /// If the network refuses its input.
    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor>;
}

/// Rows of pooled features.
#[derive(Debug)]
pub struct Rows<'a> {
    pub rows: Vec<&'a [f32]>,
    pub classes: Vec<usize>,
    pub device: Device,
}

impl Source for Rows<'_> {
    fn classes(&self) -> &[usize] {
        &self.classes
    }

    fn read(&self, index: usize, _: usize) -> Result<Vec<f32>> {
        Ok(self.rows[index].to_vec())
    }

    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor> {
        let length = examples.first().map_or(0, Vec::len);
        Ok(Tensor::from_vec(examples.concat(), (examples.len(), length), &self.device)?)
    }
}

/// A picture of the data.
#[derive(Debug, Clone)]
pub struct Picture {
    pub path: PathBuf,
    /// Of its bytes.
    pub sha256: Digest,
}

/// How an epoch sees a picture.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub augment: Augmentation,
    /// Distinct views; without a number every epoch has its own.
    pub views: Option<usize>,
    pub seed: u64,
}

impl View {
    /// The plain picture, always.
    pub fn plain() -> Self {
        Self { augment: Augmentation::NONE, views: Some(1), seed: 0 }
    }

    /// The number of the view that `epoch` shows.
    pub fn of_epoch(&self, epoch: usize) -> usize {
        self.views.map_or(epoch, |views| epoch % views)
    }

    /// The network's input for a picture.
    ///
    /// # Errors
    /// If the picture can't be read any more.
    pub fn apply(&self, picture: &Picture, view: usize, extractor: &FeatureExtractor) -> Result<Vec<f32>> {
        let prepare = || {
            let bytes = image::read(&picture.path)?;
            ensure!(
                Digest::of_bytes(&bytes) == picture.sha256,
                "has changed since its features were made; extract them again"
            );
            if self.augment.is_none() {
                return extractor.prepare(&bytes);
            }
            // By what the picture is, not where: the data may move.
            let mut random = image::generator(self.seed, &picture.sha256.to_string(), view as u64);
            extractor.prepare_augmented(&bytes, &self.augment, &mut random)
        };
        prepare().with_context(|| picture.path.display().to_string())
    }
}

/// Pictures, taken through the blocks below the boundary where there are such.
pub struct Pictures<'a> {
    pub pictures: Vec<Picture>,
    pub classes: Vec<usize>,
    pub view: View,
    /// Prepares pictures, and runs the blocks below.
    pub extractor: &'a FeatureExtractor,
}

impl Source for Pictures<'_> {
    fn classes(&self) -> &[usize] {
        &self.classes
    }

    fn read(&self, index: usize, epoch: usize) -> Result<Vec<f32>> {
        self.view.apply(&self.pictures[index], self.view.of_epoch(epoch), self.extractor)
    }

    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor> {
        let examples: Vec<&[f32]> = examples.iter().map(Vec::as_slice).collect();
        self.extractor.forward(&examples)
    }
}

/// Activations at the boundary that were computed before.
pub struct Cached<'a> {
    pub pictures: Vec<Picture>,
    pub classes: Vec<usize>,
    pub view: View,
    pub boundary: &'a Boundary,
    pub device: Device,
}

impl Source for Cached<'_> {
    fn classes(&self) -> &[usize] {
        &self.classes
    }

    fn read(&self, index: usize, epoch: usize) -> Result<Vec<f32>> {
        self.boundary.read(&self.pictures[index].sha256, self.view.of_epoch(epoch))
    }

    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor> {
        let [h, w, c] = self.boundary.shape();
        Ok(Tensor::from_vec(examples.concat(), (examples.len(), h, w, c), &self.device)?)
    }
}
