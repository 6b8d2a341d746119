//! A dense head on features, trained for as many steps as it takes, from a linear head on.
//!
//! It begins as the linear head: of its first hidden units half give each logit and half its negative, each layer
//! passes them on through its ReLU, and the last one puts them together. All other units begin at random and say
//! nothing yet. So few pictures give what a linear head gives, and many may add to it. The idea of growing a network
//! without changing its function: T. Chen, I. Goodfellow, J. Shlens, "Net2Net", 2016.
//!
//! The weights of the last step are overconfident, so the head that is kept is an average of the first and the last
//! weights, with a mixing coefficient that cross-validation chooses: M. Wortsman et al., "Robust fine-tuning of zero-shot
//! models", 2022. A head with fewer than two units for each logit in a layer begins at random, and its last weights are
//! kept.

use anyhow::Result;
use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;

use super::fit::{Batch, Fit, random};
use super::history::{Phase, Position};
use super::logistic::{Linear, Scaling, outputs};
use super::loss::{Loss, Totals};
use super::model::Model;
use super::schedule::{Progress, Schedule};
use super::settings::{ClassWeight, Settings};
use super::source::{Rows, Source};
use crate::head::Dense;

/// Root mean square length of the rows, about their mean, that the learning rate suits; about what averaged features
/// of photographs have by themselves.
const LENGTH: f64 = 6.5;
const LEARNING_RATE: f64 = 0.01;
const MOMENTUM: f64 = 0.9;
const WEIGHT_DECAY: f64 = 1e-3;
const DROPOUT: f32 = 0.2;
const BATCH: usize = 256;
/// Steps for few pictures, and passes over many.
const LEAST_STEPS: usize = 300;
const PASSES: usize = 20;

/// Mixing coefficients to choose from: 0 would be the linear head, 1 is the trained weights.
const MIXINGS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];
/// The one that is preferred, and taken where nothing can be held out to choose by.
pub const PREFERRED_MIXING: f64 = 0.25;

/// The mixing coefficients to choose from; `None` alone for a head that can't begin as a linear one.
pub fn mixings(hidden: &[usize], class_count: usize) -> Vec<Option<f64>> {
    if begins_linear(hidden, outputs(class_count)) { MIXINGS.map(Some).to_vec() } else { vec![None] }
}

/// Whether the hidden layers have enough units to pass on each logit and its negative.
fn begins_linear(hidden: &[usize], outputs: usize) -> bool {
    !hidden.is_empty() && hidden.iter().all(|&units| units >= 2 * outputs)
}

/// What a dense head is trained on.
pub struct Examples<'a> {
    pub rows: &'a [&'a [f32]],
    pub classes: &'a [usize],
    pub class_count: usize,
    pub class_weight: ClassWeight,
    /// How rows are scaled for training; the head takes them as they are (though of length 1, where the scaling says
    /// so).
    pub scaling: &'a Scaling,
    /// D, also where the rows are coordinates.
    pub features: usize,
}

/// A dense head before and after its training, for rows as they are (though of length 1, where the scaling says so).
pub struct Trained {
    /// Random where it can't begin as a linear head.
    start: Vec<Dense>,
    end: Vec<Dense>,
}

impl Trained {
    /// The layers with weights between the start, 0, and the end, 1; those of the end for `None`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn at(&self, mixing: Option<f64>) -> Result<Vec<Dense>> {
        let Some(mixing) = mixing else { return Ok(self.end.clone()) };
        let between = |start: &Tensor, end: &Tensor| (start * (1.0 - mixing))? + (end * mixing)?;
        let layer = |(start, end): (&Dense, &Dense)| {
            let kernel = between(&start.kernel, &end.kernel)?;
            Ok(Dense { kernel, bias: between(&start.bias, &end.bias)? })
        };
        self.start.iter().zip(&self.end).map(layer).collect()
    }
}

