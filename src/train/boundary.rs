//! Activations in front of the first block that trains, computed once and kept on disk.
//!
//! A file that is appended to: a line of JSON that says what made the activations, then records of a
//! picture's SHA-256, the number of the view, the values and a checksum. Only the index is in memory: a
//! thousand pictures at block 13 are a gigabyte.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::source::{Picture, View};
use crate::features::Pipeline;
use crate::image::Augmentation;
use crate::network::FeatureExtractor;
use crate::weights::Digest;
use crate::xception::ensure_finite;
use crate::{batches, interrupt, output};

/// Length of a digest in hexadecimal.
const DIGEST: usize = 64;
/// Bytes of a view's number.
const VIEW: usize = 4;
/// Bytes of SHA-256 behind each record.
const CHECKSUM: usize = 8;

/// What makes activations the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub pipeline: Pipeline,
    /// The block that takes the activations.
    pub first_block: usize,
    pub augment: Augmentation,
    /// Of the augmentation; 0 without.
    pub seed: u64,
    /// The version of this program and what it computed on: others may round otherwise.
    pub computed_by: String,
}

/// A picture's digest and the number of its view.
type Key = (Digest, usize);

/// The open file.
#[derive(Debug)]
pub struct Boundary {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each picture's and view's record starts.
    index: HashMap<Key, u64>,
    end: u64,
    shape: [usize; 3],
}

