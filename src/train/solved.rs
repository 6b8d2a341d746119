//! The head of a run, trained to the end on the features of its training pictures: a linear one, a dense one, or the
//! better of the two.

use std::collections::HashSet;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::cross_validation::{self, Candidate, Examples, Shape, Solved};
use super::data::Data;
use super::dense;
use super::history::{EpochReport, Phase};
use super::loss::Loss;
use super::model::Model;
use super::settings::{HeadTraining, Settings};
use super::validate::calibration_error;
use crate::calibration::Logits;

/// Pictures that a dense head is judged on where there are as many: its training takes longer than a linear one's.
const JUDGED: usize = 500;
/// Pictures of the smallest class from which on a dense head may be the better one.
const PICTURES_FOR_DENSE: usize = 10;

/// A trained head with its figures.
#[derive(Debug)]
pub struct SolvedHead {
    pub model: Model,
    /// As of a single epoch. Validation figures are those of the validation pictures or, without such, of the held-out
    /// answers; not a number where nothing could be held out.
    pub report: EpochReport,
    pub chosen: Candidate,
    /// The dense head beside the linear head on the same held-out pictures, where both were tried.
    pub compared: Option<[Candidate; 2]>,
    pub candidates: Vec<Candidate>,
    /// Parts that were held out in turn; 0 where nothing could be.
    pub folds: usize,
}

impl SolvedHead {
    /// Calls of `done` that [`Self::train`] will make at most.
    pub fn steps(data: &Data, settings: &Settings) -> usize {
        let work = Work::new(data, settings);
        let dense = if work.tries_dense() { 2 } else { 0 };
        cross_validation::steps(&work.examples()) + dense
    }

    /// `done` is called after each candidate, `check` at each step of a solver.
    ///
    /// # Errors
    /// Those of `check`, and if a tensor operation fails.
    pub fn train(
        data: &Data,
        settings: &Settings,
        check: &dyn Fn() -> Result<()>,
        done: &mut dyn FnMut(),
    ) -> Result<Self> {
        let work = Work::new(data, settings);
        let mut solved = cross_validation::solve(&work.examples(), settings.seed, check, done)?;
        let linear = Model::of_layers(&[solved.model.layer()?], solved.chosen.unit_length)?;
        if !work.tries_dense() {
            return work.finish(linear, solved.chosen, None, &solved);
        }
        let [dense, beside] = work.judge_dense(&solved, check)?;
        done();
        let dense_candidate = candidate(&dense, Shape::Dense, &solved);
        let compared = [dense_candidate, candidate(&beside, Shape::Linear, &solved)];
        solved.candidates.push(dense_candidate);
        if settings.head == HeadTraining::Auto && !is_better(&dense, &beside) {
            return work.finish(linear, solved.chosen, Some(compared), &solved);
        }
        let all: Vec<usize> = (0..work.classes.len()).collect();
        let model = work.train_dense(&solved, &all, &solved.model, check)?;
        done();
        solved.logits = dense;
        let compared = (settings.head == HeadTraining::Auto).then_some(compared);
        work.finish(model, dense_candidate, compared, &solved)
    }
}

fn candidate(logits: &Logits, shape: Shape, solved: &Solved) -> Candidate {
    let Candidate { unit_length, strength, .. } = solved.chosen;
    Candidate::judged(logits, 1, shape, unit_length, strength.filter(|_| shape == Shape::Linear))
}

/// Whether a head makes fewer mistakes than another on the same pictures, by more than one standard error of the
/// difference.
fn is_better(head: &Logits, other: &Logits) -> bool {
    let (head, other) = (head.confidences(1.0), other.confidences(1.0));
    let won = head.iter().zip(&other).filter(|(head, other)| head.1 && !other.1).count() as f64;
    let lost = head.iter().zip(&other).filter(|(head, other)| !head.1 && other.1).count() as f64;
    won - lost > (won + lost).sqrt()
}

/// The examples of a run.
struct Work<'a> {
    settings: &'a Settings,
    class_count: usize,
    rows: Vec<&'a [f32]>,
    classes: Vec<usize>,
    weights: Vec<f64>,
    val_rows: Vec<&'a [f32]>,
    val_classes: Vec<usize>,
}

impl<'a> Work<'a> {
    fn new(data: &Data<'a>, settings: &'a Settings) -> Self {
        let (train, val) = data.rows(&Device::Cpu);
        let weights = Loss::new(settings.class_weight, 0.0, &train.classes).row_weights(&train.classes);
        let class_count = data.features.class_names.len();
        let (val_rows, val_classes) = (val.rows, val.classes);
        Self { settings, class_count, rows: train.rows, classes: train.classes, weights, val_rows, val_classes }
    }

