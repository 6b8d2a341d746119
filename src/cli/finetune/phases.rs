//! The two phases of a run, and the model files that come of them.

use std::path::Path;

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use serde_json::json;

use super::watch::Watch;
use crate::architecture::FEATURES;
use crate::cli::{Context, training};
use crate::head::Head;
use crate::output::Existing;
use crate::rejection::Known;
use crate::train::{
    self, Arguments, Below, Candidate, Checkpoint, Data, EpochReport, Fit, HeadTraining, Model, Observer, Phase,
    Position, Run, Shape, SolvedHead, Unfreeze,
};
use crate::weights::{self, HeadMetadata, Metadata, Precision, Source, Tensors};
use crate::{interrupt, terminal};

pub struct Training<'a> {
    pub run: &'a Run,
    pub arguments: &'a Arguments,
    pub data: &'a Data<'a>,
    /// Where the network trains or the model file must hold it; otherwise where it is at hand.
    pub backbone: Option<&'a weights::Checkpoint>,
    /// Where the training pictures lie for the backbone as it came.
    pub known: Option<Known>,
    pub context: &'a Context,
}

impl Training<'_> {
    /// Trains from the beginning or from a checkpoint to the end.
    pub fn run(&self, mut checkpoint: Option<Checkpoint>) -> Result<Position> {
        let mut position = Position::default();
        if checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.phase() == Phase::Head) {
            position = match self.arguments.settings.head {
                HeadTraining::Epochs => self.train_head(checkpoint.take())?,
                HeadTraining::Auto | HeadTraining::Linear | HeadTraining::Dense => self.solve_head()?,
            };
        }
        if self.arguments.settings.unfreeze != Unfreeze::Nothing {
            position = self.train_network(position, checkpoint)?;
        }
        Ok(position)
    }

    /// Solves a head. It takes seconds: a run that is stopped meanwhile begins it anew.
    fn solve_head(&self) -> Result<Position> {
        let (run, settings) = (self.run, &self.arguments.settings);
        let bar = self.context.terminal.progress(SolvedHead::steps(self.data, settings), "candidates");
        let kept = || format!("go on with `xcept finetune --resume {}`", run.folder().display());
        let solved = SolvedHead::train(self.data, settings, &|| interrupt::check(kept), &mut || bar.inc(1));
        bar.finish_and_clear();
        let head = solved?;
        describe_choice(&head).into_iter().for_each(|line| self.context.terminal.note(line));
        for class in self.data.single_pictures().into_iter().filter(|_| head.folds > 0) {
            self.context.terminal.note(format_args!(
                "class `{class}` has one training picture, which can't be held out: cross-validation says nothing of it"
            ));
        }
        run.write_candidates(&head.candidates)?;
        let SolvedHead { model, report, .. } = head;
        let paths = [Some(run.best()), (settings.unfreeze == Unfreeze::Nothing).then(|| run.last())];
        for path in paths.into_iter().flatten() {
            self.write_model(&path, &model, &model.detached(), Some(&report))?;
        }
        let position = Position { history: vec![report.clone()], best: Some(report), ..Position::default() };
        run.write_history(&position.history)?;
        Ok(position)
    }

    /// The head is small: a CPU trains it in seconds, and to the same bytes everywhere.
    fn train_head(&self, checkpoint: Option<Checkpoint>) -> Result<Position> {
        let settings = &self.arguments.settings;
        let classes = self.data.features.class_names.len();
        let mut random = train::random(settings.seed, "head");
        let model = Model::head(&settings.hidden, FEATURES, classes, &mut random, &Device::Cpu)?;
        let mut fit = Fit::new(settings, Phase::Head, model, Position::default())?;
        let (train, val) = self.data.rows(&Device::Cpu);
        self.fit(&mut fit, &train, &val, checkpoint)?;
        if settings.unfreeze == Unfreeze::Nothing {
            self.write_model(&self.run.last(), &fit.model, &fit.evaluated(), fit.position.history.last())?;
        }
        Ok(fit.position)
    }

    fn train_network(&self, position: Position, checkpoint: Option<Checkpoint>) -> Result<Position> {
        let (settings, device) = (&self.arguments.settings, &self.context.device);
        let (backbone, first) = self.backbone.zip(settings.first_block()).context("no backbone to train")?;
        let mut below = Below::open(self.data, backbone, settings, device)?;
        let go_on = || format!("go on with `xcept finetune --resume {}`", self.run.folder().display());
        training::fill(&mut below, self.context).with_context(go_on)?;
        // From the best head; a checkpoint brings its own.
        let best = weights::load(&self.run.best())?;
        let pool = self.data.features.pipeline.pool;
        let model = Model::with_blocks(&head_of(&best, device)?, backbone, first, pool, settings, device)?;
        let mut fit = Fit::new(settings, Phase::Network, model, position)?;
        self.fit(&mut fit, &*below.train(), &*below.val(), checkpoint)?;
        self.write_model(&self.run.last(), &fit.model, &fit.evaluated(), fit.position.history.last())?;
        if fit.position.best.as_ref().is_some_and(|best| best.phase == Phase::Network) {
            self.add_known(&below, first).with_context(go_on)?;
        }
        Ok(fit.position)
    }

    /// Adds to the best model where the training pictures lie for the network that it has become.
    fn add_known(&self, below: &Below, first_block: usize) -> Result<()> {
        let mut best = weights::load(&self.run.best())?;
        // The run was stopped right before its end.
        if best.tensors.contains_key(weights::ood::MEANS) {
            return Ok(());
        }
        let Arguments { settings, pipeline, .. } = self.arguments;
        let head = head_of(&best, &self.context.device)?;
        let model = Model::with_blocks(&head, &best, first_block, pipeline.pool, settings, &self.context.device)?;
        let network = model.network(&model.detached())?;
        let (train, val) = (below.plain_train(), below.val());
        let bar =
            self.context.terminal.progress(self.data.train.len() + self.data.val.len(), "pictures looked at again");
        let kept = || "the training is done, and kept".to_owned();
        let features = |source| train::features(&network, source, &kept, &mut |count| bar.inc(count as u64));
        let (rows, held_out) = (features(&*train)?, features(&*val)?);
        bar.finish_and_clear();
        let known = Known::fit(&rows, train.classes(), &held_out)?;
        best.tensors.extend(known.tensors());
        write(&self.run.best(), &best.tensors, &best.metadata)
    }

    fn fit(
        &self,
        fit: &mut Fit,
        train: &dyn train::Source,
        val: &dyn train::Source,
        checkpoint: Option<Checkpoint>,
    ) -> Result<()> {
        if let Some(checkpoint) = checkpoint {
            checkpoint.restore(fit)?;
        }
        let mut watch = Watch::new(self, fit, train.classes().len());
        // From here on the best model may be this phase's: a resumed run must not begin it anew.
        watch.checkpoint(fit, true)?;
        let result = fit.run(train, val, &mut watch);
        watch.finish();
        result.and(self.run.write_history(&fit.position.history))
    }

    /// Writes a model of `values` in the place of the model's variables.
    pub fn write_model(
        &self,
        path: &Path,
        model: &Model,
        values: &[Tensor],
        report: Option<&EpochReport>,
    ) -> Result<()> {
        let Arguments { settings, pipeline, name, .. } = self.arguments;
        let mut tensors = model.tensors(values)?;
        if report.is_some_and(|report| report.phase == Phase::Head) {
            tensors.extend(self.known.iter().flat_map(Known::tensors));
        }
        let is_portable = pipeline.base.parse::<Source>()?.is_portable();
        let is_embedded = settings.unfreeze != Unfreeze::Nothing || !is_portable;
        if is_embedded {
            let backbone = self.backbone.context("no backbone for the model file")?;
            for (name, tensor) in backbone.tensors.iter().filter(|(name, _)| !weights::is_head_tensor(name)) {
                tensors.entry(name.clone()).or_insert_with(|| tensor.clone());
            }
        }
        let history = json!({
            "xcept": env!("CARGO_PKG_VERSION"),
            "training": {
                "pictures": self.data.train.len(),
                "validation_pictures": self.data.val.len(),
                "settings": settings,
                "from": pipeline.base,
            },
            "epoch": report,
        });
        let metadata = Metadata {
            convention: pipeline.convention,
            backbone: Some(if is_embedded { weights::backbone_digest(&tensors) } else { pipeline.backbone.clone() }),
            base: (!is_embedded).then(|| pipeline.base.clone()),
            preprocessing: pipeline.preprocessing,
            head: Some(self.head_metadata(name, model, report.map_or(1.0, |report| report.temperature))),
            history: history.as_object().cloned().unwrap_or_default(),
        };
        write(path, &tensors, &metadata)
    }

    fn head_metadata(&self, name: &str, model: &Model, temperature: f64) -> HeadMetadata {
        let settings = &self.arguments.settings;
        HeadMetadata {
            name: name.to_owned(),
            class_names: self.data.features.class_names.clone(),
            class_ids: None,
            pool: self.arguments.pipeline.pool,
            dropout: vec![settings.dropout; model.hidden_layers()],
            temperature,
            keep_known: self.arguments.keep_known,
            unit_length: model.has_unit_length(),
        }
    }
}

