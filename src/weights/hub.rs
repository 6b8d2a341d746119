//! Weights from the Hugging Face hub: from the cache on the disk, else downloaded into it.
//!
//! The cache is the one that every Hugging Face tool shares, so a file that Python downloaded is found here and the
//! other way round. A file reaches its place in the cache only after its size and, where the hub states one, its
//! SHA-256 have been checked; `hf-hub`, which checks neither, does not download but knows addresses and the cache's
//! layout. Nothing here writes to the terminal.
//! Source: huggingface_hub's guide "Understand caching" and its `file_download.py`.

// Without the feature there is only the cache.
#![cfg_attr(not(feature = "hub"), allow(dead_code))]

mod cache;
#[cfg(feature = "hub")]
mod download;
mod repository;
mod settings;
#[cfg(feature = "hub")]
mod transport;
mod unavailable;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use self::cache::Cache;
pub use self::repository::{InvalidRepository, Repository};
use self::settings::Settings;
#[cfg(feature = "hub")]
use self::settings::Token;
#[cfg(feature = "hub")]
use self::transport::{Remote, Transport};
pub use self::unavailable::{Cause, Unavailable};

/// The 1,000-class ImageNet model of timm: the weights that `--model auto` looks for.
pub const IMAGENET: &str = "timm/legacy_xception.tf_in1k";

/// Called after each piece of a download, on the thread that called [`Hub::fetch`], with the bytes on the disk (those of
/// an earlier, interrupted run included) and the bytes of the whole file.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// Called with what the user should know of a download.
pub type Note = dyn Fn(&str) + Send + Sync;

/// The hub as the environment describes it: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
#[derive(Clone)]
pub struct Hub {
    settings: Settings,
    cache: Cache,
    /// The file that names what is asked for, where the user does not.
    named_by: Option<String>,
    note: Arc<Note>,
    /// A repository's several files need one note.
    noted: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// A hub that reads the cache only if `offline` (the flag `--offline`) or `HF_HUB_OFFLINE` says so.
    pub fn new(offline: bool, note: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let settings = Settings::from_environment();
        let cache = Cache::new(settings.cache_dir.clone());
        let hub = Self { settings, cache, named_by: None, note: Arc::new(note), noted: Arc::default() };
        if offline { hub.offline("--offline") } else { hub }
    }

    /// The same hub, which reads the cache only; `switch` is what forbids the network, for messages.
    pub fn offline(mut self, switch: &'static str) -> Self {
        self.settings.offline = Some(switch);
        self
    }

    /// The same hub for a repository that `file` names and the user does not: it gets no token, and a download is noted.
    pub fn named_by(&self, file: impl std::fmt::Display) -> Self {
        Self { named_by: Some(file.to_string()), ..self.clone() }
    }

    /// The folder of the cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub fn cache_dir() -> PathBuf {
        Settings::from_environment().cache_dir
    }

    /// Path of `file` in the cache if it is there already; never touches the network.
    pub fn cached(&self, repository: &Repository, file: &str) -> Option<PathBuf> {
        self.cache.find(repository, file)
    }

    /// Path of `file`, from the cache without asking the hub if it is there, else downloaded.
    ///
    /// # Errors
    /// [`Unavailable`] if the file is not in the cache and can't be downloaded whole.
    pub fn fetch(&self, repository: &Repository, file: &str, progress: Progress) -> Result<PathBuf, Unavailable> {
        match self.cached(repository, file) {
            Some(path) => Ok(path),
            None => self.update(repository, file, progress),
        }
    }

    /// Path of `file` as the hub has it now: asks the hub even if the cache has a file, downloads only what changed.
    ///
    /// # Errors
    /// [`Unavailable`] if the hub can't be asked or the file can't be downloaded whole; the cache then still has the
    /// file that it had.
    fn update(&self, repository: &Repository, file: &str, progress: Progress) -> Result<PathBuf, Unavailable> {
        self.try_update(repository, file, progress).map_err(|cause| Unavailable {
            repository: repository.to_string(),
            file: file.to_string(),
            endpoint: self.settings.endpoint.clone(),
            cause: Box::new(cause),
        })
    }

    fn try_update(&self, repository: &Repository, file: &str, progress: Progress) -> Result<PathBuf, Cause> {
        if let Some(switch) = self.settings.offline {
            return Err(Cause::Offline { switch, cache: self.settings.cache_dir.clone() });
        }
        self.download(repository, file, progress)
    }

    #[cfg(feature = "hub")]
    fn download(&self, repository: &Repository, file: &str, progress: Progress) -> Result<PathBuf, Cause> {
        let (transport, remote) = self.locate(repository, file)?;
        download::download(&transport, &self.cache, repository, &remote, progress)?;
        self.cache.publish(repository, file, &remote.commit, &remote.etag)
    }

    /// What `file` is on the hub, and a client that gets it: with the token, or without where the hub refuses the token
    /// and the repository needs none.
    #[cfg(feature = "hub")]
    fn locate(&self, repository: &Repository, file: &str) -> Result<(Transport, Remote), Cause> {
        let locate = |token: Option<&Token>| -> Result<_, Cause> {
            let transport = Transport::new(&self.settings, repository, token)?;
            let remote = transport.metadata(file)?;
            Ok((transport, remote))
        };
        let (id, token) = (repository.id(), self.settings.token.as_ref());
        if let Some(named_by) = &self.named_by {
            let found = match (locate(None), token) {
                (Err(cause), Some(_)) => return Err(cause.without_token(named_by)),
                (found, _) => found?,
            };
            let without = if token.is_some() { ", without the token" } else { "" };
            let endpoint = &self.settings.endpoint;
            self.note(format!("{named_by} names {id}: downloading it from {endpoint}{without}"));
            return Ok(found);
        }
        let (refused, token, fault) = match (locate(token), token) {
            (Err(refused), Some(token)) => match refused.fault_of_token() {
                Some(fault) => (refused, token, fault),
                None => return Err(refused),
            },
            (found, _) => return found,
        };
        let found = match locate(None) {
            Err(cause) if cause.fault_of_token().is_some() => return Err(refused),
            found => found?,
        };
        let origin = &token.origin;
        self.note(format!("the token of {origin} is {fault}: downloading {id} without it, as it is public"));
        Ok(found)
    }

    #[cfg(feature = "hub")]
    fn note(&self, text: String) {
        // Whoever panicked while holding it has left the list whole.
        let mut noted = self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !noted.contains(&text) {
            (self.note)(&text);
            noted.push(text);
        }
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, _: &Repository, _: &str, _: Progress) -> Result<PathBuf, Cause> {
        Err(Cause::NotBuiltIn)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("settings", &self.settings)
            .field("named_by", &self.named_by)
            .finish_non_exhaustive()
    }
}
