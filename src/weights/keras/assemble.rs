//! From Keras' layers to timm's tensors: names, order of axes, and nothing missing or left over.
//!
//! Layers are matched by name (`block5_sepconv1`). The shortcuts and their batch normalisations
//! have no name of their own; they are matched in order, as are layers that somebody has renamed
//! and all of a file that has no names (Keras 1's, and a bare `.weights.h5` of early Keras 3).

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::Dataset;

use super::hdf5;
use super::head::Planned;
use super::stored::StoredLayer;
use crate::architecture::{self, Operation, TensorSpec};
use crate::weights::check::check_numbers;
use crate::weights::dense::{self, Layer, Norm};
use crate::weights::matching::{self, Mismatch, Order, Wanted};
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
        if variable("moving_mean").is_some() {
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

/// Every tensor of a file, under our names.
pub(super) struct Assembled {
    pub tensors: Tensors,
    /// What the user should know of how they were found.
    pub notes: Vec<String>,
}

/// Reads every tensor; `head` names the head's layers in order, `None` takes dense layers as they come.
///
/// # Errors
///
/// A layer that is missing, left over, or of another shape, by its Keras name.
pub(super) fn assemble(layers: Vec<StoredLayer>, head: Option<&[Planned]>) -> Result<Assembled> {
    let mut layers: Vec<(Kind, StoredLayer)> =
        layers.into_iter().map(|layer| Ok((Kind::of(&layer)?, layer))).collect::<Result<_>>()?;
    let (separable, expected) = (count(&layers, Kind::Separable), super::separable_convolutions());
    ensure!(
        2 * separable > expected,
        "not an Xception: {} layers with weights, {separable} separable convolutions; expected {expected}",
        layers.len()
    );
    let head = match head {
        Some(head) => planned(&mut layers, head)?,
        None => taken_as_they_come(&mut layers)?,
    };
    if let Some((_, layer)) = layers.iter().find(|(kind, _)| *kind == Kind::Dense) {
        bail!("unexpected layer `{}` with weights", layer.name);
    }
    let (mut tensors, notes) = backbone(layers)?;
    dense::insert(head, &mut tensors)?;
    Ok(Assembled { tensors, notes })
}

fn count(layers: &[(Kind, StoredLayer)], kind: Kind) -> usize {
    layers.iter().filter(|(k, _)| *k == kind).count()
}

/// Takes the head's layers out, in the order that the configuration gives.
fn planned(layers: &mut Vec<(Kind, StoredLayer)>, head: &[Planned]) -> Result<Vec<Layer>> {
    let mut take = |kind: Kind, name: &String| {
        let is_called = |(k, layer): &(Kind, StoredLayer)| *k == kind && layer.name == *name;
        let called = layers.iter().filter(|layer| is_called(layer)).count();
        ensure!(
            called < 2 || kind != Kind::Dense,
            "{called} dense layers are called `{name}`, expected names of their own"
        );
        // A batch norm of a nested backbone may have the same name; it comes before the head's.
        let position = layers.iter().rposition(is_called).with_context(|| format!("missing layer `{name}`"))?;
        Ok(layers.remove(position).1)
    };
    // From behind, for the last of a name is taken.
    let mut taken = Vec::new();
    for layer in head.iter().rev() {
        taken.push(match layer {
            Planned::Dense(name) => read_dense(&take(Kind::Dense, name)?)?,
            Planned::Norm(name, epsilon) => read_norm(&take(Kind::BatchNormalization, name)?, *epsilon)?,
            Planned::Relu => Layer::Relu,
            Planned::Pool(pool) => Layer::Pool(*pool),
        });
    }
    taken.reverse();
    Ok(taken)
}

/// Takes the dense layers out, with a ReLU between them.
fn taken_as_they_come(layers: &mut Vec<(Kind, StoredLayer)>) -> Result<Vec<Layer>> {
    let norms = architecture::convolutions().len();
    if let Some((_, layer)) = layers.iter().filter(|(kind, _)| *kind == Kind::BatchNormalization).nth(norms) {
        bail!(
            "a file of weights alone does not say where the batch norm `{}` and others of its head stand; {}",
            layer.name,
            super::REMEDY
        );
    }
    let mut head = Vec::new();
    for (_, layer) in layers.extract_if(.., |(kind, _)| *kind == Kind::Dense) {
        if !head.is_empty() {
            head.push(Layer::Relu);
        }
        head.push(read_dense(&layer)?);
    }
    Ok(head)
}

/// Whether the name is the layer's own, not Keras' default for its class.
fn is_own(name: &str) -> bool {
    name.starts_with("block")
}

/// Whether a layer bears the table's name; TensorFlow 1 appended `_1` to a second model's.
fn is_called(layer: &str, name: &str) -> bool {
    layer == name || layer.strip_prefix(name).is_some_and(is_counter)
}

/// `_12`.
fn is_counter(text: &str) -> bool {
    let counter = text.strip_prefix('_');
    counter.is_some_and(|counter| !counter.is_empty() && counter.bytes().all(|b| b.is_ascii_digit()))
}

/// A layer's weights that the table asks for.
struct Place {
    layer: String,
    specs: Vec<TensorSpec>,
}

/// The table's layers of each kind, in the model's order.
fn places() -> Vec<(Kind, Place)> {
    let mut places = Vec::new();
    for convolution in architecture::convolutions() {
        let kind = match convolution.operation {
            Operation::Ordinary { .. } => Kind::Convolution,
            Operation::Separable => Kind::Separable,
        };
        let mut specs = convolution.tensors();
        let norm = specs.split_off(specs.len() - 4);
        places.push((kind, Place { layer: convolution.keras, specs }));
        places.push((Kind::BatchNormalization, Place { layer: convolution.keras_bn, specs: norm }));
    }
    places
}

fn backbone(mut layers: Vec<(Kind, StoredLayer)>) -> Result<(Tensors, Vec<String>)> {
    let (mut datasets, mut notes) = (Vec::new(), Vec::new());
    let places = places();
    for kind in [Kind::Convolution, Kind::Separable, Kind::BatchNormalization] {
        let wanted: Vec<&Place> = places.iter().filter(|(k, _)| *k == kind).map(|(_, place)| place).collect();
        let stored: Vec<StoredLayer> = layers.extract_if(.., |(k, _)| *k == kind).map(|(_, layer)| layer).collect();
        let matched = matched(kind, &wanted, &stored)?;
        let mut stored: Vec<Option<StoredLayer>> = stored.into_iter().map(Some).collect();
        for (place, index) in wanted.iter().zip(&matched) {
            let layer = stored[*index].take().context("a layer in two places")?;
            if is_own(&place.layer) && !is_called(&layer.name, &place.layer) {
                notes.push((layer.name.clone(), place.layer.clone()));
            }
            datasets.extend(variables(layer, place)?);
        }
        let left: Vec<String> = stored.into_iter().flatten().map(|layer| layer.name).collect();
        if let Some((first, more)) = left.split_first() {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            bail!("unexpected layer `{first}` with weights{more}");
        }
    }
    let read = |(spec, layer, dataset): &(TensorSpec, String, Dataset)| {
        read(spec, dataset).with_context(|| format!("layer `{layer}`"))
    };
    Ok((datasets.iter().map(read).collect::<Result<_>>()?, renamed(&notes)))
}

/// A note of layers that go by other names, unless all do, as in files without names.
fn renamed(pairs: &[(String, String)]) -> Vec<String> {
    let own = places().iter().filter(|(_, place)| is_own(&place.layer)).count();
    let Some((layer, name)) = pairs.first().filter(|_| pairs.len() < own) else { return Vec::new() };
    let more = if pairs.len() == 1 { String::new() } else { format!(", {} more likewise", pairs.len() - 1) };
    vec![format!("layer `{layer}` is taken for `{name}` by its shape and place{more}")]
}

/// For each of the table's layers of a kind the index of the file's: those of its name, and in the model's order what is
/// called otherwise. What has a default name is taken for the shortcuts, which have one, if there are as many.
fn matched(kind: Kind, places: &[&Place], stored: &[StoredLayer]) -> Result<Vec<usize>> {
    const DEFAULTS: [&str; 2] = ["conv2d", "batch_normalization"];
    let default = |name: &str| DEFAULTS.iter().any(|default| is_called(name, default));
    let unnamed = places.iter().filter(|place| !is_own(&place.layer)).count();
    let has_shortcuts = stored.iter().filter(|layer| default(&layer.name)).count() == unnamed;
    let mut shortcuts = 0;
    let mut found: Vec<(String, Vec<usize>)> = Vec::new();
    let mut owners = Vec::new();
    for (index, layer) in stored.iter().enumerate() {
        let own = places.iter().find(|place| is_own(&place.layer) && is_called(&layer.name, &place.layer));
        let name = match own {
            Some(place) => place.layer.clone(),
            None if has_shortcuts && default(&layer.name) => {
                shortcuts += 1;
                format!("shortcut {shortcuts}")
            }
            // No name that is wanted.
            None => format!("layer {index}"),
        };
        for (variable, dataset) in &layer.variables {
            found.push((format!("{name}/{variable}"), hdf5::shape(dataset)));
            owners.push(index);
        }
    }
    let mut shortcuts = 0;
    let (mut wanted, mut firsts) = (Vec::new(), Vec::new());
    for place in places {
        let name = match is_own(&place.layer) {
            true => place.layer.clone(),
            false => {
                shortcuts += 1;
                format!("shortcut {shortcuts}")
            }
        };
        firsts.push(wanted.len());
        let tensor = |spec: &TensorSpec| Wanted { name: format!("{name}/{}", spec.keras.1), shape: keras_shape(spec) };
        wanted.extend(place.specs.iter().map(tensor));
    }
    let layer_of = |tensor: usize| places[firsts.partition_point(|first| *first <= tensor) - 1].layer.as_str();
    let matching = matching::find(&wanted, &found, Order::Definition).map_err(|mismatch| match mismatch {
        Mismatch::Misshapen { wanted: place, found: index } => {
            let (shape, expected) = (&found[index].1, &wanted[place].shape);
            let variable = wanted[place].name.rsplit('/').next().unwrap_or_default();
            anyhow::anyhow!("layer `{}`: `{variable}` is {shape:?}, expected {expected:?}", stored[owners[index]].name)
        }
        Mismatch::Missing(missing) => {
            let name = layer_of(missing[0]);
            match is_own(name) {
                true => anyhow::anyhow!("missing layer `{name}`"),
                false => anyhow::anyhow!("missing layer `{name}`: too few {kind:?} layers of its shape"),
            }
        }
        Mismatch::Ambiguous(place) => anyhow::anyhow!(
            "which layer is `{}` could be read in more than one way, for it is called otherwise and several of its shape \
             are left; give the layers their names of Keras Applications",
            layer_of(place)
        ),
        Mismatch::Copies(_) => anyhow::anyhow!("the file holds more than one Xception, expected one"),
    })?;
    Ok(firsts.iter().map(|first| owners[matching.indices[*first]]).collect())
}

/// A layer's weights that the table asks for, and nothing else.
fn variables(layer: StoredLayer, place: &Place) -> Result<Vec<(TensorSpec, String, Dataset)>> {
    let StoredLayer { name, mut variables } = layer;
    let mut datasets = Vec::new();
    for spec in &place.specs {
        let variable = spec.keras.1;
        let position = variables.iter().position(|(found, _)| *found == variable);
        let position = position.with_context(|| format!("layer `{name}` has no `{variable}`"))?;
        let dataset = variables.swap_remove(position).1;
        let (found, expected) = (hdf5::shape(&dataset), keras_shape(spec));
        ensure!(found == expected, "layer `{name}`: `{variable}` is {found:?}, expected {expected:?}");
        datasets.push((spec.clone(), name.clone(), dataset));
    }
    if let Some((variable, dataset)) = variables.first() {
        bail!("layer `{name}` has an unexpected `{variable}` of {:?}", hdf5::shape(dataset));
    }
    Ok(datasets)
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

/// A dense layer, [units, inputs]; `use_bias=False` is a bias of zero.
fn read_dense(layer: &StoredLayer) -> Result<Layer> {
    let StoredLayer { name, variables } = layer;
    let variable = |key| variables.iter().find(|(variable, _)| *variable == key).map(|(_, dataset)| dataset);
    let kernel = variable("kernel").with_context(|| format!("layer `{name}` has no `kernel`"))?;
    let shape = hdf5::shape(kernel);
    let &[inputs, units] = shape.as_slice() else {
        bail!("layer `{name}`: `kernel` is {shape:?}, expected [inputs, units]");
    };
    let context = || format!("layer `{name}`");
    let values = hdf5::values(kernel).with_context(context)?;
    let bias = match variable("bias") {
        Some(bias) if hdf5::shape(bias) != [units] => {
            bail!("layer `{name}`: `bias` is {:?}, expected [{units}]", hdf5::shape(bias))
        }
        Some(bias) => hdf5::values(bias).with_context(context)?,
        None => vec![0.0; units],
    };
    let weight = RawTensor { shape: vec![units, inputs], data: transposed(&values, inputs, units).into() };
    Ok(Layer::Dense { name: name.clone(), weight, bias })
}

/// A batch norm of the head.
fn read_norm(layer: &StoredLayer, epsilon: f64) -> Result<Layer> {
    let StoredLayer { name, variables } = layer;
    let read = |key: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == key);
        let values = |dataset| {
            let values = hdf5::values(dataset).with_context(|| format!("layer `{name}`"))?;
            check_numbers(&format!("layer `{name}`: `{key}`"), &values, key == "moving_variance")?;
            anyhow::Ok(values)
        };
        found.map(|(_, dataset)| values(dataset)).transpose()
    };
    let (gamma, beta) = (read("gamma")?, read("beta")?);
    let mean = read("moving_mean")?.with_context(|| format!("layer `{name}` has no `moving_mean`"))?;
    let variance = read("moving_variance")?.with_context(|| format!("layer `{name}` has no `moving_variance`"))?;
    let is_whole = |values: &Vec<f32>| values.len() == mean.len() && !values.is_empty();
    ensure!(
        [Some(&variance), gamma.as_ref(), beta.as_ref()].into_iter().flatten().all(is_whole),
        "layer `{name}` has variables of different lengths"
    );
    let norm = Norm { gamma: gamma.as_deref(), beta: beta.as_deref(), mean: &mean, variance: &variance };
    let (scale, shift) = norm.affine(epsilon);
    Ok(Layer::Norm { name: name.clone(), scale, shift })
}
