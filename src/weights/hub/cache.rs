//! The cache on the disk, in the layout that every Hugging Face tool uses and that `hf-hub` knows.
//!
//! ```text
//! models--OWNER--REPO/refs/main                      the commit that main was
//! models--OWNER--REPO/snapshots/COMMIT/FILE          a symbolic link to the blob
//! models--OWNER--REPO/blobs/ETAG[.incomplete]        the bytes
//! .locks/models--OWNER--REPO/ETAG.lock               held while the blob is written
//! ```
//!
//! What is written here is put in place at once. `hf-hub`'s own `create_ref` empties the file first, which another
//! process may read just then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::CacheRepo;

use super::{Cause, Repository};

/// The folder that holds the cache.
#[derive(Debug, Clone)]
pub struct Cache {
    files: hf_hub::Cache,
}

impl Cache {
    pub fn new(dir: PathBuf) -> Self {
        Self { files: hf_hub::Cache::new(dir) }
    }

    /// Path of `file` if the cache has it at the repository's revision.
    pub fn find(&self, repository: &Repository, file: &str) -> Option<PathBuf> {
        let files = self.of(repository);
        let path = match repository.commit() {
            Some(commit) => files.pointer_path(commit).join(file),
            None => files.get(file)?,
        };
        path.is_file().then_some(path)
    }

    /// Waits until no other process writes the blob with this ETag; the lock ends with the value, or the process.
    pub fn lock(&self, repository: &Repository, etag: &str) -> Result<File, Cause> {
        let folder = self.files.path().join(".locks").join(repository.on_hub().folder_name());
        let path = folder.join(format!("{etag}.lock"));
        let lock = || {
            create_parent(&path)?;
            let file = File::options().create(true).append(true).open(&path)?;
            match file.lock() {
                // Some network file systems have no locks; the check of the content still stands.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
                locked => locked.map(|()| file),
            }
        };
        lock().map_err(Cause::disk(&path))
    }

    /// Where the bytes with this ETag are kept.
    #[cfg(feature = "hub")]
    pub fn blob(&self, repository: &Repository, etag: &str) -> PathBuf {
        self.of(repository).blob_path(etag)
    }

    /// Makes a whole blob known as `file` of `commit`, and `commit` as the repository's revision.
    ///
    /// The revision comes last: whoever reads it finds the file.
    #[cfg(feature = "hub")]
    pub fn publish(&self, repository: &Repository, file: &str, commit: &str, etag: &str) -> Result<PathBuf, Cause> {
        let pointer = self.of(repository).pointer_path(commit).join(file);
        let up = "../".repeat(2 + file.matches('/').count());
        let blob = self.blob(repository, etag);
        replace(&pointer, |new| link(&format!("{up}blobs/{etag}"), &blob, new)).map_err(Cause::disk(&pointer))?;
        if repository.commit().is_none() {
            let reference = self.reference(repository);
            replace(&reference, |new| fs::write(new, commit)).map_err(Cause::disk(&reference))?;
        }
        Ok(pointer)
    }

    fn of(&self, repository: &Repository) -> CacheRepo {
        self.files.repo(repository.on_hub())
    }

    fn reference(&self, repository: &Repository) -> PathBuf {
        let repo = repository.on_hub();
        self.files.path().join(repo.folder_name()).join("refs").join(repo.revision())
    }
}

pub fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Puts what `make` writes in the place of `path` at once, so that no reader sees half of it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    create_parent(path)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = path.with_file_name(name);
    // A process with the same number may have been killed here.
    let _ = fs::remove_file(&new);
    let done = make(&new).and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        let _ = fs::remove_file(&new);
    }
    done
}

/// A symbolic link, or a copy where there can be none.
fn link(target: &str, blob: &Path, new: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if std::os::unix::fs::symlink(target, new).is_ok() {
        return Ok(());
    }
    #[cfg(not(unix))]
    let _ = target;
    fs::copy(blob, new).map(drop)
}
