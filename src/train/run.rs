//! The folder of a run: what was asked for, what came of it, and the models.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::cross_validation::Candidate;
use super::history::{EpochReport, Phase};
use crate::dataset::ClassLevel;
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
    /// Which folders are classes, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassLevel>,
    /// Of the pictures, their classes and parts; another one means other data.
    pub examples: Digest,
    /// The share of known pictures that the model takes for known unless the user says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_known: Option<f64>,
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

/// The folder of one run, which no other program trains meanwhile.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    /// Nothing where folders have no locks.
    _lock: Option<File>,
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
        if folder.join(ARGUMENTS).exists() {
            lock(&folder).context("--name")?;
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
        output::make_folder(runs)?;
        if let Some(name) = name {
            Self::refuse_taken(runs, name)?;
            let folder = runs.join(name);
            let taken = || format!("{}: holds another run or other files; choose another --name", folder.display());
            return Self::claim(&folder)?.with_context(taken);
        }
        let mut number = 1;
        loop {
            let name = if number == 1 { fallback.to_owned() } else { format!("{fallback}-{number}") };
            if let Some(run) = Self::claim(&runs.join(name))? {
                return Ok(run);
            }
            number += 1;
        }
    }

    /// Takes a folder for a new run: one that did not exist, or in which a run was stopped before it began. Nothing if
    /// the folder is another's, who may have been faster by a moment: of two that find no folder only one makes it, of
    /// two that find an unused one only one gets the lock.
    fn claim(folder: &Path) -> Result<Option<Self>> {
        let is_new = match fs::create_dir(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            made => made.map(|()| true).with_context(|| format!("{}: cannot be made", folder.display()))?,
        };
        let Ok(lock) = lock(folder) else { return Ok(None) };
        let is_free = is_new || (lock.is_some() && is_unused(folder));
        // Whoever was faster may have ended by now.
        let is_free = is_free && !folder.join(ARGUMENTS).exists();
        Ok(is_free.then(|| Self { folder: folder.to_owned(), _lock: lock }))
    }

    /// An earlier run: a folder, or the name of one in `runs`; nothing for the one that stopped last.
    ///
    /// # Errors
    /// If there is no such run, or another program is training it.
    pub fn find(runs: &Path, name: &str) -> Result<Self> {
        let open = |folder: PathBuf| Ok(Self { _lock: lock(&folder)?, folder });
        if !name.is_empty() {
            let folder = [PathBuf::from(name), runs.join(name)].into_iter().find(|f| f.join(ARGUMENTS).is_file());
            return open(folder.with_context(|| format!("{name}: no run; expected a folder with {ARGUMENTS} in it"))?);
        }
        let stopped = |entry: std::io::Result<fs::DirEntry>| {
            let folder = entry.ok()?.path();
            Some((folder.join(CHECKPOINT).metadata().ok()?.modified().ok()?, folder))
        };
        let mut stopped: Vec<_> = fs::read_dir(runs).into_iter().flatten().filter_map(stopped).collect();
        stopped.sort();
        let latest = || stopped.iter().rev().map(|(_, folder)| open(folder.clone()));
        // One that is being trained has not stopped.
        let found = latest().find(Result::is_ok).or_else(|| latest().next());
        found.with_context(|| format!("{}: no run in there has stopped on its way", runs.display()))?
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
        self.folder.join(CHECKPOINT)
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
        let text = fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{}: not the settings of a run of this version", path.display()))
    }

    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_splits<'a>(&self, examples: impl Iterator<Item = Example<'a>>) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for example in examples {
            writer.serialize(example)?;
        }
        output::write_atomically(&self.folder.join(SPLITS), Existing::Own, &writer.into_inner()?)
    }

    /// Writes `cross_validation.csv`, a row for each candidate.
    ///
    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_candidates(&self, candidates: &[Candidate]) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for candidate in candidates {
            writer.serialize(candidate)?;
        }
        let path = self.folder.join("cross_validation.csv");
        output::write_atomically(&path, Existing::Own, &writer.into_inner()?)
    }

    /// Writes `results.csv` and, of a run that trained by epochs, the curves.
    ///
    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write_history(&self, history: &[EpochReport]) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for report in history {
            writer.serialize(report)?;
        }
        let write = |name: &str, bytes: &[u8]| output::write_atomically(&self.folder.join(name), Existing::Own, bytes);
        write("results.csv", &writer.into_inner()?)?;
        // A head that was solved has no curve.
        if history.len() == 1 && history[0].learning_rate == 0.0 {
            return Ok(());
        }
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
        match fs::remove_file(&path) {
            // A head that was solved needed none.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("{}: cannot be removed", path.display())),
        }
    }
}

/// Loss and accuracy over the epochs, in the folder of a run.
pub const CURVES: [&str; 2] = ["curves.svg", "curves.png"];
const ARGUMENTS: &str = "args.toml";
const SPLITS: &str = "splits.csv";
const CHECKPOINT: &str = "checkpoint.safetensors";
const TRAINING: &str = "training";
const VALIDATION: &str = "validation";

/// Locks the folder of a run for as long as the value lives, or the program. Nothing is left behind: the folder itself
/// is locked. Windows opens none, and some network file systems have no locks; then nobody can be told apart.
fn lock(folder: &Path) -> Result<Option<File>> {
    let Ok(handle) = File::open(folder) else { return Ok(None) };
    match handle.try_lock() {
        Ok(()) => Ok(Some(handle)),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another xcept is training this run; wait for it to end", folder.display())
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether this is a folder, no link to one, with nothing in it but what a run writes before it begins.
fn is_unused(folder: &Path) -> bool {
    let is_early = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            let name = entry.file_name();
            name == SPLITS || name.as_encoded_bytes().starts_with(output::TEMPORARY.as_bytes())
        })
    };
    !folder.is_symlink() && fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_early))
}

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
