//! Reads Keras' files: `.keras`, `.weights.h5` and the legacy `.h5`, from Keras 1 to 3.
//!
//! What a file is, is told from its content. Three steps lead to timm's tensors:
//! the configuration, where there is one, becomes a [`head::Plan`] (`config`, `topology`, `head`);
//! the file's layers come under Keras' names (`hdf5`, `stored`); both are joined by the
//! architecture table (`assemble`).

mod assemble;
mod config;
mod hdf5;
mod head;
mod stored;
mod topology;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::group::Group;
use zip::ZipArchive;

pub(super) use self::hdf5::SIGNATURE as HDF5_SIGNATURE;

use self::assemble::Assembled;
use self::config::Model;
use self::head::Plan;
use self::stored::StoredLayer;
use super::check::check;
use super::{Given, Imported, Pool};
use crate::architecture::{self, FEATURES, Operation};

/// Largest `config.json`; Xception's own is 0.2 MB.
const MAX_CONFIG_BYTES: u64 = 1 << 26;
/// Largest `model.weights.h5` inside of a `.keras`; with Adam's state Xception's has 250 MB.
const MAX_WEIGHTS_BYTES: u64 = 1 << 31;
/// Beginnings of default names, of layers whose effect legacy weights leave open.
const OPEN: [&str; 9] = [
    "max_pooling2d",
    "average_pooling2d",
    "rescaling",
    "resizing",
    "true_divide",
    "subtract",
    "multiply",
    "lambda",
    "tf.",
];
/// Classes without weights (in snake case) whose effect a bare `.weights.h5` does not leave open.
const CLEAR: [&str; 13] = [
    "input_layer",
    "functional",
    "sequential",
    "activation",
    "max_pooling2d",
    "add",
    "global_average_pooling2d",
    "global_max_pooling2d",
    "flatten",
    "dropout",
    "random_flip",
    "random_rotation",
    "random_zoom",
];
const REMEDY: &str = "save the whole model as .keras";

/// Reads a Keras file into timm's names and order of axes.
///
/// A dropout layer before the first dense one has no place in [`Imported::dropout`] and is passed
/// over; it does nothing at inference. A file of weights alone does not state its activations: a
/// single dense layer is taken as the classifier, more are an error.
///
/// # Errors
///
/// A file that Keras did not write or that is not an Xception; a layer that is missing, left over
/// or misshapen; a head or a preprocessing that cannot be represented.
pub fn read(path: &Path) -> Result<Imported> {
    read_given(path, &Given::default())
}

/// [`read`] with what is known of weights alone.
///
/// # Errors
///
/// As [`read`].
pub(super) fn read_given(path: &Path, given: &Given) -> Result<Imported> {
    read_file(path, given).with_context(|| path.display().to_string())
}

fn read_file(path: &Path, given: &Given) -> Result<Imported> {
    let mut file = File::open(path)?;
    let mut signature = Vec::new();
    (&mut file).take(hdf5::SIGNATURE.len() as u64).read_to_end(&mut signature)?;
    let imported = if signature.starts_with(b"PK") {
        read_archive(File::open(path)?)
    } else if signature == hdf5::SIGNATURE {
        read_hdf5(&hdf5::open(path)?, given)
    } else {
        bail!("neither HDF5 nor zip, expected a Keras file (.keras, .weights.h5, .h5)")
    }?;
    check(&imported.tensors)?;
    Ok(imported)
}

/// A `.keras` file: the configuration and the weights side by side.
fn read_archive(file: File) -> Result<Imported> {
    let mut archive = ZipArchive::new(file).context("not a readable zip")?;
    let config = entry(&mut archive, "config.json", MAX_CONFIG_BYTES)?;
    let model = Model::parse(std::str::from_utf8(&config).context("`config.json` is not UTF-8")?)?;
    let plan = Plan::of(&model)?;
    let weights = entry(&mut archive, "model.weights.h5", MAX_WEIGHTS_BYTES)?;
    let root = hdf5::from_bytes(weights).context("`model.weights.h5`")?;
    planned(stored::configured(&root, &model)?, plan)
}

fn entry(archive: &mut ZipArchive<File>, name: &str, limit: u64) -> Result<Vec<u8>> {
    let found: Vec<String> = archive.file_names().filter_map(Result::ok).take(5).map(Cow::into_owned).collect();
    let entry = archive.by_name(name);
    let entry =
        entry.with_context(|| format!("no `{name}` in the zip (it holds {}…): not a .keras file", found.join(", ")))?;
    ensure!(entry.size() <= limit, "`{name}` has {} bytes, expected at most {limit}", entry.size());
    let mut bytes = Vec::new();
    entry.take(limit).read_to_end(&mut bytes).with_context(|| format!("`{name}`"))?;
    Ok(bytes)
}

