//! A phase under way, on disk: a killed run goes on from it and ends with the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::fit::Fit;
use super::history::{Phase, Position};
use crate::output::{self, Existing};
use crate::weights::METADATA_KEY;

/// What is not tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    phase: Phase,
    position: Position,
    optimizer_steps: usize,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Checkpoint {
    entry: Entry,
    tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

fn slot_name(slot: usize, variable: usize) -> String {
    format!("slot {slot} of {variable}")
}

fn average_name(variable: usize) -> String {
    format!("average of {variable}")
}

/// Writes what `fit` needs to go on.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, fit: &Fit) -> Result<()> {
    let entry = Entry { phase: fit.phase, position: fit.position.clone(), optimizer_steps: fit.optimizer.steps() };
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, variable) in fit.model.state() {
        tensors.insert(name.to_owned(), variable.as_detached_tensor());
    }
    for (variable, slots) in fit.optimizer.slots().iter().enumerate() {
        tensors.extend(slots.iter().enumerate().map(|(slot, tensor)| (slot_name(slot, variable), tensor.clone())));
    }
    for (variable, average) in fit.average.iter().flatten().enumerate() {
        tensors.insert(average_name(variable), average.clone());
    }
    let mut bytes = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let values: Vec<u8> = tensor.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes.push((name, tensor.dims().to_vec(), values));
    }
    let view = |(name, shape, values)| Ok((name, TensorView::new(Dtype::F32, shape, values)?));
    let views = bytes.iter().map(|(name, shape, values)| view((name.as_str(), shape.clone(), values.as_slice())));
    let views = views.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&entry)?)]);
    output::write_atomically(path, Existing::Own, &::safetensors::serialize(views, Some(metadata))?)
}

impl Checkpoint {
    /// # Errors
    /// Names the file if it cannot be read or is no checkpoint.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let bytes = std::fs::read(path)?;
            let (_, header) = SafeTensors::read_metadata(&bytes)?;
            let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
            let entry = serde_json::from_str(entry.context("it has no metadata")?)?;
            let tensor = |(name, view): (&str, TensorView)| {
                let values = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                (name.to_owned(), (view.shape().to_vec(), values))
            };
            let tensors = SafeTensors::deserialize(&bytes)?.iter().map(tensor).collect();
            anyhow::Ok(Self { entry, tensors })
        };
        read().with_context(|| format!("{}: not a checkpoint of this version; start the run anew", path.display()))
    }

    pub fn phase(&self) -> Phase {
        self.entry.phase
    }

    pub fn position(&self) -> &Position {
        &self.entry.position
    }

    /// Brings `fit`, made for the same settings, to where the checkpoint was written.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn restore(self, fit: &mut Fit) -> Result<()> {
        let device = fit.model.variables().first().context("no variables")?.device().clone();
        let tensor = |name: &str| {
            let (shape, values) = self
                .tensors
                .get(name)
                .with_context(|| format!("the checkpoint has no `{name}`; start the run anew"))?;
            anyhow::Ok(Tensor::from_slice(values, shape.as_slice(), &device)?)
        };
        for (name, variable) in fit.model.state() {
            variable.set(&tensor(name)?)?;
        }
        let mut restored = Vec::new();
        for (variable, slots) in fit.optimizer.slots().iter().enumerate() {
            restored.push((0..slots.len()).map(|slot| tensor(&slot_name(slot, variable))).collect::<Result<_>>()?);
        }
        fit.optimizer.restore(restored, self.entry.optimizer_steps);
        for (variable, average) in fit.average.iter_mut().flatten().enumerate() {
            *average = tensor(&average_name(variable))?;
        }
        fit.position = self.entry.position;
        Ok(())
    }
}
