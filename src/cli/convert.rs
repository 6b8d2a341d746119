//! `xcept convert`: weights of Keras and PyTorch as our safetensors.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use super::{Context, Status, model};
use crate::convention::Convention;
use crate::image::Interpolation;
use crate::output::{self, Existing};
use crate::terminal;
use crate::weights::{self, Checkpoint, Metadata, Precision, Source, is_head_tensor};

/// Convert Keras .h5 and .keras, PyTorch .pth and safetensors to a model file of xcept
#[derive(Debug, Args)]
pub struct Convert {
    /// A file of weights: .h5, .keras, .pth or .safetensors
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The model file to write, .safetensors
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// How numbers are stored
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Leave out the classifier
    #[arg(long, conflicts_with = "class_names")]
    no_head: bool,
    /// Names of the classes in the order of the classifier's outputs: with commas between, or a text file with one on
    /// each line; imagenet for ImageNet's 1,000
    #[arg(long, value_name = "NAMES")]
    class_names: Option<String>,
    /// What results call the model [default: the name of the output file]
    #[arg(long)]
    name: Option<String>,
    /// Numbers that the weights were trained with, where the format says something else
    #[arg(long, value_name = "CONVENTION")]
    convention: Option<Convention>,
    /// Filter that pictures were resized with for training [default: bicubic]
    #[arg(long)]
    interpolation: Option<Interpolation>,
    #[command(flatten)]
    given: model::GivenArguments,
    /// Where the weights come from, kept in the file for its readers
    #[arg(long, value_name = "TEXT")]
    origin: Option<String>,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
}

impl Convert {
    pub fn run(self, context: &Context) -> Result<Status> {
        ensure!(
            self.output.extension().is_some_and(|extension| extension == "safetensors"),
            "{}: expected a name that ends in .safetensors",
            self.output.display()
        );
        let existing = Existing::of(self.overwrite);
        output::refuse_unwritable(&self.output, existing)?;
        output::refuse_input(&self.output, [self.input.as_path()])?;
        ensure!(self.input.exists(), "{}: no such file", self.input.display());
        let mut checkpoint = model::load(&Source::File(self.input.clone()), context, None, &self.given.given())?;
        if let Some(convention) = self.convention {
            checkpoint = checkpoint.with_convention(convention);
        }
        if self.no_head {
            checkpoint.tensors.retain(|name, _| !is_head_tensor(name));
            ensure!(!checkpoint.tensors.is_empty(), "{}: holds nothing but a head", self.input.display());
            checkpoint.metadata.head = None;
        }
        self.describe(&mut checkpoint)?;
        let Checkpoint { mut tensors, mut metadata, .. } = checkpoint;
        if tensors.keys().any(|name| !is_head_tensor(name)) {
            tensors = weights::rounded(tensors, self.precision).with_context(|| self.input.display().to_string())?;
            metadata.backbone = Some(weights::backbone_digest(&tensors));
        }
        weights::write(&self.output, existing, &tensors, &metadata, self.precision)?;
        terminal::result(format_args!("{}: {}", self.output.display(), summary(&tensors, &metadata)))?;
        Ok(Status::Done)
    }

    /// Takes over what the user says of the file.
    fn describe(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let metadata = &mut checkpoint.metadata;
        metadata.preprocessing.interpolation = self.interpolation.unwrap_or(metadata.preprocessing.interpolation);
        if let Some(origin) = &self.origin {
            metadata.history.insert("origin".to_owned(), origin.clone().into());
        }
        let Some(head) = &mut metadata.head else {
            if self.class_names.is_some() {
                bail!("{}: has no classifier that --class-names could name", self.input.display());
            }
            return Ok(());
        };
        if let Some(names) = &self.class_names {
            head.name_classes(&model::class_names(names)?).with_context(|| format!("--class-names {names}"))?;
        }
        let stem = self.output.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
        if self.name.is_some() || head.class_ids.is_none() {
            head.name = self.name.clone().unwrap_or(stem);
        }
        Ok(())
    }
}

fn summary(tensors: &weights::Tensors, metadata: &Metadata) -> String {
    let parameters: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
    let head = match &metadata.head {
        Some(head) => format!("a classifier of {} classes", head.class_names.len()),
        None => "no classifier".to_owned(),
    };
    format!(
        "{} tensors, {} parameters, {head}, convention {}, input {size}×{size}",
        tensors.len(),
        terminal::thousands(parameters),
        metadata.convention,
        size = metadata.preprocessing.size
    )
}
