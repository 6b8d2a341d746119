//! Where in a picture a classifier looks: class activation maps.
//!
//! Grad-CAM: the channels of a feature map, each weighted by the mean gradient that a class's logit has with
//! respect to it. Where the head is linear on averaged features this is the exact class activation map: its
//! values sum to the logit without the bias.
//!
//! Sources: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
//! Localization", ICCV 2017; Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};

use crate::architecture::BLOCKS;
use crate::classifier::{self, Parts, Prediction};
use crate::head::Head;
use crate::image::{self, Picture, Preprocessing};
use crate::network::FeatureExtractor;
use crate::op::Backend;
use crate::weights::Pool;
use crate::xception::{self, Norm, Pass, Xception};

/// A classifier that says where it looks.
#[derive(Debug)]
pub struct Explainer {
    /// Up to the block whose output is explained.
    extractor: FeatureExtractor,
    /// What stands above that block, if anything.
    above: Option<Xception>,
    preprocessing: Preprocessing,
    pool: Pool,
    head: Head,
    device: Device,
}

/// A photograph, upright, and the same with what speaks for a class laid over it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    pub photograph: Picture,
    pub overlaid: Picture,
    pub prediction: Prediction,
}

/// How much each place of a feature map speaks for a class.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationMap {
    pub height: usize,
    pub width: usize,
    /// [height, width]; negative where a place speaks against the class.
    pub values: Vec<f32>,
}

/// A class and what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub prediction: Prediction,
    pub map: ActivationMap,
}

impl ActivationMap {
    /// What speaks for the class, as a share of the place that does so most; all zero where none does.
    pub fn heat(&self) -> Vec<f32> {
        let largest = self.values.iter().copied().fold(0.0, f32::max);
        let share = |value: &f32| if largest > 0.0 { value.max(0.0) / largest } else { 0.0 };
        self.values.iter().map(share).collect()
    }
}

impl Explainer {
    /// Explains by the output of block `layer`, in Keras' numbers.
    ///
    /// # Errors
    /// If the backbone is incomplete.
    pub fn new(parts: Parts, layer: usize, device: &Device) -> Result<Self> {
        let Parts { backbone, head, metadata, preprocessing, .. } = parts;
        let extractor = FeatureExtractor::below(layer + 1, &backbone, preprocessing, device)?;
        let last = *BLOCKS.end();
        let above = (layer < last).then(|| Xception::of_blocks(&backbone, layer + 1..=last, device)).transpose()?;
        Ok(Self { extractor, above, preprocessing, pool: metadata.pool, head, device: device.clone() })
    }

    /// Lays what speaks for `class`, or for the likeliest one, over the photograph in a file's bytes, whose sides
    /// may be halved as long as both keep `side` pixels.
    ///
    /// # Errors
    /// As [`image::decode`].
    pub fn overlay(&self, bytes: &[u8], side: usize, class: Option<usize>) -> Result<Explained> {
        let Explanation { prediction, map } = self.explain(&self.extractor.prepare(bytes)?, class)?;
        let photograph = image::decode(bytes, side)?;
        let window = self.preprocessing.window(photograph.width, photograph.height);
        let overlaid = image::overlaid(&photograph, window, (map.width, map.height), &map.heat());
        Ok(Explained { photograph, overlaid, prediction })
    }

    /// Where the network's input [size,size,3] speaks for `class`, or for the likeliest one.
    ///
    /// # Errors
    /// If the network refuses its input.
    pub fn explain(&self, pixels: &[f32], class: Option<usize>) -> Result<Explanation> {
        let activation = Var::from_tensor(&self.extractor.forward(&[pixels])?)?;
        let mut pass = Pass::new(Norm::Running, Backend::for_device(&self.device));
        let maps = match &self.above {
            Some(above) => above.forward(&activation, &mut pass)?,
            None => activation.as_tensor().clone(),
        };
        let features = xception::pool(&maps, self.pool)?.flatten_from(1)?;
        let row = features.detach().flatten_all()?.to_vec1::<f32>()?;
        xception::ensure_finite("features", &row)?;
        let probabilities = self.head.answer(&row)?;
        let prediction = match class {
            Some(class) => Prediction { class, probability: probabilities[class] },
            None => classifier::likeliest(&probabilities, 1)[0],
        };
        let mut gradients = logit(&self.head.forward(&features, Ok)?, prediction.class)?.backward()?;
        pass.backward(&mut gradients)?;
        let gradient = gradients.get(&activation).context("the class depends on nothing in the picture")?;
        Ok(Explanation { prediction, map: weighted(&activation.as_detached_tensor(), gradient)? })
    }
}

/// The logit of a class; a single output speaks for the second of two, and against the first.
///
/// Shapes: `logits` [1,K] or [1,1].
fn logit(logits: &Tensor, class: usize) -> Result<Tensor> {
    let logits = logits.squeeze(0)?;
    Ok(match (logits.dim(0)?, class) {
        (1, 0) => logits.get(0)?.neg()?,
        (1, _) => logits.get(0)?,
        _ => logits.get(class)?,
    })
}

/// The channels of an activation, each weighted by the mean of its gradient.
///
/// Shapes: `activation` and `gradient` [1,H,W,C].
fn weighted(activation: &Tensor, gradient: &Tensor) -> Result<ActivationMap> {
    let (_, height, width, _) = activation.dims4()?;
    let weights = gradient.detach().mean_keepdim((1, 2))?;
    let values = activation.broadcast_mul(&weights)?.sum(3)?.flatten_all()?.to_vec1()?;
    xception::ensure_finite("activations", &values)?;
    Ok(ActivationMap { height, width, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_the_share_of_what_speaks_for_the_class() {
        let map = |values: &[f32]| ActivationMap { height: 1, width: values.len(), values: values.to_vec() };
        assert_eq!(map(&[-3.0, 1.0, 4.0]).heat(), [0.0, 0.25, 1.0]);
        assert_eq!(map(&[-3.0, -1.0]).heat(), [0.0, 0.0]);
    }

    #[test]
    fn channels_are_weighted_by_their_mean_gradient() {
        let tensor = |values: &[f32]| Tensor::from_slice(values, (1, 1, 2, 2), &Device::Cpu).unwrap();
        // Two places of two channels; mean gradients 2 and −1.
        let map = weighted(&tensor(&[1.0, 10.0, 2.0, 20.0]), &tensor(&[1.0, 0.0, 3.0, -2.0])).unwrap();
        assert_eq!(map, ActivationMap { height: 1, width: 2, values: vec![-8.0, -16.0] });
    }

    #[test]
    fn a_single_output_speaks_against_the_first_class() {
        let logits = Tensor::new(&[[3.0_f32]], &Device::Cpu).unwrap();
        let of = |class| logit(&logits, class).unwrap().to_scalar::<f32>().unwrap();
        assert_eq!((of(0), of(1)), (-3.0, 3.0));
    }
}
