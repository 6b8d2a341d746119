//! `xcept finetune`: a classifier from labelled pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::model::PipelineArguments;
use super::{Context, Status, WrongUsage, extract_features, model};
use crate::dataset::Dataset;
use crate::features::{Extraction, Features, Pipeline};
use crate::output::{self, Existing};
use crate::train::{self, EpochReport, Examples, HeadPlan, TrainedHead};
use crate::weights::{self, Checkpoint, HeadMetadata, Metadata, Pool, Precision, Source};
use crate::{interrupt, network, terminal};

/// Train a classifier on labelled pictures: a head on bottleneck features
#[derive(Debug, Args)]
pub struct Finetune {
    /// A folder of class folders, or a features file
    #[arg(value_name = "DATA", default_value = "features.safetensors")]
    data: PathBuf,
    /// dense has hidden layers, linear has none
    #[arg(long, default_value = "dense")]
    head: HeadKind,
    /// Units of the dense head's hidden layers, the first behind the features
    #[arg(long, value_name = "UNITS", value_delimiter = ',', default_value = "256,128")]
    hidden: Vec<usize>,
    /// Share of each hidden layer's outputs that is dropped while training
    #[arg(long, default_value = "0.5", value_name = "RATE")]
    dropout: f32,
    /// Passes over the training pictures
    #[arg(long, default_value = "30", value_name = "N")]
    epochs: usize,
    /// Pictures of each step
    #[arg(long, default_value = "32", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Step of stochastic gradient descent
    #[arg(long, default_value = "0.01", value_name = "RATE")]
    learning_rate: f64,
    /// Share of each class that is kept for validation, where the data has no val folder
    #[arg(long, default_value = "0.2", value_name = "SHARE")]
    val: f64,
    /// The same seed gives the same model
    #[arg(long, default_value = "0")]
    seed: u64,
    /// The model file; results.csv is written beside it
    #[arg(long, short, value_name = "FILE", default_value = "model.safetensors")]
    output: PathBuf,
    /// What results call the model [default: the name of the model file]
    #[arg(long)]
    name: Option<String>,
    /// Where features of a folder are kept for the next run [default: xcept's cache folder]
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Replace the output files if they exist
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeadKind {
    Dense,
    Linear,
}

impl Finetune {
    pub fn run(self, context: &Context) -> Result<Status> {
        self.check()?;
        let existing = Existing::of(self.overwrite);
        let results = self.output.with_file_name("results.csv");
        output::refuse_unwritable(&self.output, existing)?;
        output::refuse_input(&self.output, std::iter::once(self.data.as_path()).chain(self.features.as_deref()))?;
        output::refuse_unwritable(&results, existing)
            .context("the results of another model; write this one into a folder of its own")?;
        let (features, has_unreadable) = self.features(context)?;
        ensure!(features.pipeline.pool != Pool::None, "a head needs pooled features; pass --pool avg");
        let backbone = self.backbone_to_embed(&features.pipeline, context)?;

        // The head is small: a CPU trains it in seconds, and to the same bytes everywhere.
        let cpu = candle_core::Device::Cpu;
        let (train, val) =
            train::split(&features, self.val, self.seed, &cpu).with_context(|| self.data.display().to_string())?;
        context.terminal.note(format_args!(
            "{} training and {} validation pictures of {} classes",
            train.len(),
            val.len(),
            features.class_names.len()
        ));
        let trained = self.train(&train, &val, features.class_names.len(), context)?;
        let stopped = interrupt::check(|| format!("{} holds the best epoch so far", self.output.display()));
        self.write_model(&trained, &features, backbone, (&train, &val))?;
        write_results(&results, existing, &trained.epochs)?;
        let best = &trained.best;
        terminal::result(format_args!(
            "{}: validation accuracy {}, loss {:.4} (epoch {} of {})",
            self.output.display(),
            terminal::percent(best.val_accuracy),
            best.val_loss,
            best.epoch,
            trained.epochs.len()
        ))?;
        stopped?;
        Ok(if has_unreadable { Status::SomeUnreadable } else { Status::Done })
    }

