//! Which weights a command works with: the options that several commands share.

use anyhow::Result;
use clap::Args;

use super::Context;
use crate::architecture::MIN_INPUT_SIZE;
use crate::convention::Convention;
use crate::features::Pipeline;
use crate::image::Interpolation;
use crate::network::FeatureExtractor;
use crate::weights::hub::Unavailable;
use crate::weights::{BUNDLED, Checkpoint, Pool, Source};

/// The bundled classifier that answers when ImageNet's weights can't be had.
const FALLBACK: &str = "cats-vs-dogs";

/// Loads `source` with a progress bar for a download.
pub fn load(source: &Source, context: &Context, convention: Option<Convention>) -> Result<Checkpoint> {
    let bar = context.terminal.download(&source.to_string());
    let checkpoint = source.load(&context.hub, &progress(&bar))?;
    bar.finish_and_clear();
    tracing::debug!("weights: {}", checkpoint.origin);
    Ok(match convention {
        Some(convention) => checkpoint.with_convention(convention),
        None => checkpoint,
    })
}

/// Shows a download on `bar`.
pub fn progress(bar: &indicatif::ProgressBar) -> impl Fn(u64, u64) {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// The classifier that `model` names; `auto` is ImageNet's where its weights can be had, otherwise
/// the bundled one, with a note that says so.
pub fn load_classifier(model: &str, context: &Context, convention: Option<Convention>) -> Result<Checkpoint> {
    if model != "auto" {
        return load(&model.parse()?, context, convention);
    }
    let imagenet = Source::imagenet()?;
    let fallback: Option<Source> = BUNDLED.iter().find(|b| b.name == FALLBACK).map(|b| Source::Bundled(b.name));
    match (load(&imagenet, context, convention), fallback) {
        (Err(error), Some(fallback)) if error.is::<Unavailable>() => {
            tracing::debug!("{error:#}");
            context.terminal.note(format_args!(
                "answered by the bundled classifier `{fallback}`; for ImageNet's 1,000 classes run \
                 `xcept weights pull imagenet` once with a network"
            ));
            load(&fallback, context, convention)
        }
        (result, _) => result,
    }
}

/// The backbone and the way from a picture to its features.
#[derive(Debug, Args)]
pub struct PipelineArguments {
    /// Weights of the backbone: bundled, imagenet, a file, or OWNER/REPO[@REVISION] on the hub
    #[arg(long, short, value_name = "MODEL", default_value = "bundled")]
    pub model: String,
    /// Numbers that the weights were trained with, where the file says something else
    #[arg(long, value_name = "CONVENTION")]
    convention: Option<Convention>,
    /// How pictures are brought to size [default: as the weights were trained]
    #[arg(long, value_name = "CONVENTION")]
    preprocess: Option<Convention>,
    /// Filter for resizing [default: as the weights were trained, bicubic]
    #[arg(long)]
    interpolation: Option<Interpolation>,
    /// Side of the network's input in pixels, at least 71 [default: as the weights were trained, 299]
    #[arg(long, value_name = "PIXELS", value_parser = size_parser)]
    size: Option<usize>,
    /// How the last feature map becomes a feature vector
    #[arg(long, default_value = "avg")]
    pool: Pool,
}

fn size_parser(text: &str) -> Result<usize> {
    const MAX_INPUT_SIZE: usize = 4096;
    let size = text.parse()?;
    let range = MIN_INPUT_SIZE..=MAX_INPUT_SIZE;
    anyhow::ensure!(range.contains(&size), "expected {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE}");
    Ok(size)
}

impl PipelineArguments {
    /// Loads the backbone; returns it with what identifies its features and what computes them.
    pub fn open(&self, context: &Context) -> Result<(Checkpoint, Pipeline, FeatureExtractor)> {
        let source: Source = self.model.parse()?;
        let backbone = load(&source, context, self.convention)?;
        let mut preprocessing = backbone.metadata.preprocessing;
        preprocessing.convention = self.preprocess.unwrap_or(preprocessing.convention);
        preprocessing.interpolation = self.interpolation.unwrap_or(preprocessing.interpolation);
        preprocessing.size = self.size.unwrap_or(preprocessing.size);
        let pipeline = Pipeline {
            backbone: backbone.backbone_digest(),
            base: source.to_string(),
            convention: backbone.metadata.convention,
            preprocessing,
            pool: self.pool,
        };
        let extractor = FeatureExtractor::new(&backbone, preprocessing, self.pool, &context.device)?;
        Ok((backbone, pipeline, extractor))
    }
}
