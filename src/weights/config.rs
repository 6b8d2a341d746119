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
const ARCHITECTURES: [&str; 2] = ["legacy_xception", "xception"];
/// Fields of `PretrainedCfg` that say how pictures become the network's input.
const PREPROCESSING: [&str; 6] = ["input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"];
/// Defaults of timm's `PretrainedCfg`.
const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];
const INPUT_SIZE: usize = 224;
const CROP_SHARE: f64 = 0.875;
/// A mean or standard deviation of samples of 0 to 1 is smaller; one of samples of 0 to 255 hardly ever.
const LARGEST_STATISTIC: f64 = 2.0;

/// As far as it concerns the weights; what else there may be is for other programs.
#[derive(Debug, Default, Deserialize)]
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
    label2id: Option<Value>,
    /// Of torchvision's `ImageFolder`.
    class_to_idx: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModelArguments {
    in_chans: Option<usize>,
    global_pool: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
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
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Indexed(BTreeMap<String, String>),
}

impl Config {
    /// # Errors
    /// Names the file if it can't be read or a field of it is not what timm writes there.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || {
            let value: Value = serde_json::from_slice(&text::utf8(std::fs::read(path)?)?)?;
            // Before it had `pretrained_cfg`, timm wrote all of it side by side; people do.
            let has = |field: &&str| value.get(*field).is_some();
            let is_flat = !has(&"pretrained_cfg") && PREPROCESSING.iter().any(has);
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

    /// Passes if the weights are those of this network, as far as the file says.
    ///
    /// # Errors
    /// Names the architecture.
    pub fn check_architecture(&self) -> Result<()> {
        let Some(found) = &self.architecture else { return Ok(()) };
        ensure!(
            ARCHITECTURES.contains(&found.as_str()),
            "{FILE} says that its architecture is `{found}`, expected {}; pass weights of Xception",
            ARCHITECTURES[0]
        );
        Ok(())
    }

