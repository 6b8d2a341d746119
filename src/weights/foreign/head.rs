//! The head beside a network of PyTorch's: `fc`, `last_linear`, `classifier.1`, `head.0` and `head.3`, ….
//!
//! A state dict has no activations. Numbers of a `Sequential` tell where one may lie: `fc.0` and `fc.3` have something
//! between them, `fc.0` and `fc.1` have not. What lies there is taken for a ReLU, and a note says so.

use anyhow::{Result, bail, ensure};

use super::{Names, is_of_training};
use crate::architecture::{self, FEATURES, TensorSpec};
use crate::weights::matching::{Matching, fits, natural};

/// What programs call the classifier, the last part of its prefix.
const CLASSIFIERS: [&str; 9] =
    ["fc", "last_linear", "classifier", "head", "logits", "linear", "predictions", "classif", "cls"];

/// A layer of the head by the indices of its tensors.
#[derive(Debug)]
pub(super) enum Part {
    Dense { weight: usize, bias: Option<usize> },
    Norm { weight: Option<usize>, bias: Option<usize>, mean: usize, variance: usize },
    Relu,
}

/// A head, or none.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub parts: Vec<Part>,
    pub notes: Vec<String>,
    indices: Vec<usize>,
}

impl Found {
    pub fn holds(&self, index: usize) -> bool {
        self.indices.contains(&index)
    }
}

/// The head among the leftovers: in the network's own branch of the names, or in one that this lies in.
///
/// # Errors
/// If there are several, or one that can't be represented.
pub(super) fn find(names: &Names, matching: &Matching) -> Result<Found> {
    let found = locate(names, matching)?;
    ensure_whole(names, matching, &found)?;
    Ok(found)
}

/// Passes if nothing that was left aside goes on from the head, or stands before it: a head may be spread over modules
/// whose order and activations no state dict tells.
fn ensure_whole(names: &Names, matching: &Matching, found: &Found) -> Result<()> {
    let dense = |part: &Part| if let Part::Dense { weight, .. } = part { Some(*weight) } else { None };
    let Some(last) = found.parts.iter().filter_map(dense).next_back() else { return Ok(()) };
    let outputs = names[last].1[0];
    let own = architecture::tensors();
    // Of another copy of the network, wherever that lies.
    let is_of_a_network = |name: &str, shape: &[usize]| {
        let is_same = |spec: &TensorSpec| {
            let before = name.strip_suffix(spec.name.as_str());
            fits(shape, &spec.shape) && before.is_some_and(|before| before.is_empty() || before.ends_with(['.', '/']))
        };
        own.iter().any(is_same)
    };
    let left = matching.leftovers.iter().copied().filter(|index| !found.holds(*index));
    for (name, shape) in left.map(|index| &names[index]) {
        if is_of_a_network(name, shape) || is_of_training(name) {
            continue;
        }
        let goes_on =
            name.ends_with("weight") && matches!(shape[..], [_, inputs] | [_, inputs, 1, 1] if inputs == outputs);
        let stands_between = name.ends_with("running_mean") && matches!(shape[..], [FEATURES]);
        ensure!(
            !goes_on && !stands_between,
            "`{name}` may belong to the head beside `{}`, but what lies between them is not known; save the model with its \
             head as one Sequential called `fc`",
            names[last].0
        );
    }
    Ok(())
}

fn locate(names: &Names, matching: &Matching) -> Result<Found> {
    let name = |index: usize| names[index].0.as_str();
    let left = || matching.leftovers.iter().copied();
    let is_copied = |index: usize| matching.is_copied(name(index));
    let prefix = matching.prefix.as_str();
    let mut bases: Vec<&str> = prefix.match_indices(['.', '/']).map(|(at, _)| &prefix[..=at]).collect();
    bases.insert(0, "");
    for base in bases.into_iter().rev() {
        let mut roots: Vec<&str> = Vec::new();
        for index in left().filter(|index| !is_copied(*index)) {
            let Some(root) = name(index).strip_prefix(base).and_then(|name| name.split(['.', '/']).next()) else {
                continue;
            };
            if CLASSIFIERS.contains(&root) && !roots.contains(&root) {
                roots.push(root);
            }
        }
        // Our own names of hidden layers and classifier.
        let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let is_hidden = |index: usize| {
            let inside = name(index).strip_prefix(base).and_then(|name| name.strip_prefix("head."));
            inside.is_none_or(|inside| inside.split('.').next().is_some_and(is_number))
        };
        let is_own = roots.len() == 2 && roots.contains(&"head") && roots.contains(&"fc") && left().all(is_hidden);
        let root = match roots.as_slice() {
            [] => continue,
            [one] => format!("{base}{one}."),
            _ if is_own => base.to_owned(),
            [first, second, ..] => bail!(
                "both `{base}{first}` and `{base}{second}` could be the classifier; save the model with one of them"
            ),
        };
        let belongs = |index: &usize| {
            let inside = name(*index).strip_prefix(root.as_str());
            inside.is_some_and(|inside| !is_own || inside.starts_with("head.") || inside.starts_with("fc."))
        };
        return parts(names, left().filter(belongs).collect(), &root);
    }
    unusual(names, matching, left().filter(|index| !is_copied(*index)).collect())
}

