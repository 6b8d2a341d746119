//! The head of a run, trained to the end on the features of its training pictures: a linear one, a dense one, or the
//! better of the two.

use std::collections::HashSet;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use super::cross_validation::{self, Candidate, Examples, Shape, Solved};
use super::data::Data;
use super::dense;
use super::history::{EpochReport, Phase};
use super::loss::Loss;
use super::model::Model;
use super::settings::{HeadTraining, Settings};
use super::span::Span;
use super::validate::calibration_error;
use crate::calibration::Logits;

/// Held-out pictures that are enough to judge a dense head by: its training takes longer than a linear one's.
const JUDGED: usize = 500;
/// Pictures of the smallest class from which on a dense head may be the better one.
const PICTURES_FOR_DENSE: usize = 10;
/// What a factor of two away from the preferred mixing coefficient costs, in nats of held-out log loss over all pictures.
const MIXING_COST: f64 = 0.25;

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
    /// Cross-validations of the linear heads; dense ones are judged in the first.
    pub repeats: usize,
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
        let whole = Work::new(data, settings);
        let span = Span::new(&whole.rows)?;
        let work = whole.within(span.as_ref());
        let mut solved = cross_validation::solve(&work.examples(), settings.seed, check, done)?;
        let (mut layers, mut chosen, mut compared) = (vec![solved.model.layer()?], solved.chosen, None);
        if work.tries_dense() {
            let Judged { linear: beside, dense } = work.judge_dense(&solved, check)?;
            done();
            solved.candidates.extend(dense.iter().map(|(candidate, _)| candidate));
            let least = dense.into_iter().min_by(|a, b| cost(&a.0).total_cmp(&cost(&b.0)));
            let (candidate, logits) = least.context("no dense head was trained")?;
            let is_auto = settings.head == HeadTraining::Auto;
            compared = is_auto.then_some([candidate, beside.0]);
            if !is_auto || is_better(&logits, &beside.1) {
                let all: Vec<usize> = (0..work.classes.len()).collect();
                layers = work.train_dense(&solved, &all, &solved.model, check)?.at(candidate.mixing)?;
                (chosen, solved.logits) = (candidate, logits);
                done();
            }
        }
        if let Some(span) = &span {
            layers[0] = span.on_features(&layers[0])?;
        }
        let model = Model::of_layers(&layers, chosen.unit_length)?;
        whole.report(model, chosen, compared, solved)
    }
}

/// Candidates with their answers to held-out pictures.
struct Judged {
    /// The linear heads that the dense ones began as, fold by fold.
    linear: (Candidate, Logits),
    /// Dense heads, for each of the mixing coefficients.
    dense: Vec<(Candidate, Logits)>,
}

/// Held-out log loss over all pictures, with a mild preference for one mixing coefficient.
fn cost(dense: &Candidate) -> f64 {
    let away = dense.mixing.map_or(0.0, |mixing| (mixing / dense::PREFERRED_MIXING).log2());
    dense.pictures as f64 * dense.log_loss + MIXING_COST * away * away
}

/// Whether a head makes fewer mistakes than another on the same pictures, by more than one standard error of the
/// difference. A dense head's mixing coefficient was chosen on these pictures, too, which favours it a little.
fn is_better(head: &Logits, other: &Logits) -> bool {
    let (head, other) = (head.confidences(1.0), other.confidences(1.0));
    let won = head.iter().zip(&other).filter(|(head, other)| head.1 && !other.1).count() as f64;
    let lost = head.iter().zip(&other).filter(|(head, other)| !head.1 && other.1).count() as f64;
    won - lost > (won + lost).sqrt()
}

/// The examples of a run.
#[derive(Clone)]
struct Work<'a> {
    settings: &'a Settings,
    class_count: usize,
    /// D
    features: usize,
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
        let features = train.rows.first().map_or(0, |row| row.len());
        Self {
            settings,
            class_count,
            features,
            rows: train.rows,
            classes: train.classes,
            weights,
            val_rows,
            val_classes,
        }
    }

    /// The same with coordinates for training rows, if there is a span; validation rows stay as they are.
    fn within<'b>(&self, span: Option<&'b Span>) -> Work<'b>
    where
        'a: 'b,
    {
        match span {
            Some(span) => Work { rows: span.coordinates(), ..self.clone() },
            None => self.clone(),
        }
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

    /// Trains dense heads on all parts but one in turn, until enough pictures were held out.
    fn judge_dense(&self, solved: &Solved, check: &dyn Fn() -> Result<()>) -> Result<Judged> {
        let Candidate { unit_length, strength, .. } = solved.chosen;
        let mixings = dense::mixings(&self.settings.hidden, self.class_count);
        let mut of_linear = Logits::default();
        let mut of_dense: Vec<_> = mixings.into_iter().map(|mixing| (mixing, Logits::default())).collect();
        for part in &solved.parts {
            if of_linear.truths().len() >= JUDGED {
                break;
            }
            let held: HashSet<usize> = part.held.iter().copied().collect();
            let held_in: Vec<usize> = (0..self.rows.len()).filter(|row| !held.contains(row)).collect();
            let linear = Model::of_layers(&[part.model.layer()?], unit_length)?;
            let dense = self.train_dense(solved, &held_in, &part.model, check)?;
            let rows: Vec<&[f32]> = part.held.iter().map(|&row| self.rows[row]).collect();
            let classes: Vec<usize> = part.held.iter().map(|&row| self.classes[row]).collect();
            add_logits(&mut of_linear, &linear, &rows, &classes)?;
            for (mixing, answers) in &mut of_dense {
                let dense = Model::of_layers(&dense.at(*mixing)?, unit_length)?;
                add_logits(answers, &dense, &rows, &classes)?;
            }
        }
        let judged = |logits: &Logits, head| Candidate::judged(logits, 1, unit_length, head);
        let linear = Candidate { strength, ..judged(&of_linear, Shape::Linear) };
        let of_mixing = |(mixing, logits)| (Candidate { mixing, ..judged(&logits, Shape::Dense) }, logits);
        Ok(Judged { linear: (linear, of_linear), dense: of_dense.into_iter().map(of_mixing).collect() })
    }

    fn train_dense(
        &self,
        solved: &Solved,
        held_in: &[usize],
        start: &super::logistic::Linear,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<dense::Trained> {
        let examples = dense::Examples {
            rows: &self.rows,
            classes: &self.classes,
            class_count: self.class_count,
            class_weight: self.settings.class_weight,
            scaling: &solved.scaling,
            features: self.features,
        };
        dense::train(&examples, held_in, start, &self.settings.hidden, self.settings.seed, check)
    }

    fn report(
        &self,
        model: Model,
        chosen: Candidate,
        compared: Option<[Candidate; 2]>,
        solved: Solved,
    ) -> Result<SolvedHead> {
        let temperature = chosen.temperature;
        let (mut training, mut validated) = (Logits::default(), Logits::default());
        add_logits(&mut training, &model, &self.rows, &self.classes)?;
        add_logits(&mut validated, &model, &self.val_rows, &self.val_classes)?;
        if self.val_rows.is_empty() {
            validated = solved.logits;
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
        let Solved { candidates, folds, repeats, .. } = solved;
        Ok(SolvedHead { model, report, chosen, compared, candidates, folds, repeats })
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
