//! The weighted layers that a file holds, under Keras' names, whichever way they are stored.
//!
//! - Legacy `.h5`: a group per layer, its variables listed by name; the variables of a nested
//!   model all stand in that model's group.
//! - Keras 3 (`.weights.h5`, and inside of `.keras`): a group per layer named by class and counter
//!   (`conv2d_2`), its variables numbered. Only the configuration, or newer files' attribute
//!   `name`, tells what the layer is called.
//!
//! Source: Keras' `legacy_h5_format.py` and `saving_lib.py`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::Dataset;
use hdf5_reader::group::Group;

use super::config::{Layer, Model};
use super::hdf5;

/// A layer's name and its variables, the names of Keras 2 and 3.
pub(super) struct StoredLayer {
    pub name: String,
    pub variables: Vec<(&'static str, Dataset)>,
}

/// How deep models may be nested in a file without a configuration.
const MAX_DEPTH: usize = 8;
/// The group of a model's layers; the second name is tf.keras 2.13's.
const CONTAINERS: [&str; 2] = ["layers", "_layer_checkpoint_dependencies"];
/// Variable names as Keras 2, Keras 3 and Keras 1 write them, and what they are called here; a
/// name that ends in another one stands before it.
const VARIABLES: [(&str, &str); 14] = [
    ("depthwise_kernel", "depthwise_kernel"),
    ("pointwise_kernel", "pointwise_kernel"),
    ("kernel", "kernel"),
    ("bias", "bias"),
    ("gamma", "gamma"),
    ("beta", "beta"),
    ("moving_mean", "moving_mean"),
    ("moving_variance", "moving_variance"),
    ("running_mean", "moving_mean"),
    // Keras 1 called it so, but stored the variance.
    ("running_std", "moving_variance"),
    ("running_var", "moving_variance"),
    ("W", "kernel"),
    ("b", "bias"),
    ("embeddings", "embeddings"),
];

/// The numbered variables of a Keras 3 layer, by the snake case of its class.
fn numbered(class: &str) -> Option<&'static [&'static str]> {
    Some(match class {
        "conv2d" | "dense" => &["kernel", "bias"],
        "separable_conv2d" => &["depthwise_kernel", "pointwise_kernel", "bias"],
        "batch_normalization" => &["gamma", "beta", "moving_mean", "moving_variance"],
        _ => return None,
    })
}

/// Layers of a legacy file; `nested` names the models in the model, where that is known.
pub(super) fn legacy(group: &Group, nested: &BTreeSet<&str>) -> Result<Vec<StoredLayer>> {
    let names =
        hdf5::strings(group, "layer_names")?.context("no attribute `layer_names`: not weights that Keras wrote")?;
    let mut layers = Vec::new();
    for name in &names {
        let layer = hdf5::group_at(group, name)?;
        let weights = hdf5::strings(&layer, "weight_names")?;
        let weights = weights.with_context(|| format!("layer `{name}` has no attribute `weight_names`"))?;
        let mut owners: Vec<StoredLayer> = Vec::new();
        for weight in &weights {
            let (owner, variable) =
                split(weight).with_context(|| format!("layer `{name}`: unknown variable `{weight}`"))?;
            let dataset = hdf5::dataset_at(&layer, weight).with_context(|| format!("layer `{name}`"))?;
            match owners.iter_mut().find(|layer| layer.name == owner) {
                Some(layer) => layer.variables.push((variable, dataset)),
                None => owners.push(StoredLayer { name: owner.to_owned(), variables: vec![(variable, dataset)] }),
            }
        }
        // A variable's own prefix is the group's name only by custom.
        if let [only] = owners.as_mut_slice()
            && !nested.contains(name.as_str())
        {
            only.name.clone_from(name);
        }
        layers.extend(owners);
    }
    Ok(layers)
}

/// Names of a legacy file's layers without weights.
pub(super) fn legacy_names(group: &Group) -> Result<Vec<String>> {
    Ok(hdf5::strings(group, "layer_names")?.unwrap_or_default())
}

/// The layer and variable of `xception/block1_conv1/kernel:0`, `block1_conv1/kernel` or
/// `convolution2d_1_W:0`.
fn split(weight: &str) -> Option<(&str, &'static str)> {
    let path = weight.rsplit_once(':').map_or(weight, |(path, _)| path);
    let (owner, last) = path.rsplit_once('/').unwrap_or(("", path));
    let owner = owner.rsplit_once('/').map_or(owner, |(_, owner)| owner);
    let exact = VARIABLES.iter().find(|(suffix, _)| *suffix == last);
    if let Some((_, variable)) = exact {
        return Some((owner, variable));
    }
    VARIABLES.iter().find_map(|(suffix, variable)| {
        let layer = last.strip_suffix(suffix)?.strip_suffix('_')?;
        Some((layer, *variable))
    })
}

