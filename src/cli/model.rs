//! Which weights a command works with: the options that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Context, WrongUsage};
use crate::architecture::{MAX_INPUT_SIZE, MIN_INPUT_SIZE};
use crate::classifier::{Classifier, Parts, Views};
use crate::convention::Convention;
use crate::features::Pipeline;
use crate::image::{Interpolation, Preprocessing, Resize};
use crate::network::FeatureExtractor;
use crate::weights::hub::Unavailable;
use crate::weights::{Activation, BUNDLED, Checkpoint, Given, HeadMetadata, Pool, Source};
use crate::{labels, text};

/// The backbone unless another is asked for.
const BASE: &str = "bundled";
/// The bundled classifier that answers when ImageNet's weights can't be had.
const FALLBACK: &str = "cats-vs-dogs";

/// Loads `source` with a progress bar for a download, and with what the user says of the weights; a note says what is
/// assumed beyond that.
pub fn load(source: &Source, context: &Context, convention: Option<Convention>, given: &Given) -> Result<Checkpoint> {
    let checkpoint = fetch(source, context, given)?;
    if let Err(error) = checkpoint.check_head_inputs() {
        bail!("{}: {error}; set --size or --pool", checkpoint.origin);
    }
    Ok(finished(checkpoint, context, convention))
}

/// [`load`] for weights whose head, if they have one, is not used: what is not said of it does not matter.
pub fn load_backbone(
    source: &Source,
    context: &Context,
    convention: Option<Convention>,
    size: Option<usize>,
) -> Result<Checkpoint> {
    let given = Given { size, pool: Some(Pool::Avg), activations: vec![Activation::Relu] };
    let mut checkpoint = fetch(source, context, &given)?;
    checkpoint.assumed.activations = false;
    Ok(finished(checkpoint, context, convention))
}

fn fetch(source: &Source, context: &Context, given: &Given) -> Result<Checkpoint> {
    let bar = context.terminal.download(&source.to_string());
    let checkpoint = source.load_given(&context.hub, &progress(&bar), given)?;
    bar.finish_and_clear();
    tracing::debug!("weights: {}", checkpoint.origin);
    Ok(checkpoint)
}

fn finished(mut checkpoint: Checkpoint, context: &Context, convention: Option<Convention>) -> Checkpoint {
    checkpoint.notes.extend(assumptions(&checkpoint));
    say_notes(&mut checkpoint, context);
    match convention {
        Some(convention) => checkpoint.with_convention(convention),
        None => checkpoint,
    }
}

/// One line on what the weights do not say of themselves and is assumed.
fn assumptions(checkpoint: &Checkpoint) -> Option<String> {
    let Checkpoint { assumed, metadata, tensors, origin, .. } = checkpoint;
    let (mut missing, mut values, mut options) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |what: &'static str, value: String, option: &'static str| {
        missing.push(what);
        values.push(value);
        options.push(option);
    };
    if assumed.size {
        let size = metadata.preprocessing.size;
        add("input size", format!("{size}×{size} pixels"), "--size");
    }
    if assumed.normalisation {
        add("normalisation", "samples of -1 to 1".to_owned(), "a config.json beside the file");
    }
    if let Some(head) = metadata.head.as_ref().filter(|_| assumed.pool) {
        add("pooling", format!("pooling `{}`", head.pool), "--pool");
    }
    if assumed.activations {
        let is_single = tensors.get("fc.bias").is_some_and(|bias| bias.data.len() == 1);
        let output = if is_single { "sigmoid" } else { "softmax" };
        let hidden = if tensors.contains_key("head.0.weight") { "relu and " } else { "" };
        add("activations", format!("{hidden}{output}"), "--activation");
    }
    let missing = match missing.as_slice() {
        [] => return None,
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    };
    Some(format!("{origin}: does not say its {missing}; assuming {} (else {})", values.join(", "), options.join(", ")))
}

/// What a user may say of a model that does not say it, or says it wrongly.
#[derive(Debug, Clone, Default, Args)]
pub struct GivenArguments {
    /// Side of the network's input in pixels, at least 71 [default: as the weights were trained, 299]
    #[arg(long, value_name = "PIXELS", value_parser = size_parser)]
    size: Option<usize>,
    /// How the last feature map becomes what the head takes; none flattens it [default: as the weights were trained, avg]
    #[arg(long)]
    pool: Option<Pool>,
    /// Activations of a head whose file does not say them, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    activation: Vec<Activation>,
}

impl GivenArguments {
    pub fn given(&self) -> Given {
        Given { size: self.size, pool: self.pool, activations: self.activation.clone() }
    }
}

/// Says once what the user should know of how the weights were read.
fn say_notes(checkpoint: &mut Checkpoint, context: &Context) {
    for note in checkpoint.notes.drain(..) {
        context.terminal.note(note);
    }
}

