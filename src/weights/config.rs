//! What the `config.json` beside weights says of them: timm's, and the class names of transformers'.
//!
//! timm writes the architecture, the names of the classes and, as `pretrained_cfg`, how pictures become the network's
//! input; what is left out there has timm's defaults. Whatever would give other answers than timm and can't be
//! followed is an error that names it. Source: timm's `models/_hub.py`, `models/_pretrained.py` (`PretrainedCfg`) and
//! `data/transforms_factory.py`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Assumed, Checkpoint, HeadMetadata, Pool};
use crate::image::{Channels, Interpolation, Normalisation, Preprocessing, Resize};
use crate::text;

/// The file's name.
pub const FILE: &str = "config.json";
/// timm's names of this network.
pub const ARCHITECTURES: [&str; 2] = ["legacy_xception", "xception"];
/// Defaults of timm's `PretrainedCfg`.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const INPUT_SIZE: [usize; 3] = [3, 224, 224];
const CROP_SHARE: f64 = 0.875;

/// As far as it concerns the weights; what else there may be is for other programs.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    architecture: Option<String>,
    num_classes: Option<usize>,
    global_pool: Option<String>,
    model_args: Option<ModelArguments>,
    pretrained_cfg: Option<Pretrained>,
    label_names: Option<Names>,
    label_descriptions: Option<Map<String, Value>>,
    /// What timm called `label_names` once.
    labels: Option<Names>,
    /// Of transformers.
    id2label: Option<Names>,
    class_names: Option<Names>,
    /// Of transformers, where `id2label` is left out.
    label2id: Option<BTreeMap<String, Index>>,
    /// Of torchvision's `ImageFolder`.
    class_to_idx: Option<BTreeMap<String, Index>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ModelArguments {
    in_chans: Option<usize>,
    global_pool: Option<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Pretrained {
    input_size: Option<[usize; 3]>,
    interpolation: Option<String>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: Option<[f64; 3]>,
    std: Option<[f64; 3]>,
    label_offset: Option<i64>,
    label_names: Option<Names>,
    label_descriptions: Option<Map<String, Value>>,
}

/// Names of classes in order, or by their index.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Indexed(BTreeMap<String, String>),
}

/// The index of a class, which some programs write as text.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Index {
    Number(usize),
    Text(String),
}

