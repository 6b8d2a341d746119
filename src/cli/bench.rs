//! `xcept bench`: how fast the network runs on this machine.

mod train;

use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Context, Status, WrongUsage, model};
use crate::architecture::INPUT_SIZE;
use crate::engine::Engine;
use crate::kernel::{self, isa::Isa};
use crate::terminal::{self, align_right, table};
use crate::train::{BatchNormMode, Unfreeze};
use crate::weights::{Pool, Source};

/// Runs before the first that counts.
const WARM_UP: usize = 3;
/// Side of the square matrices whose product is the machine's peak.
const PEAK_SIDE: usize = 1024;

/// Time the network on this machine
#[derive(Debug, Args)]
pub struct Bench {
    /// Weights: bundled, imagenet, a file, or OWNER/REPO[@REVISION] on the hub
    #[arg(long, short, value_name = "MODEL", default_value = "bundled")]
    model: String,
    /// Pictures for each run
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Runs to time
    #[arg(long, value_name = "N", default_value = "15", value_parser = clap::value_parser!(u16).range(1..))]
    iterations: u16,
    /// How numbers are computed
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Side of the network's input in pixels
    #[arg(long, value_name = "PIXELS", value_parser = model::size_parser, default_value_t = INPUT_SIZE)]
    size: usize,
    /// Show the time of each step beside the machine's matrix-product peak
    #[arg(long)]
    layers: bool,
    /// Time a step of training instead: of all, or of the blocks from blockN on
    #[arg(long, value_name = "BLOCKS", conflicts_with = "layers")]
    train: Option<Unfreeze>,
    /// Batch normalisation in training
    #[arg(long, default_value = "frozen", requires = "train")]
    batch_norm: BatchNormMode,
    #[arg(long, short, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Precision {
    F32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Serialize)]
struct Timing {
    /// Of a run over the whole batch.
    median_ms: f64,
    min_ms: f64,
    images_per_second: f64,
    /// A multiply-add counts as two operations; not told of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflops: Option<f64>,
    isa: &'static str,
    threads: usize,
    batch_size: usize,
}

impl Bench {
    pub fn run(self, context: &Context) -> Result<Status> {
        let source: Source = self.model.parse()?;
        let checkpoint = model::load_backbone(&source, context, None, Some(self.size))?;
        if let Some(unfreeze) = self.train {
            let settings = train::settings(unfreeze, self.batch_norm, self.batch_size.into());
            settings.check().map_err(WrongUsage::from)?;
            if unfreeze == Unfreeze::Nothing {
                return Err(WrongUsage("--train none: expected all or a block; nothing else takes time".into()).into());
            }
            kernel::recycle();
            let step = train::step(&checkpoint, &settings, self.size, &context.device)?;
            return self.report(measure(self.iterations.into(), step)?, None);
        }
        let isa = Isa::detect()?;
        let engine = Engine::new(&checkpoint, self.size, self.size, isa)?;
        drop(checkpoint);
        if self.layers {
            return self.time_layers(&engine);
        }
        let picture = self.picture();
        let batch = vec![&picture[..]; self.batch_size.into()];
        let mut workspaces = Vec::new();
        let times = measure(self.iterations.into(), || {
            engine.features(&batch, Pool::Avg, &mut workspaces)?;
            Ok(())
        })?;
        let operations: usize = engine.plan().steps.iter().map(|step| 2 * step.multiply_adds()).sum();
        self.report(times, Some(operations * batch.len()))
    }

