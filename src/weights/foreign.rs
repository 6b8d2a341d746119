//! Weights that PyTorch programs wrote, in whatever they were wrapped: the network among the tensors of the file, the
//! head beside it, and one line for what is left aside.
//!
//! The network is found by `matching`, the head by `head`. What lies within the network's own branch of the names and is
//! neither would change its answers, so it is an error; only what training leaves there (the loss, the optimizer,
//! averaged copies) is passed over.

mod head;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use self::head::{Found, Part};
use super::check::{check_numbers, check_values, list};
use super::dense::{self, Layer, Norm};
use super::matching::{self, Matching, Mismatch, Order, Wanted};
use super::{Imported, RawTensor, Tensors, Values, is_batch_counter};
use crate::architecture;
use crate::convention::Convention;

/// What the first part of a name is made of that belongs to the training, not to the network.
const TRAINING: [&str; 22] = [
    "amp",
    "averaged",
    "best",
    "criterion",
    "ema",
    "epoch",
    "loss",
    "losses",
    "lr",
    "metric",
    "metrics",
    "momentum",
    "optim",
    "optimizer",
    "optimizers",
    "queue",
    "scaler",
    "scheduler",
    "schedulers",
    "step",
    "swa",
    "teacher",
];
/// Names that a note lists before it only counts.
const LISTED: usize = 3;

/// Names and shapes of a file's tensors.
pub(super) type Names = Vec<(String, Vec<usize>)>;

/// Takes the network out of a file's tensors, under our own names. `read` gives the values of a tensor by its index.
///
/// # Errors
/// If the network is not there or could be seen in several ways, and for what would change its answers.
pub(super) fn import(names: &Names, order: Order, read: impl Fn(usize) -> Result<Values> + Sync) -> Result<Imported> {
    ensure!(!names.is_empty(), "no tensors found, expected those of an Xception");
    let kept: Vec<usize> = (0..names.len()).filter(|index| !is_counter(&names[*index].0)).collect();
    let own: Names = kept.iter().map(|index| names[*index].clone()).collect();
    let read = |index: usize| read(kept[index]).with_context(|| format!("tensor `{}`", own[index].0));
    let specs = architecture::tensors();
    let (wanted, matching) = find(&own, order)?;
    let mut head = head::find(&own, &matching)?;
    let rest: Vec<usize> = matching.leftovers.iter().copied().filter(|index| !head.holds(*index)).collect();
    refuse_unexpected(&own, &matching, &rest)?;

    let places: std::collections::HashMap<&str, usize> =
        wanted.iter().zip(&matching.indices).map(|(wanted, index)| (wanted.name.as_str(), *index)).collect();
    let tensor = |spec: &architecture::TensorSpec| {
        let index = *places.get(spec.name.as_str()).context("a tensor without a place")?;
        anyhow::Ok((spec.name.clone(), RawTensor { shape: spec.shape.clone(), data: read(index)? }))
    };
    let mut tensors: Tensors = specs.par_iter().map(tensor).collect::<Result<_>>()?;
    let parts = std::mem::take(&mut head.parts);
    let hidden = parts.iter().filter(|part| matches!(part, Part::Dense { .. })).count().saturating_sub(1);
    dense::insert(parts.into_iter().map(|part| layer(part, &own, &read)).collect::<Result<_>>()?, &mut tensors)?;
    check_values(&tensors)?;
    let notes = notes(&own, &wanted, &matching, &head, &rest);
    Ok(Imported { tensors, dropout: vec![0.0; hidden], notes, ..Imported::default() })
}

fn is_counter(name: &str) -> bool {
    is_batch_counter(name) || name == "num_batches_tracked"
}

/// The network, whose shortcuts may be defined in front of the stacks that they bridge or behind them.
fn find(names: &Names, order: Order) -> Result<(Vec<Wanted>, Matching)> {
    let wanted = wanted(false);
    let mismatch = match matching::find(&wanted, names, order) {
        Ok(matching) => return Ok((wanted, matching)),
        Err(mismatch) => mismatch,
    };
    if matches!(mismatch, Mismatch::Missing(_)) {
        let shortcuts_first = self::wanted(true);
        if let Ok(matching) = matching::find(&shortcuts_first, names, order) {
            return Ok((shortcuts_first, matching));
        }
    }
    Err(explained(&mismatch, &wanted, names))
}

fn wanted(shortcuts_first: bool) -> Vec<Wanted> {
    let mut convolutions = Vec::new();
    for module in architecture::XCEPTION {
        let (stack, shortcut) = (module.convolutions(), module.shortcut());
        match shortcuts_first {
            true => convolutions.extend(shortcut.into_iter().chain(stack)),
            false => convolutions.extend(stack.into_iter().chain(shortcut)),
        }
    }
    let tensors = convolutions.iter().flat_map(architecture::Convolution::tensors);
    tensors.map(|spec| Wanted { name: spec.name, shape: spec.shape }).collect()
}

