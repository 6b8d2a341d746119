//! One phase of training: epochs of steps over a source, with a validation after each.
//!
//! Whatever is random is drawn anew for each epoch or step from the seed, the phase and their numbers;
//! so a run that goes on from a checkpoint does what it would have done.

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest as _, Sha256};

use super::Settings;
use super::history::{EpochReport, Phase, Position};
use super::loss::{Loss, Totals};
use super::model::Model;
use super::optimizer::{Optimizer, clip};
use super::schedule::Progress;
use super::settings::BatchNormMode;
use super::source::Source;
use super::validate::{Calibration, Validation, validate};
use crate::batches;
use crate::interrupt::{self, Interrupted};
use crate::op::Backend;
use crate::xception::{Norm, Pass};

/// Who hears of what happens.
pub trait Observer {
    /// A step has ended, the phase's so many.
    fn step(&mut self, steps: usize);

    /// An epoch has ended; `values` are what was evaluated, in the place of the variables, and
    /// `is_best` says whether they are the best so far.
    ///
    /// # Errors
    /// If what is to be kept cannot be written.
    fn epoch(
        &mut self,
        report: &EpochReport,
        position: &Position,
        model: &Model,
        values: &[Tensor],
        is_best: bool,
    ) -> Result<()>;

    /// A moment at which the run could go on later.
    ///
    /// # Errors
    /// If the checkpoint cannot be written.
    fn checkpoint(&mut self, fit: &Fit, is_urgent: bool) -> Result<()>;

    /// What becomes of the work so far if it is interrupted now.
    fn kept(&self) -> String;
}

/// Examples of one step, as their source gave them.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub source: &'a dyn Source,
    pub examples: &'a [Vec<f32>],
    /// Their classes.
    pub targets: &'a [usize],
}

/// A phase under way.
pub struct Fit<'a> {
    pub settings: &'a Settings,
    pub phase: Phase,
    pub model: Model,
    pub optimizer: Optimizer,
    /// The averaged weights, if they are kept.
    pub average: Option<Vec<Tensor>>,
    pub position: Position,
}

/// Values that the examples which go through the network together may make: eight pictures of 299×299 through
/// the whole network, 0.4 GB. The number never depends on the machine, for sums over other parts would round
/// otherwise.
const VALUES_AT_ONCE: usize = 110_000_000;

impl<'a> Fit<'a> {
    /// # Errors
    /// If there is no memory for the optimiser.
    pub fn new(settings: &'a Settings, phase: Phase, model: Model, position: Position) -> Result<Self> {
        let optimizer = Optimizer::new(settings, model.variables())?;
        let average = match settings.ema {
            Some(_) => Some(model.detached().iter().map(Tensor::copy).collect::<candle_core::Result<_>>()?),
            None => None,
        };
        Ok(Self { settings, phase, model, optimizer, average, position })
    }

    pub fn epochs(&self) -> usize {
        match self.phase {
            Phase::Head => self.settings.epochs,
            Phase::Network => self.settings.finetune_epochs,
        }
    }

    fn rate(&self) -> f64 {
        match self.phase {
            Phase::Head => self.settings.learning_rate,
            Phase::Network => self.settings.finetune_learning_rate,
        }
    }

