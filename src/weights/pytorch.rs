//! Reads PyTorch checkpoints (`.pth`, `.pt`, `.bin`) whose tensors carry timm's names.
//!
//! A checkpoint may be a state dict, one nested under a key beside the optimizer's state, or a
//! whole pickled module; the pickle is interpreted as data and never executed. The averaged
//! weights (`state_dict_ema`) go before the raw ones, as in timm's `load_state_dict`.
//! Cadene's older file, from which timm's was made, calls the classifier `last_linear` and
//! leaves the trailing 1×1 of pointwise kernels out.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader, Tensor};

use super::check::{check, check_shapes};
use super::{Imported, RawTensor, Tensors, is_batch_counter};
use crate::architecture;

/// Keys under which training scripts put the weights, the one to prefer first.
const WRAPPERS: [&str; 6] = ["state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net"];
/// What `DataParallel`, `torch.compile` and training wrappers put before every name.
const PREFIXES: [&str; 5] = ["module.", "_orig_mod.", "backbone.", "model.", "net."];

/// Reads a checkpoint into timm's names; f64, f16 and bf16 become f32, views become contiguous.
///
/// # Errors
///
/// A file that is not a checkpoint, holds no tensors, or whose tensors are not exactly an
/// Xception's (see [`check`]).
pub fn read(path: &Path) -> Result<Imported> {
    read_checkpoint(path).with_context(|| path.display().to_string())
}

fn read_checkpoint(path: &Path) -> Result<Imported> {
    let reader = PytorchReader::new(path)
        .context("not a readable PyTorch checkpoint; write one with torch.save(model.state_dict(), path)")?;
    let found = select(reader.into_tensors().into_iter().collect());
    ensure!(!found.is_empty(), "the checkpoint holds no tensors, expected a state dict with timm's names");
    let shapes = shapes(&found);
    check_shapes(shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())))?;

    let mut tensors = Tensors::new();
    for (name, tensor) in &found {
        let data = values(tensor).with_context(|| format!("tensor `{name}`"))?;
        tensors.insert(name.clone(), RawTensor { shape: shapes[name].clone(), data: data.into() });
    }
    check(&tensors)?;
    let hidden = tensors.keys().filter(|name| name.starts_with("head.") && name.ends_with(".weight")).count();
    Ok(Imported { tensors, input_size: None, dropout: vec![0.0; hidden] })
}

/// The model's own tensors under timm's names: out of its wrapper, without prefixes and counters.
fn select(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    for wrapper in WRAPPERS {
        let prefix = format!("{wrapper}.");
        if tensors.keys().any(|name| name.starts_with(&prefix)) {
            tensors.retain(|name, _| name.starts_with(&prefix));
            tensors = strip(tensors, &prefix);
            break;
        }
    }
    while let Some(prefix) = PREFIXES.into_iter().find(|p| tensors.keys().all(|name| name.starts_with(p))) {
        if tensors.is_empty() {
            break;
        }
        tensors = strip(tensors, prefix);
    }
    tensors.retain(|name, _| !is_batch_counter(name));
    let rename = |name: String| match name.strip_prefix("last_linear.") {
        Some(rest) => format!("fc.{rest}"),
        None => name,
    };
    tensors.into_iter().map(|(name, tensor)| (rename(name), tensor)).collect()
}

fn strip(tensors: BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    tensors.into_iter().map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect()
}

/// Shapes by name, with the 1×1 that Cadene's file leaves out of pointwise kernels.
fn shapes(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<usize>> {
    let mut shapes: BTreeMap<_, _> = tensors.iter().map(|(name, t)| (name.clone(), t.shape().to_vec())).collect();
    for spec in architecture::tensors() {
        if let Some(shape) = shapes.get_mut(&spec.name)
            && shape.len() == 2
            && spec.shape.ends_with(&[1, 1])
        {
            shape.extend([1, 1]);
        }
    }
    shapes
}

/// The tensor's values, row-major.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let convert: fn(&[u8]) -> Option<f32> = match tensor.dtype() {
        DType::F32 => |b| Some(f32::from_ne_bytes(b.try_into().ok()?)),
        DType::F64 => |b| Some(f64::from_ne_bytes(b.try_into().ok()?) as f32),
        DType::F16 => |b| Some(f16::from_ne_bytes(b.try_into().ok()?).to_f32()),
        DType::BF16 => |b| Some(bf16::from_ne_bytes(b.try_into().ok()?).to_f32()),
        other => bail!("values of type {other:?}, expected floating point"),
    };
    let bytes = tensor.read()?;
    let values: Option<Vec<f32>> = bytes.chunks_exact(tensor.dtype().size()).map(convert).collect();
    values.context("a value of the wrong width")
}
