//! What the training commands have in common: their settings, and the way from features to examples.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use super::data::DataArguments;
use super::{Context, WrongUsage, model};
use crate::dataset::{Dataset, Split};
use crate::features::{Features, Pipeline, Row};
use crate::image::Augmentation;
use crate::train::{
    self, BatchNormMode, Below, ClassWeight, HeadTraining, Monitor, OptimizerKind, Recipe, Schedule, Settings, Unfreeze,
};
use crate::weights::{Checkpoint, Source};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeadKind {
    /// Linear, or dense where cross-validation finds that surely better
    Auto,
    /// The classifier alone, solved to its optimum
    Linear,
    /// Hidden layers before the classifier
    Dense,
}

/// Settings of the training; what is left out is the recipe's, or the default.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Training")]
pub struct SettingsArguments {
    /// Settings of a published experiment, for what is not set here
    #[arg(long)]
    recipe: Option<Recipe>,
    /// [default: auto; dense with --hidden, or with an option that only training by epochs has]
    #[arg(long)]
    head: Option<HeadKind>,
    /// Units of the dense head's hidden layers, the first behind the features [default: 256,128]
    #[arg(long, value_name = "UNITS", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,
    /// Share of each hidden layer's outputs (of the features, for a linear head) that is dropped while training
    /// [default: 0.5, for a linear head 0]
    #[arg(long, value_name = "RATE")]
    dropout: Option<f32>,
    /// Train the head by this many passes over the training pictures, validated after each [default: 30]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Pictures of each step [default: 32]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Step of the optimiser while the head trains alone [default: 0.01]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// What trains with the head in the end: none, all, or the blocks from blockN on [default: none]
    #[arg(long, value_name = "BLOCKS")]
    unfreeze: Option<Unfreeze>,
    /// Passes of head and network together [default: 5]
    #[arg(long, value_name = "N")]
    finetune_epochs: Option<usize>,
    /// Step of the optimiser while the network trains [default: 0.005]
    #[arg(long, value_name = "RATE")]
    finetune_learning_rate: Option<f64>,
    /// Factor of that step for the network, beside the head [default: 1]
    #[arg(long, value_name = "FACTOR")]
    backbone_lr_scale: Option<f64>,
    /// Batch normalisation while the network trains [default: frozen]
    #[arg(long)]
    batch_norm: Option<BatchNormMode>,
    /// [default: sgd]
    #[arg(long, alias = "optimiser")]
    optimizer: Option<OptimizerKind>,
    /// Share of the last step that the next one keeps (sgd, rmsprop) [default: 0]
    #[arg(long, value_name = "SHARE")]
    momentum: Option<f64>,
    /// Nesterov's momentum (sgd)
    #[arg(long)]
    nesterov: bool,
    /// Shrinks kernels at each step; biases and batch norms stay [default: 0]
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// constant, cosine, step=0.94/2epochs or step=0.9/3000000pictures [default: constant]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Epochs in which the learning rate rises from nothing [default: 0]
    #[arg(long, value_name = "EPOCHS")]
    warm_up: Option<f64>,
    /// Largest norm of all gradients together
    #[arg(long, value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Evaluate and keep running averages of the weights that keep this share of themselves at each step, 0.999
    #[arg(long, value_name = "SHARE")]
    ema: Option<f64>,
    /// [default: none]
    #[arg(long)]
    class_weight: Option<ClassWeight>,
    /// Share of each target that goes to all classes [default: 0]
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,
    /// End a phase after so many epochs without an improvement
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<usize>,
    /// What makes an epoch the best [default: val_accuracy]
    #[arg(long)]
    monitor: Option<Monitor>,
    /// Share of each class to hold out for validation where the data has no val folder [default: none for a linear
    /// head, which cross-validation judges before it trains on every picture; otherwise 0.2]
    #[arg(long, value_name = "SHARE")]
    val: Option<f64>,
    /// The same seed gives the same model [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Change training pictures at random: none, all, or some of crop=0.6,flip,rotation=15,jitter=0.2
    /// [default: none]
    #[arg(long, value_name = "CHANGES")]
    augment: Option<Augmentation>,
    /// Compute so many views of each picture once instead of new ones for each epoch
    #[arg(long, value_name = "K")]
    views: Option<usize>,
}

