//! A Keras model's configuration (`config.json`, or the attribute `model_config`): its layers,
//! what they are called with, and the models nested in it.
//!
//! Two dialects of `inbound_nodes` are read: Keras 3's `{"args": […], "kwargs": {…}}` with
//! `__keras_tensor__`s, and the older `["layer", node, tensor, {kwargs}]`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// A functional or sequential model.
pub(super) struct Model {
    pub name: String,
    pub sequential: bool,
    /// In Keras' own order: from the input, by depth.
    pub layers: Vec<Layer>,
    /// Layers whose output the model gives; of a functional model only.
    pub outputs: Vec<String>,
}

/// A layer and what it is called with.
pub(super) struct Layer {
    pub name: String,
    pub class: String,
    pub config: Map<String, Value>,
    /// Arguments of each call; of a layer in a functional model only.
    pub calls: Vec<Vec<Argument>>,
    /// The model that this layer is.
    pub model: Option<Model>,
}

/// What a layer is called with, as far as a chain of layers needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Argument {
    /// The output of the layer of this name.
    Output(String),
    Number(f64),
}

impl Model {
    /// Parses a whole configuration.
    pub fn parse(json: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(json).context("the model's configuration is not JSON")?;
        let class = value.get("class_name").and_then(Value::as_str).unwrap_or("nothing");
        let config = value.get("config").unwrap_or(&Value::Null);
        let model = Self::from_config(class, config)?;
        model.with_context(|| format!("the file holds a {class}, expected a functional or sequential model"))
    }

    /// The model that a layer is, if it is one.
    fn from_config(class: &str, config: &Value) -> Result<Option<Self>> {
        // Before Keras 2.2 a sequential model's configuration was just its layers.
        let list = if config.is_array() { config } else { config.get("layers").unwrap_or(&Value::Null) };
        let is_model = matches!(class, "Functional" | "Model" | "Sequential");
        let Some(list) = list.as_array().filter(|_| is_model) else { return Ok(None) };
        let name = text(config.get("name")).unwrap_or(class).to_owned();
        let layers = list.iter().map(Layer::parse).collect::<Result<_>>().with_context(|| format!("model `{name}`"))?;
        let mut outputs = Vec::new();
        references(config.get("output_layers").unwrap_or(&Value::Null), &mut outputs);
        let outputs = outputs.into_iter().filter_map(Argument::into_output).collect();
        Ok(Some(Self { name, sequential: class == "Sequential", layers, outputs }))
    }

    pub fn layer(&self, name: &str) -> Result<&Layer> {
        let found = self.layers.iter().find(|layer| layer.name == name);
        found.with_context(|| format!("model `{}` refers to a layer `{name}` that it does not hold", self.name))
    }

    /// Layers of a class, not counting those of nested models.
    pub fn count(&self, class: &str) -> usize {
        self.layers.iter().filter(|layer| layer.class == class).count()
    }

    /// Every model nested in this one, at any depth.
    pub fn nested(&self) -> Vec<&Layer> {
        let inner = |layer: &'_ Layer| layer.model.is_some();
        let children = self.layers.iter().filter(|layer| inner(layer));
        children
            .flat_map(|layer| [vec![layer], layer.model.iter().flat_map(Model::nested).collect()].concat())
            .collect()
    }
}

impl Layer {
    fn parse(value: &Value) -> Result<Self> {
        let class = text(value.get("class_name")).context("a layer without a class")?.to_owned();
        let config = value.get("config").unwrap_or(&Value::Null);
        let name = text(config.get("name")).or_else(|| text(value.get("name")));
        let name = name.with_context(|| format!("a layer of class {class} without a name"))?.to_owned();
        let nodes = value.get("inbound_nodes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let calls = nodes.iter().map(|node| {
            let mut arguments = Vec::new();
            references(node, &mut arguments);
            arguments
        });
        let model = Model::from_config(&class, config)?;
        let map = config.as_object().cloned().unwrap_or_default();
        // The layers of a nested model are in `model`; twice is too much.
        let config = map.into_iter().filter(|(key, _)| key != "layers").collect();
        Ok(Self { calls: calls.collect(), model, name, class, config })
    }

    /// The layer whose output this one is called with, `None` for an input.
    pub fn input(&self) -> Result<Option<&str>> {
        let describe = || format!("layer `{}` ({})", self.name, self.class);
        let call = match self.calls.as_slice() {
            [] => return Ok(None),
            [call] => call,
            calls => bail!("{} is called {} times, expected one chain of layers", describe(), calls.len()),
        };
        let mut outputs = call.iter().filter_map(|argument| match argument {
            Argument::Output(name) => Some(name.as_str()),
            Argument::Number(_) => None,
        });
        let first = outputs.next();
        ensure!(outputs.next().is_none(), "{} joins several layers, expected one chain of layers", describe());
        Ok(first)
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.config.get(key).and_then(Value::as_f64)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        text(self.config.get(key))
    }

    /// Both of a pair such as `strides`, if they are equal.
    pub fn side(&self, key: &str) -> Option<u64> {
        match self.config.get(key)? {
            Value::Array(pair) if pair.len() == 2 && pair[0] == pair[1] => pair[0].as_u64(),
            value => value.as_u64(),
        }
    }

    /// The activation's name: a string, or what Keras 3 writes for a function.
    pub fn activation(&self) -> String {
        match self.config.get("activation") {
            None | Some(Value::Null) => "linear".to_owned(),
            Some(Value::String(name)) => name.clone(),
            Some(value) => {
                let name = text(value.get("config")).or_else(|| text(value.get("class_name")));
                name.map_or_else(|| value.to_string(), str::to_lowercase)
            }
        }
    }
}

impl Argument {
    fn into_output(self) -> Option<String> {
        match self {
            Self::Output(name) => Some(name),
            Self::Number(_) => None,
        }
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// Collects the layers and numbers that `value` refers to, in order.
fn references(value: &Value, found: &mut Vec<Argument>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64().map(Argument::Number)),
        Value::Array(items) => match items.as_slice() {
            // ["layer", node, tensor] or ["layer", node, tensor, {"y": 127.5}]
            [Value::String(layer), Value::Number(_), Value::Number(_), kwargs @ ..] => {
                found.push(Argument::Output(layer.clone()));
                kwargs.iter().for_each(|kwargs| references(kwargs, found));
            }
            items => items.iter().for_each(|item| references(item, found)),
        },
        Value::Object(object) if text(object.get("class_name")) == Some("__keras_tensor__") => {
            let history = object.get("config").and_then(|config| config.get("keras_history"));
            references(history.unwrap_or(&Value::Null), found);
        }
        Value::Object(object) => object.values().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
