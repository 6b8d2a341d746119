//! The strictness that all readers of weights share: every tensor of the architecture is there,
//! has its shape and finite values, and nothing else is, save a head whose layers fit together.
//!
//! A head is `head.0`, `head.1`, … (hidden dense layers) and `fc` (the classifier), each a
//! `weight` of [units, inputs] and a `bias` of [units]; beside it may stand what tells unknown pictures apart.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use super::{RawTensor, Tensors, ood};
use crate::architecture::{self, FEATURES, MAX_INPUT_SIZE, MIN_INPUT_SIZE, feature_map_size};

/// Elements of a head's largest tensor; 65,536 classes on the features are at the limit.
pub(super) const MAX_HEAD_ELEMENTS: usize = 1 << 27;
/// Names that an error lists before it only counts.
const LISTED: usize = 5;
/// Smallest running variance: rounding may leave one a little below 0, and with timm's epsilon of 1e-5 the sum stays
/// positive.
const LEAST_VARIANCE: f32 = -1e-6;
const DAMAGED: &str = "the file is damaged, or the training that made it diverged: download it or train it again";

/// Checks that the tensors are an Xception, with or without a head.
///
/// # Errors
///
/// A missing, unexpected or misshapen tensor, by name; a head whose layers do not fit; a value that is not finite, or
/// a negative variance.
pub fn check(tensors: &Tensors) -> Result<()> {
    check_shapes(shapes(tensors))?;
    check_values(tensors)
}

/// Checks that the tensors are a head and nothing else.
///
/// # Errors
///
/// As [`check`].
pub fn check_head_alone(tensors: &Tensors) -> Result<()> {
    let mut rest = shapes(tensors).collect();
    check_head(&mut rest)?;
    refuse(rest)?;
    check_values(tensors)
}

fn shapes(tensors: &Tensors) -> impl Iterator<Item = (&str, &[usize])> {
    tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
}

/// Checks that every tensor holds as many values as its shape needs, and that they make sense. The 16-bit floats of a
/// file inside the binary are passed over: a test has looked at them.
///
/// # Errors
///
/// Names the first tensor that does not pass.
pub(super) fn check_values(tensors: &Tensors) -> Result<()> {
    let check = |(name, tensor): (&String, &RawTensor)| {
        let expected: usize = tensor.shape.iter().product();
        let found = tensor.data.len();
        ensure!(
            found == expected,
            "tensor `{name}` holds {found} values, its shape {:?} needs {expected}",
            tensor.shape
        );
        let floats = tensor.data.as_floats().unwrap_or_default();
        check_numbers(&format!("tensor `{name}`"), floats, name.ends_with(".running_var"))
    };
    tensors.par_iter().map(check).find_map_first(Result::err).map_or(Ok(()), Err)
}

/// Checks that every value is finite and no variance negative; `place` names them in the message.
pub(super) fn check_numbers(place: &str, values: &[f32], are_variances: bool) -> Result<()> {
    let least = if are_variances { LEAST_VARIANCE } else { f32::MIN };
    // NaN compares with nothing. A block at a time, without a branch for each value, keeps pace with the memory.
    let makes_sense = |value: &f32| *value >= least && *value <= f32::MAX;
    let passes = |block: &&[f32]| block.iter().fold(true, |all, value| all & makes_sense(value));
    let fault = values.chunks(1024).find(|block| !passes(block));
    match fault.and_then(|block| block.iter().find(|value| !makes_sense(value))) {
        None => Ok(()),
        Some(value) if value.is_nan() => bail!("{place} holds NaN; {DAMAGED}"),
        Some(value) if value.is_infinite() => bail!("{place} holds infinity; {DAMAGED}"),
        Some(value) => bail!("{place} holds a negative variance ({value}); {DAMAGED}"),
    }
}

