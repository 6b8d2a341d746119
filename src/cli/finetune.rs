//! `xcept finetune`: a classifier from labelled pictures.

mod phases;
mod preview;
mod watch;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::data::DataArguments;
use super::model::KeepKnown;
use super::training::{self, SettingsArguments};
use super::{Context, Status, WrongUsage, ending};
use crate::features::Pipeline;
use crate::interrupt::{self, Interrupted};
use crate::output::{self, Existing};
use crate::train::{self, Arguments, Data, EpochReport, Phase, Position, Run, Settings, Unfreeze};
use crate::{kernel, terminal, weights};
use phases::Training;

/// Train a classifier on labelled pictures: a head on bottleneck features, then the network with it
///
/// Everything that comes of it lies in a folder of its own, runs/finetune/NAME: best.safetensors (for
/// `xcept classify -m` and `xcept evaluate -m`), last.safetensors, results.csv, cross_validation.csv or curves.svg and
/// .png, args.toml and splits.csv. A run that was stopped, however it was, goes on with --resume.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Finetune {
    #[command(flatten)]
    data: DataArguments,
    /// What results call the model, and the name of the run's folder [default: the name of the data]
    #[arg(long)]
    name: Option<String>,
    /// Copy the best model to this file in the end
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where the folders of runs are made
    #[arg(long, value_name = "FOLDER", default_value = train::RUNS)]
    runs: PathBuf,
    /// Go on with a run that was stopped, with its settings: its folder or name; the one that stopped last if none
    /// is given
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "", conflicts_with_all = FIXED)]
    resume: Option<String>,
    /// Show some training pictures as --augment changes them, on a sheet, before the training
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
    /// Replace the output file, the preview and the features file if they exist
    #[arg(long)]
    overwrite: bool,
    /// What `classify --keep-known` is for this model unless it is given there; 0.99 has a picture called `unknown`
    /// that is less like the training pictures than 99 % of the validation pictures [default: all]
    #[arg(long, value_name = "SHARE")]
    keep_known: Option<KeepKnown>,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// What a run was begun with, beside its settings.
const FIXED: [&str; 11] = [
    "name",
    "preview",
    "keep_known",
    "features",
    "classes",
    "model",
    "convention",
    "preprocess",
    "interpolation",
    "size",
    "pool",
];

impl Finetune {
    pub fn run(self, context: &Context) -> Result<Status> {
        match self.resume.clone() {
            Some(name) => self.go_on(&name, context),
            None => self.start(context),
        }
    }

    fn start(self, context: &Context) -> Result<Status> {
        let settings = self.settings.resolve()?;
        self.check(&settings)?;
        if let Some((recipe, lines)) = self.settings.recipe()? {
            context.terminal.note(format_args!("recipe {recipe}: {}", lines.join(", ")));
        }
        if let Some(name) = &self.name {
            Run::refuse_taken(&self.runs, name)?;
        }
        let existing = Existing::of(self.overwrite);
        let outputs: Vec<&PathBuf> = self.output.iter().chain(&self.preview).collect();
        outputs.iter().try_for_each(|output| output::refuse_unwritable(output, existing))?;
        output::refuse_inputs(&outputs, self.data.inputs())?;
        let (features, has_unreadable) = training::features(&self.data, &settings, self.overwrite, context)?;
        let named = || self.data.data.display().to_string();
        let data = Data::new(&features, settings.held_out(), settings.seed).with_context(named)?;
        if settings.unfreeze != Unfreeze::Nothing {
            data.check_pictures()?;
        }
        output::refuse_inputs(&outputs, features.rows.iter().map(|row| Path::new(&row.path)))?;
        if let Some(path) = &self.preview {
            preview::write(path, existing, &data, &settings)?;
        }
        let backbone = backbone(&self.data.data, &features.pipeline, &settings, context)?;
        let fallback = self.data.data.canonicalize().ok();
        let stem = if self.data.data.is_dir() { Path::file_name } else { Path::file_stem };
        let fallback = fallback.as_deref().and_then(stem).map(|stem| stem.to_string_lossy().into_owned());
        let fallback = fallback.unwrap_or_else(|| "run".to_owned());
        // From here on there is something to go on with.
        interrupt::install();
        let run = Run::create(&self.runs, self.name.as_deref(), &fallback)?;
        let named_output = self.output.as_deref().and_then(Path::file_stem);
        let name = named_output.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or(fallback);
        let arguments = Arguments {
            xcept: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.name.clone().unwrap_or(name),
            data: std::path::absolute(&self.data.data)?,
            output: self.output.as_ref().map(std::path::absolute).transpose()?,
            overwrite: self.overwrite,
            features: self.data.features.as_ref().map(std::path::absolute).transpose()?,
            classes: self.data.classes.classes,
            examples: data.digest(),
            keep_known: self.keep_known.and_then(KeepKnown::share),
            settings,
            pipeline: features.pipeline.clone(),
        };
        run.write_splits(data.examples())?;
        run.write_arguments(&arguments)?;
        train(&run, &arguments, &data, backbone, None, context)?;
        Ok(if has_unreadable { Status::SomeUnreadable } else { Status::Done })
    }

