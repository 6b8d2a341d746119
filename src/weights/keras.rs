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

use self::config::Model;
use self::head::Plan;
use self::stored::StoredLayer;
use super::Imported;
use super::check::check;
use crate::architecture::{self, Operation};

/// Largest `config.json`; Xception's own is 0.2 MB.
const MAX_CONFIG_BYTES: u64 = 1 << 26;
/// Largest `model.weights.h5` inside of a `.keras`; with Adam's state Xception's has 250 MB.
const MAX_WEIGHTS_BYTES: u64 = 1 << 31;
/// Beginnings of default names, of layers whose effect legacy weights leave open.
const OPEN: [&str; 9] =
    ["global_max", "globalmax", "rescaling", "resizing", "true_divide", "subtract", "multiply", "lambda", "tf."];
/// Classes without weights (in snake case) whose effect a bare `.weights.h5` does not leave open.
const CLEAR: [&str; 11] = [
    "input_layer",
    "functional",
    "sequential",
    "activation",
    "max_pooling2d",
    "add",
    POOLING,
    "dropout",
    "random_flip",
    "random_rotation",
    "random_zoom",
];
const POOLING: &str = "global_average_pooling2d";
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
    read_file(path).with_context(|| path.display().to_string())
}

fn read_file(path: &Path) -> Result<Imported> {
    let mut file = File::open(path)?;
    let mut signature = Vec::new();
    (&mut file).take(hdf5::SIGNATURE.len() as u64).read_to_end(&mut signature)?;
    let imported = if signature.starts_with(b"PK") {
        read_archive(File::open(path)?)
    } else if signature == hdf5::SIGNATURE {
        read_hdf5(&hdf5::open(path)?)
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
    let tensors = assemble::assemble(stored::configured(&root, &model)?, Some(&plan.dense))?;
    Ok(Imported { tensors, input_size: plan.input_size, dropout: plan.dropout })
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

fn read_hdf5(root: &Group) -> Result<Imported> {
    let groups = hdf5::child_groups(root)?;
    let has = |name: &str| groups.iter().any(|group| group == name);
    if let Some(config) = hdf5::string(root, "model_config")? {
        return read_legacy_model(root, &config);
    }
    if has("layers") || has("_layer_checkpoint_dependencies") {
        let (layers, classes) = stored::unconfigured(root)?;
        let open = classes.iter().find(|class| !CLEAR.contains(&class.as_str()));
        return read_unplanned(layers, open, classes.iter().any(|class| class == POOLING));
    }
    let weights = if has("model_weights") { root.group("model_weights")? } else { root.clone() };
    let layers = stored::legacy(&weights, &BTreeSet::new())?;
    let names = stored::legacy_names(&weights)?;
    let open = names.iter().find(|name| OPEN.iter().any(|open| name.starts_with(open)));
    // Names are free: a pooling that is called otherwise is taken as the average.
    read_unplanned(layers, open, true)
}

/// A whole model in a legacy `.h5`.
fn read_legacy_model(root: &Group, config: &str) -> Result<Imported> {
    let model = Model::parse(config)?;
    let plan = Plan::of(&model)?;
    let weights = root.group("model_weights")?;
    let nested = model.nested().into_iter().map(|layer| layer.name.as_str()).collect();
    let tensors = assemble::assemble(stored::legacy(&weights, &nested)?, Some(&plan.dense))?;
    Ok(Imported { tensors, input_size: plan.input_size, dropout: plan.dropout })
}

/// Weights without a configuration; `open` is a layer whose effect they leave open, `pools` says
/// whether they may have a head.
fn read_unplanned(layers: Vec<StoredLayer>, open: Option<&String>, pools: bool) -> Result<Imported> {
    let tensors = assemble::assemble(layers, None)?;
    if let Some(layer) = open {
        bail!("a file of weights alone does not say what its layer `{layer}` does; {REMEDY}");
    }
    ensure!(
        !tensors.contains_key("head.0.weight"),
        "a file of weights alone does not say which activations its hidden dense layers have; {REMEDY}"
    );
    ensure!(
        pools || !tensors.contains_key("fc.weight"),
        "a file of weights alone does not say how the features of its classifier are pooled; {REMEDY}"
    );
    Ok(Imported { tensors, input_size: None, dropout: Vec::new() })
}

/// Separable convolutions in the table; more than half of them make a file an attempt at Xception.
fn separable_convolutions() -> usize {
    architecture::convolutions().iter().filter(|c| c.operation == Operation::Separable).count()
}
