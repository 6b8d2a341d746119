//! The folder of a run: what was asked for, what came of it, and the models.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::history::{EpochReport, Phase};
use crate::features::Pipeline;
use crate::output::{self, Existing};
use crate::plot::{Chart, Curve, Mark, Panel};
use crate::weights::Digest;

/// Where runs go unless told otherwise.
pub const RUNS: &str = "runs/finetune";

/// What `args.toml` holds: all that a resumed run needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arguments {
    /// The version of this program.
    pub xcept: String,
    /// What results call the model.
    pub name: String,
    /// A folder of pictures or a features file.
    pub data: PathBuf,
    /// A file that the best model is copied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// Whether that file may be replaced.
    #[serde(default)]
    pub overwrite: bool,
    /// Where the features of a folder are kept, if not in the cache folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<PathBuf>,
    /// Of the pictures, their classes and parts; another one means other data.
    pub examples: Digest,
    pub settings: Settings,
    pub pipeline: Pipeline,
}

/// A picture's part in the run.
#[derive(Debug, Serialize)]
pub struct Example<'a> {
    pub path: &'a str,
    pub split: &'a str,
    pub class: &'a str,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct Run {
    folder: PathBuf,
}

impl Run {
    /// Refuses, before any work, a name that is taken or no name for a folder.
    ///
    /// # Errors
    /// Names the folder and the remedy.
    pub fn refuse_taken(runs: &Path, name: &str) -> Result<()> {
        ensure!(
            Path::new(name).components().count() == 1 && !name.starts_with('.'),
            "--name {name}: expected a name without slashes, for it becomes a folder in {}",
            runs.display()
        );
        let folder = runs.join(name);
        // One without arguments was stopped before it began.
        if folder.join(ARGUMENTS).exists() {
            let folder = folder.display();
            bail!("{folder}: an earlier run; choose another --name, or go on with it: --resume {folder}");
        }
        Ok(())
    }

    /// Whether a run has its folder there.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(ARGUMENTS).is_file()
    }

    /// A new folder `name` in `runs`; without a name the first of `fallback`, `fallback-2`, … that is free.
    ///
    /// # Errors
    /// If `name` is taken or the folder can't be made.
    pub fn create(runs: &Path, name: Option<&str>, fallback: &str) -> Result<Self> {
        let make = |folder: PathBuf| {
            std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
            anyhow::Ok(Self { folder })
        };
        if let Some(name) = name {
            Self::refuse_taken(runs, name)?;
            return make(runs.join(name));
        }
        let mut number = 1;
        loop {
            let folder = runs.join(if number == 1 { fallback.to_owned() } else { format!("{fallback}-{number}") });
            if !folder.join(ARGUMENTS).exists() {
                return make(folder);
            }
            number += 1;
        }
    }

    /// An earlier run: a folder, or the name of one in `runs`; nothing for the one that stopped last.
    ///
    /// # Errors
    /// If there is no such run.
    pub fn find(runs: &Path, name: &str) -> Result<Self> {
        if !name.is_empty() {
            let folder = [PathBuf::from(name), runs.join(name)].into_iter().find(|f| f.join(ARGUMENTS).is_file());
            let folder = folder.with_context(|| format!("{name}: no run; expected a folder with {ARGUMENTS} in it"))?;
            return Ok(Self { folder });
        }
        let stopped = |entry: std::io::Result<std::fs::DirEntry>| {
            let run = Self { folder: entry.ok()?.path() };
            let time = run.checkpoint().metadata().ok()?.modified().ok()?;
            Some((time, run))
        };
        let entries = std::fs::read_dir(runs).into_iter().flatten().filter_map(stopped);
        let latest = entries.max_by_key(|(time, run)| (*time, run.folder.clone()));
        let (_, run) = latest.with_context(|| format!("{}: no run in there has stopped on its way", runs.display()))?;
        Ok(run)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    /// The model of the last epoch.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// There while the run is under way.
    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint.safetensors")
    }

    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_arguments(&self, arguments: &Arguments) -> Result<()> {
        let text = toml::to_string(arguments).context("settings that cannot be written as TOML")?;
        output::write_atomically(&self.folder.join(ARGUMENTS), Existing::Keep, text.as_bytes())
    }

    /// # Errors
    /// Names the file if it cannot be read or is another version's.
    pub fn arguments(&self) -> Result<Arguments> {
        let path = self.folder.join(ARGUMENTS);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}: not the settings of a run of this version", path.display()))
    }

    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_splits<'a>(&self, examples: impl Iterator<Item = Example<'a>>) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for example in examples {
            writer.serialize(example)?;
        }
        output::write_atomically(&self.folder.join("splits.csv"), Existing::Replace, &writer.into_inner()?)
    }

    /// Writes `results.csv` and the curves.
    ///
    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_history(&self, history: &[EpochReport]) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for report in history {
            writer.serialize(report)?;
        }
        let write =
            |name: &str, bytes: &[u8]| output::write_atomically(&self.folder.join(name), Existing::Replace, bytes);
        write("results.csv", &writer.into_inner()?)?;
        let chart = curves(history);
        let [svg, png] = CURVES;
        write(svg, chart.svg().as_bytes())?;
        write(png, &chart.png()?)
    }

    /// The run is done: what was for going on goes.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn finish(&self) -> Result<()> {
        let path = self.checkpoint();
        std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))
    }
}

/// Loss and accuracy over the epochs, in the folder of a run.
pub const CURVES: [&str; 2] = ["curves.svg", "curves.png"];
const ARGUMENTS: &str = "args.toml";
const TRAINING: &str = "training";
const VALIDATION: &str = "validation";

/// Loss and accuracy over the epochs, with a mark where the network begins to train.
fn curves(history: &[EpochReport]) -> Chart {
    let curve = |name: &str, value: fn(&EpochReport) -> f64| Curve {
        name: name.to_owned(),
        dashed: name == TRAINING,
        points: history.iter().map(|report| (report.epoch as f64, value(report))).collect(),
        ..Curve::default()
    };
    let begin = history.iter().find(|report| report.phase == Phase::Network && report.epoch > 1);
    let marks: Vec<Mark> = begin
        .map(|report| Mark { x: report.epoch as f64 - 0.5, label: "the network trains".to_owned() })
        .into_iter()
        .collect();
    let panel = |title: &str, y_percent, curves| Panel {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_percent,
        curves,
        marks: marks.clone(),
        ..Panel::default()
    };
    let loss = vec![curve(TRAINING, |report| report.loss), curve(VALIDATION, |report| report.val_loss)];
    let accuracy = vec![curve(TRAINING, |report| report.accuracy), curve(VALIDATION, |report| report.val_accuracy)];
    Chart { panels: vec![panel("Loss", false, loss), panel("Accuracy", true, accuracy)] }
}
