//! Features of a folder's pictures, kept between commands: what extraction, training or an earlier evaluation has
//! computed is not computed again.
//!
//! The file is the one that [`super::extract`] writes for the folder; while it grows, the journal beside it takes each
//! batch, so that an interrupted command loses nothing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::journal::Journal;
use super::{Features, Pipeline, Row};
use crate::dataset::Dataset;
use crate::weights::Digest;

/// The features of one pipeline for one folder.
#[derive(Debug)]
pub struct Cache {
    /// By the SHA-256 of the picture's file.
    pub known: HashMap<Digest, Vec<f32>>,
    pub writer: Writer,
}

/// What a command adds to a [`Cache`].
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    pipeline: Pipeline,
    journal: Journal,
    earlier: Option<Features>,
    /// Pictures by path, with their features, in the order in which they were judged.
    rows: Vec<(String, Digest, Vec<f32>)>,
    computed: usize,
}

impl Cache {
    /// Opens the features at `path`; those of other weights or preprocessing do not count.
    ///
    /// # Errors
    /// If the journal beside them can't be written, or another program is writing it.
    pub fn open(path: &Path, pipeline: &Pipeline) -> Result<Self> {
        let (journal, mut known) = Journal::open(path, pipeline, true)?;
        let earlier = Features::read(path).ok().filter(|found| pipeline.ensure_same(&found.pipeline).is_ok());
        let rows = earlier.iter().flat_map(|features| &features.rows);
        known.extend(rows.map(|row| (row.sha256.clone(), row.values.clone())));
        let (path, pipeline) = (path.to_owned(), pipeline.clone());
        Ok(Self { known, writer: Writer { path, pipeline, journal, earlier, rows: Vec::new(), computed: 0 } })
    }
}

impl Writer {
    /// Takes in a batch: for each picture its path, the SHA-256 of its file, its features, and whether these were
    /// computed just now.
    ///
    /// # Errors
    /// If the journal can't be written.
    pub fn add(&mut self, batch: Vec<(String, Digest, Vec<f32>, bool)>) -> Result<()> {
        let fresh = batch.iter().filter(|(.., is_fresh)| *is_fresh);
        self.journal.append(fresh.map(|(_, digest, values, _)| (digest, values.as_slice())))?;
        self.computed += batch.iter().filter(|(.., is_fresh)| *is_fresh).count();
        self.rows.extend(batch.into_iter().map(|(path, digest, values, _)| (path, digest, values)));
        Ok(())
    }

    /// Writes the features with those of the folder's other pictures, if there are new ones; then `dataset` is asked of
    /// which split and class each is.
    ///
    /// # Errors
    /// Those of `dataset`, and if the file can't be written: then the journal stays.
    pub fn finish(self, dataset: impl FnOnce() -> Result<Dataset>) -> Result<()> {
        let Self { path, pipeline, journal, earlier, rows, computed } = self;
        if computed == 0 {
            return journal.remove();
        }
        let dataset = dataset()?;
        let places: HashMap<String, _> =
            dataset.inputs.iter().map(|input| (input.name(), (input.split, input.class))).collect();
        let judged: HashSet<&String> = rows.iter().map(|(path, ..)| path).collect();
        let is_other = |row: &&Row| !judged.contains(&row.path) && places.contains_key(&row.path);
        let others = earlier.iter().flat_map(|features| &features.rows).filter(is_other);
        let others = others.map(|row| (row.path.clone(), row.sha256.clone(), row.values.clone())).collect::<Vec<_>>();
        let row = |(path, sha256, values): (String, Digest, Vec<f32>)| {
            let (split, class) = places.get(&path).copied().unwrap_or_default();
            Row { path, sha256, split, class, values }
        };
        let mut rows: Vec<Row> = rows.into_iter().chain(others).map(row).collect();
        let order: HashMap<String, usize> =
            dataset.inputs.iter().enumerate().map(|(index, input)| (input.name(), index)).collect();
        rows.sort_by_key(|row| order.get(&row.path).copied().unwrap_or(usize::MAX));
        Features { pipeline, class_names: dataset.class_names, rows }.write(&path)?;
        journal.remove()
    }
}
