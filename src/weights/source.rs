//! What a user may write where weights are asked for, and where it leads.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use super::config::{self, Config};
use super::hub::{Cause, Hub, Repository, Unavailable};
use super::{Assumed, Bundled, Checkpoint, Given, hub, load_given};
use crate::convention::Convention;

/// Extensions of weights files, to tell a mistyped file name from a repository's.
const EXTENSIONS: [&str; 7] = ["safetensors", "keras", "h5", "hdf5", "pth", "pt", "bin"];
/// The file that a repository holds its weights in.
const HUB_FILE: &str = "model.safetensors";
/// Names that weights have in a repository, where a `config.json` beside them is theirs.
const REPOSITORY_FILES: [&str; 2] = [HUB_FILE, "pytorch_model.bin"];

/// A place that weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file inside the binary, by its name.
    Bundled(&'static str),
    /// A repository on the Hugging Face hub.
    Hub(hub::Repository),
    File(PathBuf),
}

impl Source {
    pub fn imagenet() -> Result<Self> {
        Ok(Source::Hub(hub::IMAGENET.parse()?))
    }

    /// Whether other machines can get the same weights by this source's name.
    pub fn is_portable(&self) -> bool {
        !matches!(self, Source::File(_))
    }

    /// Loads the weights, downloading them if need be with `progress` (bytes done, in all).
    ///
    /// # Errors
    /// [`hub::Unavailable`] if they can't be had from the hub; otherwise as [`super::load`].
    pub fn load(&self, hub: &hub::Hub, progress: hub::Progress) -> Result<Checkpoint> {
        self.load_given(hub, progress, &Given::default())
    }

    /// [`Self::load`] with what is known of weights that do not say it.
    ///
    /// # Errors
    /// As [`Self::load`], and if what is given does not fit the weights.
    pub fn load_given(&self, hub: &hub::Hub, progress: hub::Progress, given: &Given) -> Result<Checkpoint> {
        given.apply(self.load_described(hub, progress, given)?)
    }

    /// The weights with what is said of them beside them.
    fn load_described(&self, hub: &hub::Hub, progress: hub::Progress, given: &Given) -> Result<Checkpoint> {
        if let Source::Bundled(name) = self {
            return Bundled::find(name).context("not in this build")?.load();
        }
        let path = self.path(hub, progress)?.context("weights without a file")?;
        let loaded = load_given(&path, given);
        if loaded.as_ref().is_ok_and(|checkpoint| checkpoint.is_described) {
            return Ok(self.named(loaded?));
        }
        let (file, note) = self.config(hub, &path);
        let Some(file) = file else {
            let mut checkpoint = self.named(loaded?);
            if note.is_some() {
                checkpoint.assumed = Assumed::default(); // the note says it
            }
            checkpoint.notes.extend(note);
            return Ok(checkpoint);
        };
        if matches!(self, Source::File(_)) && !is_repository_file(&path) {
            return Ok(self.perhaps_described(loaded?, &file));
        }
        let config = Config::read(&file)?;
        // What it says tells more than the first tensor that does not fit.
        config.check_architecture().with_context(|| self.to_string())?;
        let mut checkpoint = self.named(loaded?);
        let description = config.describe(&checkpoint, true).with_context(|| format!("{self}: {}", config::FILE))?;
        description.apply(&mut checkpoint);
        Ok(checkpoint)
    }

    /// A file of any name with what the `config.json` beside it says, which may be about something else: what can't be
    /// followed is ignored, with a note.
    fn perhaps_described(&self, mut checkpoint: Checkpoint, file: &Path) -> Checkpoint {
        // timm's files are of PyTorch.
        if checkpoint.metadata.convention != Convention::Timm {
            return checkpoint;
        }
        let describe = || {
            let config = Config::read(file)?;
            config.check_architecture()?;
            config.describe(&checkpoint, false)
        };
        match describe() {
            Ok(description) => {
                let said = description.what().map(|what| format!("{self}: {what} from the {} beside it", config::FILE));
                description.apply(&mut checkpoint);
                checkpoint.notes.extend(said);
            }
            Err(error) => {
                checkpoint.notes.push(format!("{self}: ignored the {} beside it: {error:#}", config::FILE));
            }
        }
        checkpoint
    }

    /// A checkpoint of this source, with what is known of it by its name.
    fn named(&self, mut checkpoint: Checkpoint) -> Checkpoint {
        if let Source::Hub(repository) = self {
            checkpoint.origin = repository.to_string();
            if let (false, Some(head)) = (checkpoint.is_described, &mut checkpoint.metadata.head)
                && !(is_imagenet(repository) && head.name_imagenet())
            {
                head.name.clone_from(&repository.name);
            }
            if is_imagenet(repository) {
                checkpoint.assumed = Assumed::default();
            }
        }
        checkpoint
    }