/// Layers of a Keras 3 file, called what the configuration calls them.
pub(super) fn configured(root: &Group, model: &Model) -> Result<Vec<StoredLayer>> {
    let groups = by_class(root)?.with_context(|| format!("the weights hold no layers for model `{}`", model.name))?;
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in &model.layers {
        let class = snake_case(&layer.class);
        if numbered(&class).is_none() && layer.model.is_none() {
            continue;
        }
        let found = groups.get(&class).map_or(&[][..], Vec::as_slice);
        let expected = model.layers.iter().filter(|other| snake_case(&other.class) == class).count();
        ensure!(
            found.len() == expected,
            "model `{}` has {expected} layers of class {}, the weights hold {}",
            model.name,
            layer.class,
            found.len()
        );
        let rank = used.entry(class.clone()).or_default();
        let group = &found[*rank];
        *rank += 1;
        match &layer.model {
            Some(inner) => layers.extend(configured(group, inner)?),
            None => {
                let names = present(&class, layer);
                layers.push(StoredLayer { name: layer.name.clone(), variables: variables(group, &names, &layer.name)? })
            }
        }
    }
    Ok(layers)
}

/// Layers of a Keras 3 file by class and counter, called what the file calls them, and the classes
/// (in snake case) of the layers without weights.
pub(super) fn unconfigured(root: &Group) -> Result<(Vec<StoredLayer>, Vec<String>)> {
    let (mut layers, mut classes) = (Vec::new(), Vec::new());
    walk(root, 0, &mut layers, &mut classes)?;
    Ok((layers, classes))
}

fn walk(root: &Group, depth: usize, layers: &mut Vec<StoredLayer>, classes: &mut Vec<String>) -> Result<()> {
    ensure!(depth < MAX_DEPTH, "models nested more than {MAX_DEPTH} deep");
    for (class, groups) in by_class(root)?.unwrap_or_default() {
        for group in groups {
            if numbered(&class).is_none() {
                classes.push(class.clone());
                walk(&group, depth + 1, layers, classes)?;
                continue;
            }
            let stored = group.group("vars")?;
            let name = hdf5::string(&stored, "name")?.unwrap_or_else(|| group.name().to_owned());
            let names = numbered(&class).unwrap_or_default();
            layers.push(StoredLayer { variables: variables(&group, names, &name)?, name });
        }
    }
    Ok(())
}

/// A model's layer groups by class, each class in the order of its counter; `None` without any.
fn by_class(root: &Group) -> Result<Option<BTreeMap<String, Vec<Group>>>> {
    let names = hdf5::child_groups(root)?;
    let Some(container) = CONTAINERS.iter().find(|container| names.iter().any(|name| name == *container)) else {
        return Ok(None);
    };
    let mut classes: BTreeMap<String, Vec<(u64, Group)>> = BTreeMap::new();
    for group in root.group(container)?.groups()? {
        let (class, counter) = counted(group.name());
        classes.entry(class.to_owned()).or_default().push((counter, group));
    }
    let sorted = classes.into_iter().map(|(class, mut groups)| {
        groups.sort_by_key(|(counter, _)| *counter);
        (class, groups.into_iter().map(|(_, group)| group).collect())
    });
    Ok(Some(sorted.collect()))
}

/// `conv2d_12` is the twelfth after `conv2d`.
fn counted(name: &str) -> (&str, u64) {
    let split = name.rsplit_once('_').and_then(|(class, counter)| Some((class, counter.parse().ok()?)));
    split.unwrap_or((name, 0))
}

/// The numbered variables that a layer has, by its configuration.
fn present(class: &str, layer: &Layer) -> Vec<&'static str> {
    let has = |key: &str| layer.config.get(key).and_then(serde_json::Value::as_bool).unwrap_or(true);
    let is_there = |name: &&&str| match **name {
        "gamma" => has("scale"),
        "beta" => has("center"),
        _ => true,
    };
    numbered(class).unwrap_or_default().iter().filter(is_there).copied().collect()
}

fn variables(group: &Group, names: &[&'static str], layer: &str) -> Result<Vec<(&'static str, Dataset)>> {
    let stored = group.group("vars").with_context(|| format!("layer `{layer}`"))?;
    let mut datasets = stored.datasets().with_context(|| format!("layer `{layer}`"))?;
    datasets.sort_by_key(|dataset| dataset.name().parse::<u64>().unwrap_or(u64::MAX));
    // Only a bias, the last variable, may be left out; which of a batch norm's is, their numbers do not say.
    let is_whole = !names.contains(&"moving_mean") || datasets.len() == names.len();
    if datasets.len() > names.len() || !is_whole {
        bail!("layer `{layer}` has {} variables, expected {}: {}", datasets.len(), names.len(), names.join(", "));
    }
    Ok(names.iter().copied().zip(datasets).collect())
}

/// `SeparableConv2D` → `separable_conv2d`, as Keras names groups.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut snake = String::new();
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let word = letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && before.is_some_and(|before| word || before.is_ascii_lowercase()) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