/// Shows a download on `bar`.
pub fn progress(bar: &indicatif::ProgressBar) -> impl Fn(u64, u64) {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// The classifier that answers.
#[derive(Debug, Args)]
pub struct ClassifierArguments {
    /// auto, imagenet, cats-vs-dogs, a model file, or OWNER/REPO[@REVISION] on the hub
    #[arg(long, short, default_value = "auto", env = "XCEPT_MODEL", hide_env_values = true)]
    model: String,
    /// Numbers that the weights were trained with, where the file says something else
    #[arg(long, value_name = "CONVENTION")]
    convention: Option<Convention>,
    /// Names for the classes of a model that has none, in the order of its outputs: with commas between, or a text file
    /// with one on each line; imagenet for ImageNet's 1,000
    #[arg(long, value_name = "NAMES")]
    class_names: Option<String>,
    /// Backbone of a model file that holds a head alone: bundled, imagenet, a file, or OWNER/REPO[@REVISION] on the hub
    /// [default: the one that the file names]
    #[arg(long, value_name = "MODEL")]
    base: Option<String>,
    #[command(flatten)]
    given: GivenArguments,
}

impl ClassifierArguments {
    /// Loads the classifier, with its backbone where it is a head alone.
    pub fn open(&self, context: &Context) -> Result<Classifier> {
        Classifier::new(self.open_parts(context)?, &context.device)
    }

    /// Where the model lies if it is a file.
    pub fn file(&self) -> &Path {
        Path::new(&self.model)
    }

    /// The files that the classifier is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [self.file()].into_iter().chain(self.base.as_deref().map(Path::new))
    }

    /// What the classifier is made of.
    pub fn open_parts(&self, context: &Context) -> Result<Parts> {
        let base = self.base.as_deref().map(str::parse::<Source>).transpose().context("--base")?;
        let mut checkpoint = load_classifier(&self.model, context, self.convention, &self.given.given())?;
        if let (Some(names), Some(head)) = (&self.class_names, &mut checkpoint.metadata.head) {
            head.name_classes(&class_names(names)?)
                .with_context(|| format!("{}: --class-names {names}", checkpoint.origin))?;
        }
        if base.is_some() && checkpoint.has_backbone() {
            let text = format!("--base: {} holds a backbone itself; leave the option out", checkpoint.origin);
            return Err(WrongUsage(text).into());
        }
        let bar = context.terminal.download("backbone");
        let mut parts = Parts::new(checkpoint, base.as_ref(), &context.hub, &progress(&bar), &context.device)?;
        bar.finish_and_clear();
        say_notes(&mut parts.backbone, context);
        if parts.metadata.is_unnamed() {
            context.terminal.note(format_args!(
                "{}: does not name its classes, they go by number; name them with --class-names, for good with \
                 `xcept convert`",
                parts.origin
            ));
        }
        Ok(parts)
    }
}

/// Names of classes as `--class-names` has them: a text file with one on each line, or the names themselves with commas
/// between.
pub fn class_names(given: &str) -> Result<Vec<String>> {
    let file = Path::new(given);
    if file.is_file() && given != HeadMetadata::IMAGENET {
        let names = text::names(file).context("--class-names")?;
        ensure!(!names.is_empty(), "--class-names {given}: holds no names; expected one on each line");
        return Ok(names.iter().map(|name| labels::composed(name)).collect());
    }
    ensure!(!file.is_dir(), "--class-names {given}: is a folder; expected a text file with a name on each line");
    ensure!(
        file.extension().is_none_or(|extension| extension != "txt"),
        "--class-names {given}: no such file; check the path"
    );
    let names: Vec<String> = given.split(',').map(|name| labels::composed(name.trim())).collect();
    ensure!(
        names.iter().all(|name| !name.is_empty()),
        "--class-names {given}: a name is empty; expected names with a comma between two"
    );
    Ok(names)
}

/// The classifier that `model` names; `auto` is ImageNet's where its weights can be had, otherwise
/// the bundled one, with a note that says so.
fn load_classifier(
    model: &str,
    context: &Context,
    convention: Option<Convention>,
    given: &Given,
) -> Result<Checkpoint> {
    // A variable that a script has cleared counts as unset.
    if !["auto", ""].contains(&model) {
        return load(&model.parse()?, context, convention, given);
    }
    let imagenet = Source::imagenet()?;
    let fallback: Option<Source> = BUNDLED.iter().find(|b| b.name == FALLBACK).map(|b| Source::Bundled(b.name));
    let result = load(&imagenet, context, convention, given);
    match (result.as_ref().map_err(|error| error.downcast_ref()), fallback) {
        (Err(Some(Unavailable { endpoint, cause, .. })), Some(fallback)) => {
            context.terminal.note(format_args!(
                "answered by the bundled classifier `{fallback}`, not by ImageNet's 1,000 classes: {endpoint}: {cause}"
            ));
            load(&fallback, context, convention, given)
        }
        _ => result,
    }
}

