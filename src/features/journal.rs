//! What a run has computed so far, so that a killed one loses at most the batch in hand.
//!
//! A file beside the output, appended to after every batch: a line of JSON with the pipeline, then
//! records of a picture's SHA-256, its values and a checksum. A record cut by the end of the
//! program is found by its checksum and dropped.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::Pipeline;
use crate::output;
use crate::weights::Digest;

/// Bytes of SHA-256 behind each record.
const CHECKSUM: usize = 8;
/// Length of a digest in hexadecimal.
const DIGEST: usize = 64;

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal beside the file of `features` and reads what an earlier run of the same pipeline left.
    /// What is no such journal is begun anew only with `overwrite`.
    ///
    /// # Errors
    /// If the file cannot be written, another program is writing it, or it holds something else.
    pub fn open(features: &Path, pipeline: &Pipeline, overwrite: bool) -> Result<(Self, HashMap<Digest, Vec<f32>>)> {
        let path = output::with_ending(features, ".partial");
        let cannot = || format!("{}: cannot be written", path.display());
        let mut file = output::open_own(&path)?;
        // Some network file systems have no locks; then nobody can be told apart.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            bail!("{}: another xcept is writing {}; wait for it to end", path.display(), features.display());
        }
        let (rows, valid) = read(&mut file, pipeline).with_context(cannot)?;
        let is_empty = file.metadata().with_context(cannot)?.len() == 0;
        ensure!(
            valid > 0 || is_empty || overwrite,
            "{}: was left by a run with other weights or preprocessing; repeat that run, or pass --overwrite to drop it",
            path.display()
        );
        file.set_len(valid).with_context(cannot)?;
        if valid == 0 {
            file.write_all(&first_line(pipeline)?).with_context(cannot)?;
        }
        Ok((Self { path, file }, rows))
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append<'a>(&mut self, rows: impl Iterator<Item = (&'a Digest, &'a [f32])>) -> Result<()> {
        let mut bytes = Vec::new();
        for (digest, values) in rows {
            let start = bytes.len();
            bytes.extend(digest.to_string().bytes());
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            let checksum = Sha256::digest(&bytes[start..]);
            bytes.extend(&checksum[..CHECKSUM]);
        }
        self.file.write_all(&bytes).with_context(|| format!("{}: cannot be written", self.path.display()))
    }

    /// Removes the journal: its rows are in the output now.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("{}: cannot be removed", self.path.display()))
    }
}

fn first_line(pipeline: &Pipeline) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(pipeline)?;
    line.push(b'\n');
    Ok(line)
}

/// The rows of the journal and the length of its valid part, 0 if it is not this pipeline's.
fn read(file: &mut File, pipeline: &Pipeline) -> Result<(HashMap<Digest, Vec<f32>>, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut rows, mut line) = (HashMap::new(), Vec::new());
    reader.read_until(b'\n', &mut line)?;
    let found: Option<Pipeline> = serde_json::from_slice(&line).ok().filter(|_| line.ends_with(b"\n"));
    if found.is_none_or(|found| pipeline.ensure_same(&found).is_err()) {
        return Ok((rows, 0));
    }
    let mut valid = line.len() as u64;
    let values = DIGEST..DIGEST + pipeline.row_elements() * size_of::<f32>();
    let mut record = vec![0; values.end + CHECKSUM];
    while reader.read_exact(&mut record).is_ok() {
        let (content, checksum) = record.split_at(values.end);
        let digest = std::str::from_utf8(&content[..DIGEST]).ok().and_then(|digest| digest.parse().ok());
        let Some(digest) = digest.filter(|_| Sha256::digest(content)[..CHECKSUM] == *checksum) else { break };
        let numbers = content[values.clone()].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        rows.insert(digest, numbers.collect());
        valid += record.len() as u64;
    }
    Ok((rows, valid))
}

#[cfg(test)]
mod tests {
    use super::super::testing::pipeline;
    use super::*;

    fn open(output: &Path) -> (Journal, HashMap<Digest, Vec<f32>>) {
        Journal::open(output, &pipeline(), false).unwrap()
    }

    fn append(journal: &mut Journal, name: &str) -> Digest {
        let (digest, values) = (Digest::of_bytes(name.as_bytes()), vec![name.len() as f32; 2048]);
        journal.append([(&digest, values.as_slice())].into_iter()).unwrap();
        digest
    }

    #[test]
    fn a_record_cut_in_the_middle_is_dropped_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("f.npz");
        let (mut journal, rows) = open(&output);
        assert!(rows.is_empty());
        let first = append(&mut journal, "first");
        append(&mut journal, "second");
        journal.file.set_len(journal.file.metadata().unwrap().len() - 3).unwrap();
        drop(journal);

        let (mut journal, rows) = open(&output);
        assert_eq!(rows, HashMap::from([(first.clone(), vec![5.0; 2048])]));
        let third = append(&mut journal, "third one");
        drop(journal);
        assert_eq!(open(&output).1, HashMap::from([(first, vec![5.0; 2048]), (third, vec![9.0; 2048])]));
    }

    #[test]
    fn a_changed_record_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("f.npz");
        append(&mut open(&output).0, "first");
        let path = folder.path().join("f.npz.partial");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(open(&output).1.is_empty());
    }

    #[test]
    fn a_journal_of_another_pipeline_is_dropped_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("f.npz");
        append(&mut open(&output).0, "first");
        let mut other = pipeline();
        other.preprocessing.size = 150;
        let error = Journal::open(&output, &other, false).unwrap_err().to_string();
        assert!(error.contains("f.npz.partial") && error.contains("--overwrite"), "{error}");
        assert!(Journal::open(&output, &other, true).unwrap().1.is_empty());
    }

    #[test]
    fn two_programs_do_not_write_the_same_journal() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("f.npz");
        let _first = open(&output);
        let error = Journal::open(&output, &pipeline(), false).unwrap_err().to_string();
        assert!(error.contains("another xcept"), "{error}");
    }
}