impl SettingsArguments {
    /// The recipe's settings or the defaults, with what was given in their place.
    pub fn resolve(&self) -> Result<Settings, WrongUsage> {
        if self.head == Some(HeadKind::Linear) && self.hidden.is_some() {
            return Err(WrongUsage("--hidden: a linear head has no hidden layers; pass --head dense".to_owned()));
        }
        let settings = self.over(self.recipe.map_or_else(Settings::default, Recipe::settings));
        settings.check()?;
        Ok(settings)
    }

    /// `base` with what was given in its place.
    pub fn over(&self, base: Settings) -> Settings {
        let head = self.head_training(&base);
        let had_hidden = !base.hidden.is_empty();
        let hidden = match self.head {
            Some(HeadKind::Linear) => Vec::new(),
            Some(HeadKind::Dense) if base.hidden.is_empty() => Settings::default().hidden,
            _ => base.hidden,
        };
        let hidden = match (&self.hidden, self.head) {
            (Some(units), None | Some(HeadKind::Auto | HeadKind::Dense)) => units.clone(),
            _ => hidden,
        };
        let becomes_linear = hidden.is_empty() && had_hidden;
        // What only suits the base's optimiser goes with it.
        let optimizer = self.optimizer.unwrap_or(base.optimizer);
        let inherited = if optimizer == OptimizerKind::Adamw { 0.0 } else { base.momentum };
        let momentum = self.momentum.unwrap_or(inherited);
        let keeps_nesterov = base.nesterov && optimizer == OptimizerKind::Sgd && momentum > 0.0;
        Settings {
            head,
            dropout: self.dropout.unwrap_or(if becomes_linear { 0.0 } else { base.dropout }),
            hidden,
            epochs: self.epochs.unwrap_or(base.epochs),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            unfreeze: self.unfreeze.unwrap_or(base.unfreeze),
            finetune_epochs: self.finetune_epochs.unwrap_or(base.finetune_epochs),
            finetune_learning_rate: self.finetune_learning_rate.unwrap_or(base.finetune_learning_rate),
            backbone_lr_scale: self.backbone_lr_scale.unwrap_or(base.backbone_lr_scale),
            batch_norm: self.batch_norm.unwrap_or(base.batch_norm),
            optimizer,
            momentum,
            nesterov: self.nesterov || keeps_nesterov,
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            schedule: self.schedule.unwrap_or(base.schedule),
            warm_up: self.warm_up.unwrap_or(base.warm_up),
            clip_norm: self.clip_norm.or(base.clip_norm),
            ema: self.ema.or(base.ema),
            class_weight: self.class_weight.unwrap_or(base.class_weight),
            label_smoothing: self.label_smoothing.unwrap_or(base.label_smoothing),
            patience: self.patience.or(base.patience),
            monitor: self.monitor.unwrap_or(base.monitor),
            val: self.val.or(base.val),
            seed: self.seed.unwrap_or(base.seed),
            augment: self.augment.unwrap_or(base.augment),
            views: self.views.or(base.views),
        }
    }

    /// By epochs if the recipe does so or an option is given that only such training has; of those that the network's
    /// training has, too, only where the network does not train.
    fn head_training(&self, base: &Settings) -> HeadTraining {
        let is_of_head = self.dropout.is_some() || self.epochs.is_some() || self.learning_rate.is_some();
        let is_of_both = self.batch_size.is_some()
            || self.optimizer.is_some()
            || self.momentum.is_some()
            || self.nesterov
            || self.weight_decay.is_some()
            || self.schedule.is_some()
            || self.warm_up.is_some()
            || self.clip_norm.is_some()
            || self.ema.is_some()
            || self.label_smoothing.is_some()
            || self.patience.is_some()
            || self.monitor.is_some();
        let is_of_head = is_of_head || (is_of_both && self.unfreeze.unwrap_or(base.unfreeze) == Unfreeze::Nothing);
        match (self.head, base.head) {
            _ if is_of_head => HeadTraining::Epochs,
            (_, HeadTraining::Epochs) => HeadTraining::Epochs,
            (Some(HeadKind::Auto), _) => HeadTraining::Auto,
            (Some(HeadKind::Linear), _) => HeadTraining::Linear,
            (Some(HeadKind::Dense), _) => HeadTraining::Dense,
            (None, _) if self.hidden.is_some() => HeadTraining::Dense,
            (None, head) => head,
        }
    }

