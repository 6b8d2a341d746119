//! The linear head of a run, solved on the features of its training pictures.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::cross_validation::{self, Examples, Solved};
use super::data::Data;
use super::history::{EpochReport, Phase};
use super::loss::Loss;
use super::model::Model;
use super::settings::Settings;
use super::validate::calibration_error;
use crate::calibration::Logits;
use crate::head::Dense;

/// A trained head with its figures.
#[derive(Debug)]
pub struct SolvedHead {
    pub model: Model,
    /// As of a single epoch. Validation figures are those of the validation pictures or, without such, of the held-out
    /// answers; not a number where nothing could be held out.
    pub report: EpochReport,
    pub solved: Solved,
}

impl SolvedHead {
    /// Candidates that will be tried.
    pub fn steps(data: &Data, settings: &Settings) -> usize {
        let (train, _) = data.rows(&Device::Cpu);
        let weights = Loss::new(settings.class_weight, 0.0, &train.classes).row_weights(&train.classes);
        cross_validation::steps(&examples(data, &train.rows, &train.classes, &weights))
    }

    /// `done` is called after each candidate, `check` at each step of the solver.
    ///
    /// # Errors
    /// Those of `check`, and if a tensor operation fails.
    pub fn train(
        data: &Data,
        settings: &Settings,
        check: &dyn Fn() -> Result<()>,
        done: &mut dyn FnMut(),
    ) -> Result<Self> {
        let (train, val) = data.rows(&Device::Cpu);
        let weights = Loss::new(settings.class_weight, 0.0, &train.classes).row_weights(&train.classes);
        let examples = examples(data, &train.rows, &train.classes, &weights);
        let solved = cross_validation::solve(&examples, settings.seed, check, done)?;
        let (length, outputs) = (solved.model.kernel.len() / solved.model.bias.len(), solved.model.bias.len());
        let floats = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let kernel = Tensor::from_vec(floats(&solved.model.kernel), (length, outputs), &Device::Cpu)?;
        let bias = Tensor::from_vec(floats(&solved.model.bias), outputs, &Device::Cpu)?;
        let model = Model::of_layers(&[Dense { kernel, bias }], solved.chosen.unit_length)?;
        let validated =
            if val.rows.is_empty() { solved.logits.clone() } else { logits(&model, &val.rows, &val.classes)? };
        let temperature = solved.chosen.temperature;
        let error = |temperature| (!validated.truths().is_empty()).then(|| calibration_error(&validated, temperature));
        let report = EpochReport {
            epoch: 1,
            phase: Phase::Head,
            learning_rate: 0.0,
            loss: solved.training.log_loss(temperature),
            accuracy: accuracy(&solved.training),
            val_loss: if validated.truths().is_empty() { f64::NAN } else { validated.log_loss(temperature) },
            val_accuracy: accuracy(&validated),
            temperature,
            val_calibration_error: error(1.0),
            val_calibrated_error: error(temperature),
        };
        Ok(Self { model, report, solved })
    }
}

fn examples<'a>(data: &Data, rows: &'a [&'a [f32]], classes: &'a [usize], weights: &'a [f64]) -> Examples<'a> {
    Examples { rows, classes, class_count: data.features.class_names.len(), weights }
}

/// What the head says of rows.
fn logits(model: &Model, rows: &[&[f32]], classes: &[usize]) -> Result<Logits> {
    const BATCH: usize = 256;
    let head = model.head_over(&model.detached());
    let mut found = Logits::default();
    for (rows, classes) in rows.chunks(BATCH).zip(classes.chunks(BATCH)) {
        let length = rows.first().map_or(0, |row| row.len());
        let features = Tensor::from_vec(rows.concat(), (rows.len(), length), &Device::Cpu)?;
        found.add(&head.forward(&features, Ok)?, classes)?;
    }
    Ok(found)
}

/// Not a number without answers.
fn accuracy(logits: &Logits) -> f64 {
    let right = logits.confidences(1.0).iter().filter(|(_, is_right)| *is_right).count();
    right as f64 / logits.truths().len() as f64
}
