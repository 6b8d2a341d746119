//! Files being written: each has a temporary name beside its place, `.xcept-` and six letters, until it is complete.
//!
//! All of them are in one list, so that a signal can end the program at once and leave none behind ([`settle_all`]).
//! Only `kill -9` and a power cut leave one; it may be deleted.

use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, PersistError};

use super::{Existing, folder_of, with_ending};

/// How temporary names begin.
pub const TEMPORARY: &str = ".xcept-";

/// Held for as long as it takes to make or to rename a file, never while one is written.
static BEING_WRITTEN: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    key: u64,
    file: NamedTempFile,
    target: PathBuf,
    existing: Existing,
    /// Bytes at the beginning that are worth keeping if nothing follows.
    kept: u64,
}

/// A file being written; dropped, it is deleted.
pub struct Temporary {
    key: u64,
    file: File,
}

impl Temporary {
    /// Makes the file beside `target`, as readable as any new file: the user's umask takes away what it should.
    pub fn create(target: PathBuf, existing: Existing) -> io::Result<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut entries = entries();
        let named = builder.tempfile_in(folder_of(&target))?;
        let file = named.as_file().try_clone()?;
        let key = KEYS.fetch_add(1, Ordering::Relaxed);
        entries.push(Entry { key, file: named, target, existing, kept: 0 });
        Ok(Self { key, file })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// From now on the first `bytes` are kept, whatever happens.
    pub fn keep(&self, bytes: u64) {
        if let Some(entry) = entries().iter_mut().find(|entry| entry.key == self.key) {
            entry.kept = bytes;
        }
    }

    /// Renames the file, all of it being there.
    pub fn persist(self) -> io::Result<()> {
        self.file.sync_all()?;
        let mut entries = entries();
        take(&mut entries, self.key).map_or(Ok(()), Entry::place)
    }

    /// Renames what is to be kept, if anything is.
    pub fn settle(self) -> io::Result<()> {
        // The disk may be full: what is on it counts.
        let _ = self.file.sync_all();
        let mut entries = entries();
        take(&mut entries, self.key).map_or(Ok(()), |entry| entry.settle().map(drop))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        take(&mut entries(), self.key);
    }
}

impl Entry {
    fn place(self) -> io::Result<()> {
        let placed = match self.existing {
            Existing::Replace | Existing::Own => self.file.persist(&self.target),
            Existing::Keep => self.file.persist_noclobber(&self.target),
        };
        match placed {
            // Hours of work are not lost to whoever took the name meanwhile.
            Err(PersistError { error, file }) if self.kept > 0 && error.kind() == io::ErrorKind::AlreadyExists => {
                let other = with_ending(&self.target, ".partial");
                file.persist_noclobber(&other).map_err(|error| error.error)?;
                let text = format!("another program has made it meanwhile; the results are in {}", other.display());
                Err(io::Error::new(error.kind(), text))
            }
            placed => placed.map(drop).map_err(|error| error.error),
        }
    }

    /// Places what is to be kept, and returns where; nothing if nothing is.
    fn settle(self) -> io::Result<Option<PathBuf>> {
        if self.kept == 0 {
            return Ok(None);
        }
        self.file.as_file().set_len(self.kept)?;
        let target = self.target.clone();
        self.place().map(|()| Some(target))
    }
}

/// Deletes all files that are being written, but keeps of each what is to be kept; returns those. No other can be begun
/// or finished afterwards: the program must end.
pub fn settle_all() -> Vec<PathBuf> {
    let mut entries = entries();
    let settled = entries.drain(..).filter_map(|entry| entry.settle().ok().flatten()).collect();
    mem::forget(entries);
    settled
}

/// Passes if a file can be made in `folder`. Only the system knows for sure what it permits.
pub fn probe(folder: &Path) -> io::Result<()> {
    // On some file systems the file has a name for a moment.
    let _entries = entries();
    tempfile::tempfile_in(folder).map(drop)
}

fn entries() -> MutexGuard<'static, Vec<Entry>> {
    BEING_WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(entries: &mut Vec<Entry>, key: u64) -> Option<Entry> {
    let index = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.swap_remove(index))
}
