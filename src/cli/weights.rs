//! `xcept weights`: what weights there are, where they lie, and whether they are right.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::{Context, Status, model};
use crate::head::Head;
use crate::kernel::isa::Isa;
use crate::network::FeatureExtractor;
use crate::op::Backend;
use crate::reference::{CandleModules, CompiledEngine, Deviation, Reference, Stages};
use crate::terminal;
use crate::weights::hub::{self, Hub};
use crate::weights::{BUNDLED, Checkpoint, Metadata, Pool, Source, backbone_digest};
use crate::xception::Xception;

/// List, download, find and check weights
#[derive(Debug, Subcommand)]
pub enum Weights {
    /// Show the bundled weights and those of the hub, with what is in the cache
    List,
    /// Download weights into the cache that every Hugging Face tool shares
    Pull(Which),
    /// Print where a file of weights lies
    Path(Which),
    /// Check weights: complete, undamaged, and right against reference activations
    Verify(Verify),
}

#[derive(Debug, Args)]
pub struct Which {
    /// imagenet, a file, or OWNER/REPO[@REVISION] on the hub
    #[arg(default_value = "imagenet")]
    model: String,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// bundled, cats-vs-dogs, imagenet, a file, or OWNER/REPO[@REVISION] on the hub
    #[arg(default_value = "bundled")]
    model: String,
    #[command(flatten)]
    given: model::GivenArguments,
    /// Activations to compare with: a safetensors file with `input` and stages by Keras' names, or
    /// with `pixels` and `features_keras` or `features_timm`
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Numbers to compute the reference with [default: those of the weights]
    #[arg(long, value_name = "CONVENTION")]
    convention: Option<crate::convention::Convention>,
    /// Largest difference that a stage may show, as a share of its largest activation
    #[arg(long, default_value = "1e-4", value_name = "SHARE")]
    tolerance: f64,
    /// Smallest cosine that features may show
    #[arg(long, default_value = "0.99999", value_name = "COSINE")]
    min_cosine: f64,
}

impl Weights {
    pub fn run(self, context: &Context) -> Result<Status> {
        match self {
            Weights::List => list(context),
            Weights::Pull(which) => {
                terminal::result(which.path(&context.hub, context)?.display())?;
                Ok(Status::Done)
            }
            Weights::Path(which) => {
                // Never downloads: that is what pull is for.
                let path = which.path(&context.hub.clone().offline("`xcept weights path`"), context)?;
                terminal::result(path.display())?;
                Ok(Status::Done)
            }
            Weights::Verify(verify) => verify.run(context),
        }
    }
}

fn list(context: &Context) -> Result<Status> {
    let mut table = terminal::table(["model", "where", "what"]);
    for bundled in BUNDLED {
        let megabytes = bundled.bytes().len() as f64 / 1e6;
        table.add_row([
            bundled.name.to_owned(),
            format!("in the binary, {megabytes:.1} MB"),
            bundled.description.into(),
        ]);
    }
    let imagenet = Source::imagenet()?;
    let place = match imagenet.is_local(&context.hub) {
        true => format!("in {}", Hub::cache_dir().display()),
        false => "not downloaded: xcept weights pull imagenet".to_owned(),
    };
    table.add_row(["imagenet".to_owned(), place, format!("1,000 classes, {} on the hub", hub::IMAGENET)]);
    terminal::result(&table)?;
    Ok(Status::Done)
}

impl Which {
    fn path(&self, hub: &Hub, context: &Context) -> Result<PathBuf> {
        let source: Source = self.model.parse()?;
        let bar = context.terminal.download(&self.model);
        let path = source.path(hub, &model::progress(&bar))?;
        bar.finish_and_clear();
        path.with_context(|| format!("{source}: is inside the binary, it has no path"))
    }
}

