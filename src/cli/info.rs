//! `xcept info`: the network layer by layer, and what a model file says of itself.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{Context, Status, WrongUsage, model};
use crate::architecture::{self, FEATURES, IMAGENET_CLASSES, INPUT_SIZE, Operation, TensorSpec};
use crate::terminal::{self, align_right, percent, table, thousands};
use crate::weights::{Checkpoint, Source, ood};

/// Show the network layer by layer, or what a model file holds
#[derive(Debug, Args)]
pub struct Info {
    /// bundled, cats-vs-dogs, imagenet, a file, or OWNER/REPO[@REVISION]; without one, the network
    /// with ImageNet's 1,000 classes
    model: Option<String>,
    #[command(flatten)]
    given: model::GivenArguments,
}

/// A line of the table.
struct Layer {
    name: String,
    kind: String,
    output: [usize; 3],
    parameters: usize,
    trainable: usize,
    multiply_adds: usize,
    /// Of ordinary convolutions in place of the separable ones.
    ordinary_multiply_adds: usize,
    ordinary_parameters: usize,
}

impl Info {
    pub fn run(self, context: &Context) -> Result<Status> {
        if let Some(model) = &self.model {
            let source: Source = model.parse()?;
            describe(&model::load(&source, context, None, &self.given.given())?)?;
            return Ok(Status::Done);
        }
        let given = self.given.given();
        if given.pool.is_some() || !given.activations.is_empty() {
            return Err(WrongUsage("--pool and --activation are of a model's head; name the model".into()).into());
        }
        let layers = layers(given.size.unwrap_or(INPUT_SIZE));
        let mut lines = table(["layer", "", "output", "parameters", "multiply-adds"]);
        align_right(&mut lines, 2..5);
        for layer in &layers {
            let [height, width, channels] = layer.output;
            lines.add_row([
                layer.name.clone(),
                layer.kind.clone(),
                format!("{height}×{width}×{channels}"),
                thousands(layer.parameters),
                thousands(layer.multiply_adds),
            ]);
        }
        terminal::result(format_args!("{lines}\n\n{}", totals(&layers)))?;
        Ok(Status::Done)
    }
}

/// Every convolution with its batch normalisation, then the classifier, for a square input.
fn layers(size: usize) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut input = size;
    for module in architecture::XCEPTION {
        let output = module.output_size(input);
        let mut size = input;
        for convolution in module.convolutions() {
            size = convolution.output_size(size);
            layers.push(Layer::convolution(&convolution, size));
        }
        layers.extend(module.shortcut().map(|shortcut| Layer::convolution(&shortcut, output)));
        input = output;
    }
    let parameters = FEATURES * IMAGENET_CLASSES + IMAGENET_CLASSES;
    layers.push(Layer {
        name: "predictions".to_owned(),
        kind: "average pool, dense".to_owned(),
        output: [1, 1, IMAGENET_CLASSES],
        parameters,
        trainable: parameters,
        multiply_adds: FEATURES * IMAGENET_CLASSES,
        ordinary_multiply_adds: FEATURES * IMAGENET_CLASSES,
        ordinary_parameters: parameters,
    });
    layers
}

impl Layer {
    fn convolution(convolution: &architecture::Convolution, size: usize) -> Self {
        let tensors = convolution.tensors();
        let parameters = tensors.iter().map(TensorSpec::elements).sum();
        let (kind, ordinary) = match convolution.operation {
            Operation::Ordinary { kernel, stride } => (format!("convolution {kernel}×{kernel}/{stride}"), None),
            Operation::Separable => {
                let ordinary = Operation::Ordinary { kernel: architecture::KERNEL, stride: 1 };
                (
                    "separable 3×3".to_owned(),
                    Some(architecture::Convolution { operation: ordinary, ..convolution.clone() }),
                )
            }
        };
        let ordinary = ordinary.as_ref().unwrap_or(convolution);
        Self {
            name: convolution.keras.clone(),
            kind,
            output: [size, size, convolution.out_channels],
            parameters,
            trainable: tensors.iter().filter(|tensor| tensor.trainable).map(TensorSpec::elements).sum(),
            multiply_adds: convolution.multiply_adds(size, size),
            ordinary_multiply_adds: ordinary.multiply_adds(size, size),
            ordinary_parameters: ordinary.tensors().iter().map(TensorSpec::elements).sum(),
        }
    }
}