/// Trains a head with these `hidden` units on the rows of `held_in`, beginning as the linear head `start`.
///
/// # Errors
/// If a tensor operation fails, or `check` does: it is asked at every step.
pub fn train(
    examples: &Examples,
    held_in: &[usize],
    start: &Linear,
    hidden: &[usize],
    seed: u64,
    check: &dyn Fn() -> Result<()>,
) -> Result<Trained> {
    let settings = Settings {
        hidden: hidden.to_vec(),
        dropout: DROPOUT,
        momentum: MOMENTUM,
        nesterov: true,
        weight_decay: WEIGHT_DECAY,
        schedule: Schedule::Cosine,
        ..Settings::default()
    };
    let rows: Vec<Vec<f32>> = held_in.iter().map(|&row| scaled(examples, examples.rows[row])).collect();
    let classes: Vec<usize> = held_in.iter().map(|&row| examples.classes[row]).collect();
    let loss = Loss::new(examples.class_weight, 0.0, &classes);
    let source = Rows { rows: rows.iter().map(Vec::as_slice).collect(), classes, device: Device::Cpu };
    let model = beginning(examples, start, hidden, seed)?;
    let start = unscaled(&model, examples.scaling)?;
    let mut fit = Fit::new(&settings, Phase::Head, model, Position::default())?;
    let mut order = random(seed, "dense order");
    let mut dropout = random(seed, "dense dropout");
    let batch_size = BATCH.min(rows.len());
    let steps_per_epoch = rows.len() / batch_size;
    let epochs = PASSES.max(LEAST_STEPS.div_ceil(steps_per_epoch));
    let mut indices: Vec<usize> = (0..rows.len()).collect();
    for epoch in 0..epochs {
        indices.shuffle(&mut order);
        for (step, batch) in indices.chunks_exact(batch_size).enumerate() {
            check()?;
            let step = epoch * steps_per_epoch + step;
            let progress = Progress { step, steps_per_epoch, epochs, pictures: rows.len() };
            let rate = LEARNING_RATE * settings.schedule.factor(0.0, progress);
            let picked: Vec<Vec<f32>> = batch.iter().map(|&row| rows[row].clone()).collect();
            let targets: Vec<usize> = batch.iter().map(|&row| source.classes()[row]).collect();
            let batch = Batch { source: &source, examples: &picked, targets: &targets };
            fit.step(batch, &loss, rate, &mut dropout, &mut Totals::default())?;
        }
    }
    Ok(Trained { start, end: unscaled(&fit.model, examples.scaling)? })
}

fn scaled(examples: &Examples, row: &[f32]) -> Vec<f32> {
    examples.scaling.apply(row).map(|value| (value * LENGTH) as f32).collect()
}

/// The head that answers as `start` does; one of random weights where it can't begin as a linear one.
fn beginning(examples: &Examples, start: &Linear, hidden: &[usize], seed: u64) -> Result<Model> {
    let outputs = start.bias.len();
    let inputs = start.kernel.len() / outputs;
    let fresh = Model::head(hidden, inputs, examples.class_count, &mut random(seed, "head"), &Device::Cpu)?;
    let mut fresh = fresh.head_over(&fresh.detached()).layers().to_vec();
    // As large as Glorot's for D inputs: a row is as long as coordinates.
    let sides = |inputs: usize| (inputs + hidden.first().unwrap_or(&outputs)) as f64;
    fresh[0].kernel = (&fresh[0].kernel * (sides(inputs) / sides(examples.features)).sqrt())?;
    if !begins_linear(hidden, outputs) {
        return Model::of_layers(&fresh, false);
    }
    let start = examples.scaling.scaled(start);
    let mut layers = Vec::new();
    for (index, Dense { kernel, bias }) in fresh.iter().enumerate() {
        let (mut kernel, mut bias) = (kernel.to_vec2::<f32>()?, bias.to_vec1::<f32>()?);
        let is_last = index == hidden.len();
        for (row, weights) in kernel.iter_mut().enumerate() {
            for output in 0..outputs {
                let identity = |unit: usize| f32::from(u8::from(row == unit));
                let logit = |unit: usize| identity(unit) - identity(outputs + unit);
                if index == 0 {
                    let weight = (start.kernel[row * outputs + output] / LENGTH) as f32;
                    (weights[output], weights[outputs + output]) = (weight, -weight);
                } else if is_last {
                    weights[output] = logit(output);
                } else {
                    (weights[output], weights[outputs + output]) = (identity(output), identity(outputs + output));
                }
            }
            // A unit that passes a logit on says nothing to the others.
            if (1..hidden.len()).contains(&index) && row < 2 * outputs {
                weights[2 * outputs..].fill(0.0);
            }
        }
        for output in (0..outputs).filter(|_| index == 0) {
            (bias[output], bias[outputs + output]) = (start.bias[output] as f32, -start.bias[output] as f32);
        }
        let shape = (kernel.len(), bias.len());
        let kernel = Tensor::from_vec(kernel.concat(), shape, &Device::Cpu)?;
        layers.push(Dense { kernel, bias: Tensor::from_vec(bias, shape.1, &Device::Cpu)? });
    }
    Model::of_layers(&layers, false)
}

