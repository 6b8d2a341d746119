//! From Keras' layers to timm's tensors: names, order of axes, and nothing missing or left over.
//!
//! Layers are matched by name (`block5_sepconv1`). The shortcuts and their batch normalisations
//! have no name of their own; they are matched in order, as are all layers of a file that has no
//! names at all (Keras 1's, and a bare `.weights.h5` of early Keras 3).

use std::collections::VecDeque;

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::Dataset;

use super::hdf5;
use super::stored::StoredLayer;
use crate::architecture::{self, FEATURES, Operation, TensorSpec};
use crate::weights::check::check_numbers;
use crate::weights::{RawTensor, Tensors};

/// What a layer is, told from its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Convolution,
    Separable,
    BatchNormalization,
    Dense,
}

impl Kind {
    fn of(layer: &StoredLayer) -> Result<Self> {
        let variable = |name| layer.variables.iter().find(|(variable, _)| *variable == name);
        if variable("depthwise_kernel").is_some() {
            return Ok(Self::Separable);
        }
        if variable("gamma").is_some() {
            return Ok(Self::BatchNormalization);
        }
        match variable("kernel").map(|(_, kernel)| hdf5::shape(kernel)) {
            Some(shape) if shape.len() == 4 => Ok(Self::Convolution),
            Some(shape) if shape.len() == 2 => Ok(Self::Dense),
            Some(shape) => bail!("unexpected layer `{}`: its kernel is {shape:?}", layer.name),
            None => {
                let variables: Vec<_> = layer.variables.iter().map(|(variable, _)| *variable).collect();
                bail!("unexpected layer `{}` with {}", layer.name, variables.join(", "))
            }
        }
    }
}

/// Reads every tensor; `dense` names the head's layers in order, `None` takes them as they come.
///
/// # Errors
///
/// A layer that is missing, left over, or of another shape, by its Keras name.
pub(super) fn assemble(layers: Vec<StoredLayer>, dense: Option<&[String]>) -> Result<Tensors> {
    let layers: Vec<(Kind, StoredLayer)> =
        layers.into_iter().map(|layer| Ok((Kind::of(&layer)?, layer))).collect::<Result<_>>()?;
    let (separable, expected) = (count(&layers, Kind::Separable), super::separable_convolutions());
    ensure!(
        2 * separable > expected,
        "not an Xception: {} layers with weights, {separable} separable convolutions; expected {expected}",
        layers.len()
    );
    let (head, body): (Vec<_>, Vec<_>) = layers.into_iter().partition(|(kind, _)| *kind == Kind::Dense);
    let mut tensors = backbone(body)?;
    let head: Vec<StoredLayer> = head.into_iter().map(|(_, layer)| layer).collect();
    let head = match dense {
        Some(names) => in_order(head, names)?,
        None => head,
    };
    read_head(head, &mut tensors)?;
    Ok(tensors)
}

fn count(layers: &[(Kind, StoredLayer)], kind: Kind) -> usize {
    layers.iter().filter(|(k, _)| *k == kind).count()
}

/// Layers by the name that the table gives them, the others in order.
struct Shelf {
    named: Vec<(Kind, StoredLayer)>,
    unnamed: VecDeque<(Kind, StoredLayer)>,
    has_names: bool,
}

impl Shelf {
    fn new(layers: Vec<(Kind, StoredLayer)>) -> Self {
        let mut names = Vec::new();
        for convolution in architecture::convolutions() {
            names.extend([convolution.keras, convolution.keras_bn]);
        }
        let (mut named, mut unnamed) = (Vec::new(), VecDeque::new());
        for (kind, mut layer) in layers {
            match names.iter().find(|name| is_own(name) && is_called(&layer.name, name)) {
                Some(name) => {
                    layer.name.clone_from(name);
                    named.push((kind, layer));
                }
                None => unnamed.push_back((kind, layer)),
            }
        }
        Self { has_names: !named.is_empty(), named, unnamed }
    }

    /// Takes the layer that the table calls `name` out of the shelf.
    fn take(&mut self, kind: Kind, name: &str) -> Result<StoredLayer> {
        if is_own(name) && self.has_names {
            let position = self.named.iter().position(|(_, layer)| layer.name == name);
            let layer = position.map(|position| self.named.swap_remove(position).1);
            return layer.with_context(|| format!("missing layer `{name}`"));
        }
        let position = self.unnamed.iter().position(|(k, _)| *k == kind);
        let layer = position.and_then(|position| self.unnamed.remove(position)).map(|(_, layer)| layer);
        layer.with_context(|| format!("missing layer `{name}`: too few {kind:?} layers"))
    }
}

/// Whether the name is the layer's own, not Keras' default for its class.
fn is_own(name: &str) -> bool {
    name.starts_with("block")
}

/// Whether a layer bears the table's name; TensorFlow 1 appended `_1` to a second model's.
fn is_called(layer: &str, name: &str) -> bool {
    let counter = layer.strip_prefix(name).and_then(|rest| rest.strip_prefix('_'));
    layer == name || counter.is_some_and(|counter| !counter.is_empty() && counter.bytes().all(|b| b.is_ascii_digit()))
}

