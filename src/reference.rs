//! Activations that Keras or timm computed, to hold the network against.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use crate::architecture::FEATURES;
use crate::convention::Convention;
use crate::engine::Engine;
use crate::kernel::isa::Isa;
use crate::op::Backend;
use crate::weights::{Checkpoint, Pool, RawTensor};
use crate::xception::{self, Norm, Pass, Xception};

/// Name of the pooled features among the stages.
const POOLED: &str = "avg_pool";

/// A file of reference activations, float32, NHWC.
#[derive(Debug)]
pub enum Reference {
    /// `input` [N,H,W,3] in [−1, 1] and the activation after each stage by Keras' name.
    Stages { input: RawTensor, stages: BTreeMap<String, RawTensor> },
    /// `pixels` uint8 [N,H,W,3] and the features [N,2048] under each convention.
    Features { pixels: RawTensor, features: BTreeMap<String, RawTensor> },
}

/// How far the network is from the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deviation {
    Stage { largest_difference: f64, largest_activation: f64 },
    Features { lowest_cosine: f64 },
}

/// Takes a stage's name, shape [N,H,W,C] and values.
pub type Visit<'a> = &'a mut (dyn FnMut(&str, &[usize], &[f32]) -> Result<()> + Send);

/// An implementation of the network that shows its stages.
pub trait Stages {
    /// The pooled features of `input` [N,H,W,3], after showing `visit` every stage by Keras' name.
    ///
    /// # Errors
    /// Those of `visit`, and if the network refuses its input.
    fn forward_stages(&self, input: &RawTensor, visit: Visit) -> Result<Vec<f32>>;
}

/// The Candle modules, by one of the backends.
#[derive(Debug)]
pub struct CandleModules<'a> {
    pub network: &'a Xception,
    pub backend: Backend,
}

impl Stages for CandleModules<'_> {
    fn forward_stages(&self, input: &RawTensor, visit: Visit) -> Result<Vec<f32>> {
        let input = Tensor::from_slice(&input.data.floats(), input.shape.as_slice(), self.network.device())?;
        let mut pass = Pass::new(Norm::Running, self.backend);
        let maps = self.network.forward_stages(&input, &mut pass, &mut |name, activation| {
            visit(name, activation.dims(), &activation.flatten_all()?.to_vec1()?)
        })?;
        Ok(xception::pool(&maps, Pool::Avg)?.flatten_all()?.to_vec1()?)
    }
}

/// The engine, compiled for whatever size the reference has.
#[derive(Debug)]
pub struct CompiledEngine<'a> {
    pub checkpoint: &'a Checkpoint,
    pub isa: Isa,
}

impl Stages for CompiledEngine<'_> {
    fn forward_stages(&self, input: &RawTensor, visit: Visit) -> Result<Vec<f32>> {
        let [1, height, width, 3] = input.shape[..] else {
            bail!("`input` is {:?}, expected one picture, [1,H,W,3]", input.shape);
        };
        let engine = Engine::new(self.checkpoint, height, width, self.isa)?;
        let mut workspace = engine.workspace(rayon::current_num_threads());
        let map = engine.forward_steps(&input.data.floats(), usize::MAX, &mut workspace, &mut |step, activation| {
            let shape = step.out_shape;
            step.stage
                .as_ref()
                .map_or(Ok(()), |stage| visit(stage, &[1, shape.h, shape.w, shape.c], &activation.to_hwc()))
        })?;
        Ok(map.pooled(Pool::Avg))
    }
}

