//! What a weights file of ours says about itself, one JSON object in the safetensors header.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Digest, Imported, Tensors};
use crate::architecture::INPUT_SIZE;
use crate::convention::Convention;
use crate::image::{Interpolation, Preprocessing};
use crate::labels;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The backbone whose features the head was trained on; absent for foreign files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Digest>,
    /// Where the backbone can be had (`bundled`, `imagenet`, OWNER/REPO), for a head alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The numbers that the backbone was trained with.
    pub convention: Convention,
    /// How pictures become the network's input.
    pub preprocessing: Preprocessing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadMetadata>,
    /// Where the weights come from or how they were trained, for a person to read.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub history: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadMetadata {
    /// What the model is called in results.
    pub name: String,
    /// Class names in the order of the logits; two for a single sigmoid output.
    pub class_names: Vec<String>,
    /// WordNet ids beside the names, for ImageNet's classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_ids: Option<Vec<String>>,
    pub pool: Pool,
    /// Dropout rate behind each hidden layer while training.
    pub dropout: Vec<f32>,
    /// What the logits are divided by before they become probabilities.
    #[serde(default = "plain_temperature", skip_serializing_if = "is_plain")]
    pub temperature: f64,
    /// Whether features are scaled to length 1 before the first layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unit_length: bool,
}

/// That of a head whose probabilities were not fitted.
fn plain_temperature() -> f64 {
    1.0
}

fn is_plain(temperature: &f64) -> bool {
    *temperature == plain_temperature()
}

impl HeadMetadata {
    /// Index of the class that has this name, or this WordNet id.
    pub fn find_class(&self, name_or_id: &str) -> Option<usize> {
        let find = |names: &[String]| names.iter().position(|name| name == name_or_id);
        find(&self.class_names).or_else(|| find(self.class_ids.as_deref()?))
    }
}

/// How the last feature map becomes a feature vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// Mean over the positions: 2,048 features
    Avg,
    /// Largest value over the positions: 2,048 features
    Max,
    /// The feature map as it is
    None,
}

impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pool::Avg => "avg",
            Pool::Max => "max",
            Pool::None => "none",
        })
    }
}

impl Metadata {
    /// The defaults of the file's family.
    pub(super) fn of_foreign(imported: &Imported, convention: Convention) -> Result<Self> {
        let size = imported.input_size.unwrap_or(INPUT_SIZE);
        let preprocessing = Preprocessing::of(convention, Interpolation::Bicubic, size);
        preprocessing.check()?;
        let head = HeadMetadata::of_foreign(&imported.tensors, imported.dropout.clone());
        Ok(Self { convention, backbone: None, base: None, preprocessing, head, history: serde_json::Map::new() })
    }
}

impl HeadMetadata {
    /// Passes if the numbers make sense.
    ///
    /// # Errors
    /// Says what was found and what is expected.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.temperature.is_finite() && self.temperature > 0.0,
            "the head's temperature is {}, expected above 0; train the model again",
            self.temperature
        );
        Ok(())
    }

    /// Class names are ImageNet's for 1,000 classes and numbers otherwise: foreign files have none.
    fn of_foreign(tensors: &Tensors, dropout: Vec<f32>) -> Option<Self> {
        let classes = match tensors.get("fc.weight")?.shape[0] {
            1 => 2,
            classes => classes,
        };
        let (class_names, class_ids) = match labels::imagenet(classes) {
            Some(imagenet) => (imagenet.names, Some(imagenet.ids)),
            None => ((0..classes).map(|class| format!("class {class}")).collect(), None),
        };
        let name = if class_ids.is_some() { "imagenet" } else { "imported" };
        Some(Self {
            name: name.to_owned(),
            class_names,
            class_ids,
            pool: Pool::Avg,
            dropout,
            temperature: 1.0,
            unit_length: false,
        })
    }
}
