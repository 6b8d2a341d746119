//! Our own file format: safetensors with timm's names and one metadata entry, `xcept`.
//!
//! Files without such an entry are another program's and are read as timm's, whatever names they have.

use std::collections::HashMap;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use anyhow::{Context, Result, bail, ensure};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::check::{check, check_head_alone, check_values};
use super::foreign::import;
use super::matching::{Order, natural};
use super::values::widen;
use super::{
    Assumed, Checkpoint, HeadMetadata, METADATA_KEY, Metadata, RawTensor, Tensors, Values, foreign, is_batch_counter,
};
use crate::convention::Convention;
use crate::output::{Existing, write_atomically};

/// How numbers are stored; in memory they are always float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    F32,
    /// Half the size; features keep a cosine above 0.9999
    F16,
}

/// Reads weights from the bytes of a safetensors file.
pub(super) fn read(bytes: &[u8], origin: String) -> Result<Checkpoint> {
    read_with(bytes, origin, |halves| widened(halves, f16::from_le_bytes))
}

/// [`read`] for a file inside the binary: its 16-bit floats stay where they are.
pub(super) fn read_static(bytes: &'static [u8], origin: String) -> Result<Checkpoint> {
    read_with(bytes, origin, Values::from_halves)
}

fn read_with<'a>(bytes: &'a [u8], origin: String, half: impl Fn(&'a [u8]) -> Values + Sync) -> Result<Checkpoint> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    if file.names().contains(&"features") {
        bail!("holds features, not a model; a model is what `xcept finetune` makes of them");
    }
    let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
    let Some(entry) = entry else {
        let mut views: Vec<_> = file.iter().collect();
        views.sort_by(|(a, _), (b, _)| natural(a, b));
        let names = views.iter().map(|(name, view)| ((*name).to_owned(), view.shape().to_vec())).collect();
        let values = |index: usize| Ok(decode(views[index].0, &views[index].1, &half)?.data);
        return foreign(import(&names, Order::Unknown, values)?, Convention::Timm, origin);
    };
    let views: Vec<_> = file.iter().filter(|(name, _)| !is_batch_counter(name)).collect();
    let tensors: Tensors = views
        .par_iter()
        .map(|(name, view)| Ok(((*name).to_owned(), decode(name, view, &half)?)))
        .collect::<Result<_>>()?;
    let metadata: Metadata = serde_json::from_str(entry)
        .with_context(|| format!("the metadata entry `{METADATA_KEY}` is not what this version writes"))?;
    metadata.preprocessing.check()?;
    metadata.head.as_ref().map_or(Ok(()), HeadMetadata::check)?;
    let checkpoint =
        Checkpoint { tensors, metadata, origin, is_described: true, assumed: Assumed::default(), notes: Vec::new() };
    match checkpoint.has_backbone() {
        true => check(&checkpoint.tensors)?,
        false => check_head_alone(&checkpoint.tensors)?,
    }
    checkpoint.check_head_inputs()?;
    Ok(checkpoint)
}

fn damaged(error: ::safetensors::SafeTensorError) -> anyhow::Error {
    anyhow::anyhow!("a damaged safetensors file ({error}); download or make it again")
}

fn decode<'a>(name: &str, view: &TensorView<'a>, half: &impl Fn(&'a [u8]) -> Values) -> Result<RawTensor> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>().into(),
        Dtype::F16 => half(bytes),
        Dtype::BF16 => widened(bytes, bf16::from_le_bytes),
        other => bail!("tensor `{name}` is {other:?}, expected F32, F16 or BF16"),
    };
    Ok(RawTensor { shape: view.shape().to_vec(), data })
}

fn widened<H: Copy + Default>(bytes: &[u8], from_bytes: fn([u8; 2]) -> H) -> Values
where
    [H]: HalfFloatSliceExt,
{
    let mut floats = vec![0.0; bytes.len() / 2];
    widen(bytes.as_chunks().0, from_bytes, &mut floats);
    floats.into()
}

/// Writes `tensors` to `path`, whole or not at all.
///
/// # Errors
/// Names the file if it cannot be written, and a tensor with a value that is not finite or too large for the precision.
pub fn write(
    path: &Path,
    existing: Existing,
    tensors: &Tensors,
    metadata: &Metadata,
    precision: Precision,
) -> Result<()> {
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
    };
    let checked = check_values(tensors).and_then(|()| check_range(tensors, precision));
    checked.with_context(|| format!("{}: not written", path.display()))?;
    let encoded: Vec<(&String, &RawTensor, Vec<u8>)> =
        tensors.par_iter().map(|(name, tensor)| (name, tensor, encode(&tensor.data.floats(), precision))).collect();
    let mut views = Vec::with_capacity(encoded.len());
    for (name, tensor, bytes) in &encoded {
        views.push((name.as_str(), TensorView::new(dtype, tensor.shape.clone(), bytes)?));
    }
    // One entry only: the order of several would differ from run to run.
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(metadata)?)]);
    let bytes = ::safetensors::serialize(views, Some(metadata))?;
    write_atomically(path, existing, &bytes)
}

/// Passes if no value becomes infinite by being rounded.
fn check_range(tensors: &Tensors, precision: Precision) -> Result<()> {
    let largest = match precision {
        Precision::F32 => return Ok(()),
        Precision::F16 => f16::MAX.to_f32(),
    };
    for (name, tensor) in tensors {
        let found = tensor.data.floats().iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        ensure!(found <= largest, "tensor `{name}` holds ±{found}, f16 reaches {largest}; store it as f32");
    }
    Ok(())
}

fn encode(data: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Precision::F16 => data.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
    }
}

/// The tensors as they will be read from a file of this precision.
///
/// # Errors
/// Names a tensor with a value that is too large for the precision.
pub fn rounded(mut tensors: Tensors, precision: Precision) -> Result<Tensors> {
    check_range(&tensors, precision)?;
    if precision == Precision::F16 {
        tensors.par_iter_mut().for_each(|(_, tensor)| {
            let mut floats = tensor.data.floats().into_owned();
            floats.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
            tensor.data = floats.into();
        });
    }
    Ok(tensors)
}