fn backbone(layers: Vec<(Kind, StoredLayer)>) -> Result<Tensors> {
    let mut shelf = Shelf::new(layers);
    let mut datasets: Vec<(TensorSpec, String, Dataset)> = Vec::new();
    for convolution in architecture::convolutions() {
        let kind = match convolution.operation {
            Operation::Ordinary { .. } => Kind::Convolution,
            Operation::Separable => Kind::Separable,
        };
        let mut specs = convolution.tensors();
        let norm = specs.split_off(specs.len() - 4);
        for (kind, name, specs) in
            [(kind, &convolution.keras, specs), (Kind::BatchNormalization, &convolution.keras_bn, norm)]
        {
            let StoredLayer { name, mut variables } = shelf.take(kind, name)?;
            for spec in specs {
                let variable = spec.keras.1;
                let position = variables.iter().position(|(found, _)| *found == variable);
                let position = position.with_context(|| format!("layer `{name}` has no `{variable}`"))?;
                datasets.push((spec, name.clone(), variables.swap_remove(position).1));
            }
            if let Some((variable, dataset)) = variables.first() {
                bail!("layer `{name}` has an unexpected `{variable}` of {:?}", hdf5::shape(dataset));
            }
        }
    }
    if let Some((_, layer)) = shelf.unnamed.iter().chain(&shelf.named).next() {
        let (first, more) = (&layer.name, shelf.unnamed.len() + shelf.named.len() - 1);
        bail!(
            "unexpected layer `{first}` with weights{}",
            if more == 0 { String::new() } else { format!(" and {more} more") }
        );
    }
    // Only when every shape is as expected is anything read.
    for (spec, layer, dataset) in &datasets {
        let (found, expected) = (hdf5::shape(dataset), keras_shape(spec));
        ensure!(found == expected, "layer `{layer}`: `{}` is {found:?}, expected {expected:?}", spec.keras.1);
    }
    datasets
        .iter()
        .map(|(spec, layer, dataset)| read(spec, dataset).with_context(|| format!("layer `{layer}`")))
        .collect()
}

/// A tensor's shape in Keras' order of axes: [kernel, kernel, in, out], or [kernel, kernel, channels, 1].
fn keras_shape(spec: &TensorSpec) -> Vec<usize> {
    match spec.shape[..] {
        [channels, one, h, w] if spec.keras.1 == "depthwise_kernel" => vec![h, w, channels, one],
        [o, i, h, w] => vec![h, w, i, o],
        _ => spec.shape.clone(),
    }
}

fn read(spec: &TensorSpec, dataset: &Dataset) -> Result<(String, RawTensor)> {
    let values = hdf5::values(dataset)?;
    ensure!(values.len() == spec.elements(), "{} values, expected {}", values.len(), spec.elements());
    check_numbers(&format!("`{}`", spec.keras.1), &values, spec.keras.1 == "moving_variance")?;
    let data = match spec.shape[..] {
        [channels, _, h, w] if spec.keras.1 == "depthwise_kernel" => transposed(&values, h * w, channels),
        [o, i, 1, 1] => transposed(&values, i, o),
        [o, i, h, w] => {
            let rows = transposed(&values, h * w * i, o);
            rows.chunks_exact(h * w * i).flat_map(|row| transposed(row, h * w, i)).collect()
        }
        _ => values,
    };
    Ok((spec.name.clone(), RawTensor { shape: spec.shape.clone(), data: data.into() }))
}

/// [rows, columns] → [columns, rows], tile by tile so that both sides stay in the cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for column in left..columns.min(left + TILE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// The dense layers in the order that the configuration gives.
fn in_order(mut layers: Vec<StoredLayer>, names: &[String]) -> Result<Vec<StoredLayer>> {
    let mut ordered = Vec::new();
    for name in names {
        let called = layers.iter().filter(|layer| layer.name == *name).count();
        ensure!(called < 2, "{called} dense layers are called `{name}`, expected names of their own");
        let position = layers.iter().position(|layer| layer.name == *name);
        ordered.push(layers.swap_remove(position.with_context(|| format!("missing layer `{name}`"))?));
    }
    if let Some(layer) = layers.first() {
        bail!("unexpected layer `{}` with weights", layer.name);
    }
    Ok(ordered)
}

/// Reads dense layers into `head.0`, `head.1`, … and, the last of them, `fc`.
fn read_head(layers: Vec<StoredLayer>, tensors: &mut Tensors) -> Result<()> {
    let (mut inputs, count) = (FEATURES, layers.len());
    for (index, StoredLayer { name, variables }) in layers.into_iter().enumerate() {
        let ours = if index + 1 == count { "fc".to_owned() } else { format!("head.{index}") };
        let variable = |key| variables.iter().find(|(variable, _)| *variable == key).map(|(_, dataset)| dataset);
        let kernel = variable("kernel").with_context(|| format!("layer `{name}` has no `kernel`"))?;
        let shape = hdf5::shape(kernel);
        let units = match shape[..] {
            [found, units] if found == inputs && units > 0 => units,
            _ => bail!("layer `{name}`: `kernel` is {shape:?}, expected [{inputs}, units]"),
        };
        let context = || format!("layer `{name}`");
        let weight = transposed(&hdf5::values(kernel).with_context(context)?, inputs, units);
        // `use_bias=False` is a bias of zero.
        let bias = match variable("bias") {
            Some(bias) if hdf5::shape(bias) != [units] => {
                bail!("layer `{name}`: `bias` is {:?}, expected [{units}]", hdf5::shape(bias))
            }
            Some(bias) => hdf5::values(bias).with_context(context)?,
            None => vec![0.0; units],
        };
        tensors.insert(format!("{ours}.weight"), RawTensor { shape: vec![units, inputs], data: weight.into() });
        tensors.insert(format!("{ours}.bias"), RawTensor { shape: vec![units], data: bias.into() });
        inputs = units;
    }
    Ok(())
}