    /// What the file says of the weights that stand beside it. Of weights that are known to be timm's, what it leaves out
    /// has timm's defaults; of others it stays as it is.
    ///
    /// # Errors
    /// Names a field that can't be followed or does not fit the weights.
    pub fn describe(&self, checkpoint: &Checkpoint, is_timms: bool) -> Result<Description> {
        let mut assumed = checkpoint.assumed;
        let mut notes = Vec::new();
        let mut preprocessing = None;
        let is_timms = is_timms && self.architecture.is_some();
        if is_timms || self.pretrained_cfg.is_some() {
            self.check_input()?;
            let left_out = match is_timms {
                true => timms_defaults(),
                false => checkpoint.metadata.preprocessing,
            };
            let pretrained = self.pretrained_cfg.as_ref();
            assumed.size &= pretrained.is_none_or(|pretrained| pretrained.input_size.is_none());
            assumed.normalisation &=
                pretrained.is_none_or(|pretrained| pretrained.mean.is_none() || pretrained.std.is_none());
            preprocessing = Some(self.preprocessing(left_out, &mut notes)?);
        }
        if is_timms {
            // timm's classifiers are one linear layer on pooled features.
            assumed = Assumed { activations: checkpoint.tensors.contains_key("head.0.weight"), ..Assumed::default() };
        }
        let mut head = checkpoint.metadata.head.clone();
        let mut has_names = false;
        if let Some(head) = &mut head {
            let pool = self.model_args.as_ref().and_then(|arguments| arguments.global_pool.as_deref());
            let pool = pool.or(self.global_pool.as_deref());
            assumed.pool &= pool.is_none();
            head.pool = match pool {
                None => head.pool,
                Some("avg" | "fast" | "fastavg") => Pool::Avg,
                Some("max" | "fastmax") => Pool::Max,
                Some(other) => bail!("its global_pool is `{other}`, expected avg or max; train a head of xcept's own"),
            };
            has_names = self.name_classes(head)?;
        }
        Ok(Description { preprocessing, head, has_names, assumed, notes })
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

    /// timm's evaluation transform; what the file leaves out is that of `left_out`.
    fn preprocessing(&self, left_out: Preprocessing, notes: &mut Vec<String>) -> Result<Preprocessing> {
        let none = Pretrained::default();
        let pretrained = self.pretrained_cfg.as_ref().unwrap_or(&none);
        let input = pretrained.input_size.unwrap_or([3, left_out.size, left_out.size]);
        let [3, size, width] = input else {
            bail!("its input_size is {input:?}, expected [3, SIZE, SIZE]");
        };
        ensure!(size == width, "its input_size is {input:?}, expected a square; pass weights that take one");
        let share = pretrained.crop_pct;
        ensure!(
            share.is_none_or(|share| share > 0.0),
            "its crop_pct is 0 or less, expected the share of the shorter side to keep, such as {CROP_SHARE}"
        );
        let resize = match (pretrained.crop_mode.as_deref(), share) {
            (None | Some("center"), Some(share)) => Resize::Crop(share),
            (None | Some("center"), None) => left_out.resize,
            (Some("squash"), Some(1.0)) => Resize::Squash,
            (Some(mode), share) => bail!(
                "its crop_mode is `{mode}` with a crop_pct of {}, expected center, or squash with a crop_pct of 1",
                share.unwrap_or(CROP_SHARE)
            ),
        };
        let interpolation = match pretrained.interpolation.as_deref() {
            None => left_out.interpolation,
            Some("bicubic") => Interpolation::Bicubic,
            Some("bilinear") => Interpolation::Bilinear,
            Some("nearest") => Interpolation::Nearest,
            Some("random") => {
                notes.push(format!("{FILE}: interpolation `random` is for training; pictures are resized by bicubic"));
                Interpolation::Bicubic
            }
            Some(other) => bail!("its interpolation is `{other}`, expected bicubic, bilinear or nearest"),
        };
        let Normalisation { mean, std, channels } = left_out.normalisation;
        let (mean, std) = (pretrained.mean.unwrap_or(mean), pretrained.std.unwrap_or(std));
        ensure!(
            mean.iter().chain(&std).all(|value| value.abs() <= LARGEST_STATISTIC),
            "its mean {mean:?} and std {std:?} are not for samples of 0 to 1; divide by 255 what is for samples of 0 to 255"
        );
        let preprocessing =
            Preprocessing { resize, interpolation, size, normalisation: Normalisation { mean, std, channels } };
        preprocessing.check()?;
        Ok(preprocessing)
    }

    /// Gives the classes the names that the file has for them; whether it has any.
    fn name_classes(&self, head: &mut HeadMetadata) -> Result<bool> {
        let classes = head.class_names.len();
        // timm's single output is read as a sigmoid between two classes.
        ensure!(
            self.num_classes.is_none_or(|found| found == classes || (found == 1 && classes == 2)),
            "its num_classes is {:?}, the classifier has {classes}; correct it, or move it away",
            self.num_classes.unwrap_or_default()
        );
        let pretrained = self.pretrained_cfg.as_ref();
        let inner = pretrained.and_then(|pretrained| pretrained.label_names.as_ref());
        let lists =
            [self.label_names.as_ref(), inner, self.labels.as_ref(), self.id2label.as_ref(), self.class_names.as_ref()];
        let indices = self.label2id.as_ref().or(self.class_to_idx.as_ref());
        let names = match (lists.into_iter().flatten().next(), indices) {
            (Some(names), _) => names.in_order()?,
            (None, Some(indices)) => Names::of_indices(indices)?.in_order()?,
            (None, None) => return Ok(false),
        };
        // What transformers writes where nobody has named them.
        if names.iter().enumerate().all(|(index, name)| *name == format!("LABEL_{index}")) {
            return Ok(false);
        }
        ensure!(
            names.len() == classes,
            "it names {} classes, the classifier has {classes}; correct it, or move it away",
            names.len()
        );
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
        Ok(true)
    }
}

/// What the file says of weights.
#[derive(Debug)]
pub struct Description {
    preprocessing: Option<Preprocessing>,
    head: Option<HeadMetadata>,
    /// Whether the head's class names are the file's.
    has_names: bool,
    assumed: Assumed,
    notes: Vec<String>,
}

impl Description {
    /// What is the file's, for a sentence.
    pub fn what(&self) -> Option<&'static str> {
        match (self.has_names, self.preprocessing.is_some()) {
            (true, true) => Some("class names and preprocessing are"),
            (true, false) => Some("class names are"),
            (false, true) => Some("preprocessing is"),
            (false, false) => None,
        }
    }

    pub fn apply(self, checkpoint: &mut Checkpoint) {
        if let Some(preprocessing) = self.preprocessing {
            checkpoint.metadata.preprocessing = preprocessing;
        }
        checkpoint.metadata.head = self.head;
        checkpoint.assumed = self.assumed;
        checkpoint.notes.extend(self.notes);
    }
}

/// timm's `PretrainedCfg` where a file says nothing.
fn timms_defaults() -> Preprocessing {
    Preprocessing {
        resize: Resize::Crop(CROP_SHARE),
        interpolation: Interpolation::Bicubic,
        size: INPUT_SIZE,
        normalisation: Normalisation { mean: IMAGENET_MEAN, std: IMAGENET_STD, channels: Channels::Rgb },
    }
}

impl Names {
    /// From names with their indices, which some programs write as text.
    ///
    /// # Errors
    /// If one has none, or two share one.
    fn of_indices(indices: &Value) -> Result<Self> {
        let mut names = BTreeMap::new();
        for (name, index) in indices.as_object().context("its indices of classes are not a table")? {
            let index = index.as_str().map_or_else(|| index.to_string(), str::to_owned);
            ensure!(index.parse::<usize>().is_ok(), "it gives class `{name}` the index {index}, expected 0 or more");
            if let Some(other) = names.insert(index, name.clone()) {
                bail!("it gives `{other}` and `{name}` one index, expected an index of its own for each class");
            }
        }
        Ok(Self::Indexed(names))
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