/// The backbone and the way from a picture to its features.
#[derive(Debug, Default, Args)]
pub struct PipelineArguments {
    /// Weights of the backbone: bundled, imagenet, a file, or OWNER/REPO[@REVISION] on the hub [default: bundled]
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// Numbers that the weights were trained with, where the file says something else
    #[arg(long, value_name = "CONVENTION")]
    convention: Option<Convention>,
    /// How pictures are resized, as Keras or as timm does [default: as the weights were trained]
    #[arg(long, value_name = "CONVENTION")]
    preprocess: Option<Convention>,
    /// Filter for resizing [default: as the weights were trained, bicubic]
    #[arg(long)]
    interpolation: Option<Interpolation>,
    /// Side of the network's input in pixels, at least 71 [default: as the weights were trained, 299]
    #[arg(long, value_name = "PIXELS", value_parser = size_parser)]
    size: Option<usize>,
    /// How the last feature map becomes a feature vector [default: avg]
    #[arg(long)]
    pool: Option<Pool>,
    /// In the place of the weights' own, before the options
    #[arg(skip)]
    preprocessing: Option<Preprocessing>,
    /// The file that names the weights, where the user does not
    #[arg(skip)]
    named_by: Option<PathBuf>,
}

/// Test-time augmentation: what else of a picture is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tta {
    Flip,
}

impl Tta {
    /// What the classifier looks at.
    pub fn views(tta: Option<Self>) -> Views {
        match tta {
            Some(Tta::Flip) => Views::Flip,
            None => Views::Plain,
        }
    }
}

/// The share of pictures like those that a model knows which are to be taken for known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeepKnown {
    Share(f64),
    All,
}

impl KeepKnown {
    /// Nothing if every picture is kept.
    pub fn share(self) -> Option<f64> {
        match self {
            KeepKnown::Share(share) => Some(share),
            KeepKnown::All => None,
        }
    }
}

impl FromStr for KeepKnown {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("all", _) => Ok(KeepKnown::All),
            (_, Ok(share)) if share > 0.0 && share <= 1.0 => Ok(KeepKnown::Share(share)),
            _ => bail!("expected all, or above 0 and at most 1; 0.99 keeps 99 % of known pictures"),
        }
    }
}

pub fn size_parser(text: &str) -> Result<usize> {
    let size = text.parse()?;
    let range = MIN_INPUT_SIZE..=MAX_INPUT_SIZE;
    ensure!(range.contains(&size), "expected {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE}");
    Ok(size)
}

impl PipelineArguments {
    /// The options that give `pipeline`, which `file` names, again.
    pub fn of(pipeline: &Pipeline, file: &Path) -> Self {
        let Pipeline { base, convention, preprocessing, pool, .. } = pipeline;
        Self {
            model: Some(base.clone()),
            convention: Some(*convention),
            pool: Some(*pool),
            preprocessing: Some(*preprocessing),
            named_by: Some(file.to_owned()),
            ..Self::default()
        }
    }

    /// The same with other weights, if `model` names any.
    pub fn with_model(self, model: &Option<String>) -> Self {
        match model {
            Some(_) => Self { model: model.clone(), named_by: None, ..self },
            None => self,
        }
    }

    /// The file of the weights, if they are named by a path.
    pub fn model_file(&self) -> Option<&Path> {
        self.model.as_deref().map(Path::new)
    }

    /// The first of these options that the user gave.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--model", self.model.is_some()),
            ("--convention", self.convention.is_some()),
            ("--preprocess", self.preprocess.is_some()),
            ("--interpolation", self.interpolation.is_some()),
            ("--size", self.size.is_some()),
            ("--pool", self.pool.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    /// Loads the backbone; returns it with what identifies its features and what computes them.
    pub fn open(&self, context: &Context) -> Result<(Checkpoint, Pipeline, FeatureExtractor)> {
        let source: Source = self.model.as_deref().unwrap_or(BASE).parse()?;
        let size = self.size.or(self.preprocessing.map(|preprocessing| preprocessing.size));
        let named_by_file = self.named_by.as_ref().map(|file| context.named_by(file));
        let backbone = load_backbone(&source, named_by_file.as_ref().unwrap_or(context), self.convention, size)?;
        ensure!(backbone.has_backbone(), "{source}: holds a head alone, no backbone to compute features with");
        let pool = self.pool.unwrap_or(Pool::Avg);
        let mut preprocessing = self.preprocessing.unwrap_or(backbone.metadata.preprocessing);
        preprocessing.resize = self.preprocess.map_or(preprocessing.resize, Resize::of);
        preprocessing.interpolation = self.interpolation.unwrap_or(preprocessing.interpolation);
        preprocessing = preprocessing.with_size(self.size.unwrap_or(preprocessing.size));
        let pipeline = Pipeline {
            backbone: backbone.backbone_digest(),
            base: source.to_string(),
            convention: backbone.metadata.convention,
            preprocessing,
            pool,
        };
        let extractor = FeatureExtractor::new(&backbone, preprocessing, pool, &context.device)?;
        Ok((backbone, pipeline, extractor))
    }
}
