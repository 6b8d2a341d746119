//! What a weights file of ours says about itself, one JSON object in the safetensors header.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Digest, Imported};
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
    /// The share of validation pictures whose distances are taken for known ones' unless the user says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_known: Option<f64>,
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
    /// What a model of ImageNet's classes is called, and its classes together.
    pub const IMAGENET: &str = "imagenet";

    /// Index of the class that has this name, however its accents are stored, or this WordNet id.
    pub fn find_class(&self, name_or_id: &str) -> Option<usize> {
        let find = |names: &[String]| names.iter().position(|name| name == name_or_id);
        let composed = labels::composed(name_or_id);
        let find_composed = || self.class_names.iter().position(|name| labels::composed(name) == composed);
        find(&self.class_names).or_else(|| find(self.class_ids.as_deref()?)).or_else(find_composed)
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
        let head = HeadMetadata::of_foreign(imported);
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
        ensure!(
            self.keep_known.is_none_or(|share| share > 0.0 && share <= 1.0),
            "the head's `keep_known` is {}, expected above 0 and at most 1; train the model again",
            self.keep_known.unwrap_or_default()
        );
        Ok(())
    }

    /// Classes by their number: foreign weights have no names for them.
    fn of_foreign(imported: &Imported) -> Option<Self> {
        let classes = match imported.tensors.get("fc.weight")?.shape[0] {
            1 => 2,
            classes => classes,
        };
        let class_names = (0..classes).map(unnamed).collect();
        let name = "imported".to_owned();
        let (class_ids, pool, dropout) = (None, imported.pool.unwrap_or(Pool::Avg), imported.dropout.clone());
        Some(Self {
            name,
            class_names,
            class_ids,
            pool,
            dropout,
            temperature: 1.0,
            keep_known: None,
            unit_length: false,
        })
    }

    /// Whether nobody has given the classes names.
    pub fn is_unnamed(&self) -> bool {
        self.class_names.iter().enumerate().all(|(class, name)| *name == unnamed(class))
    }

    /// Takes over names for the classes, in order; `imagenet` alone stands for ImageNet's 1,000.
    ///
    /// # Errors
    /// If they are not as many as the classes, or two are alike.
    pub fn name_classes(&mut self, names: &[String]) -> Result<()> {
        if names == [Self::IMAGENET] {
            ensure!(
                self.name_imagenet(),
                "`{}` has 1,000 classes, the classifier has {}",
                Self::IMAGENET,
                self.class_names.len()
            );
            return Ok(());
        }
        let (named, classes) = (names.len(), self.class_names.len());
        ensure!(
            named == classes,
            "{named} names, the classifier has {classes} classes; give a name for each, in order"
        );
        if let Some((_, name)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            bail!("`{name}` is named twice; give each class a name of its own");
        }
        (self.class_names, self.class_ids) = (names.to_vec(), None);
        Ok(())
    }

    /// Names the classes as ImageNet's; says whether there are as many.
    pub(super) fn name_imagenet(&mut self) -> bool {
        let Some(labels) = labels::imagenet(self.class_names.len()) else { return false };
        Self::IMAGENET.clone_into(&mut self.name);
        (self.class_names, self.class_ids) = (labels.names, Some(labels.ids));
        true
    }
}

/// The name of a class that has none.
fn unnamed(class: usize) -> String {
    format!("class {class}")
}
