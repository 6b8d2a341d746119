//! One file from the hub into the cache: written beside its place, checked, and only then renamed into it.
//!
//! A file that broke off stays as `ETAG.incomplete` (huggingface_hub's name for it) and is continued by the next run
//! if its SHA-256 is known, for only then would a bad beginning be noticed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::cache::{Cache, create_parent};
use super::transport::{Remote, Transport};
use super::{Cause, Progress, Repository};
use crate::weights;

const PIECE_BYTES: usize = 256 * 1024;

/// Brings the file into its place among the blobs, unless it is there.
pub fn download(
    transport: &Transport,
    cache: &Cache,
    repository: &Repository,
    remote: &Remote,
    progress: Progress,
) -> Result<(), Cause> {
    let blob = cache.blob(repository, &remote.etag);
    if is_whole(&blob, remote) {
        return Ok(());
    }
    let _lock = cache.lock(repository, &remote.etag)?;
    // Another process may have brought it while this one waited.
    if is_whole(&blob, remote) {
        return Ok(());
    }
    let incomplete = blob.with_file_name(format!("{}.incomplete", remote.etag));
    if let Err(cause) = receive(transport, remote, &incomplete, progress) {
        let empty = fs::metadata(&incomplete).is_ok_and(|left| left.len() == 0);
        if empty || is_spoiled(&cause) {
            // Should it stay after all, the next run finds out again.
            let _ = fs::remove_file(&incomplete);
        }
        return Err(cause);
    }
    fs::rename(&incomplete, &blob).map_err(Cause::disk(&blob))
}

fn is_whole(blob: &Path, remote: &Remote) -> bool {
    fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == remote.size)
}

/// Whether what was received can't be continued.
fn is_spoiled(cause: &Cause) -> bool {
    const RANGE_NOT_SATISFIABLE: u16 = 416;
    match cause {
        Cause::WrongSize { .. } | Cause::WrongContent { .. } | Cause::NotAHub { .. } => true,
        Cause::Status { status, .. } => *status == RANGE_NOT_SATISFIABLE,
        _ => false,
    }
}

/// Fills `incomplete` and checks it: its size, and its SHA-256 where the hub states one.
fn receive(transport: &Transport, remote: &Remote, incomplete: &Path, progress: Progress) -> Result<(), Cause> {
    let disk = || Cause::disk(incomplete);
    let mut partial = Partial::open(incomplete, remote).map_err(disk())?;
    progress(partial.len, remote.size);
    if partial.len < remote.size {
        let (start, mut body) = transport.open(remote, partial.len)?;
        if start == 0 && partial.len > 0 {
            partial.restart().map_err(disk())?;
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(partial.broken_off(remote, &error.to_string())),
            };
            partial.push(&piece[..count]).map_err(disk())?;
            if partial.len > remote.size {
                return Err(Cause::WrongSize { found: partial.len, expected: remote.size });
            }
            progress(partial.len, remote.size);
        }
    }
    if partial.len < remote.size {
        return Err(partial.broken_off(remote, "the server closed it"));
    }
    partial.file.sync_all().map_err(disk())?;
    let found = partial.sha256();
    match remote.sha256() {
        Some(expected) if expected != found => Err(Cause::WrongContent { found, expected: expected.to_string() }),
        _ => Ok(()),
    }
}

/// The beginning of a file, and the digest of that beginning.
struct Partial {
    file: File,
    len: u64,
    digest: Sha256,
}

impl Partial {
    /// Takes up what an earlier run left, if the end of the download will tell whether it was good.
    fn open(path: &Path, remote: &Remote) -> io::Result<Self> {
        create_parent(path)?;
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let left = file.metadata()?.len();
        let mut partial = Self { file: file.try_clone()?, len: 0, digest: Sha256::new() };
        if left == 0 || left > remote.size || remote.sha256().is_none() {
            partial.restart()?;
            return Ok(partial);
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok(partial);
            }
            partial.digest.update(&piece[..count]);
            partial.len += count as u64;
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)?;
        self.len = 0;
        self.digest = Sha256::new();
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sha256(&self) -> String {
        weights::Digest::finish(self.digest.clone()).to_string()
    }

    fn broken_off(&self, remote: &Remote, found: &str) -> Cause {
        Cause::BrokenOff { received: self.len, total: remote.size, found: found.to_string() }
    }
}
