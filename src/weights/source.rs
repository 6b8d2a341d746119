//! What a user may write where weights are asked for, and where it leads.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use super::{Bundled, Checkpoint, hub, load};

/// Extensions of weights files, to tell a mistyped file name from a repository's.
const EXTENSIONS: [&str; 7] = ["safetensors", "keras", "h5", "hdf5", "pth", "pt", "bin"];
/// The file that a repository holds its weights in.
const HUB_FILE: &str = "model.safetensors";

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
    /// [`hub::Unavailable`] if they can't be had from the hub; otherwise as [`load`].
    pub fn load(&self, hub: &hub::Hub, progress: hub::Progress) -> Result<Checkpoint> {
        if let Source::Bundled(name) = self {
            return Bundled::find(name).context("not in this build")?.load();
        }
        let path = self.path(hub, progress)?.context("weights without a file")?;
        let mut checkpoint = load(&path)?;
        if let Source::Hub(repository) = self {
            checkpoint.origin = repository.to_string();
        }
        Ok(checkpoint)
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
            Source::Hub(repository) => Some(hub.fetch(repository, HUB_FILE, progress)?),
            Source::File(path) => Some(path.clone()),
        })
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
            bail!("{text}: is a folder, expected a weights file");
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