/// A single linear layer on the features, whatever its name.
fn unusual(names: &Names, matching: &Matching, left: Vec<usize>) -> Result<Found> {
    let base = matching.prefix.split_inclusive('.').next().unwrap_or_default();
    let is_classifier = |index: &usize| {
        let (name, shape) = &names[*index];
        let inside = name.strip_prefix(base).or_else(|| name.strip_prefix(matching.prefix.as_str()));
        let inside = inside.unwrap_or(name);
        name.ends_with(".weight") && matches!(shape[..], [_, FEATURES]) && !is_of_training(inside)
    };
    let candidates: Vec<usize> = left.iter().copied().filter(is_classifier).collect();
    let &[weight] = candidates.as_slice() else {
        ensure!(
            candidates.is_empty(),
            "both `{}` and `{}` could be the classifier; save the model with one of them",
            names[candidates[0]].0,
            names[candidates[1]].0
        );
        return Ok(Found::default());
    };
    let stem = names[weight].0.trim_end_matches("weight");
    let bias = left.iter().copied().find(|index| names[*index].0 == format!("{stem}bias"));
    let Some(bias) = bias else { return Ok(Found::default()) };
    Ok(Found {
        parts: vec![Part::Dense { weight, bias: Some(bias) }],
        notes: vec![format!("`{}` is taken for the classifier", stem.trim_end_matches('.'))],
        indices: vec![weight, bias],
    })
}

/// The layers behind `root`, in the order of their numbers.
fn parts(names: &Names, mut indices: Vec<usize>, root: &str) -> Result<Found> {
    indices.sort_by(|a, b| natural(&names[*a].0, &names[*b].0));
    let mut modules: Vec<(&str, Vec<usize>)> = Vec::new();
    for &index in &indices {
        let name = names[index].0.as_str();
        let stem = &name[..name.rfind(['.', '/']).map_or(0, |at| at + 1)];
        match modules.iter_mut().find(|(other, _)| *other == stem) {
            Some((_, members)) => members.push(index),
            None => modules.push((stem, vec![index])),
        }
    }
    if root.is_empty() || !root.ends_with("fc.") {
        // Our own `fc` comes behind `head.0`, whatever the alphabet says.
        modules.sort_by_key(|(stem, _)| stem.strip_prefix(root).is_some_and(|stem| stem == "fc."));
    }
    let number = |stem: &str| stem.strip_prefix(root)?.trim_end_matches('.').parse::<usize>().ok();
    let is_numbered = modules.iter().all(|(stem, _)| number(stem).is_some());
    let mut found = Found { indices: indices.clone(), ..Found::default() };
    let (mut is_linear, mut last) = (false, 0);
    for (stem, members) in &modules {
        let number = number(stem).unwrap_or_default();
        if is_linear && (!is_numbered || number > last + 1) {
            found.parts.push(Part::Relu);
            is_linear = false;
        }
        let part = part(names, members, stem)?;
        match part {
            Part::Dense { .. } => is_linear = true,
            Part::Norm { .. } => ensure!(
                is_numbered,
                "`{stem}…` is a batch norm in a head whose layers have no numbers, so where it belongs is not known"
            ),
            Part::Relu => {}
        }
        found.parts.push(part);
        last = number;
    }
    if !found.parts.iter().any(|part| matches!(part, Part::Dense { .. })) {
        bail!("`{root}…` holds no linear layer, expected a classifier");
    }
    check_inputs(names, &found.parts)?;
    Ok(found)
}

/// One module of the head.
fn part(names: &Names, members: &[usize], stem: &str) -> Result<Part> {
    let member = |tail: &str| members.iter().copied().find(|index| names[*index].0.strip_prefix(stem) == Some(tail));
    let known = ["weight", "bias", "running_mean", "running_var"];
    for index in members {
        let (name, _) = &names[*index];
        ensure!(name.strip_prefix(stem).is_some_and(|tail| known.contains(&tail)), "unexpected tensor `{name}`");
    }
    let (weight, bias) = (member("weight"), member("bias"));
    if let (Some(mean), Some(variance)) = (member("running_mean"), member("running_var")) {
        for index in members {
            let (name, shape) = &names[*index];
            ensure!(
                shape.len() == 1 && *shape == names[mean].1 && shape[0] > 0,
                "tensor `{name}` is {shape:?}, expected the shape of `{}`, {:?}",
                names[mean].0,
                names[mean].1
            );
        }
        return Ok(Part::Norm { weight, bias, mean, variance });
    }
    let Some(weight) = weight.filter(|_| members.len() == 1 || bias.is_some()) else {
        bail!("unexpected tensor `{}` in the head", names[members[0]].0);
    };
    let (name, shape) = &names[weight];
    ensure!(
        matches!(shape[..], [_, _] | [_, _, 1, 1]) && shape[0] > 0,
        "tensor `{name}` is {shape:?}, expected [units, inputs]: a head is made of linear layers and batch norms"
    );
    if let Some((name, found)) = bias.map(|bias| &names[bias]) {
        ensure!(found[..] == shape[..1], "tensor `{name}` is {found:?}, expected [{}]", shape[0]);
    }
    Ok(Part::Dense { weight, bias })
}

/// Passes if each linear layer takes what the one before it gives.
fn check_inputs(names: &Names, parts: &[Part]) -> Result<()> {
    let mut inputs = FEATURES;
    for part in parts {
        let Part::Dense { weight, .. } = part else { continue };
        let (name, shape) = &names[*weight];
        ensure!(shape[1] == inputs, "tensor `{name}` is {shape:?}, expected [units, {inputs}]");
        inputs = shape[0];
    }
    Ok(())
}
