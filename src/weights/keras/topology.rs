//! Finds Xception in a Keras model: the layers in front of it, its own, and the head behind it.
//!
//! People build on Xception in three ways, and all of them end here as one chain: as a nested
//! model, as a flat list that goes on from its output, or with parts of the chain in sequential
//! models of their own.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::config::{Layer, Model};
use crate::architecture::{self, ModuleKind, Operation, XCEPTION};
use crate::convention::Convention;

/// A model as one chain of layers around Xception.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub front: Vec<&'a Layer>,
    pub body: Vec<&'a Layer>,
    pub head: Vec<&'a Layer>,
}

impl<'a> Parts<'a> {
    /// # Errors
    ///
    /// A model that does not hold exactly one Xception, or that is not one chain around it.
    pub fn of(model: &'a Model) -> Result<Self> {
        let mut parts = Self::default();
        parts.extend(model)?;
        if parts.body.is_empty() {
            bail!("model `{}` is not an Xception: {}", model.name, describe(model));
        }
        check_body(&parts.body)?;
        Ok(parts)
    }

    fn extend(&mut self, model: &'a Model) -> Result<()> {
        if !is_xception(model) {
            for layer in path(model)? {
                match &layer.model {
                    Some(inner) => self.extend(inner)?,
                    None if self.body.is_empty() => self.front.push(layer),
                    None => self.head.push(layer),
                }
            }
            return Ok(());
        }
        ensure!(self.body.is_empty(), "the model holds more than one Xception, expected one");
        let (front, head) = (front(model)?, head(model)?);
        let around = |layer: &&Layer| front.iter().chain(&head).any(|other| std::ptr::eq(*other, *layer));
        self.body = model.layers.iter().filter(|layer| !around(layer)).collect();
        self.front.extend(front);
        self.head.extend(head);
        Ok(())
    }

    /// Side of the square input, from the first layer that states one.
    pub fn input_size(&self) -> Result<Option<usize>> {
        let Some((layer, shape)) = self.front.iter().find_map(|layer| Some((layer, input_shape(layer)?))) else {
            return Ok(None);
        };
        match shape[..] {
            [height, width, Some(3)] if height == width => Ok(height),
            _ => bail!(
                "layer `{}` takes {}, expected a square of 3 channels, the channels last",
                layer.name,
                shown(&shape)
            ),
        }
    }
}

/// What a file that is not an Xception is instead.
fn describe(model: &Model) -> String {
    let separable = separables(model) + model.nested().iter().flat_map(|l| &l.model).map(separables).sum::<usize>();
    let layers = model.layers.len();
    format!("{layers} layers, {separable} separable convolutions; expected {}", super::separable_convolutions())
}

fn separables(model: &Model) -> usize {
    model.count("SeparableConv2D")
}

/// Whether the backbone's layers stand in this very model; its details are checked later.
fn is_xception(model: &Model) -> bool {
    2 * separables(model) > super::separable_convolutions() && !model.sequential
}

/// The layers from the input to the output of a model which is one chain.
fn path(model: &Model) -> Result<Vec<&Layer>> {
    if model.sequential {
        return Ok(model.layers.iter().collect());
    }
    let mut path = back(model, output(model)?, |_| false)?;
    path.reverse();
    Ok(path)
}

/// The layers in front of the first convolution.
fn front(model: &Model) -> Result<Vec<&Layer>> {
    let first = model.layers.iter().find(|layer| layer.class == "Conv2D").context("no convolution found")?;
    let mut front = match first.input()? {
        Some(name) => back(model, model.layer(name)?, |_| false)?,
        None => Vec::new(),
    };
    front.reverse();
    Ok(front)
}

/// The layers behind the last separable convolution, its batch normalisation and ReLU.
fn head(model: &Model) -> Result<Vec<&Layer>> {
    let mut head = back(model, output(model)?, |layer| layer.class == "SeparableConv2D")?;
    head.reverse();
    let own: Vec<&Layer> = head.drain(..head.len().min(2)).collect();
    ensure!(
        matches!(own[..], [bn, relu] if bn.class == "BatchNormalization" && is_relu(relu)),
        "model `{}`: expected its output behind the last separable convolution, batch normalisation and ReLU",
        model.name
    );
    Ok(head)
}