    /// Trains to the end of the phase.
    ///
    /// # Errors
    /// If the training diverges, an example can't be read, or the user interrupts: then a checkpoint has been
    /// written.
    pub fn run(&mut self, train: &dyn Source, val: &dyn Source, observer: &mut dyn Observer) -> Result<()> {
        let Settings { class_weight, label_smoothing, .. } = *self.settings;
        let loss = Loss::new(class_weight, label_smoothing, train.classes());
        while self.position.epochs_of(self.phase) < self.epochs() && !self.is_out_of_patience() {
            let rate = self.train_epoch(train, &loss, observer)?;
            let values = self.evaluated();
            let validated = validate(&self.model.network(&values)?, val, &|| observer.kept());
            if validated.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
                observer.checkpoint(self, true)?;
            }
            let Validation { totals: val_totals, logits } = validated?;
            let calibration = Calibration::of(&logits, self.settings.seed);
            let totals = std::mem::take(&mut self.position.totals);
            self.position.step = 0;
            let report = EpochReport {
                epoch: self.position.history.len() + 1,
                phase: self.phase,
                learning_rate: rate,
                loss: totals.loss(),
                accuracy: totals.accuracy(),
                val_loss: val_totals.loss(),
                val_accuracy: val_totals.accuracy(),
                temperature: calibration.temperature,
                val_calibration_error: calibration.errors.map(|[before, _]| before),
                val_calibrated_error: calibration.errors.map(|[_, after]| after),
            };
            let is_finite = report.loss.is_finite() && report.val_loss.is_finite();
            let is_best = is_finite
                && self.position.best.as_ref().is_none_or(|best| report.is_better(best, self.settings.monitor));
            self.position.history.push(report.clone());
            if is_best {
                self.position.best = Some(report.clone());
            }
            observer.epoch(&report, &self.position, &self.model, &values, is_best)?;
            self.ensure_finite(report.epoch, report.val_loss)?;
            observer.checkpoint(self, true)?;
        }
        Ok(())
    }

    fn ensure_finite(&self, epoch: usize, loss: f64) -> Result<()> {
        let option = if self.phase == Phase::Network { "--finetune-learning-rate" } else { "--learning-rate" };
        ensure!(loss.is_finite(), "the training diverged in epoch {epoch}: its loss is {loss}; pass a lower {option}");
        Ok(())
    }

    fn is_out_of_patience(&self) -> bool {
        self.settings.patience.is_some_and(|patience| self.position.epochs_without_improvement(self.phase) >= patience)
    }

    /// What is evaluated and kept: the averaged weights, or the variables themselves.
    pub fn evaluated(&self) -> Vec<Tensor> {
        self.average.clone().unwrap_or_else(|| self.model.detached())
    }

    /// The rest of the epoch in hand; returns the rate of its last step.
    fn train_epoch(&mut self, train: &dyn Source, loss: &Loss, observer: &mut dyn Observer) -> Result<f64> {
        let epoch = self.position.epochs_of(self.phase);
        let mut order: Vec<usize> = (0..train.classes().len()).collect();
        order.shuffle(&mut self.random("order", epoch, 0));
        let batch_size = self.settings.batch_size;
        let steps = order.len().div_ceil(batch_size);
        let rate_of = |fit: &Self, step: usize| {
            let step = epoch * steps + step;
            let progress = Progress { step, steps_per_epoch: steps, epochs: fit.epochs(), pictures: order.len() };
            fit.rate() * fit.settings.schedule.factor(fit.settings.warm_up, progress)
        };
        let left = &order[(self.position.step * batch_size).min(order.len())..];
        batches::for_each(
            left,
            batch_size,
            |&index| train.read(index, epoch),
            |batch, examples| {
                let examples = examples.into_iter().collect::<Result<Vec<_>>>()?;
                let targets: Vec<usize> = batch.iter().map(|&index| train.classes()[index]).collect();
                let rate = rate_of(self, self.position.step);
                let mut random = self.random("dropout", epoch, self.position.step);
                let mut totals = self.position.totals.clone();
                let batch = Batch { source: train, examples: &examples, targets: &targets };
                let stepped = self.step(batch, loss, rate, &mut random, &mut totals);
                // A step that was interrupted has changed nothing: the run goes on with it.
                if !stepped.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
                    stepped?;
                    self.ensure_finite(self.position.history.len() + 1, totals.loss())?;
                    self.position.totals = totals;
                    self.position.step += 1;
                    observer.step(epoch * steps + self.position.step);
                }
                let asked = interrupt::check(String::new).is_err();
                observer.checkpoint(self, asked)?;
                interrupt::check(|| observer.kept())
            },
        )?;
        Ok(rate_of(self, steps - 1))
    }

    /// One step of the optimiser over a batch.
    ///
    /// # Errors
    /// If a tensor operation fails, or the user interrupts: then nothing has changed.
    pub fn step(
        &mut self,
        batch: Batch,
        loss: &Loss,
        rate: f64,
        random: &mut ChaCha8Rng,
        totals: &mut Totals,
    ) -> Result<()> {
        let Batch { source, examples, targets } = batch;
        let network = self.model.training()?;
        let is_batch_norm = self.phase == Phase::Network && self.settings.batch_norm == BatchNormMode::Train;
        let longest = examples.iter().map(Vec::len).max().unwrap_or(0);
        let most = (VALUES_AT_ONCE / self.model.values_of_example(longest).max(1)).max(1);
        let at_once = if is_batch_norm { examples.len() } else { most };
        let share = 1.0 / examples.len() as f64;
        let mut gradients: Vec<Option<Tensor>> = vec![None; self.model.variables().len()];
        for (examples, targets) in examples.chunks(at_once).zip(targets.chunks(at_once)) {
            // A large batch takes long through the whole network.
            interrupt::check(|| "nothing was written".to_owned())?;
            let x = source.assemble(examples)?;
            let norm = if is_batch_norm { Norm::Batch(Vec::new()) } else { Norm::Running };
            let mut pass = Pass::new(norm, Backend::for_device(x.device()));
            let logits = network.logits(&x, &mut pass, |x| dropout(&x, self.settings.dropout, random))?;
            let sum = loss.sum(&logits, targets)?;
            totals.add(&sum, &logits, targets)?;
            let mut found = (sum * share)?.backward()?;
            let statistics = pass.backward(&mut found)?;
            for (gradient, variable) in gradients.iter_mut().zip(self.model.variables()) {
                // Candle's gradients may be results of tracked operations; kept so, they would keep the whole
                // pass in memory.
                let part = found.remove(variable).map(|part| part.detach());
                *gradient = match (gradient.take(), part) {
                    (Some(sum), Some(part)) => Some((sum + part)?),
                    (sum, part) => sum.or(part),
                };
            }
            self.model.average_in(&statistics)?;
        }
        if let Some(largest) = self.settings.clip_norm {
            clip(&mut gradients, largest)?;
        }
        let rates = self.model.rates(rate, self.settings.backbone_lr_scale);
        self.optimizer.step(self.model.variables(), &gradients, &rates)?;
        self.update_average()
    }

    /// Takes the new weights into the averaged ones. These follow faster at first, when there is little
    /// to average (TensorFlow's `ExponentialMovingAverage` with `num_updates`).
    fn update_average(&mut self) -> Result<()> {
        let (Some(average), Some(decay)) = (&mut self.average, self.settings.ema) else { return Ok(()) };
        let steps = self.optimizer.steps() as f64;
        let decay = decay.min((1.0 + steps) / (10.0 + steps));
        for (average, variable) in average.iter_mut().zip(self.model.variables()) {
            *average = ((&*average * decay)? + (variable.as_detached_tensor() * (1.0 - decay))?)?;
        }
        Ok(())
    }

    /// A generator of its own for each purpose, epoch and step.
    pub fn random(&self, purpose: &str, epoch: usize, step: usize) -> ChaCha8Rng {
        random(self.settings.seed, &format!("{:?} {purpose} {epoch} {step}", self.phase))
    }
}

/// The generator for a purpose.
pub fn random(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(Sha256::digest(format!("{seed} {purpose}")).into())
}

/// Drops a share of the values and scales the rest, so that the mean stays.
fn dropout(x: &Tensor, rate: f32, random: &mut ChaCha8Rng) -> Result<Tensor> {
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let kept = 1.0 / (1.0 - rate);
    let mask: Vec<f32> = (0..x.elem_count()).map(|_| if random.random::<f32>() < rate { 0.0 } else { kept }).collect();
    Ok((x * Tensor::from_vec(mask, x.dims(), x.device())?)?)
}

#[cfg(test)]
mod tests;