/// [`check`] for tensors whose data is not read yet.
pub fn check_shapes<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<()> {
    let mut rest: BTreeMap<&str, &[usize]> = tensors.into_iter().collect();
    ensure!(!rest.is_empty(), "no tensors found, expected those of an Xception");
    let specs = architecture::tensors();
    let missing: Vec<&str> = specs.iter().map(|s| s.name.as_str()).filter(|name| !rest.contains_key(name)).collect();
    if missing.len() > specs.len() / 2 {
        let (found, expected) = (rest.len(), specs.len());
        let first = list(&rest.keys().copied().collect::<Vec<_>>());
        bail!("not an Xception: {} of its {expected} tensors are missing; found {found}: {first}", missing.len());
    }
    ensure!(missing.is_empty(), "missing {}", list(&missing));
    for spec in &specs {
        if let Some(shape) = rest.remove(spec.name.as_str()) {
            ensure!(shape == spec.shape, "tensor `{}` is {shape:?}, expected {:?}", spec.name, spec.shape);
        }
    }
    check_head(&mut rest)?;
    refuse(rest)
}

fn refuse(rest: BTreeMap<&str, &[usize]>) -> Result<()> {
    let unexpected: Vec<&str> = rest.into_keys().collect();
    ensure!(unexpected.is_empty(), "unexpected {}", list(&unexpected));
    Ok(())
}

/// Takes the head's tensors out of `rest` and checks that each layer takes what the one before gives.
fn check_head(rest: &mut BTreeMap<&str, &[usize]>) -> Result<()> {
    if !rest.keys().any(|name| name.starts_with("head.") || name.starts_with("fc.")) {
        return Ok(());
    }
    let mut inputs = head_inputs(rest);
    for index in 0.. {
        let layer = format!("head.{index}");
        if !rest.contains_key(format!("{layer}.weight").as_str()) {
            break;
        }
        inputs = check_dense(rest, &layer, inputs)?;
    }
    let outputs = check_dense(rest, "fc", inputs)?;
    ood::check(rest, outputs)
}

/// Inputs of the first dense layer: the pooled features, or all of a square feature map.
fn head_inputs(rest: &BTreeMap<&str, &[usize]>) -> usize {
    match rest.get("head.0.weight").or_else(|| rest.get("fc.weight")) {
        Some(&&[_, inputs]) if is_flattened(inputs) => inputs,
        _ => FEATURES,
    }
}

/// Whether a dense layer with this many inputs can follow a flattened feature map, for some valid input size.
pub(super) fn is_flattened(inputs: usize) -> bool {
    let sides = feature_map_size(MIN_INPUT_SIZE)..=feature_map_size(MAX_INPUT_SIZE);
    sides.into_iter().any(|side| side * side * FEATURES == inputs)
}

/// Takes one dense layer out of `rest`; returns its units.
fn check_dense(rest: &mut BTreeMap<&str, &[usize]>, layer: &str, inputs: usize) -> Result<usize> {
    let (weight_name, bias_name) = (format!("{layer}.weight"), format!("{layer}.bias"));
    let Some(weight) = rest.remove(weight_name.as_str()) else {
        bail!("missing tensor `{weight_name}`: a head ends in a classifier, `fc.weight` and `fc.bias`");
    };
    let Some(bias) = rest.remove(bias_name.as_str()) else { bail!("missing tensor `{bias_name}`") };
    let &[units, columns] = weight else {
        bail!("tensor `{weight_name}` is {weight:?}, expected [units, {inputs}]");
    };
    ensure!(columns == inputs && units > 0, "tensor `{weight_name}` is {weight:?}, expected [units, {inputs}]");
    ensure!(
        units <= MAX_HEAD_ELEMENTS / columns.max(1),
        "tensor `{weight_name}` is {weight:?}, expected at most {MAX_HEAD_ELEMENTS} elements"
    );
    ensure!(bias == [units], "tensor `{bias_name}` is {bias:?}, expected [{units}]");
    Ok(units)
}

/// ``tensor `a` ``, or ``tensors `a`, `b` and 7 more``.
pub(super) fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let more = names.len().saturating_sub(LISTED);
    let tail = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("tensor{plural} {}{tail}", shown.join(", "))
}