fn explained(mismatch: &Mismatch, wanted: &[Wanted], names: &Names) -> anyhow::Error {
    match mismatch {
        Mismatch::Missing(missing) if 2 * missing.len() > wanted.len() => {
            let found: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
            anyhow::anyhow!(
                "not an Xception: {} of its {} tensors are missing; found {}: {}",
                missing.len(),
                wanted.len(),
                found.len(),
                list(&found)
            )
        }
        Mismatch::Missing(missing) => {
            let missing: Vec<&str> = missing.iter().map(|place| wanted[*place].name.as_str()).collect();
            anyhow::anyhow!("missing {}", list(&missing))
        }
        Mismatch::Misshapen { wanted: place, found } => {
            let (name, shape) = &names[*found];
            anyhow::anyhow!("tensor `{name}` is {shape:?}, expected {:?}", wanted[*place].shape)
        }
        Mismatch::Copies(prefixes) => {
            let shown: Vec<String> = prefixes.iter().map(|prefix| format!("`{prefix}…`")).collect();
            anyhow::anyhow!(
                "holds the network {} times, as {}; save one of them alone",
                prefixes.len(),
                shown.join(" and ")
            )
        }
        Mismatch::Ambiguous(place) => anyhow::anyhow!(
            "which of its tensors is `{}`, and which come after it, could be read in more than one way; save the \
             model's state dict with timm's names (`legacy_xception`)",
            wanted[*place].name
        ),
    }
}

/// Passes if nothing in `rest` could take part in what the network computes.
fn refuse_unexpected(names: &Names, matching: &Matching, rest: &[usize]) -> Result<()> {
    let is_unexpected = |index: &&usize| {
        let name = names[**index].0.as_str();
        let inside = name.strip_prefix(matching.prefix.as_str());
        inside.is_some_and(|inside| !is_of_training(inside)) && !matching.is_copied(name)
    };
    let unexpected: Vec<&str> = rest.iter().filter(is_unexpected).map(|index| names[*index].0.as_str()).collect();
    ensure!(unexpected.is_empty(), "unexpected {}", list(&unexpected));
    Ok(())
}

/// Whether a tensor may be the mean or the standard deviation of a picture's channels.
fn is_statistic((name, shape): &(String, Vec<usize>)) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = last.split('_').collect();
    let is_named = !words.contains(&"running") && words.iter().any(|word| ["mean", "std"].contains(word));
    is_named && shape.iter().product::<usize>() == 3
}

/// Whether a name begins as what training keeps beside a network.
fn is_of_training(name: &str) -> bool {
    let first = name.split(['.', '/']).next().unwrap_or_default().to_lowercase();
    first.split('_').any(|word| TRAINING.contains(&word))
}

/// A part of the head with its values.
fn layer(part: Part, names: &Names, read: &impl Fn(usize) -> Result<Values>) -> Result<Layer> {
    let floats = |index: usize| anyhow::Ok(read(index)?.floats().into_owned());
    Ok(match part {
        Part::Relu => Layer::Relu,
        Part::Dense { weight, bias } => {
            let shape: Vec<usize> = names[weight].1.iter().copied().take(2).collect();
            let units = shape.first().copied().unwrap_or_default();
            let bias = bias.map_or_else(|| Ok(vec![0.0; units]), floats)?;
            let name = names[weight].0.trim_end_matches(".weight").to_owned();
            Layer::Dense { name, weight: RawTensor { shape, data: read(weight)? }, bias }
        }
        Part::Norm { weight, bias, mean, variance } => {
            // Once they are folded into a dense layer, nothing tells which of them was no number.
            let numbers = |index: usize| {
                let values = floats(index)?;
                check_numbers(&format!("tensor `{}`", names[index].0), &values, index == variance)?;
                anyhow::Ok(values)
            };
            let (gamma, beta) = (weight.map(numbers).transpose()?, bias.map(numbers).transpose()?);
            let (mean_values, variance_values) = (numbers(mean)?, numbers(variance)?);
            let norm =
                Norm { gamma: gamma.as_deref(), beta: beta.as_deref(), mean: &mean_values, variance: &variance_values };
            // PyTorch's default, whatever the network around it has.
            let (scale, shift) = norm.affine(Convention::Timm.epsilon());
            let name = names[mean].0.trim_end_matches(".running_mean").to_owned();
            Layer::Norm { name, scale, shift }
        }
    })
}

/// What a user should know of how the file was read.
fn notes(names: &Names, wanted: &[Wanted], matching: &Matching, head: &Found, rest: &[usize]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(place) = matching.renamed.first() {
        let more = matching.renamed.len() - 1;
        let more = if more == 0 { String::new() } else { format!(", {more} more likewise") };
        notes.push(format!(
            "`{}` is taken for `{}` by its shape and place{more}",
            names[matching.indices[*place]].0, wanted[*place].name
        ));
    }
    notes.extend(head.notes.iter().cloned());
    if !rest.is_empty() {
        let mut groups: Vec<(String, usize)> = Vec::new();
        for index in rest {
            let name = &names[*index].0;
            let copy = matching.copies.iter().find(|copy| !copy.is_empty() && name.starts_with(copy.as_str()));
            let shown = copy.map_or_else(|| format!("`{name}`"), |copy| format!("`{copy}…`"));
            match groups.iter_mut().find(|(group, _)| *group == shown) {
                Some((_, count)) => *count += 1,
                None => groups.push((shown, 1)),
            }
        }
        let mut shown: Vec<String> = groups.iter().take(LISTED).map(|(name, _)| name.clone()).collect();
        let more: usize = groups.iter().skip(LISTED).map(|(_, count)| count).sum();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        let from =
            if matching.prefix.is_empty() { String::new() } else { format!("read as `{}…`; ", matching.prefix) };
        let tensors = if rest.len() == 1 { "a tensor".to_owned() } else { format!("{} tensors", rest.len()) };
        notes.push(format!("{from}left aside {tensors}: {}", shown.join(", ")));
    }
    let statistics: Vec<String> = rest
        .iter()
        .filter(|index| is_statistic(&names[**index]))
        .map(|index| format!("`{}`", names[*index].0))
        .collect();
    if !statistics.is_empty() {
        notes.push(format!(
            "pictures are normalised as a config.json beside the file says, not by {}",
            statistics.join(" and ")
        ));
    }
    notes
}