/// The layers for rows as they are: the first one takes over what was done to them.
fn unscaled(model: &Model, scaling: &Scaling) -> Result<Vec<Dense>> {
    // Training writes into the variables themselves.
    let copies = model.detached().iter().map(Tensor::copy).collect::<candle_core::Result<Vec<_>>>()?;
    let mut layers = model.head_over(&copies).layers().to_vec();
    let first = &layers[0];
    let floats = |tensor: &Tensor| {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        anyhow::Ok(values.into_iter().map(f64::from).collect())
    };
    let linear = Linear { kernel: floats(&first.kernel)?, bias: floats(&first.bias)? };
    let stretched = Linear { kernel: linear.kernel.iter().map(|weight| weight * LENGTH).collect(), ..linear };
    layers[0] = scaling.unscaled(&stretched).layer()?;
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_head_begins_as_the_linear_head_and_learns_its_rows() {
        let value = |i: usize, j: usize| (1.3 * i as f32 + 0.7 * j as f32).sin() + f32::from(u8::from(j % 3 == i % 3));
        let rows: Vec<Vec<f32>> = (0..12).map(|i| (0..8).map(|j| value(i, j)).collect()).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let classes: Vec<usize> = (0..12).map(|i| i % 3).collect();
        let start = Linear { kernel: (0..24).map(|i| f64::from(i).sin()).collect(), bias: vec![0.1, -0.2, 0.3] };
        let features = Tensor::from_vec(rows.concat(), (12, 8), &Device::Cpu).unwrap();
        let logits = |model: Model| model.head_over(&model.detached()).forward(&features, Ok).unwrap();
        for unit_length in [false, true] {
            let scaling = Scaling::new(&rows, unit_length).unwrap();
            let examples = Examples {
                rows: &rows,
                classes: &classes,
                class_count: 3,
                class_weight: ClassWeight::None,
                scaling: &scaling,
                features: 8,
            };
            let all: Vec<usize> = (0..12).collect();
            let trained = train(&examples, &all, &start, &[16, 8], 0, &|| Ok(())).unwrap();
            let linear = logits(Model::of_layers(&[start.layer().unwrap()], unit_length).unwrap());
            let expected = linear.to_vec2::<f32>().unwrap().concat();
            let model = |mixing| Model::of_layers(&trained.at(mixing).unwrap(), unit_length).unwrap();
            let found = logits(model(Some(0.0))).to_vec2::<f32>().unwrap().concat();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
            let found = logits(model(None)).argmax(1).unwrap().to_vec1::<u32>().unwrap();
            assert_eq!(found, classes.iter().map(|&class| class as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_head_of_too_few_units_is_not_averaged_with_its_random_start() {
        assert_eq!(mixings(&[16, 8], 5), [None]);
        assert_eq!(mixings(&[], 2), [None]);
        assert!(mixings(&[20, 10], 5).contains(&Some(PREFERRED_MIXING)));
    }
}