fn totals(layers: &[Layer]) -> String {
    let sum = |of: fn(&Layer) -> usize| layers.iter().map(of).sum::<usize>();
    let head = layers.last().map_or(0, |layer| layer.parameters);
    let (parameters, ordinary_parameters) = (sum(|l| l.parameters), sum(|l| l.ordinary_parameters));
    let (multiply_adds, ordinary) = (sum(|l| l.multiply_adds), sum(|l| l.ordinary_multiply_adds));
    let saved = |part: usize, whole: usize| percent(1.0 - part as f64 / whole as f64);
    format!(
        "trainable parameters               {}\n\
         with batch-norm statistics         {}\n\
         without the 1,000-class classifier {}\n\
         multiply-adds                      {}\n\n\
         With ordinary 3×3 convolutions in place of the separable ones it would be {} parameters and\n\
         {} multiply-adds: separable convolutions save {} and {}.",
        thousands(sum(|l| l.trainable)),
        thousands(parameters),
        thousands(parameters - head),
        thousands(multiply_adds),
        thousands(ordinary_parameters),
        thousands(ordinary),
        saved(parameters, ordinary_parameters),
        saved(multiply_adds, ordinary),
    )
}

/// What the file says of itself.
fn describe(checkpoint: &Checkpoint) -> Result<()> {
    let metadata = &checkpoint.metadata;
    let learnt = || checkpoint.tensors.iter().filter(|(name, _)| !ood::is_ood_tensor(name));
    let parameters: usize = learnt().map(|(_, tensor)| tensor.data.len()).sum();
    let mut lines = table(["", &terminal::printable(&checkpoint.origin)]);
    let mut line = |name: &str, value: String| {
        lines.add_row([terminal::printable(name), terminal::printable(&value)]);
    };
    line("parameters", format!("{} in {} tensors", thousands(parameters), learnt().count()));
    line("convention", metadata.convention.to_string());
    line("preprocessing", metadata.preprocessing.to_string());
    let held = if checkpoint.has_backbone() { "in the file" } else { metadata.base.as_deref().unwrap_or("elsewhere") };
    line("backbone", format!("{held}, SHA-256 {}", checkpoint.backbone_digest()));
    if let Some(head) = &metadata.head {
        let layers = crate::head::layer_names(checkpoint.tensors.keys()).into_iter().filter_map(|name| {
            let shape = &checkpoint.tensors.get(&format!("{name}.weight"))?.shape;
            Some(format!("{name} {}→{}", shape.get(1)?, shape.first()?))
        });
        line("model", head.name.clone());
        line("pooling", head.pool.to_string());
        line("head", layers.collect::<Vec<_>>().join(", "));
        const SHOWN: usize = 10;
        let mut classes = head.class_names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if head.class_names.len() > SHOWN {
            classes.push_str(", …");
        }
        if head.temperature != 1.0 {
            line("temperature", format!("{:.3}, fitted on held-out pictures", head.temperature));
        }
        let knows = checkpoint.tensors.contains_key(ood::MEANS);
        let rejection = match (knows, head.keep_known) {
            (true, Some(share)) => format!("called `unknown`; {} of known ones kept", terminal::percent(share)),
            (true, None) => "called `unknown` with --keep-known".to_owned(),
            (false, _) => "not told apart".to_owned(),
        };
        line("unknown pictures", rejection);
        line("classes", format!("{}: {classes}", head.class_names.len()));
    }
    for (name, value) in &metadata.history {
        describe_value(name, value, &mut line);
    }
    terminal::result(lines.trim_fmt())?;
    Ok(())
}

/// A line for each value within `value`.
fn describe_value(name: &str, value: &Value, line: &mut dyn FnMut(&str, String)) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                describe_value(&format!("{name}, {field}"), value, line);
            }
        }
        Value::String(text) => line(name, text.clone()),
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().map(|value| (value * 1e6).round() / 1e6);
            line(name, rounded.unwrap_or_default().to_string());
        }
        value => line(name, value.to_string()),
    }
}