/// The head of a run's model.
fn head_of(model: &weights::Checkpoint, device: &Device) -> Result<Head> {
    let unit_length = model.metadata.head.as_ref().is_some_and(|head| head.unit_length);
    Ok(Head::new(&model.tensors, device)?.with_unit_length(unit_length))
}

/// What cross-validation chose, and why, in a line each.
fn describe_choice(head: &SolvedHead) -> Vec<String> {
    let SolvedHead { chosen, folds, .. } = head;
    let features = if chosen.unit_length { "features scaled to length 1" } else { "features as they are" };
    let choice = match (chosen.strength, chosen.mixing) {
        (Some(strength), _) => format!("linear head, {features}, C = {strength}"),
        (None, Some(mixing)) => {
            let start = 100.0 * (1.0 - mixing);
            format!("dense head, {features}, weights averaged with {start:.0} % of the linear start")
        }
        (None, None) => {
            format!("dense head, {features}, from random weights (too few units to begin as a linear head)")
        }
    };
    if *folds == 0 {
        let reason = "with one picture of each class nothing can be held out to judge it by";
        return vec![format!("{choice}, by default: {reason}")];
    }
    let of = |candidate: &Candidate| {
        let pictures = terminal::counted(candidate.pictures, "held-out picture", "held-out pictures");
        format!("{:.1} of {pictures} wrong, log loss {:.4}", candidate.mistakes, candidate.log_loss)
    };
    let (times, first) = match (head.repeats, chosen.head) {
        (2.., Shape::Linear) => (format!(", {} times", head.repeats), "in the first cross-validation "),
        _ => (String::new(), ""),
    };
    let chosen = format!("{choice}, by cross-validation in {folds} parts{times}: {}", of(chosen));
    let compared = head.compared.as_ref().map(|[dense, linear]| {
        let verdict = if head.chosen.head == Shape::Dense { "dense" } else { "linear, dense is not surely better" };
        format!("--head auto takes {verdict}: {first}linear {}; dense {}", of(linear), of(dense))
    });
    std::iter::once(chosen).chain(compared).collect()
}

fn write(path: &Path, tensors: &Tensors, metadata: &Metadata) -> Result<()> {
    weights::write(path, Existing::Own, tensors, metadata, Precision::F32)
}
