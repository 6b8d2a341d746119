//! Everything that decides how a run trains; `args.toml` holds it, and the model file's history.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerKind;
use super::schedule::Schedule;
use crate::architecture::BLOCKS;
use crate::image::Augmentation;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How the head is trained before the network.
    pub head: HeadTraining,
    /// Units of a dense head's hidden layers; none where a linear head is trained by epochs.
    pub hidden: Vec<usize>,
    /// Share of each hidden layer's outputs that is dropped while training; of the features where the
    /// head has no hidden layer.
    pub dropout: f32,
    /// Epochs of the head alone.
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub unfreeze: Unfreeze,
    /// Epochs of head and network together.
    pub finetune_epochs: usize,
    pub finetune_learning_rate: f64,
    /// Factor of the learning rate for what is not the head.
    pub backbone_lr_scale: f64,
    pub batch_norm: BatchNormMode,
    pub optimizer: OptimizerKind,
    pub momentum: f64,
    pub nesterov: bool,
    /// Of kernels only, not of biases and batch norms.
    pub weight_decay: f64,
    pub schedule: Schedule,
    /// Epochs in which the rate rises from nothing.
    pub warm_up: f64,
    /// Largest norm of all gradients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Share that the averaged weights keep of themselves at each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    pub class_weight: ClassWeight,
    pub label_smoothing: f64,
    /// Epochs without an improvement after which a phase ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    pub monitor: Monitor,
    /// Share of each class that is kept for validation, where the data has no such folder; [`Self::held_out`] says
    /// what holds without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val: Option<f64>,
    pub seed: u64,
    pub augment: Augmentation,
    /// Augmented views of each picture that are computed once; none: every epoch has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<usize>,
}

/// How the head is trained while the network stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadTraining {
    /// A linear head, or a dense one where cross-validation finds it better.
    Auto,
    /// A linear head, solved to its optimum with settings that cross-validation chooses.
    Linear,
    /// A dense head, trained from the linear one on for as many steps as it takes.
    Dense,
    /// By epochs of the optimiser's steps, validated after each.
    Epochs,
}

/// The part of the network that trains with the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Unfreeze {
    Nothing,
    /// From this block on, in Keras' numbers.
    From(usize),
}

impl FromStr for Unfreeze {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Unfreeze::Nothing),
            "all" => Ok(Unfreeze::From(*BLOCKS.start())),
            _ => match text.strip_prefix("block").and_then(|block| block.parse().ok()) {
                Some(block) if BLOCKS.contains(&block) => Ok(Unfreeze::From(block)),
                _ => bail!("expected none, all, or block{} to block{}", BLOCKS.start(), BLOCKS.end()),
            },
        }
    }
}

impl TryFrom<String> for Unfreeze {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Unfreeze> for String {
    fn from(unfreeze: Unfreeze) -> Self {
        unfreeze.to_string()
    }
}

impl fmt::Display for Unfreeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfreeze::Nothing => f.write_str("none"),
            Unfreeze::From(block) if block == BLOCKS.start() => f.write_str("all"),
            Unfreeze::From(block) => write!(f, "block{block}"),
        }
    }
}

/// What batch normalisation does while the network trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormMode {
    /// Statistics and affine part stay those of the pretrained network
    Frozen,
    /// Each batch's own statistics, with running averages for later; the affine part trains
    Train,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeight {
    /// Every picture counts the same
    None,
    /// Every class counts the same: pictures / (classes · pictures of the class)
    Balanced,
}

/// What makes an epoch the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Monitor {
    /// The highest validation accuracy, at equal accuracy the lowest loss
    ValAccuracy,
    /// The lowest validation loss
    ValLoss,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head: HeadTraining::Auto,
            hidden: vec![256, 128],
            dropout: 0.5,
            epochs: 30,
            batch_size: 32,
            learning_rate: 0.01,
            unfreeze: Unfreeze::Nothing,
            finetune_epochs: 5,
            finetune_learning_rate: 0.005,
            backbone_lr_scale: 1.0,
            batch_norm: BatchNormMode::Frozen,
            optimizer: OptimizerKind::Sgd,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            warm_up: 0.0,
            clip_norm: None,
            ema: None,
            class_weight: ClassWeight::None,
            label_smoothing: 0.0,
            patience: None,
            monitor: Monitor::ValAccuracy,
            val: None,
            seed: 0,
            augment: Augmentation::NONE,
            views: None,
        }
    }
}