    /// Goes on with an earlier run; its settings hold.
    fn go_on(mut self, name: &str, context: &Context) -> Result<Status> {
        let run = Run::find(&self.runs, name)?;
        let folder = run.folder().display();
        let mut arguments = run.arguments()?;
        let settings = self.settings.over(arguments.settings.clone());
        if settings != arguments.settings {
            let text = format!("--resume: {folder}/args.toml says otherwise than the options; leave these out");
            return Err(WrongUsage(text).into());
        }
        let given = &self.data.data;
        let is_given = given != Path::new(super::data::DEFAULT_DATA);
        if is_given && given.canonicalize().ok() != arguments.data.canonicalize().ok() {
            let (given, data) = (given.display(), arguments.data.display());
            return Err(
                WrongUsage(format!("--resume: {folder} trains on {data}, not on {given}; leave that out")).into()
            );
        }
        if !run.checkpoint().is_file() && run.last().is_file() {
            context.terminal.note(format_args!("{folder}: the run is done; nothing is left to train"));
            return Ok(Status::Done);
        }
        let checkpoint = run.checkpoint();
        let checkpoint = checkpoint.is_file().then(|| train::Checkpoint::read(&checkpoint)).transpose()?;
        self.data.data = arguments.data.clone();
        self.data.features = arguments.features.clone();
        self.data.classes.classes = arguments.classes;
        if self.data.data.is_dir() {
            self.data.pipeline = super::model::PipelineArguments::of(&arguments.pipeline, run.folder());
        }
        self.resolve_output(&run, &mut arguments)?;
        let features = training::features(&self.data, &arguments.settings, false, context);
        // Its remedy may be --overwrite, which a resumed run does not take for its features.
        let (features, has_unreadable) = features.map_err(|error| match error.is::<Interrupted>() {
            true => error,
            false => error.context(format!("{folder}: can't go on; begin a new run")),
        })?;
        let pictures = features.rows.iter().map(|row| Path::new(&row.path));
        output::refuse_inputs(arguments.output.as_slice(), pictures)?;
        let data = Data::new(&features, arguments.settings.held_out(), arguments.settings.seed)?;
        let data_name = arguments.data.display();
        ensure!(
            data.digest() == arguments.examples,
            "{data_name}: the pictures have changed since {folder} was begun; begin a new run"
        );
        features.pipeline.ensure_same(&arguments.pipeline).with_context(|| data_name.to_string())?;
        let backbone = backbone(&arguments.data, &features.pipeline, &arguments.settings, context)?;
        train(&run, &arguments, &data, backbone, checkpoint, context)?;
        Ok(if has_unreadable { Status::SomeUnreadable } else { Status::Done })
    }

    /// Where a resumed run's best model is copied in the end. The run may be another's, so its args.toml has nothing
    /// replaced: that takes a file that is named on the command line.
    fn resolve_output(&self, run: &Run, arguments: &mut Arguments) -> Result<()> {
        if self.overwrite && self.output.is_none() {
            let text = "--overwrite: pass -o FILE with it, to say which file a resumed run may replace";
            return Err(WrongUsage(text.to_owned()).into());
        }
        arguments.overwrite = self.overwrite;
        if let Some(output) = &self.output {
            arguments.output = Some(std::path::absolute(output)?);
        }
        let Some(output) = &arguments.output else { return Ok(()) };
        ending::of(output, &["safetensors"])?;
        output::refuse_input(output, self.data.inputs())?;
        if is_copy(output, run) {
            return Ok(());
        }
        let name = output.display();
        ensure!(
            self.overwrite || !output.exists(),
            "{name}: exists already; pass `-o {name} --overwrite` with --resume to replace it, or -o with another name"
        );
        output::refuse_unwritable(output, Existing::of(self.overwrite))
    }

