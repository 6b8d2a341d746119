//! What a linear head says of each picture that it was not trained on: five heads, each on four fifths of the rows.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::folds::{FOLDS, folds};
use crate::features::Features;
use crate::head::Head;
use crate::interrupt;
use crate::similarity;
use crate::train::{self, EpochReport, Fit, Model, Observer, Phase, Position, Settings, Source};

/// Length of every row that a head sees, so that one learning rate suits any pooling and any weights: what average
/// pooled features of photographs have by themselves.
const LENGTH: f32 = 9.0;
/// Rows that a head sees while it trains, each as often as that takes: 20 epochs of 4,800 rows. With half as many or
/// twice as many, fewer of 60 swapped labels among 6,000 are found.
const ROWS_SEEN: usize = 100_000;
/// The fewest epochs, for many rows, and the most, for few.
const EPOCHS: std::ops::RangeInclusive<usize> = 3..=60;
/// Held-out rows that a head is validated on after each epoch; nothing comes of it.
const VALIDATED: usize = 8;
/// Rows that are judged together.
const BATCH: usize = 256;

/// Class probabilities [K] of each of the `labelled` rows. `done` hears of rows.
///
/// # Errors
/// If the user interrupts or a tensor operation fails.
pub(super) fn probabilities(
    features: &Features,
    labelled: &[usize],
    groups: &[usize],
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f32>>> {
    let classes: Vec<usize> = labelled.iter().filter_map(|&row| features.rows[row].class).collect();
    let groups: Vec<usize> = labelled.iter().map(|&row| groups[row]).collect();
    let folds = folds(&classes, &groups);
    let mut probabilities = vec![Vec::new(); labelled.len()];
    for fold in 0..FOLDS {
        let (held, learnt): (Vec<usize>, Vec<usize>) = (0..labelled.len()).partition(|&row| folds[row] == fold);
        let of = |rows: &[usize]| Scaled {
            rows: rows.iter().map(|&row| features.rows[labelled[row]].values.as_slice()).collect(),
            classes: rows.iter().map(|&row| classes[row]).collect(),
        };
        let (held_rows, learnt) = (of(&held), of(&learnt));
        if held_rows.rows.is_empty() {
            continue;
        }
        let validated = of(&held[..held.len().min(VALIDATED)]);
        let head = train(&learnt, &validated, features.class_names.len())?;
        for (batch, rows) in held.chunks(BATCH).enumerate() {
            let examples =
                (0..rows.len()).map(|row| held_rows.read(batch * BATCH + row, 0)).collect::<Result<Vec<_>>>()?;
            let found = head.probabilities(&held_rows.assemble(&examples)?)?.to_vec2::<f32>()?;
            rows.iter().zip(found).for_each(|(&row, found)| probabilities[row] = found);
            done(rows.len())?;
        }
    }
    Ok(probabilities)
}

fn train(learnt: &Scaled, validated: &Scaled, classes: usize) -> Result<Head> {
    let settings = Settings {
        hidden: Vec::new(),
        dropout: 0.0,
        epochs: (ROWS_SEEN / learnt.rows.len().max(1)).clamp(*EPOCHS.start(), *EPOCHS.end()),
        learning_rate: 0.01,
        momentum: 0.9,
        ..Settings::default()
    };
    let inputs = learnt.rows.first().map_or(0, |row| row.len());
    let mut random = train::random(settings.seed, "head");
    let model = Model::head(&settings.hidden, inputs, classes, &mut random, &Device::Cpu)?;
    let mut fit = Fit::new(&settings, Phase::Head, model, Position::default())?;
    fit.run(learnt, validated, &mut Unobserved)?;
    Head::new(&fit.model.tensors(&fit.evaluated())?, &Device::Cpu)
}

/// Rows of one length, scaled as they are read.
struct Scaled<'a> {
    rows: Vec<&'a [f32]>,
    classes: Vec<usize>,
}

impl Source for Scaled<'_> {
    fn classes(&self) -> &[usize] {
        &self.classes
    }

    fn read(&self, index: usize, _: usize) -> Result<Vec<f32>> {
        let row = self.rows[index];
        let norm = similarity::norm(row);
        let scale = if norm > 0.0 { LENGTH / norm } else { 0.0 };
        Ok(row.iter().map(|value| value * scale).collect())
    }

    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor> {
        let length = examples.first().map_or(0, Vec::len);
        Ok(Tensor::from_vec(examples.concat(), (examples.len(), length), &Device::Cpu)?)
    }
}

/// Nobody watches, and nothing is kept.
struct Unobserved;

impl Observer for Unobserved {
    fn step(&mut self, _: usize) {}

    fn epoch(&mut self, _: &EpochReport, _: &Position, _: &Model, _: &[Tensor], _: bool) -> Result<()> {
        interrupt::check(|| self.kept())
    }

    fn checkpoint(&mut self, _: &Fit, _: bool) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> String {
        super::NOTHING_KEPT.to_owned()
    }
}