    fn report(&self, times: Vec<f64>, operations: Option<usize>) -> Result<Status> {
        let (median_ms, batch_size) = (median(times.clone()), usize::from(self.batch_size));
        let timing = Timing {
            median_ms,
            min_ms: least(&times),
            images_per_second: 1e3 * batch_size as f64 / median_ms,
            gflops: operations.map(|operations| operations as f64 / median_ms / 1e6),
            isa: Isa::detect()?.name(),
            threads: rayon::current_num_threads(),
            batch_size,
        };
        match self.format {
            Format::Json => terminal::result(serde_json::to_string(&timing)?)?,
            Format::Table => terminal::result(format_args!(
                "{:.1} ms for a batch of {} (best {:.1}), {:.1} pictures/s{}, {}, {} threads",
                timing.median_ms,
                timing.batch_size,
                timing.min_ms,
                timing.images_per_second,
                timing.gflops.map(|gflops| format!(", {gflops:.0} GFLOP/s")).unwrap_or_default(),
                timing.isa,
                timing.threads
            ))?,
        }
        Ok(Status::Done)
    }

    /// A picture of smooth waves: the values do not matter, but must be ordinary numbers.
    fn picture(&self) -> Vec<f32> {
        (0..self.size * self.size * 3).map(|index| (index as f32 * 0.01).sin()).collect()
    }

    /// Each step's median time over the iterations, one picture across all threads.
    fn time_layers(&self, engine: &Engine) -> Result<Status> {
        let (picture, mut workspace) = (self.picture(), engine.workspace(rayon::current_num_threads()));
        let steps = &engine.plan().steps;
        let mut times = vec![Vec::new(); steps.len()];
        for iteration in 0..WARM_UP + usize::from(self.iterations) {
            let (mut index, mut started) = (0, Instant::now());
            engine.forward_steps(&picture, usize::MAX, &mut workspace, &mut |_, _| {
                if iteration >= WARM_UP {
                    times[index].push(started.elapsed().as_secs_f64() * 1e3);
                }
                (index, started) = (index + 1, Instant::now());
                Ok(())
            })?;
        }
        let peak = self.peak()?;
        let mut lines = table(["step", "work", "output", "ms", "GFLOP/s", "of peak"]);
        align_right(&mut lines, 2..6);
        let mut line = |name: &str, work: String, shape: String, ms: f64, multiply_adds: usize| {
            let gflops = 2.0 * multiply_adds as f64 / ms / 1e6;
            let of_peak = terminal::percent(gflops / peak);
            lines.add_row([name.to_owned(), work, shape, format!("{ms:.2}"), format!("{gflops:.0}"), of_peak]);
        };
        let (mut total_ms, mut total) = (0.0, 0);
        for (step, times) in steps.iter().zip(times) {
            let (ms, shape) = (median(times), step.out_shape);
            let output = format!("{}×{}×{}", shape.h, shape.w, shape.c);
            line(&step.name, step.to_string(), output, ms, step.multiply_adds());
            (total_ms, total) = (total_ms + ms, total + step.multiply_adds());
        }
        line("all", String::new(), String::new(), total_ms, total);
        line(
            "matrix product",
            "gemm library".to_owned(),
            format!("{PEAK_SIDE}×{PEAK_SIDE}"),
            2e-6 * (PEAK_SIDE.pow(3) as f64) / peak,
            PEAK_SIDE.pow(3),
        );
        terminal::result(lines)?;
        Ok(Status::Done)
    }

    /// GFLOP/s of a square matrix product by the `gemm` library, the best of the runs.
    fn peak(&self) -> Result<f64> {
        let side = (PEAK_SIDE, PEAK_SIDE);
        let (a, b) = (Tensor::rand(-1f32, 1.0, side, &Device::Cpu)?, Tensor::rand(-1f32, 1.0, side, &Device::Cpu)?);
        let times = measure(self.iterations.into(), || {
            a.matmul(&b)?;
            Ok(())
        })?;
        Ok(2e-6 * PEAK_SIDE.pow(3) as f64 / least(&times))
    }
}

/// Milliseconds of each of `iterations` runs, after some that do not count.
fn measure(iterations: usize, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(iterations);
    for iteration in 0..WARM_UP + iterations {
        let started = Instant::now();
        run()?;
        if iteration >= WARM_UP {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 }
}