impl Settings {
    /// Passes if the settings make sense, each by itself and together.
    ///
    /// # Errors
    /// Names the option, what it is and what is expected.
    pub fn check(&self) -> Result<()> {
        const MOST_UNITS: usize = 1 << 16;
        let share = |name: &str, value: f64| {
            ensure!((0.0..1.0).contains(&value), "--{name} {value}: expected 0 to below 1");
            Ok(())
        };
        let above_zero = |name: &str, value: f64| {
            ensure!(value > 0.0 && value.is_finite(), "--{name} {value}: expected above 0");
            Ok(())
        };
        let not_negative = |name: &str, value: f64| {
            ensure!(value >= 0.0 && value.is_finite(), "--{name} {value}: expected 0 or more");
            Ok(())
        };
        share("dropout", self.dropout.into())?;
        share("momentum", self.momentum)?;
        share("label-smoothing", self.label_smoothing)?;
        self.ema.map_or(Ok(()), |ema| share("ema", ema))?;
        if let Some(val) = self.val {
            share("val", val)?;
            above_zero("val", val)?;
        }
        above_zero("learning-rate", self.learning_rate)?;
        above_zero("finetune-learning-rate", self.finetune_learning_rate)?;
        not_negative("backbone-lr-scale", self.backbone_lr_scale)?;
        not_negative("weight-decay", self.weight_decay)?;
        not_negative("warm-up", self.warm_up)?;
        self.clip_norm.map_or(Ok(()), |norm| above_zero("clip-norm", norm))?;
        ensure!(self.epochs > 0, "--epochs 0: expected 1 or more");
        ensure!(self.batch_size > 0, "--batch-size 0: expected 1 or more");
        ensure!(self.patience != Some(0), "--patience 0: expected 1 or more");
        ensure!(self.views != Some(0), "--views 0: expected 1 or more");
        ensure!(
            self.hidden.iter().all(|units| (1..=MOST_UNITS).contains(units)),
            "--hidden: expected 1 to {MOST_UNITS} units in each layer"
        );
        ensure!(
            self.momentum == 0.0 || self.optimizer != OptimizerKind::Adamw,
            "--momentum {}: goes with sgd and rmsprop; adamw has its own",
            self.momentum
        );
        let shortest =
            if self.unfreeze == Unfreeze::Nothing { self.epochs } else { self.epochs.min(self.finetune_epochs) };
        ensure!(
            self.warm_up <= shortest as f64,
            "--warm-up {}: longer than a phase of {shortest} epochs; the full rate would never be reached",
            self.warm_up
        );
        ensure!(!self.nesterov || self.momentum > 0.0, "--nesterov: expected --momentum above 0 with it");
        ensure!(
            !self.nesterov || self.optimizer == OptimizerKind::Sgd,
            "--nesterov: goes with --optimizer sgd, not with {}",
            self.optimizer
        );
        if self.unfreeze == Unfreeze::Nothing {
            ensure!(self.augment.is_none(), "--augment: the head trains on cached features; pass --unfreeze with it");
            ensure!(
                self.batch_norm == BatchNormMode::Frozen,
                "--batch-norm train: nothing but the head trains; pass --unfreeze with it"
            );
        } else {
            ensure!(self.finetune_epochs > 0, "--finetune-epochs 0: expected 1 or more, or --unfreeze none");
        }
        ensure!(
            self.views.is_none() || !self.augment.is_none(),
            "--views: every view of a picture is the same without --augment"
        );
        ensure!(
            self.views.is_none() || self.unfreeze != Unfreeze::From(*BLOCKS.start()),
            "--views: nothing can be kept where the whole network trains; pass --unfreeze blockN, or leave it out"
        );
        Ok(())
    }

    /// The share of each class that is kept for validation where the data has no such folder; none where
    /// cross-validation chooses, and every picture trains.
    pub fn held_out(&self) -> Option<f64> {
        const SHARE: f64 = 0.2;
        let chooses_epochs = self.head == HeadTraining::Epochs || self.unfreeze != Unfreeze::Nothing;
        self.val.or(chooses_epochs.then_some(SHARE))
    }

    /// The first block that trains, if any does.
    pub fn first_block(&self) -> Option<usize> {
        match self.unfreeze {
            Unfreeze::Nothing => None,
            Unfreeze::From(block) => Some(block),
        }
    }
}