    fn examples(&self) -> Examples<'_> {
        let Self { class_count, rows, classes, weights, .. } = self;
        Examples { rows, classes, class_count: *class_count, weights }
    }

    /// A dense head is tried where it is asked for, and otherwise where there are pictures enough to tell.
    fn tries_dense(&self) -> bool {
        let of_class = |class| self.classes.iter().filter(|&&other| other == class).count();
        match self.settings.head {
            HeadTraining::Dense => true,
            HeadTraining::Auto => (0..self.class_count).all(|class| of_class(class) >= PICTURES_FOR_DENSE),
            HeadTraining::Linear | HeadTraining::Epochs => false,
        }
    }

    /// What dense heads say of held-out pictures, and what the linear heads say that they began as.
    fn judge_dense(&self, solved: &Solved, check: &dyn Fn() -> Result<()>) -> Result<[Logits; 2]> {
        let mut answers = [Logits::default(), Logits::default()];
        for part in &solved.parts {
            if answers[0].truths().len() >= JUDGED {
                break;
            }
            let held: HashSet<usize> = part.held.iter().copied().collect();
            let held_in: Vec<usize> = (0..self.rows.len()).filter(|row| !held.contains(row)).collect();
            let linear = Model::of_layers(&[part.model.layer()?], solved.chosen.unit_length)?;
            let dense = self.train_dense(solved, &held_in, &part.model, check)?;
            let rows: Vec<&[f32]> = part.held.iter().map(|&row| self.rows[row]).collect();
            let classes: Vec<usize> = part.held.iter().map(|&row| self.classes[row]).collect();
            for (answers, model) in answers.iter_mut().zip([&dense, &linear]) {
                add_logits(answers, model, &rows, &classes)?;
            }
        }
        Ok(answers)
    }

    fn train_dense(
        &self,
        solved: &Solved,
        held_in: &[usize],
        start: &super::logistic::Linear,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<Model> {
        let examples = dense::Examples {
            rows: &self.rows,
            classes: &self.classes,
            class_count: self.class_count,
            class_weight: self.settings.class_weight,
            scaling: &solved.scaling,
        };
        dense::train(&examples, held_in, start, &self.settings.hidden, self.settings.seed, check)
    }

    fn finish(
        &self,
        model: Model,
        chosen: Candidate,
        compared: Option<[Candidate; 2]>,
        solved: &Solved,
    ) -> Result<SolvedHead> {
        let temperature = chosen.temperature;
        let (mut training, mut validated) = (Logits::default(), Logits::default());
        add_logits(&mut training, &model, &self.rows, &self.classes)?;
        add_logits(&mut validated, &model, &self.val_rows, &self.val_classes)?;
        if self.val_rows.is_empty() {
            validated = solved.logits.clone();
        }
        let is_judged = !validated.truths().is_empty();
        let error = |temperature| is_judged.then(|| calibration_error(&validated, temperature));
        let report = EpochReport {
            epoch: 1,
            phase: Phase::Head,
            learning_rate: 0.0,
            loss: training.log_loss(temperature),
            accuracy: accuracy(&training),
            val_loss: if is_judged { validated.log_loss(temperature) } else { f64::NAN },
            val_accuracy: accuracy(&validated),
            temperature,
            val_calibration_error: error(1.0),
            val_calibrated_error: error(temperature),
        };
        let candidates = solved.candidates.clone();
        Ok(SolvedHead { model, report, chosen, compared, candidates, folds: solved.folds })
    }
}

/// Adds what a head says of rows.
fn add_logits(found: &mut Logits, model: &Model, rows: &[&[f32]], classes: &[usize]) -> Result<()> {
    const BATCH: usize = 256;
    let head = model.head_over(&model.detached());
    for (rows, classes) in rows.chunks(BATCH).zip(classes.chunks(BATCH)) {
        let length = rows.first().map_or(0, |row| row.len());
        let features = Tensor::from_vec(rows.concat(), (rows.len(), length), &Device::Cpu)?;
        found.add(&head.forward(&features, Ok)?, classes)?;
    }
    Ok(())
}

/// Not a number without answers.
fn accuracy(logits: &Logits) -> f64 {
    let right = logits.confidences(1.0).iter().filter(|(_, is_right)| *is_right).count();
    right as f64 / logits.truths().len() as f64
}
