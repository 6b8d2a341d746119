//! What stands around Xception in a Keras model: preprocessing in front, a dense head behind.
//!
//! A head is: global pooling or Flatten, hidden dense layers with ReLU, each perhaps with
//! dropout, and a classifier (softmax, or a sigmoid of one unit); batch norms anywhere among
//! them are folded into the dense layers. Whatever else a model does would be lost silently, so
//! it is an error that names the layer.

use anyhow::{Context, Result, bail, ensure};

use super::config::{Argument, Layer, Model};
use super::topology::{Parts, is_relu};
use crate::weights::Pool;

/// Layers that change the picture while training only.
const AUGMENTATION: [&str; 7] = [
    "RandomFlip",
    "RandomRotation",
    "RandomZoom",
    "RandomTranslation",
    "RandomContrast",
    "RandomBrightness",
    "GaussianNoise",
];
const SUPPORTED: &str = "supported behind the backbone are GlobalAveragePooling2D, GlobalMaxPooling2D, Flatten, \
                         BatchNormalization, Dropout, Dense, and Activation with relu, softmax or sigmoid";

/// What a model's configuration says beyond its weights.
pub(super) struct Plan {
    pub input_size: Option<usize>,
    pub pool: Option<Pool>,
    /// The head's layers in order, the classifier last.
    pub layers: Vec<Planned>,
    /// Rate of the dropout behind each hidden layer.
    pub dropout: Vec<f32>,
    /// Name of a classifier of one linear unit, whose output may be a logit, or a number to predict.
    pub linear_unit: Option<String>,
}

/// A layer of the head.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Planned {
    /// Its weights are those of the layer of this name.
    Dense(String),
    /// Likewise, with the number that is added to the variance.
    Norm(String, f64),
    Relu,
    Pool(Pool),
}

impl Plan {
    /// # Errors
    ///
    /// A model that is not an Xception, or whose surroundings are not what the module describes.
    pub fn of(model: &Model) -> Result<Self> {
        let parts = Parts::of(model)?;
        check_preprocessing(&parts.front)?;
        let mut chain = Chain::default();
        for layer in &parts.head {
            chain.push(layer)?;
        }
        check_activations(&chain.dense)?;
        let hidden = &chain.dense[..chain.dense.len().saturating_sub(1)];
        let dropout = hidden.iter().map(|dense| dense.dropout).collect();
        let linear_unit = chain.dense.last().filter(|last| last.is_linear_unit()).map(|last| last.layer.name.clone());
        Ok(Self { input_size: parts.input_size()?, pool: chain.pool, layers: chain.layers, dropout, linear_unit })
    }
}

/// Checks that what the model does to pixels of 0 to 255 is nothing, or exactly x/127.5 − 1.
fn check_preprocessing(front: &[&Layer]) -> Result<()> {
    let (mut scale, mut offset) = (1.0, 0.0);
    let mut last = "";
    for layer in front {
        let (by, plus) = match layer.class.as_str() {
            "InputLayer" => continue,
            class if AUGMENTATION.contains(&class) => continue,
            "Rescaling" => (number(layer, "scale")?, layer.number("offset").unwrap_or(0.0)),
            "TrueDivide" | "Divide" | "Subtract" | "Multiply" | "Add" | "TFOpLambda" => arithmetic(layer)?,
            class => bail!(
                "layer `{}` in front of the backbone is of class {class}; supported there are Rescaling, \
                 preprocess_input's arithmetic and random augmentation",
                layer.name
            ),
        };
        (scale, offset) = (scale * by, offset * by + plus);
        last = &layer.name;
    }
    let is = |s: f64, o: f64| (scale * s - 1.0).abs() < 1e-5 && (offset - o).abs() < 1e-5;
    ensure!(
        is(1.0, 0.0) || is(127.5, -1.0),
        "the model's preprocessing, up to layer `{last}`, is x*{scale} + {offset}; expected Xception's x/127.5 - 1"
    );
    Ok(())
}

/// Factor and summand of one arithmetic operation with a constant.
fn arithmetic(layer: &Layer) -> Result<(f64, f64)> {
    let operation = match layer.class.as_str() {
        "TFOpLambda" => layer.text("function").unwrap_or_default(),
        class => class,
    };
    let call = layer.calls.first().map_or(&[][..], Vec::as_slice);
    let [Argument::Output(_), Argument::Number(constant)] = *call else {
        bail!(
            "layer `{}` ({operation}) in front of the backbone takes {call:?}, expected a tensor and a number",
            layer.name
        );
    };
    Ok(match operation {
        "TrueDivide" | "Divide" | "math.truediv" | "math.divide" | "__operators__.truediv" => (1.0 / constant, 0.0),
        "Multiply" | "math.multiply" | "__operators__.mul" => (constant, 0.0),
        "Subtract" | "math.subtract" | "__operators__.sub" => (1.0, -constant),
        "Add" | "math.add" | "__operators__.add" => (1.0, constant),
        _ => bail!("layer `{}` in front of the backbone computes {operation}, expected x/127.5 - 1", layer.name),
    })
}