impl Config {
    /// # Errors
    /// Names the file if it can't be read or a field of it is not what timm writes there.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let value: Value = serde_json::from_slice(&text::utf8(std::fs::read(path)?)?)?;
            // Before it had `pretrained_cfg`, timm wrote all of it side by side.
            let is_flat = value.get("architecture").is_some() && value.get("pretrained_cfg").is_none();
            let mut config = Self::deserialize(&value)?;
            if is_flat {
                config.pretrained_cfg = Some(Pretrained::deserialize(&value)?);
            }
            anyhow::Ok(config)
        };
        read().with_context(|| {
            format!("{}: cannot be understood; correct it, or move the weights away from it", path.display())
        })
    }

    /// The architecture that the file names, if that is another network.
    pub fn other_architecture(&self) -> Option<&str> {
        self.architecture.as_deref().filter(|architecture| !ARCHITECTURES.contains(architecture))
    }

    /// Takes over what the file says of the weights that stand beside it.
    ///
    /// # Errors
    /// Names a field that can't be followed or does not fit the weights.
    pub fn describe(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        if self.architecture.is_some() {
            self.check_input()?;
            checkpoint.metadata.preprocessing = self.preprocessing(&mut checkpoint.notes)?;
            // timm's classifiers are one linear layer on pooled features.
            checkpoint.assumed =
                Assumed { activations: checkpoint.tensors.contains_key("head.0.weight"), ..Assumed::default() };
        }
        if let Some(head) = &mut checkpoint.metadata.head {
            let pool = self.model_args.as_ref().and_then(|arguments| arguments.global_pool.as_deref());
            head.pool = match pool.or(self.global_pool.as_deref()) {
                None => head.pool,
                Some("avg" | "fast" | "fastavg") => Pool::Avg,
                Some("max" | "fastmax") => Pool::Max,
                Some(other) => bail!("its global_pool is `{other}`, expected avg or max; train a head of xcept's own"),
            };
            self.name_classes(head)?;
        }
        Ok(())
    }

    fn check_input(&self) -> Result<()> {
        let channels = self.model_args.as_ref().and_then(|arguments| arguments.in_chans);
        ensure!(channels.is_none_or(|channels| channels == 3), "its in_chans is {channels:?}, expected 3");
        let offset = self.pretrained_cfg.as_ref().and_then(|pretrained| pretrained.label_offset);
        ensure!(
            offset.is_none_or(|offset| offset == 0),
            "its label_offset is {offset:?}, expected none; save the weights again with timm, which applies it"
        );
        Ok(())
    }

    /// timm's evaluation transform.
    fn preprocessing(&self, notes: &mut Vec<String>) -> Result<Preprocessing> {
        let none = Pretrained::default();
        let pretrained = self.pretrained_cfg.as_ref().unwrap_or(&none);
        let input = pretrained.input_size.unwrap_or(INPUT_SIZE);
        let [3, size, width] = input else {
            bail!("its input_size is {input:?}, expected [3, SIZE, SIZE]");
        };
        ensure!(size == width, "its input_size is {input:?}, expected a square; pass weights that take one");
        let share = pretrained.crop_pct.unwrap_or(CROP_SHARE);
        ensure!(
            share > 0.0,
            "its crop_pct is {share}, expected the share of the shorter side to keep, such as {CROP_SHARE}"
        );
        let resize = match pretrained.crop_mode.as_deref() {
            None | Some("center") => Resize::Crop(share),
            Some("squash") if share == 1.0 => Resize::Squash,
            Some(mode) => bail!(
                "its crop_mode is `{mode}` with a crop_pct of {share}, expected center, or squash with a crop_pct of 1"
            ),
        };
        let interpolation = match pretrained.interpolation.as_deref() {
            None | Some("bicubic") => Interpolation::Bicubic,
            Some("bilinear") => Interpolation::Bilinear,
            Some("nearest") => Interpolation::Nearest,
            Some("random") => {
                notes.push(format!("{FILE}: interpolation `random` is for training; pictures are resized by bicubic"));
                Interpolation::Bicubic
            }
            Some(other) => bail!("its interpolation is `{other}`, expected bicubic, bilinear or nearest"),
        };
        let (mean, std) = (pretrained.mean.unwrap_or(IMAGENET_MEAN), pretrained.std.unwrap_or(IMAGENET_STD));
        let normalisation = Normalisation { mean, std, channels: Channels::Rgb };
        let preprocessing = Preprocessing { resize, interpolation, size, normalisation };
        preprocessing.check()?;
        Ok(preprocessing)
    }

    /// Gives the classes the names that the file has for them.
    fn name_classes(&self, head: &mut HeadMetadata) -> Result<()> {
        let classes = head.class_names.len();
        // timm's single output is read as a sigmoid between two classes.
        ensure!(
            self.num_classes.is_none_or(|found| found == classes || (found == 1 && classes == 2)),
            "its num_classes is {:?}, the classifier has {classes}",
            self.num_classes.unwrap_or_default()
        );
        let pretrained = self.pretrained_cfg.as_ref();
        let inner = pretrained.and_then(|pretrained| pretrained.label_names.as_ref());
        let lists =
            [self.label_names.as_ref(), inner, self.labels.as_ref(), self.id2label.as_ref(), self.class_names.as_ref()];
        let indices = self.label2id.as_ref().or(self.class_to_idx.as_ref()).map(Names::of_indices);
        let Some(names) = lists.into_iter().flatten().next().cloned().or(indices) else { return Ok(()) };
        let names = names.in_order()?;
        // What transformers writes where nobody has named them.
        if names.iter().enumerate().all(|(index, name)| *name == format!("LABEL_{index}")) {
            return Ok(());
        }
        ensure!(names.len() == classes, "it names {} classes, the classifier has {classes}", names.len());
        if let Some(name) = twice(&names) {
            bail!("it names `{name}` twice, expected a name of its own for each class");
        }
        let inner = pretrained.and_then(|pretrained| pretrained.label_descriptions.as_ref());
        match self.label_descriptions.as_ref().or(inner) {
            Some(descriptions) => {
                head.class_names = described(&names, descriptions);
                head.class_ids = Some(names);
            }
            None => head.class_names = names,
        }
        Ok(())
    }
}

impl Names {
    fn of_indices(indices: &BTreeMap<String, Index>) -> Self {
        let text = |index: &Index| match index {
            Index::Number(number) => number.to_string(),
            Index::Text(text) => text.clone(),
        };
        Self::Indexed(indices.iter().map(|(name, index)| (text(index), name.clone())).collect())
    }

    /// # Errors
    /// If they go by an index and one is missing.
    fn in_order(&self) -> Result<Vec<String>> {
        match self {
            Names::List(names) => Ok(names.clone()),
            Names::Indexed(names) => {
                let name = |index: usize| {
                    names.get(&index.to_string()).cloned().with_context(|| format!("it has no name for class {index}"))
                };
                (0..names.len()).map(name).collect()
            }
        }
    }
}

/// The descriptions of classes, with the class's own name where one has none or shares it with another.
fn described(names: &[String], descriptions: &Map<String, Value>) -> Vec<String> {
    let of = |name: &String| descriptions.get(name).and_then(Value::as_str).unwrap_or(name).to_owned();
    let described: Vec<String> = names.iter().map(of).collect();
    let is_shared = |text: &String| described.iter().filter(|other| *other == text).count() > 1;
    let distinct =
        |(text, name): (&String, &String)| if is_shared(text) { format!("{text} ({name})") } else { text.clone() };
    described.iter().zip(names).map(distinct).collect()
}

fn twice(names: &[String]) -> Option<&String> {
    let mut seen = std::collections::HashSet::new();
    names.iter().find(|name| !seen.insert(*name))
}