    fn check(&self) -> Result<(), WrongUsage> {
        const MOST_UNITS: usize = 1 << 16;
        let wrong = |text: String| Err(WrongUsage(text));
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("--dropout {}: expected 0 to below 1", self.dropout));
        }
        if !(self.val > 0.0 && self.val < 1.0) {
            return wrong(format!("--val {}: expected above 0 and below 1", self.val));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong(format!("--learning-rate {}: expected above 0", self.learning_rate));
        }
        if self.epochs == 0 {
            return wrong("--epochs 0: expected 1 or more".to_owned());
        }
        if !self.hidden.iter().all(|units| (1..=MOST_UNITS).contains(units)) {
            return wrong(format!("--hidden: expected 1 to {MOST_UNITS} units in each layer"));
        }
        if self.output.extension().is_none_or(|extension| extension != "safetensors") {
            return wrong(format!("{}: expected a name that ends in .safetensors", self.output.display()));
        }
        if let (true, Some(option)) = (self.data.is_file(), self.pipeline.first_given()) {
            let data = self.data.display();
            return wrong(format!("{option}: the features in {data} are made already; pass their folder instead"));
        }
        Ok(())
    }

    /// Features from the file, or of the folder's pictures; and whether some could not be read.
    fn features(&self, context: &Context) -> Result<(Features, bool)> {
        if self.data.is_file() {
            return Ok((Features::read(&self.data)?, false));
        }
        if !self.data.is_dir() {
            bail!(
                "{}: no such file or folder; pass a folder of class folders, or make a features file with \
                 `xcept extract-features`",
                self.data.display()
            );
        }
        let dataset = Dataset::open(std::slice::from_ref(&self.data))?;
        // What will not do is told before the features are computed.
        let labels = dataset.inputs.iter().map(|input| (input.split, input.class));
        train::assign(&dataset.class_names, labels, self.val, self.seed)
            .with_context(|| self.data.display().to_string())?;
        let (_, pipeline, extractor) = self.pipeline.open(context)?;
        let output = match &self.features {
            Some(file) => file.clone(),
            None => cached_features(&self.data, &pipeline)?,
        };
        context.terminal.note(format_args!("features are kept in {}", output.display()));
        let extraction = Extraction {
            dataset: &dataset,
            pipeline,
            output: &output,
            batch_size: network::batch_size(),
            overwrite: self.overwrite || self.features.is_none(),
        };
        let outcome = extract_features::extract(&extraction, &extractor, context)?;
        Ok((outcome.features, !outcome.unreadable.is_empty()))
    }

    /// The backbone, if the model file must hold it because its name leads nowhere elsewhere.
    /// A backbone at hand is compared with the one that made the features.
    fn backbone_to_embed(&self, pipeline: &Pipeline, context: &Context) -> Result<Option<Checkpoint>> {
        let source: Source = pipeline.base.parse().context("the backbone that the features come from")?;
        if !source.is_local(&context.hub) {
            return Ok(None);
        }
        let backbone = model::load(&source, context, Some(pipeline.convention))?;
        let found = backbone.backbone_digest();
        ensure!(
            found == pipeline.backbone,
            "{}: its features were made with the backbone {}, but `{source}` is {}; extract them again",
            self.data.display(),
            pipeline.backbone.short(),
            found.short()
        );
        Ok(Some(backbone).filter(|_| !source.is_portable()))
    }

    fn train(&self, train: &Examples, val: &Examples, classes: usize, context: &Context) -> Result<TrainedHead> {
        interrupt::install()?;
        let bar = context.terminal.progress(self.epochs, "epochs");
        let mut report = |epoch: &EpochReport| {
            bar.inc(1);
            bar.suspend(|| context.terminal.note(describe(epoch, self.epochs)));
        };
        let trained = train::train_head(&self.plan(), train, val, classes, &mut report);
        bar.finish_and_clear();
        trained
    }

    fn plan(&self) -> HeadPlan {
        HeadPlan {
            hidden: if self.head == HeadKind::Dense { self.hidden.clone() } else { Vec::new() },
            dropout: self.dropout,
            epochs: self.epochs,
            batch_size: self.batch_size.into(),
            learning_rate: self.learning_rate,
            seed: self.seed,
        }
    }

    fn write_model(
        &self,
        trained: &TrainedHead,
        features: &Features,
        backbone: Option<Checkpoint>,
        (train, val): (&Examples, &Examples),
    ) -> Result<()> {
        let pipeline = &features.pipeline;
        let plan = self.plan();
        let history = json!({
            "xcept": env!("CARGO_PKG_VERSION"),
            "training": { "optimiser": "SGD", "pictures": train.len(), "validation_pictures": val.len(), "head": plan },
            "best": trained.best,
        });
        let stem = self.output.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let metadata = Metadata {
            convention: pipeline.convention,
            backbone: Some(pipeline.backbone.clone()),
            base: backbone.is_none().then(|| pipeline.base.clone()),
            preprocessing: pipeline.preprocessing,
            head: Some(HeadMetadata {
                name: self.name.clone().or(stem).unwrap_or_default(),
                class_names: features.class_names.clone(),
                class_ids: None,
                pool: pipeline.pool,
                dropout: vec![plan.dropout; plan.hidden.len()],
            }),
            history: history.as_object().cloned().unwrap_or_default(),
        };
        let mut tensors = trained.tensors.clone();
        let backbone = backbone.into_iter().flat_map(|backbone| backbone.tensors);
        tensors.extend(backbone.filter(|(name, _)| !weights::is_head_tensor(name)));
        weights::write(&self.output, Existing::of(self.overwrite), &tensors, &metadata, Precision::F32)
    }
}

fn describe(epoch: &EpochReport, epochs: usize) -> String {
    let width = epochs.to_string().len();
    format!(
        "epoch {:width$}/{epochs}  loss {:.4}  accuracy {:>8}  val_loss {:.4}  val_accuracy {:>8}",
        epoch.epoch,
        epoch.loss,
        terminal::percent(epoch.accuracy),
        epoch.val_loss,
        terminal::percent(epoch.val_accuracy)
    )
}

fn write_results(path: &Path, existing: Existing, epochs: &[EpochReport]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for epoch in epochs {
        writer.serialize(epoch)?;
    }
    output::write_atomically(path, existing, &writer.into_inner()?)
}

/// A file in the user's cache folder for this folder of pictures and this pipeline.
fn cached_features(data: &Path, pipeline: &Pipeline) -> Result<PathBuf> {
    let data = data.canonicalize().with_context(|| data.display().to_string())?;
    let key = format!("{} {}", data.display(), serde_json::to_string(pipeline)?);
    let digest = weights::Digest::of_bytes(key.as_bytes());
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = output::cache_folder()?.join("features");
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    Ok(folder.join(format!("{name}-{}.safetensors", digest.short())))
}