fn number(layer: &Layer, key: &str) -> Result<f64> {
    layer.number(key).with_context(|| format!("layer `{}` ({}): `{key}` is not a number", layer.name, layer.class))
}

/// A dense layer with the activation and dropout that follow it.
struct Dense<'a> {
    layer: &'a Layer,
    activation: String,
    dropout: f32,
}

impl Dense<'_> {
    fn is_linear_unit(&self) -> bool {
        self.activation == "linear" && self.layer.number("units") == Some(1.0)
    }
}

/// A head up to some layer.
#[derive(Default)]
struct Chain<'a> {
    pool: Option<Pool>,
    dense: Vec<Dense<'a>>,
    layers: Vec<Planned>,
}

impl<'a> Chain<'a> {
    /// Takes the next layer in.
    fn push(&mut self, layer: &'a Layer) -> Result<()> {
        let name = &layer.name;
        match layer.class.as_str() {
            "InputLayer" => {}
            "GlobalAveragePooling2D" if self.pool.is_none() => self.pooled(Pool::Avg),
            "GlobalMaxPooling2D" if self.pool.is_none() => self.pooled(Pool::Max),
            // Of what is pooled already nothing changes.
            "Flatten" if self.pool.is_none() => self.pooled(Pool::None),
            "Flatten" => {}
            "Dropout" => {
                let rate = number(layer, "rate")?;
                ensure!((0.0..1.0).contains(&rate), "layer `{name}` has rate {rate}, expected [0, 1)");
                if let Some(last) = self.dense.last_mut() {
                    last.dropout = rate as f32;
                }
            }
            "Dense" => {
                ensure!(
                    self.pool.is_some(),
                    "layer `{name}` stands on the feature map before it is pooled; {SUPPORTED}"
                );
                let activation = layer.activation();
                self.layers.push(Planned::Dense(name.clone()));
                self.relu(&activation);
                self.dense.push(Dense { layer, activation, dropout: 0.0 });
            }
            "BatchNormalization" => {
                let axis =
                    layer.config.get("axis").map_or(-1, |axis| axis.get(0).unwrap_or(axis).as_i64().unwrap_or(0));
                let last = if self.pool.is_none() { 3 } else { 1 };
                ensure!(
                    axis == -1 || axis == last,
                    "layer `{name}` normalises along axis {axis}, expected the channels, the last one"
                );
                let classifies = |last: &&Dense| !["linear", "relu"].contains(&last.activation.as_str());
                if let Some(last) = self.dense.last().filter(classifies) {
                    bail!("layer `{name}` is a batch norm behind the {} of `{}`", last.activation, last.layer.name);
                }
                self.layers.push(Planned::Norm(name.clone(), number(layer, "epsilon")?));
            }
            "Activation" | "ReLU" | "Softmax" => {
                let last = self.dense.last_mut().filter(|last| last.activation == "linear");
                let last = last.with_context(|| unsupported(layer))?;
                last.activation = match layer.class.as_str() {
                    "Activation" => layer.activation(),
                    "Softmax" => "softmax".to_owned(),
                    _ if is_relu(layer) => "relu".to_owned(),
                    _ => bail!("layer `{name}` is a ReLU with a slope or a limit; {SUPPORTED}"),
                };
                let activation = last.activation.clone();
                self.relu(&activation);
            }
            _ => bail!("{}", unsupported(layer)),
        }
        Ok(())
    }

    fn pooled(&mut self, pool: Pool) {
        self.pool = Some(pool);
        self.layers.push(Planned::Pool(pool));
    }

    fn relu(&mut self, activation: &str) {
        if activation == "relu" {
            self.layers.push(Planned::Relu);
        }
    }
}

fn unsupported(layer: &Layer) -> String {
    format!("layer `{}` is of class {}; {SUPPORTED}", layer.name, layer.class)
}

/// ReLU on hidden layers; on the classifier softmax, nothing, or the sigmoid of a single unit.
fn check_activations(dense: &[Dense]) -> Result<()> {
    let Some((classifier, hidden)) = dense.split_last() else { return Ok(()) };
    for Dense { layer, activation, .. } in hidden {
        ensure!(activation == "relu", "hidden layer `{}` has activation {activation}, expected relu", layer.name);
    }
    let (name, units) = (&classifier.layer.name, number(classifier.layer, "units")?);
    ensure!(
        classifier.activation != "sigmoid" || units == 1.0,
        "classifier `{name}` has {units} units with a sigmoid each, for several labels in a picture, which is not \
         supported yet; expected softmax or none, or sigmoid with one unit"
    );
    let fits = match classifier.activation.as_str() {
        "linear" => true,
        "softmax" => units > 1.0,
        "sigmoid" => true,
        _ => false,
    };
    ensure!(
        fits,
        "classifier `{name}` has {units} units and activation {}; expected softmax or none, or sigmoid with one unit",
        classifier.activation
    );
    Ok(())
}
