//! Reads PyTorch checkpoints (`.pth`, `.pt`, `.bin`).
//!
//! A checkpoint may be a state dict, one nested under a key beside the optimizer's state, or a
//! whole pickled module; the pickle is interpreted as data and never executed. The averaged
//! weights (`state_dict_ema`) go before the raw ones, as in timm's `load_state_dict`.
//! Cadene's older file, from which timm's was made, calls the classifier `last_linear` and
//! leaves the trailing 1×1 of pointwise kernels out.

mod module;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use pytorch_reader::{DType, MAX_PICKLE_SIZE, PytorchReader, Tensor};
use zip::ZipArchive;

use super::Imported;
use super::foreign::{Names, import};
use super::matching::{Order, natural};

/// Bytes at the start of a file that is no zip archive in which its pickle is looked for.
const PICKLE_START: u64 = 1 << 24;

/// Reads a checkpoint into timm's names; f64, f16 and bf16 become f32, views become contiguous.
///
/// # Errors
///
/// A file that is not a checkpoint, holds no tensors, or no Xception that could be seen in one way only.
pub fn read(path: &Path) -> Result<Imported> {
    read_checkpoint(path).with_context(|| path.display().to_string())
}

fn read_checkpoint(path: &Path) -> Result<Imported> {
    const REMEDY: &str = "not a readable PyTorch checkpoint; write one with torch.save(model.state_dict(), path)";
    let copy;
    let reader = match PytorchReader::new(path) {
        Ok(reader) => reader,
        Err(error) => {
            // Tensors are read out of the copy, which goes with this function.
            copy = module::without_classes(path)?;
            let Some(copy) = &copy else { return Err(error).context(REMEDY) };
            PytorchReader::new(copy.path()).context(REMEDY)?
        }
    };
    let mut found: Vec<(String, Tensor)> = reader.into_tensors().into_iter().collect();
    ensure!(!found.is_empty(), "the checkpoint holds no tensors, expected a state dict with timm's names");
    found.sort_by(|(a, _), (b, _)| natural(a, b));
    let places = places(&pickle(path)?, found.iter().map(|(name, _)| name.as_str()));
    let order = if found.iter().all(|(name, _)| places.contains_key(name)) {
        found.sort_by_key(|(name, _)| places[name]);
        Order::Definition
    } else {
        Order::Unknown
    };
    let names: Names = found.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    import(&names, order, |index| Ok(values(&found[index].1)?.into()))
}

/// The bytes in which the names of a state dict's tensors stand in the order of its entries.
fn pickle(path: &Path) -> Result<Vec<u8>> {
    let (mut bytes, mut file) = (Vec::new(), File::open(path)?);
    let Ok(mut archive) = ZipArchive::new(File::open(path)?) else {
        file.by_ref().take(PICKLE_START).read_to_end(&mut bytes)?;
        return Ok(bytes);
    };
    let names: Vec<String> = archive.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect();
    if let Some(name) = names.iter().find(|name| name.ends_with("/data.pkl")) {
        archive.by_name(name)?.take(MAX_PICKLE_SIZE).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Where each name, or as much of its end as is one key of a dictionary, stands in a pickle; those of a whole module are
/// not found, there each part of a name is a key of its own.
fn places<'a>(pickle: &[u8], names: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut keys: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for text in strings(pickle) {
        let at = text.as_ptr().addr() - pickle.as_ptr().addr();
        keys.entry(text).or_default().push(at);
    }
    let mut places = HashMap::new();
    for name in names {
        let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
        // A key with no dot in it is a module's, not a state dict's.
        let key = starts.map(|start| &name[start..]).find(|key| keys.contains_key(key.as_bytes()));
        if let Some(at) = key.filter(|key| key.contains('.') || *key == name).and_then(|key| keys.get(key.as_bytes())) {
            // The same key in another dictionary stands elsewhere, in the same order.
            places.insert(name.to_owned(), at[0]);
        }
    }
    places
}

/// Everything in a pickle that could be a string of it, by its opcode and length.
fn strings(pickle: &[u8]) -> impl Iterator<Item = &[u8]> {
    /// No tensor's name is longer.
    const LONGEST: usize = 1024;
    pickle.iter().enumerate().filter_map(|(at, opcode)| {
        let rest = &pickle[at + 1..];
        let (length, rest) = match opcode {
            b'X' => (u32::from_le_bytes(*rest.first_chunk()?) as usize, &rest[4..]),
            0x8c | b'U' => (usize::from(*rest.first()?), &rest[1..]),
            _ => return None,
        };
        rest.get(..length).filter(|_| (1..LONGEST).contains(&length))
    })
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
