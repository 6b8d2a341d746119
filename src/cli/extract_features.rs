//! `xcept extract-features`: a row of bottleneck features for each picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::data::{self, ClassesArgument};
use super::model::PipelineArguments;
use super::{Context, Status, WrongUsage};
use crate::features::{self, Extraction, Outcome};
use crate::output::{self, Existing};
use crate::{interrupt, network, terminal};

/// Turn pictures into bottleneck features, one row for each
#[derive(Debug, Args)]
pub struct ExtractFeatures {
    /// Pictures and folders; a single folder of class folders gives labels
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The features file: .safetensors, .npz or .jsonl. An earlier run's rows are reused
    #[arg(long, short, value_name = "FILE", default_value = "features.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    classes: ClassesArgument,
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Pictures that go through the network at once, or auto
    #[arg(long, value_name = "N", default_value = "auto", value_parser = batch_size)]
    batch_size: usize,
    /// Replace features of other pictures, weights or preprocessing in the output file
    #[arg(long)]
    overwrite: bool,
}

fn batch_size(text: &str) -> Result<usize> {
    match text {
        "auto" => Ok(network::batch_size()),
        _ => match text.parse() {
            Ok(number @ 1..=1024) => Ok(number),
            _ => anyhow::bail!("expected auto or 1 to 1024"),
        },
    }
}

impl ExtractFeatures {
    pub fn run(self, context: &Context) -> Result<Status> {
        features::Format::of(&self.output).map_err(WrongUsage::from)?;
        output::refuse_unwritable(&self.output, Existing::Replace)?;
        let dataset = data::open(&self.paths, self.classes, context)?;
        let pictures = dataset.inputs.iter().map(|input| input.path.as_path());
        output::refuse_input(&self.output, pictures.chain(self.pipeline.model_file()))?;
        let (_, pipeline, extractor) = self.pipeline.open(context)?;
        let extraction = Extraction {
            dataset: &dataset,
            pipeline,
            output: &self.output,
            batch_size: self.batch_size,
            overwrite: self.overwrite,
        };
        let outcome = extract(&extraction, &extractor, context)?;
        let Outcome { features, computed, reused, unreadable } = &outcome;
        let shape: Vec<String> = features.pipeline.row_shape().iter().map(usize::to_string).collect();
        terminal::result(format_args!(
            "{}: {} rows of {} features ({computed} computed, {reused} reused)",
            self.output.display(),
            features.rows.len(),
            shape.join("×")
        ))?;
        Ok(if unreadable.is_empty() { Status::Done } else { Status::SomeUnreadable })
    }
}

/// Extracts with a progress bar and a line for each input that could not be read.
pub fn extract(
    extraction: &Extraction,
    extractor: &crate::network::FeatureExtractor,
    context: &Context,
) -> Result<Outcome> {
    interrupt::install();
    let bar = context.terminal.progress(extraction.dataset.inputs.len(), "pictures");
    let outcome = features::extract(extraction, extractor, &mut |count| bar.inc(count as u64));
    bar.finish_and_clear();
    let outcome = outcome?;
    warn_of(&outcome.unreadable);
    Ok(outcome)
}

/// A line for each picture that has no features.
pub fn warn_of(unreadable: &[(String, String)]) {
    for (path, reason) in unreadable {
        terminal::warn(format_args!("{}: {reason}", terminal::printable(path)));
    }
}
