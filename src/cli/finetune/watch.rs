//! What happens during a phase: a line for each epoch, a bar, and the files that keep what was done.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::Tensor;
use indicatif::ProgressBar;

use super::phases::Training;
use crate::terminal;
use crate::train::{self, EpochReport, Fit, HeadTraining, Model, Observer, Phase, Position, Unfreeze};

/// Longest time between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);

pub struct Watch<'a> {
    training: &'a Training<'a>,
    bar: ProgressBar,
    /// Of both phases; a head that was solved counts as one.
    epochs: usize,
    last_checkpoint: Instant,
}

impl<'a> Watch<'a> {
    pub fn new(training: &'a Training<'a>, fit: &Fit, pictures: usize) -> Self {
        let settings = &training.arguments.settings;
        let steps = pictures.div_ceil(settings.batch_size) * fit.epochs();
        let unit = if fit.phase == Phase::Head { "steps of the head" } else { "steps of the network" };
        let head = if settings.head == HeadTraining::Epochs { settings.epochs } else { 1 };
        let network = if settings.unfreeze == Unfreeze::Nothing { 0 } else { settings.finetune_epochs };
        let bar = training.context.terminal.progress(steps, unit);
        Self { training, bar, epochs: head + network, last_checkpoint: Instant::now() }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, steps: usize) {
        self.bar.set_position(steps as u64);
    }

    fn epoch(
        &mut self,
        report: &EpochReport,
        position: &Position,
        model: &Model,
        values: &[Tensor],
        is_best: bool,
    ) -> Result<()> {
        self.bar.suspend(|| self.training.context.terminal.note(describe(report, self.epochs)));
        if is_best {
            self.training.write_model(&self.training.run.best(), model, values, Some(report))?;
        }
        if report.phase == Phase::Network {
            self.training.run.write_history(&position.history)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, fit: &Fit, is_urgent: bool) -> Result<()> {
        if is_urgent || self.last_checkpoint.elapsed() > CHECKPOINT_INTERVAL {
            train::write_checkpoint(&self.training.run.checkpoint(), fit)?;
            self.last_checkpoint = Instant::now();
        }
        Ok(())
    }

    fn kept(&self) -> String {
        let folder = self.training.run.folder().display();
        format!("what was trained is kept; go on with `xcept finetune --resume {folder}`")
    }
}

fn describe(report: &EpochReport, epochs: usize) -> String {
    let width = epochs.to_string().len();
    format!(
        "epoch {:width$}/{epochs}  loss {:.4}  accuracy {:>8}  val_loss {:.4}  val_accuracy {:>8}",
        report.epoch,
        report.loss,
        terminal::percent(report.accuracy),
        report.val_loss,
        terminal::percent(report.val_accuracy)
    )
}
