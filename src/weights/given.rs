//! What a file of weights alone leaves open, what is assumed of it, and what a user says of it.
//!
//! A state dict or `.weights.h5` has neither the input's size nor the pooling nor the activations; answers are wrong in
//! silence where one of them was another in training.

use anyhow::{Result, ensure};

use super::{Checkpoint, Imported, Pool};
use crate::architecture::{FEATURES, MAX_INPUT_SIZE, MIN_INPUT_SIZE, feature_map_size};
use crate::convention::Convention;

/// An activation of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Activation {
    /// Of the hidden layers
    Relu,
    /// Of the classifier: one class of several
    Softmax,
    /// Of a classifier with one output: two classes
    Sigmoid,
}

/// What a user says of a model, in the place of what its file says or leaves open.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Side of the network's input in pixels.
    pub size: Option<usize>,
    pub pool: Option<Pool>,
    pub activations: Vec<Activation>,
}

/// What is taken for granted of a file that does not say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Assumed {
    pub size: bool,
    /// Of the samples of the pictures that a head was trained on.
    pub normalisation: bool,
    /// Of the features of a head.
    pub pool: bool,
    /// Of a head's layers.
    pub activations: bool,
}

impl Assumed {
    pub(super) fn of(imported: &Imported, convention: Convention) -> Self {
        let has_head = imported.tensors.contains_key("fc.weight");
        Self {
            size: imported.input_size.is_none(),
            // Keras' Xception has but one; a file of PyTorch may be of anybody's training.
            normalisation: has_head && convention == Convention::Timm,
            pool: has_head && imported.pool.is_none(),
            activations: has_head && !imported.says_activations,
        }
    }
}

impl Given {
    /// Whether the user says that hidden layers have a ReLU.
    pub(super) fn says_relu(&self) -> bool {
        self.activations.contains(&Activation::Relu)
    }

    /// The checkpoint as the user describes it.
    ///
    /// # Errors
    /// If it can't be so, by what it has.
    pub(super) fn apply(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        let metadata = &mut checkpoint.metadata;
        if let Some(size) = self.size {
            metadata.preprocessing = metadata.preprocessing.with_size(size);
            metadata.preprocessing.check()?;
            checkpoint.assumed.size = false;
        }
        let Some(head) = &mut metadata.head else { return Ok(checkpoint) };
        if let Some(pool) = self.pool {
            head.pool = pool;
            checkpoint.assumed.pool = false;
        }
        let origin = &checkpoint.origin;
        let outputs = checkpoint.tensors.get("fc.bias").map_or(0, |bias| bias.data.len());
        for activation in &self.activations {
            ensure!(
                *activation != Activation::Sigmoid || outputs == 1,
                "{origin}: its classifier has {outputs} outputs; a sigmoid of each, for several labels in a picture, is \
                 not supported"
            );
            ensure!(
                *activation != Activation::Softmax || outputs > 1,
                "{origin}: its classifier has one output, of which a softmax is always 1; expected sigmoid"
            );
        }
        let has_hidden = checkpoint.tensors.contains_key("head.0.weight");
        let says_output = self.activations.iter().any(|activation| *activation != Activation::Relu);
        checkpoint.assumed.activations &= !(says_output && (self.says_relu() || !has_hidden));
        Ok(checkpoint)
    }
}

impl Checkpoint {
    /// Passes if the head takes as many features as the network's input and the pooling make.
    ///
    /// # Errors
    /// Says which sizes would fit.
    pub fn check_head_inputs(&self) -> Result<()> {
        let Some(head) = &self.metadata.head else { return Ok(()) };
        let first = self.tensors.get("head.0.weight").or_else(|| self.tensors.get("fc.weight"));
        let Some(&inputs) = first.and_then(|weight| weight.shape.get(1)) else { return Ok(()) };
        let size = self.metadata.preprocessing.size;
        let side = feature_map_size(size);
        if head.pool != Pool::None {
            ensure!(
                inputs == FEATURES,
                "its head takes {inputs} features, the flattened map of {FEATURES} channels; expected pooling \
                 `none`, not `{}`",
                head.pool
            );
            return Ok(());
        }
        let fits = |size: &usize| feature_map_size(*size).pow(2) * FEATURES == inputs;
        let mut sizes = (MIN_INPUT_SIZE..=MAX_INPUT_SIZE).filter(fits);
        let (least, most) = (sizes.next(), sizes.next_back());
        ensure!(
            inputs == side * side * FEATURES,
            "its head takes {inputs} features, the map of {size}×{size} pixels has {side}×{side}×{FEATURES}; \
             {}",
            match (least, most) {
                (Some(least), Some(most)) => format!("give the input's size in training, {least} to {most}"),
                _ => "expected average or max-pooling".to_owned(),
            }
        );
        Ok(())
    }
}