impl Boundary {
    /// Opens the file for activations of `shape` [H,W,C], making it if need be. What was made by something
    /// else is begun anew.
    ///
    /// # Errors
    /// If the file cannot be written or another program is using it.
    pub fn open(path: &Path, origin: &Origin, shape: [usize; 3]) -> Result<Self> {
        let cannot = || format!("{}: cannot be written", path.display());
        let mut file = output::open_own(path)?;
        // Some network file systems have no locks; then nobody can be told apart.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("{}: another xcept is using it; wait for it to end", path.display());
        }
        let mut first_line = serde_json::to_vec(origin)?;
        first_line.push(b'\n');
        let (index, end) = read_index(&mut file, &first_line, record_size(shape)).with_context(cannot)?;
        // A record that was cut by the end of the program goes.
        file.set_len(end).with_context(cannot)?;
        let mut boundary = Self { path: path.to_owned(), file: Mutex::new(file), index, end, shape };
        if end == 0 {
            boundary.append(&first_line)?;
        }
        Ok(boundary)
    }

    /// Height, width and channels.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of a record.
    pub fn record_size(&self) -> u64 {
        record_size(self.shape)
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// The views of these pictures that are not there yet.
    pub fn missing(&self, pictures: &[Picture], view: &View) -> Vec<(Picture, usize)> {
        let views = 0..view.views.unwrap_or(0);
        let all = pictures.iter().flat_map(|picture| views.clone().map(move |view| (picture.clone(), view)));
        let mut seen = std::collections::HashSet::new();
        all.filter(|(picture, view)| {
            let key = (picture.sha256.clone(), *view);
            !self.index.contains_key(&key) && seen.insert(key)
        })
        .collect()
    }

    /// Computes what is missing; `done` hears of each batch by its number of pictures.
    ///
    /// # Errors
    /// If a picture can't be read any more, the file cannot be written, or the user interrupted: what was
    /// computed stays.
    pub fn fill(
        &mut self,
        missing: &[(Picture, usize)],
        view: &View,
        extractor: &FeatureExtractor,
        done: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let prepare = |(picture, number): &(Picture, usize)| view.apply(picture, *number, extractor);
        batches::for_each(missing, crate::network::batch_size(), prepare, |batch, prepared| {
            interrupt::check(|| "what was computed is kept and need not be computed again".to_owned())?;
            let prepared = prepared.into_iter().collect::<Result<Vec<_>>>()?;
            let pixels: Vec<&[f32]> = prepared.iter().map(Vec::as_slice).collect();
            let maps = extractor.forward(&pixels)?.flatten_from(1)?.to_vec2::<f32>()?;
            for ((picture, number), values) in batch.iter().zip(&maps) {
                ensure_finite("activations", values).with_context(|| picture.path.display().to_string())?;
                let start = self.end;
                self.append(&record(&picture.sha256, *number, values))?;
                self.index.insert((picture.sha256.clone(), *number), start);
            }
            done(batch.len());
            Ok(())
        })
    }

    /// # Errors
    /// If the record is missing, damaged or cannot be read.
    pub fn read(&self, sha256: &Digest, view: usize) -> Result<Vec<f32>> {
        let damaged = || format!("{}: damaged; delete it and run again", self.path.display());
        let start = self.index.get(&(sha256.clone(), view)).with_context(damaged)?;
        let mut bytes = vec![0; record_size(self.shape) as usize];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(*start)).with_context(damaged)?;
            file.read_exact(&mut bytes).with_context(damaged)?;
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        ensure!(Sha256::digest(content)[..CHECKSUM] == *checksum, damaged());
        Ok(content[DIGEST + VIEW..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let cannot =
            "cannot be written; make room, set XDG_CACHE_HOME to a larger disk, or --unfreeze from a later block";
        file.write_all(bytes).with_context(|| format!("{}: {cannot}", self.path.display()))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Bytes of a record of activations of this shape.
fn record_size(shape: [usize; 3]) -> u64 {
    (DIGEST + VIEW + shape.iter().product::<usize>() * size_of::<f32>() + CHECKSUM) as u64
}

fn record(sha256: &Digest, view: usize, values: &[f32]) -> Vec<u8> {
    let mut bytes = sha256.to_string().into_bytes();
    bytes.extend((view as u32).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(&checksum[..CHECKSUM]);
    bytes
}

/// Where the records start, and the length of what is whole; nothing if the first line is another.
fn read_index(file: &mut File, first_line: &[u8], record: u64) -> Result<(HashMap<Key, u64>, u64)> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 10, file);
    let (mut index, mut line) = (HashMap::new(), Vec::new());
    reader.read_until(b'\n', &mut line)?;
    if line != first_line {
        return Ok((index, 0));
    }
    let mut start = line.len() as u64;
    while start + record <= length {
        let mut key = [0; DIGEST + VIEW];
        reader.seek(SeekFrom::Start(start))?;
        reader.read_exact(&mut key)?;
        let (digest, view) = key.split_at(DIGEST);
        let digest = std::str::from_utf8(digest).ok().and_then(|digest| digest.parse().ok());
        let (Some(digest), Some(view)) = (digest, view.first_chunk()) else { break };
        index.insert((digest, u32::from_le_bytes(*view) as usize), start);
        start += record;
    }
    Ok((index, start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::pipeline;

    fn origin(first_block: usize) -> Origin {
        let computed_by = "this test".to_owned();
        Origin { pipeline: pipeline(), first_block, augment: Augmentation::NONE, seed: 0, computed_by }
    }

    fn put(boundary: &mut Boundary, name: &str, view: usize, values: &[f32]) {
        let (sha256, start) = (Digest::of_bytes(name.as_bytes()), boundary.end);
        boundary.append(&record(&sha256, view, values)).unwrap();
        boundary.index.insert((sha256, view), start);
    }

    #[test]
    fn what_was_kept_is_there_again_and_a_cut_record_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maps");
        let open = || Boundary::open(&path, &origin(13), [1, 1, 2]).unwrap();
        let mut boundary = open();
        put(&mut boundary, "a", 0, &[1.0, -2.5]);
        put(&mut boundary, "a", 1, &[3.0, 4.0]);
        drop(boundary);
        let length = path.metadata().unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let mut boundary = open();
        let a = Digest::of_bytes(b"a");
        assert_eq!(boundary.read(&a, 0).unwrap(), [1.0, -2.5]);
        assert!(boundary.read(&a, 1).is_err());
        put(&mut boundary, "a", 1, &[3.0, 4.0]);
        drop(boundary);
        assert_eq!(open().read(&a, 1).unwrap(), [3.0, 4.0]);
    }

    #[test]
    fn activations_of_another_origin_are_dropped_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maps");
        let mut boundary = Boundary::open(&path, &origin(13), [1, 1, 2]).unwrap();
        put(&mut boundary, "a", 0, &[1.0, 2.0]);
        drop(boundary);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - CHECKSUM - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let damaged = Boundary::open(&path, &origin(13), [1, 1, 2]).unwrap();
        let error = damaged.read(&Digest::of_bytes(b"a"), 0).unwrap_err().to_string();
        assert!(error.contains("maps: damaged"), "{error}");
        drop(damaged);
        let other = Boundary::open(&path, &origin(14), [1, 1, 2]).unwrap();
        assert!(other.index.is_empty());
    }
}
