//! What a run has done so far: its epochs, the best of them, and the steps of the one in hand.

use serde::{Deserialize, Serialize};

use super::loss::Totals;
use super::settings::Monitor;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The head alone, on features.
    Head,
    /// Head and network together.
    Network,
}

/// One epoch. Training figures are the running means of its batches, with dropout, as Keras prints
/// them; validation figures are taken after it, without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 1, through both phases.
    pub epoch: usize,
    pub phase: Phase,
    /// Of the epoch's last step.
    pub learning_rate: f64,
    pub loss: f64,
    pub accuracy: f64,
    pub val_loss: f64,
    pub val_accuracy: f64,
    /// Of the probabilities, fitted on the validation pictures.
    pub temperature: f64,
    /// Expected calibration error on one half of the validation pictures at temperature 1, and at the one fitted
    /// on the other half.
    pub val_calibration_error: Option<f64>,
    pub val_calibrated_error: Option<f64>,
}

impl EpochReport {
    pub fn is_better(&self, other: &Self, monitor: Monitor) -> bool {
        match monitor {
            Monitor::ValLoss => self.val_loss < other.val_loss,
            Monitor::ValAccuracy => {
                self.val_accuracy > other.val_accuracy
                    || (self.val_accuracy == other.val_accuracy && self.val_loss < other.val_loss)
            }
        }
    }
}

/// How far a run has come; together with the tensors all that a checkpoint holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Position {
    /// Every epoch that is done, in order.
    pub history: Vec<EpochReport>,
    pub best: Option<EpochReport>,
    /// Steps taken in the epoch in hand, and what they showed.
    pub step: usize,
    pub totals: Totals,
}

impl Position {
    pub fn epochs_of(&self, phase: Phase) -> usize {
        self.history.iter().filter(|report| report.phase == phase).count()
    }

    /// Epochs of `phase` since its last improvement on the best of all.
    pub fn epochs_without_improvement(&self, phase: Phase) -> usize {
        let best = self.best.as_ref().map_or(0, |best| best.epoch);
        let first = self.history.iter().find(|report| report.phase == phase);
        let first = first.map_or(self.history.len(), |report| report.epoch - 1);
        self.history.last().map_or(0, |last| last.epoch - best.max(first))
    }
}