    fn check(&self, settings: &Settings) -> Result<(), WrongUsage> {
        self.data.check()?;
        if self.preview.is_some() && settings.augment.is_none() {
            return Err(WrongUsage("--preview: shows what --augment does; pass that too".to_owned()));
        }
        self.preview.iter().try_for_each(|preview| ending::of(preview, &["png"]).map(drop))?;
        self.output.iter().try_for_each(|output| ending::of(output, &["safetensors"]).map(drop))
    }
}

/// The backbone, if it trains or is at hand to be compared with the one that made the features.
fn backbone(
    data: &Path,
    pipeline: &Pipeline,
    settings: &Settings,
    context: &Context,
) -> Result<Option<weights::Checkpoint>> {
    training::backbone(data, pipeline, settings.unfreeze != Unfreeze::Nothing, context)
}

/// Whether `output` is the best model already: the run was stopped right before its end.
fn is_copy(output: &Path, run: &Run) -> bool {
    matches!((std::fs::read(output), std::fs::read(run.best())), (Ok(output), Ok(best)) if output == best)
}

/// How good the model is.
fn describe(best: &EpochReport, epochs: usize, data: &Data) -> String {
    let figures = format!("accuracy {}, loss {:.4}", terminal::percent(best.val_accuracy), best.val_loss);
    let is_solved = best.phase == Phase::Head && best.learning_rate == 0.0;
    match data.val.len() {
        0 if best.val_loss.is_nan() => format!("trained on {} pictures, judged on none", data.train.len()),
        0 => format!("cross-validated {figures}; trained on all {} pictures", data.train.len()),
        _ if is_solved => format!("validation {figures}"),
        _ => format!("validation {figures} (epoch {} of {epochs})", best.epoch),
    }
}

fn describe_calibration(best: &EpochReport, data: &Data) -> String {
    let has_validation = !data.val.is_empty();
    if best.phase == Phase::Head && best.learning_rate == 0.0 {
        if data.single_pictures().len() == data.features.class_names.len() {
            return format!(
                "temperature {:.3}, by default: there were no held-out answers to fit it on",
                best.temperature
            );
        }
        let temperature = format!("temperature {:.3}, fitted on the held-out answers", best.temperature);
        return match (best.val_calibration_error, best.val_calibrated_error) {
            (Some(before), Some(after)) if has_validation => {
                format!("{temperature}; calibration error on the validation pictures {before:.4} → {after:.4}")
            }
            _ => temperature,
        };
    }
    let (Some(before), Some(after)) = (best.val_calibration_error, best.val_calibrated_error) else {
        return format!("no temperature was fitted: that takes {} validation pictures or more", train::LEAST_PICTURES);
    };
    format!(
        "temperature {:.3}, fitted on the validation pictures; fitted on half of them, calibration error on the other \
         half {before:.4} → {after:.4}",
        best.temperature
    )
}

/// Trains what is left to train of a run, and tells how it ended.
fn train(
    run: &Run,
    arguments: &Arguments,
    data: &Data,
    backbone: Option<weights::Checkpoint>,
    checkpoint: Option<train::Checkpoint>,
    context: &Context,
) -> Result<()> {
    interrupt::install();
    kernel::recycle();
    let classes = data.features.class_names.len();
    let (training, folder) = (data.train.len(), run.folder().display());
    context.terminal.note(match data.val.len() {
        0 => format!("{training} training pictures of {classes} classes, in {folder}"),
        val => format!("{training} training and {val} validation pictures of {classes} classes, in {folder}"),
    });
    let known = data.known(arguments.settings.seed)?;
    if known.is_none() && arguments.keep_known.is_some() {
        context
            .terminal
            .note("--keep-known: no picture will be called unknown, for that takes more pictures to learn from");
    }
    let Position { history, best, .. } =
        Training { run, arguments, data, backbone: backbone.as_ref(), known, context }.run(checkpoint)?;
    let best = best.context("no epoch was trained")?;
    if !best.val_loss.is_nan() {
        context.terminal.note(describe_calibration(&best, data));
    }
    if let Some(output) = arguments.output.as_deref().filter(|output| !is_copy(output, run)) {
        output::write_atomically(output, Existing::of(arguments.overwrite), &std::fs::read(run.best())?)?;
    }
    run.finish()?;
    let model = arguments.output.clone().unwrap_or_else(|| run.best());
    // As the user would write it.
    let here = std::env::current_dir().unwrap_or_default();
    let model = model.strip_prefix(&here).unwrap_or(&model);
    Ok(terminal::result(format_args!("{}: {}", model.display(), describe(&best, history.len(), data)))?)
}
