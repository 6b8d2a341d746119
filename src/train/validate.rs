//! What a network says of a whole source, without training: loss and accuracy, how far its probabilities can be
//! trusted, and the features that its head sees.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::fit::random;
use super::loss::{Loss, Totals};
use super::model::Network;
use super::source::Source;
use super::split;
use crate::batches;
use crate::calibration::{self, Logits};
use crate::interrupt;
use crate::op::Backend;
use crate::xception::{Norm, Pass};

/// Examples that go through the network together; sums over other numbers of them would round otherwise.
const BATCH: usize = 8;

/// Figures of a validation.
#[derive(Debug)]
pub struct Validation {
    pub totals: Totals,
    pub logits: Logits,
}

/// A temperature fitted on fewer pictures would say more of them than of the classifier: with 50 of them and 95 %
/// right, three mistakes decide.
pub const LEAST_PICTURES: usize = 50;

/// The temperature that a validation asks for, and what such a temperature is good for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Fitted on all examples; 1 if they are fewer than [`LEAST_PICTURES`].
    pub temperature: f64,
    /// Expected calibration error on one half at temperature 1, and at the temperature fitted on the other half;
    /// none where there are too few of them.
    pub errors: Option<[f64; 2]>,
}

/// # Errors
/// If an example can't be read any more, or the user interrupts.
pub fn validate(network: &Network, source: &dyn Source, kept: &dyn Fn() -> String) -> Result<Validation> {
    let (plain, mut totals, mut logits) = (Loss::plain(), Totals::default(), Logits::default());
    for_each(source, kept, &mut |x, targets| {
        let mut pass = Pass::new(Norm::Running, Backend::for_device(x.device()));
        let found = network.logits(x, &mut pass, Ok)?;
        totals.add(&plain.sum(&found, targets)?, &found, targets)?;
        logits.add(&found, targets)
    })?;
    ensure!(!source.classes().is_empty(), "no validation pictures");
    Ok(Validation { totals, logits })
}

/// Features of a source's examples in front of the head; `done` hears of each batch by its number of examples.
///
/// Shapes: each row [2048].
///
/// # Errors
/// As [`validate`].
pub fn features(
    network: &Network,
    source: &dyn Source,
    kept: &dyn Fn() -> String,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<f32>>> {
    let mut rows = Vec::with_capacity(source.classes().len());
    for_each(source, kept, &mut |x, targets| {
        let mut pass = Pass::new(Norm::Running, Backend::for_device(x.device()));
        rows.extend(network.features(x, &mut pass)?.to_vec2::<f32>()?);
        done(targets.len());
        Ok(())
    })?;
    Ok(rows)
}

/// Calls `consume` with each batch of the network's input and its classes, in order, as the first epoch shows it.
fn for_each(
    source: &dyn Source,
    kept: &dyn Fn() -> String,
    consume: &mut dyn FnMut(&Tensor, &[usize]) -> Result<()>,
) -> Result<()> {
    let indices: Vec<usize> = (0..source.classes().len()).collect();
    batches::for_each(
        &indices,
        BATCH,
        |&index| source.read(index, 0),
        |batch, examples| {
            interrupt::check(kept)?;
            let examples = examples.into_iter().collect::<Result<Vec<_>>>()?;
            let targets: Vec<usize> = batch.iter().map(|&index| source.classes()[index]).collect();
            consume(&source.assemble(&examples)?, &targets)
        },
    )
}

/// The expected calibration error at a temperature.
pub(super) fn calibration_error(logits: &Logits, temperature: f64) -> f64 {
    calibration::expected_calibration_error(&calibration::reliability(&logits.confidences(temperature)))
}

impl Calibration {
    /// Halves are drawn by `seed`, half of each class.
    pub fn of(logits: &Logits, seed: u64) -> Self {
        if logits.truths().len() < LEAST_PICTURES {
            return Self { temperature: 1.0, errors: None };
        }
        let is_other = split::drawn(logits.truths(), 0.5, &mut random(seed, "calibration"));
        let (fitted, other) = (logits.select(|row| !is_other[row]), logits.select(|row| is_other[row]));
        let errors =
            [1.0, calibration::fit_temperature(&fitted)].map(|temperature| calibration_error(&other, temperature));
        Self { temperature: calibration::fit_temperature(logits), errors: Some(errors) }
    }
}