impl Reference {
    /// # Errors
    /// Names the file if it cannot be read or holds no reference.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let bytes = std::fs::read(path)?;
            let file = SafeTensors::deserialize(&bytes)?;
            let mut tensors = BTreeMap::new();
            for (name, view) in file.iter() {
                let data = match view.dtype() {
                    Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>(),
                    Dtype::U8 => view.data().iter().map(|&byte| f32::from(byte)).collect(),
                    other => bail!("`{name}` is {other:?}, expected F32 or U8"),
                };
                tensors.insert(name.to_owned(), RawTensor { shape: view.shape().to_vec(), data: data.into() });
            }
            if let Some(input) = tensors.remove("input") {
                ensure!(!tensors.is_empty(), "it has no stages beside `input`");
                return Ok(Reference::Stages { input, stages: tensors });
            }
            let pixels = tensors.remove("pixels").context("it has neither `input` nor `pixels`")?;
            Ok(Reference::Features { pixels, features: tensors })
        };
        read().with_context(|| format!("{}: not a file of reference activations", path.display()))
    }

    /// Runs the network on the reference's input and compares, stage by stage in their order.
    ///
    /// # Errors
    /// If a stage is not the network's or has another shape.
    pub fn compare(&self, network: &dyn Stages, convention: Convention) -> Result<Vec<(String, Deviation)>> {
        match self {
            Reference::Stages { input, stages } => compare_stages(network, input, stages),
            Reference::Features { pixels, features } => {
                let name = format!("features_{convention}");
                let expected = features.get(&name).with_context(|| format!("the reference has no `{name}`"))?;
                let lowest_cosine = lowest_cosine(network, pixels, expected)?;
                Ok(vec![(name, Deviation::Features { lowest_cosine })])
            }
        }
    }
}

fn compare_stages(
    network: &dyn Stages,
    input: &RawTensor,
    stages: &BTreeMap<String, RawTensor>,
) -> Result<Vec<(String, Deviation)>> {
    let mut deviations = Vec::new();
    let mut compare = |name: &str, shape: &[usize], found: &[f32]| {
        if let Some(expected) = stages.get(name) {
            let theirs = &expected.shape;
            ensure!(shape == theirs, "stage `{name}` is {shape:?}, the reference has {theirs:?}");
            deviations.push((name.to_owned(), deviation(found, &expected.data.floats())));
        }
        Ok(())
    };
    let pooled = network.forward_stages(input, &mut compare)?;
    compare(POOLED, &[input.shape[0], pooled.len() / input.shape[0]], &pooled)?;
    if let Some(unknown) = stages.keys().find(|name| !deviations.iter().any(|(known, _)| known == *name)) {
        bail!("the reference has a stage `{unknown}`, the network has none of that name");
    }
    Ok(deviations)
}

fn deviation(found: &[f32], expected: &[f32]) -> Deviation {
    // What is not a number is the largest difference of all.
    let larger = |a: f32, b: f32| if b.is_nan() || b > a { b } else { a };
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        f64::from(values.fold(0.0_f32, |a, b| if a.is_nan() { a } else { larger(a, b) }))
    };
    Deviation::Stage {
        largest_difference: largest(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs())),
        largest_activation: largest(&mut expected.iter().map(|v| v.abs())),
    }
}

/// The lowest cosine between a picture's features and the reference's.
fn lowest_cosine(network: &dyn Stages, pixels: &RawTensor, expected: &RawTensor) -> Result<f64> {
    let [count, height, width, 3] = pixels.shape[..] else {
        bail!("`pixels` is {:?}, expected [N,H,W,3]", pixels.shape);
    };
    ensure!(
        count > 0 && expected.shape == [count, FEATURES],
        "{count} pictures with features {:?}, expected one or more and [N, {FEATURES}]",
        expected.shape
    );
    let mut lowest = f64::INFINITY;
    let length = FEATURES;
    let (pixels, expected) = (pixels.data.floats(), expected.data.floats());
    for (pixels, expected) in pixels.chunks_exact(height * width * 3).zip(expected.chunks_exact(length)) {
        let data: Vec<f32> = pixels.iter().map(|value| value / 127.5 - 1.0).collect();
        let input = RawTensor { shape: vec![1, height, width, 3], data: data.into() };
        let found = network.forward_stages(&input, &mut |_, _, _| Ok(()))?;
        let cosine = cosine(&found, expected);
        lowest = if cosine.is_nan() || lowest.is_nan() { f64::NAN } else { lowest.min(cosine) };
    }
    Ok(lowest)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
