//! `xcept lr-find`: which learning rate suits.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use clap::Args;

use super::data::DataArguments;
use super::training::{self, SettingsArguments};
use super::{Context, Status, WrongUsage, ending};
use crate::architecture::FEATURES;
use crate::head::Head;
use crate::output::{self, Existing};
use crate::plot::{Chart, Curve, Mark, Panel, Scale};
use crate::train::{
    self, Below, Data, EpochReport, Fit, HeadTraining, Model, Observer, Phase, Position, Probe, Range, Settings,
    SolvedHead, Source, Unfreeze,
};
use crate::weights::Tensors;
use crate::{interrupt, kernel, terminal};

/// Try learning rates from tiny to too large, and draw what the loss says to each
///
/// With --unfreeze the head is trained first as `finetune` would, and the rates are those of the network.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct LrFind {
    #[command(flatten)]
    data: DataArguments,
    /// The curve, as .png or .svg
    #[arg(long, short, value_name = "FILE", default_value = "lr-find.png")]
    output: PathBuf,
    /// Replace the output file and the features file if they exist
    #[arg(long)]
    overwrite: bool,
    /// The rate to begin with
    #[arg(long, value_name = "RATE", default_value = "1e-6")]
    from: f64,
    /// The rate to end with, if the loss has not exploded before
    #[arg(long, value_name = "RATE", default_value = "1")]
    to: f64,
    /// Steps from one to the other
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u16).range(10..))]
    steps: u16,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl LrFind {
    pub fn run(self, context: &Context) -> Result<Status> {
        let settings = self.settings.resolve()?;
        self.data.check()?;
        let is_svg = ending::of(&self.output, &["png", "svg"])? == "svg";
        if !(self.from > 0.0 && self.from < self.to && self.to.is_finite()) {
            let text = format!("--from {} --to {}: expected rates above 0 that rise", self.from, self.to);
            return Err(WrongUsage(text).into());
        }
        let existing = Existing::of(self.overwrite);
        output::refuse_unwritable(&self.output, existing)?;
        output::refuse_input(&self.output, self.data.inputs())?;
        let (features, has_unreadable) = training::features(&self.data, &settings, self.overwrite, context)?;
        let data = Data::new(&features, settings.held_out(), settings.seed)
            .with_context(|| self.data.data.display().to_string())?;
        output::refuse_input(&self.output, features.rows.iter().map(|row| Path::new(&row.path)))?;
        if settings.unfreeze != Unfreeze::Nothing {
            data.check_pictures()?;
        }
        interrupt::install();
        kernel::recycle();
        let probes = self.probes(&settings, &data, context)?;
        ensure!(!probes.is_empty(), "no step was taken");
        let suggested = train::suggestion(&probes);
        let chart = chart(&probes, suggested);
        let bytes = if is_svg { chart.svg().into_bytes() } else { chart.png()? };
        output::write_atomically(&self.output, existing, &bytes)?;
        let option =
            if settings.unfreeze == Unfreeze::Nothing { "--learning-rate" } else { "--finetune-learning-rate" };
        match suggested {
            Some(rate) => terminal::result(format_args!(
                "{}: the loss falls most steeply at {rate:.1e}; try `xcept finetune {option} {rate:.1e}`",
                self.output.display()
            ))?,
            None => terminal::result(format_args!(
                "{}: the loss never falls between {:.0e} and {:.0e}; try another range with --from and --to",
                self.output.display(),
                self.from,
                self.to
            ))?,
        }
        Ok(if has_unreadable { Status::SomeUnreadable } else { Status::Done })
    }

    fn probes(&self, settings: &Settings, data: &Data, context: &Context) -> Result<Vec<Probe>> {
        let mut random = train::random(settings.seed, "head");
        let classes = data.features.class_names.len();
        let model = Model::head(&settings.hidden, FEATURES, classes, &mut random, &Device::Cpu)?;
        let mut fit = Fit::new(settings, Phase::Head, model, Position::default())?;
        let (train, val) = data.rows(&Device::Cpu);
        if settings.unfreeze == Unfreeze::Nothing {
            return self.test(&mut fit, &train, context);
        }
        let head = match settings.head {
            HeadTraining::Auto | HeadTraining::Linear | HeadTraining::Dense => {
                let check = || interrupt::check(|| NOTHING_WRITTEN.to_owned());
                let model = SolvedHead::train(data, settings, &check, &mut || ())?.model;
                Head::new(&model.tensors(&model.detached())?, &context.device)?
                    .with_unit_length(model.has_unit_length())
            }
            HeadTraining::Epochs => {
                let mut best = Best::default();
                fit.run(&train, &val, &mut best)?;
                Head::new(&best.head, &context.device)?
            }
        };
        let pipeline = &data.features.pipeline;
        let backbone = training::backbone(&self.data.data, pipeline, true, context)?;
        let (backbone, first) = backbone.zip(settings.first_block()).context("no backbone to train")?;
        let mut below = Below::open(data, &backbone, settings, &context.device)?;
        training::fill(&mut below, context)?;
        let model = Model::with_blocks(&head, &backbone, first, pipeline.pool, settings, &context.device)?;
        let mut fit = Fit::new(settings, Phase::Network, model, Position::default())?;
        self.test(&mut fit, &*below.train(), context)
    }

    fn test(&self, fit: &mut Fit, source: &dyn Source, context: &Context) -> Result<Vec<Probe>> {
        let range = Range { lowest: self.from, highest: self.to, steps: self.steps.into() };
        let bar = context.terminal.progress(range.steps, "steps");
        let probes = train::range_test(fit, source, range, &mut || bar.inc(1));
        bar.finish_and_clear();
        probes
    }
}

const NOTHING_WRITTEN: &str = "nothing was written";

/// Keeps the head of the best epoch.
#[derive(Default)]
struct Best {
    head: Tensors,
}

impl Observer for Best {
    fn step(&mut self, _: usize) {}

    fn epoch(&mut self, _: &EpochReport, _: &Position, model: &Model, values: &[Tensor], is_best: bool) -> Result<()> {
        if is_best {
            self.head = model.tensors(values)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, _: &Fit, _: bool) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> String {
        NOTHING_WRITTEN.to_owned()
    }
}

fn chart(probes: &[Probe], suggested: Option<f64>) -> Chart {
    let curve = |name: &str, dashed, value: fn(&Probe) -> f64| Curve {
        name: name.to_owned(),
        dashed,
        points: probes.iter().map(|probe| (probe.rate, value(probe))).collect(),
        ..Curve::default()
    };
    let first = probes.first().map_or(1.0, |probe| probe.loss);
    let mark = |rate| Mark { x: rate, label: format!("steepest at {rate:.1e}") };
    Chart {
        panels: vec![Panel {
            title: "Learning-rate range test".to_owned(),
            x_label: "learning rate".to_owned(),
            y_label: "training loss".to_owned(),
            x_scale: Scale::Log,
            // A loss that explodes would flatten all the rest.
            y_max: Some(1.5 * first),
            curves: vec![
                curve("each batch", true, |probe| probe.loss),
                curve("smoothed", false, |probe| probe.smoothed),
            ],
            marks: suggested.map(mark).into_iter().collect(),
            ..Panel::default()
        }],
    }
}