/// Weights with the configuration that says what they are.
fn planned(layers: Vec<StoredLayer>, plan: Plan) -> Result<Imported> {
    let Assembled { tensors, mut notes } = assemble::assemble(layers, Some(&plan.layers))?;
    let Plan { input_size, pool, dropout, linear_unit, .. } = plan;
    notes
        .extend(linear_unit.map(|name| format!("the one output of `{name}` is read as the logit of the second class")));
    Ok(Imported { tensors, input_size, pool, says_activations: true, dropout, notes })
}

fn read_hdf5(root: &Group, given: &Given) -> Result<Imported> {
    let groups = hdf5::child_groups(root)?;
    let has = |name: &str| groups.iter().any(|group| group == name);
    if let Some(config) = hdf5::string(root, "model_config")? {
        return read_legacy_model(root, &config);
    }
    if has("layers") || has("_layer_checkpoint_dependencies") {
        let (layers, classes) = stored::unconfigured(root)?;
        let open = classes.iter().find(|class| !CLEAR.contains(&class.as_str()));
        return Unplanned { open, pool: named_pool(&classes), names_all: true }.read(layers, given);
    }
    let weights = if has("model_weights") { root.group("model_weights")? } else { root.clone() };
    let layers = stored::legacy(&weights, &BTreeSet::new())?;
    let names = stored::legacy_names(&weights)?;
    let open = names.iter().find(|name| OPEN.iter().any(|open| name.starts_with(open)));
    Unplanned { open, pool: named_pool(&names), names_all: false }.read(layers, given)
}

/// The pooling that layers' names, or their classes in snake case, tell of.
fn named_pool(names: &[String]) -> Option<Pool> {
    let pools =
        |name: &&String| name.contains("pool") && !name.starts_with("block") && !name.starts_with("max_pooling");
    let pools: Vec<&String> = names.iter().filter(pools).collect();
    let has = |words: [&str; 2]| pools.iter().any(|name| words.iter().any(|word| name.contains(word)));
    match (has(["avg", "average"]), has(["max", "maximum"])) {
        (true, false) => Some(Pool::Avg),
        (false, true) => Some(Pool::Max),
        _ => None,
    }
}

/// A whole model in a legacy `.h5`.
fn read_legacy_model(root: &Group, config: &str) -> Result<Imported> {
    let model = Model::parse(config)?;
    let plan = Plan::of(&model)?;
    let weights = root.group("model_weights")?;
    let nested = model.nested().into_iter().map(|layer| layer.name.as_str()).collect();
    planned(stored::legacy(&weights, &nested)?, plan)
}

/// Weights without a configuration, and what the names in their file tell.
struct Unplanned<'a> {
    /// A layer whose effect they leave open.
    open: Option<&'a String>,
    pool: Option<Pool>,
    /// Whether a pooling that there is would be among the names; where names are free it may be called anything.
    names_all: bool,
}

impl Unplanned<'_> {
    fn read(self, layers: Vec<StoredLayer>, given: &Given) -> Result<Imported> {
        let Assembled { tensors, notes } = assemble::assemble(layers, None)?;
        if let Some(layer) = self.open {
            bail!("a file of weights alone does not say what its layer `{layer}` does; {REMEDY}");
        }
        let has_hidden = tensors.contains_key("head.0.weight");
        ensure!(
            !has_hidden || given.says_relu(),
            "a file of weights alone does not say which activations its hidden dense layers have; say that it is relu, \
             or {REMEDY}"
        );
        let first = tensors.get("head.0.weight").or_else(|| tensors.get("fc.weight"));
        // The number of inputs tells a flattened map.
        let is_pooled = first.is_none_or(|weight| weight.shape[1] == FEATURES);
        let pool = if is_pooled { self.pool } else { Some(Pool::None) };
        ensure!(
            !self.names_all || first.is_none() || pool.is_some() || given.pool.is_some(),
            "a file of weights alone does not say how the features of its classifier are pooled; {REMEDY}"
        );
        let hidden = tensors.keys().filter(|name| name.starts_with("head.") && name.ends_with(".weight")).count();
        Ok(Imported { tensors, pool, notes, dropout: vec![0.0; hidden], ..Imported::default() })
    }
}

/// Separable convolutions in the table; more than half of them make a file an attempt at Xception.
fn separable_convolutions() -> usize {
    architecture::convolutions().iter().filter(|c| c.operation == Operation::Separable).count()
}