    /// The `config.json` beside the weights at `path`, and a note where there may be one that can't be had.
    fn config(&self, hub: &Hub, path: &Path) -> (Option<PathBuf>, Option<String>) {
        match self {
            Source::Bundled(_) => (None, None),
            Source::File(_) => (Some(path.with_file_name(config::FILE)).filter(|file| file.is_file()), None),
            Source::Hub(repository) => match fetch_config(hub, repository, path) {
                Ok(path) => (path, None),
                Err(Unavailable { cause, .. }) => {
                    let note = format!(
                        "{repository}: its {} can't be had ({cause}), so class names and preprocessing are timm's defaults",
                        config::FILE
                    );
                    (None, Some(note))
                }
            },
        }
    }

    /// Whether loading needs no network: bundled, a file, or in the hub's cache.
    pub fn is_local(&self, hub: &hub::Hub) -> bool {
        match self {
            Source::Hub(repository) => hub.cached(repository, HUB_FILE).is_some(),
            Source::Bundled(_) | Source::File(_) => true,
        }
    }

    /// The downloaded file, or the file itself; none for what is inside the binary.
    ///
    /// # Errors
    /// [`hub::Unavailable`] if it can't be had from the hub.
    pub fn path(&self, hub: &hub::Hub, progress: hub::Progress) -> Result<Option<PathBuf>> {
        Ok(match self {
            Source::Bundled(_) => None,
            Source::Hub(repository) => {
                let path = hub.fetch(repository, HUB_FILE, progress)?;
                // For a later run without a network; loading says where it can't be had.
                let _ = fetch_config(hub, repository, &path);
                Some(path)
            }
            Source::File(path) => Some(path.clone()),
        })
    }
}

fn is_repository_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| REPOSITORY_FILES.iter().any(|file| name == *file))
}

/// Whether a repository holds timm's 1,000 classes of ImageNet, whatever its revision.
fn is_imagenet(repository: &Repository) -> bool {
    repository.id() == hub::IMAGENET
}

/// The `config.json` of the commit whose weights lie at `weights` in the cache; none where the repository has none.
///
/// # Errors
/// If it is not in the cache and can't be downloaded.
fn fetch_config(hub: &Hub, repository: &Repository, weights: &Path) -> Result<Option<PathBuf>, Unavailable> {
    if is_imagenet(repository) {
        return Ok(None); // all that it says is known here
    }
    // `main` may have moved on since the weights were downloaded.
    let snapshot = weights.parent().unwrap_or(Path::new(""));
    let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
    let pinned = format!("{}@{commit}", repository.id()).parse();
    let repository = pinned.as_ref().unwrap_or(repository);
    if let Some(path) = hub.cached(repository, config::FILE) {
        return Ok(Some(path));
    }
    // Where huggingface_hub, too, remembers what a commit has not.
    let absent = snapshot.parent().and_then(Path::parent).map(|folder| folder.join(".no_exist").join(&*commit));
    if absent.as_ref().is_some_and(|folder| folder.join(config::FILE).is_file()) {
        return Ok(None);
    }
    match hub.fetch(repository, config::FILE, &|_, _| ()) {
        Ok(path) => Ok(Some(path)),
        Err(error) if matches!(*error.cause, Cause::NoFile { .. } | Cause::NotFound) => {
            if let Some(folder) = absent {
                // Without it the hub is asked again next time.
                let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(config::FILE), b""));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(bundled) = Bundled::find(text) {
            return Ok(Source::Bundled(bundled.name));
        }
        let path = PathBuf::from(text);
        if path.is_file() {
            return Ok(Source::File(path));
        }
        if text == "imagenet" {
            return Self::imagenet();
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            bail!("{text}: {}", folder(&path));
        }
        if EXTENSIONS.contains(&extension) || !text.contains('/') {
            bail!(
                "{text}: no such file; expected a weights file, OWNER/REPO on the hub, imagenet{}",
                super::BUNDLED.iter().map(|bundled| format!(", {}", bundled.name)).collect::<String>()
            );
        }
        Ok(Source::Hub(text.parse()?))
    }
}

/// What a folder is in the place of a weights file, and what to do.
pub(super) fn folder(path: &Path) -> String {
    let holds = |name: &str| path.join(name).exists();
    if holds("saved_model.pb") || holds("saved_model.pbtxt") {
        return "is a TensorFlow SavedModel, which is a program, not weights by layer; load it where it was made and save \
                it with model.save(\"model.keras\"), or model.save_weights(\"model.weights.h5\")"
            .to_owned();
    }
    match [HUB_FILE, "pytorch_model.bin", "model.weights.h5"].into_iter().find(|name| holds(name)) {
        Some(name) => format!("is a folder, expected a weights file; pass {}", path.join(name).display()),
        None => "is a folder, expected a weights file".to_owned(),
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Bundled(name) => f.write_str(name),
            Source::Hub(repository) if repository.to_string() == hub::IMAGENET => f.write_str("imagenet"),
            Source::Hub(repository) => write!(f, "{repository}"),
            Source::File(path) => write!(f, "{}", path.display()),
        }
    }
}