impl Verify {
    fn run(self, context: &Context) -> Result<Status> {
        let source: Source = self.model.parse()?;
        let checkpoint = model::load(&source, context, self.convention, &self.given.given())?;
        let mut holds = self.check_digest(&checkpoint)? && self.check_range(&checkpoint, context)?;
        if let Some(path) = &self.reference {
            let reference = Reference::read(path)?;
            let network = Xception::new(&checkpoint, &context.device)?;
            let modules = CandleModules { network: &network, backend: Backend::for_device(&context.device) };
            let engine = CompiledEngine { checkpoint: &checkpoint, isa: Isa::detect()? };
            let networks: [(&str, &dyn Stages); 2] = [("Candle modules", &modules), ("engine", &engine)];
            for (name, network) in networks {
                holds &= self.compare(name, network, &reference, &checkpoint)?;
            }
        }
        Ok(if holds { Status::Done } else { Status::CheckFailed })
    }

    /// Whether the tensors are those that the file was written with.
    fn check_digest(&self, checkpoint: &Checkpoint) -> Result<bool> {
        if !checkpoint.has_backbone() {
            terminal::result(format_args!("{}: complete; holds a head alone", self.model))?;
            return Ok(true);
        }
        let found = backbone_digest(&checkpoint.tensors);
        match &checkpoint.metadata.backbone {
            Some(expected) if *expected != found => {
                terminal::result(format_args!(
                    "{}: damaged: the backbone's SHA-256 is {found}, expected {expected}",
                    self.model
                ))?;
                Ok(false)
            }
            _ => {
                terminal::result(format_args!("{}: complete; the backbone's SHA-256 is {found}", self.model))?;
                Ok(true)
            }
        }
    }

    /// Whether the numbers keep within float32 on their way through network and head, for a grey picture.
    fn check_range(&self, checkpoint: &Checkpoint, context: &Context) -> Result<bool> {
        if !checkpoint.has_backbone() {
            return Ok(true);
        }
        let Metadata { preprocessing, head, .. } = &checkpoint.metadata;
        let pool = head.as_ref().map_or(Pool::Avg, |head| head.pool);
        let extractor = FeatureExtractor::new(checkpoint, *preprocessing, pool, &context.device)?;
        let grey = vec![0.0; preprocessing.size * preprocessing.size * 3];
        let features = extractor.features(vec![Ok(grey)])?.remove(0);
        let answer = |features: Vec<f32>| match checkpoint.has_head() {
            true => Head::new(&checkpoint.tensors, &context.device)?.answer(&features).map(drop),
            false => Ok(()),
        };
        let is_finite = features.and_then(answer).is_ok();
        if !is_finite {
            terminal::result(format_args!(
                "{}: its numbers are too large: what it makes of a grey picture holds NaN or infinity; get the file again",
                self.model
            ))?;
        }
        Ok(is_finite)
    }

    /// Prints how far `network` is from the reference; says whether that is near enough.
    fn compare(
        &self,
        name: &str,
        network: &dyn Stages,
        reference: &Reference,
        checkpoint: &Checkpoint,
    ) -> Result<bool> {
        let mut table = terminal::table([name, "largest difference", "of the largest activation", ""]);
        terminal::align_right(&mut table, 1..3);
        let mut holds = true;
        for (stage, deviation) in reference.compare(network, checkpoint.metadata.convention)? {
            let (row, passes) = self.judge(stage, deviation);
            holds &= passes;
            table.add_row(row);
        }
        terminal::result(&table)?;
        Ok(holds)
    }

    fn judge(&self, name: String, deviation: Deviation) -> ([String; 4], bool) {
        let verdict = |passes| if passes { "ok" } else { "too large" }.to_owned();
        match deviation {
            Deviation::Stage { largest_difference, largest_activation } => {
                let share = largest_difference / largest_activation;
                let passes = share <= self.tolerance;
                ([name, format!("{largest_difference:.2e}"), format!("{share:.2e}"), verdict(passes)], passes)
            }
            Deviation::Features { lowest_cosine } => {
                let passes = lowest_cosine >= self.min_cosine;
                ([name, format!("cosine {lowest_cosine:.8}"), String::new(), verdict(passes)], passes)
            }
        }
    }
}