/// The chain from `last` back to an input, or to a layer where `stop` holds (which is left out).
fn back<'a>(model: &'a Model, last: &'a Layer, stop: impl Fn(&Layer) -> bool) -> Result<Vec<&'a Layer>> {
    let mut chain = Vec::new();
    let mut layer = last;
    while !stop(layer) {
        ensure!(chain.len() < model.layers.len(), "model `{}` goes in a circle", model.name);
        chain.push(layer);
        match layer.input()? {
            Some(name) => layer = model.layer(name)?,
            None => break,
        }
    }
    Ok(chain)
}

fn output(model: &Model) -> Result<&Layer> {
    match model.outputs.as_slice() {
        [name] => model.layer(name),
        outputs => bail!("model `{}` has {} outputs, expected one", model.name, outputs.len()),
    }
}

pub(super) fn is_relu(layer: &Layer) -> bool {
    let plain = || {
        let zero = |key| layer.number(key).unwrap_or(0.0) == 0.0;
        layer.number("max_value").is_none() && zero("negative_slope") && zero("threshold")
    };
    match layer.class.as_str() {
        "Activation" => layer.activation() == "relu",
        "ReLU" => plain(),
        _ => false,
    }
}

/// Checks that the backbone is the table's, as far as the weights do not tell.
fn check_body(body: &[&Layer]) -> Result<()> {
    let epsilon = Convention::Keras.epsilon();
    let mut kernels = ordinary();
    for layer in body {
        let named = || format!("layer `{}` ({})", layer.name, layer.class);
        let fits = match layer.class.as_str() {
            "Conv2D" => match kernels.pop() {
                Some((kernel, stride)) => {
                    // A kernel of one pixel never reaches over the edge.
                    layer.side("kernel_size") == Some(kernel)
                        && layer.side("strides") == Some(stride)
                        && is_undilated(layer)
                        && (kernel == 1 || has_padding(layer, "valid"))
                }
                None => bail!("unexpected {}: Xception has 6 ordinary convolutions", named()),
            },
            "SeparableConv2D" => layer.side("strides") == Some(1) && has_padding(layer, "same") && is_undilated(layer),
            "BatchNormalization" => layer.number("epsilon").is_some_and(|e| (e - epsilon).abs() < epsilon * 1e-3),
            "MaxPooling2D" => {
                layer.side("pool_size") == Some(3) && layer.side("strides") == Some(2) && has_padding(layer, "same")
            }
            "Add" | "InputLayer" => true,
            _ => is_relu(layer),
        };
        ensure!(
            fits,
            "{} is not the one of Keras Applications' Xception; only its own architecture is supported",
            named()
        );
        let linear = layer.class == "Activation" || layer.activation() == "linear";
        ensure!(linear, "{} has activation {}, expected none", named(), layer.activation());
    }
    for (class, expected) in [("MaxPooling2D", pools()), ("Add", joins())] {
        let found = body.iter().filter(|layer| layer.class == class).count();
        ensure!(found == expected, "the backbone has {found} layers of class {class}, expected {expected}");
    }
    Ok(())
}

/// Keras takes the word in any case, and keeps it as it was written.
fn has_padding(layer: &Layer, padding: &str) -> bool {
    layer.text("padding").is_some_and(|found| found.eq_ignore_ascii_case(padding))
}

fn is_undilated(layer: &Layer) -> bool {
    !layer.config.contains_key("dilation_rate") || layer.side("dilation_rate") == Some(1)
}

/// Kernel and stride of the ordinary convolutions and shortcuts, the last one first.
fn ordinary() -> Vec<(u64, u64)> {
    let kernels = architecture::convolutions().into_iter().filter_map(|c| match c.operation {
        Operation::Ordinary { kernel, stride } => Some((kernel as u64, stride as u64)),
        Operation::Separable => None,
    });
    kernels.rev().collect()
}

fn pools() -> usize {
    XCEPTION.iter().filter(|m| matches!(m.kind, ModuleKind::Residual { .. })).count()
}

fn joins() -> usize {
    pools() + XCEPTION.iter().filter(|m| m.kind == ModuleKind::Identity).count()
}

/// A layer's stated input without the batch: [height, width, channels], unknown sides `None`.
fn input_shape(layer: &Layer) -> Option<Vec<Option<usize>>> {
    let shape = layer.config.get("batch_shape").or_else(|| layer.config.get("batch_input_shape"))?;
    let sides = shape.as_array()?.iter().skip(1).map(|side| Value::as_u64(side).and_then(|side| side.try_into().ok()));
    Some(sides.collect())
}

fn shown(shape: &[Option<usize>]) -> String {
    let sides = shape.iter().map(|side| side.map_or_else(|| "any".to_owned(), |side| side.to_string()));
    format!("[{}]", sides.collect::<Vec<_>>().join(", "))
}