    /// The recipe that was asked for, and the lines in which its settings differ from the defaults.
    pub fn recipe(&self) -> Result<Option<(String, Vec<String>)>> {
        let Some(recipe) = self.recipe else { return Ok(None) };
        let name = recipe.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let (default, set) = (toml::to_string(&Settings::default())?, toml::to_string(&recipe.settings())?);
        let differs = |line: &&str| !default.lines().any(|other| other == *line);
        Ok(Some((name, set.lines().filter(differs).map(str::to_owned).collect())))
    }
}

/// Features to train on, of the data's own folders or shared out by the settings; and whether some pictures could
/// not be read or have no class, which lines on stderr say of each.
pub fn features(
    data: &DataArguments,
    settings: &Settings,
    overwrite: bool,
    context: &Context,
) -> Result<(Features, bool)> {
    let check = |dataset: &Dataset| {
        let labels = dataset.inputs.iter().map(|input| (input.split, input.class));
        let assigned = train::assign(&dataset.class_names, labels, settings.held_out(), settings.seed);
        assigned.map(drop).with_context(|| data.data.display().to_string())
    };
    let (mut features, unreadable) = data.features(check, overwrite, context)?;
    for name in features.take_classes_of_tests() {
        context.terminal.note(format_args!("class `{name}` has pictures in `test` alone, and is left out"));
    }
    // Nothing is learned from those of a test anyway.
    let is_left_out = |row: &&Row| row.class.is_none() && row.split != Some(Split::Test);
    let left_out: Vec<&str> = features.rows.iter().filter(is_left_out).map(|row| row.path.as_str()).collect();
    let is_labelled = features.rows.iter().any(|row| row.class.is_some());
    if is_labelled {
        super::data::warn_of_strays(left_out.iter().copied());
    }
    let is_complete = unreadable.is_empty() && (left_out.is_empty() || !is_labelled);
    Ok((features, !is_complete))
}

/// The backbone that made the features, where it is at hand or `is_needed`.
///
/// # Errors
/// If it is another by now, or can't be had.
pub fn backbone(data: &Path, pipeline: &Pipeline, is_needed: bool, context: &Context) -> Result<Option<Checkpoint>> {
    let source: Source = pipeline.base.parse().context("the backbone that the features come from")?;
    if !is_needed && !source.is_local(&context.hub) {
        return Ok(None);
    }
    let (size, context) = (Some(pipeline.preprocessing.size), context.named_by(data));
    let backbone = model::load_backbone(&source, &context, Some(pipeline.convention), size)?;
    let found = backbone.backbone_digest();
    ensure!(
        found == pipeline.backbone,
        "{}: its features were made with the backbone {}, but `{source}` is {}; extract them again",
        data.display(),
        pipeline.backbone.short(),
        found.short()
    );
    Ok(Some(backbone))
}

/// Computes what is missing of the activations below the first block that trains, with a bar.
pub fn fill(below: &mut Below, context: &Context) -> Result<()> {
    let (missing, bytes) = below.missing();
    if missing > 0 {
        let gigabytes = bytes as f64 / 1e9;
        context.terminal.note(format_args!(
            "computing {missing} activations in front of the first block that trains, {gigabytes:.1} GB on disk"
        ));
        let bar = context.terminal.progress(missing, "pictures");
        let filled = below.fill(&mut |count| bar.inc(count as u64));
        bar.finish_and_clear();
        filled?;
    }
    for (path, size) in below.kept() {
        let gigabytes = size as f64 / 1e9;
        context.terminal.note(format_args!("activations are kept in {} ({gigabytes:.1} GB)", path.display()));
    }
    Ok(())
}
