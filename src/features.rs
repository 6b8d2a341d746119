//! Bottleneck features in files: one row for each picture, keyed by its path.
//!
//! A row knows the SHA-256 of the picture's bytes, a file the weights and the preprocessing that
//! made it ([`Pipeline`]), so a later run reuses exactly the rows that would come out the same.

mod cache;
mod extract;
mod journal;
mod jsonl;
mod npy;
mod npz;
mod safetensors;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use cache::Cache;
pub use extract::{Extraction, Outcome, extract};

use crate::architecture::{self, FEATURES};
use crate::convention::Convention;
use crate::dataset::{self, Split};
use crate::image::Preprocessing;
use crate::output::{self, Existing};
use crate::weights::{self, Digest, Pool};

/// What makes features comparable: equal pipelines give equal features of equal bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    pub backbone: Digest,
    /// What the user called the backbone, to find it again.
    pub base: String,
    pub convention: Convention,
    pub preprocessing: Preprocessing,
    pub pool: Pool,
}

impl Pipeline {
    /// Shape of one row: [2048], or [h,w,2048] without pooling.
    pub fn row_shape(&self) -> Vec<usize> {
        match self.pool {
            Pool::Avg | Pool::Max => vec![FEATURES],
            Pool::None => {
                let size = architecture::feature_map_size(self.preprocessing.size);
                vec![size, size, FEATURES]
            }
        }
    }

    pub fn row_elements(&self) -> usize {
        self.row_shape().iter().product()
    }

    /// Passes if features made by `other` equal our own.
    ///
    /// # Errors
    /// Says what differs.
    pub fn ensure_same(&self, other: &Pipeline) -> Result<()> {
        ensure!(
            self.backbone == other.backbone,
            "its features come from other weights ({} {}, expected {} {})",
            other.base,
            other.backbone.short(),
            self.base,
            self.backbone.short()
        );
        let (ours, theirs) = (self.convention, other.convention);
        ensure!(ours == theirs, "its features were made with the numbers of `{theirs}`, expected `{ours}`");
        let (ours, theirs) = (&self.preprocessing, &other.preprocessing);
        ensure!(ours == theirs, "its features come from other preprocessing ({theirs}, expected {ours})");
        ensure!(self.pool == other.pool, "its features are pooled by `{}`, expected `{}`", other.pool, self.pool);
        Ok(())
    }
}

/// Features of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub path: String,
    /// SHA-256 of the picture's file.
    pub sha256: Digest,
    pub split: Option<Split>,
    /// Index into [`Features::class_names`].
    pub class: Option<usize>,
    /// Of shape [`Pipeline::row_shape`], row-major.
    pub values: Vec<f32>,
}

impl Row {
    /// Whether no value is NaN or infinite.
    fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}

/// A features file.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    pub pipeline: Pipeline,
    /// Empty where folders give no classes.
    pub class_names: Vec<String>,
    pub rows: Vec<Row>,
}

/// The formats of a features file, told by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Npz,
    JsonLines,
}

impl Format {
    /// # Errors
    /// If the extension is none of the formats'.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Ok(Format::Safetensors),
            Some("npz") => Ok(Format::Npz),
            Some("jsonl") => Ok(Format::JsonLines),
            _ => bail!("{}: expected a name that ends in .safetensors, .npz or .jsonl", path.display()),
        }
    }
}

impl Features {
    /// # Errors
    /// Names the file if it cannot be read or was not written by [`Self::write`].
    pub fn read(path: &Path) -> Result<Self> {
        let format = Format::of(path)?;
        let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let features = match format {
            Format::Safetensors => safetensors::read(&bytes),
            Format::Npz => npz::read(&bytes),
            Format::JsonLines => jsonl::read(&bytes),
        };
        let remedy = || match weights::load(path) {
            Ok(_) => "holds weights, not features; make features with `xcept extract-features`",
            Err(_) => "not a features file, or a damaged one; make it again with `xcept extract-features`",
        };
        features.and_then(Self::checked).with_context(|| format!("{}: {}", path.display(), remedy()))
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// Names the file if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let format = Format::of(path)?;
        // What was there are rows of this very table.
        output::write_atomically_with(path, Existing::Replace, |file| match format {
            Format::Safetensors => safetensors::write(self, file),
            Format::Npz => npz::write(self, file),
            Format::JsonLines => jsonl::write(self, file),
        })
    }

    /// Passes if every feature is a number.
    ///
    /// # Errors
    /// Names the first picture of which one is not.
    pub fn ensure_finite(&self) -> Result<()> {
        match self.rows.iter().find(|row| !row.is_finite()) {
            Some(row) => bail!("`{}` has a feature that is not a number; extract the features again", row.path),
            None => Ok(()),
        }
    }

    /// Takes out the rows whose features are not all finite; returns their pictures, each with the reason.
    pub fn take_not_finite(&mut self) -> Vec<(String, String)> {
        let reason = "its features hold NaN or infinity; extract the features again";
        let taken = self.rows.iter().filter(|row| !row.is_finite()).map(|row| (row.path.clone(), reason.to_owned()));
        let taken = taken.collect();
        self.rows.retain(Row::is_finite);
        taken
    }

    /// Takes out the classes that only pictures of the split `test` have, which then have none; returns their names.
    pub fn take_classes_of_tests(&mut self) -> Vec<String> {
        let of_tests = dataset::classes_of_tests(self.rows.iter().map(|row| (row.split, row.class)));
        let (taken, kept): (Vec<usize>, Vec<usize>) =
            (0..self.class_names.len()).partition(|class| of_tests.contains(class));
        for row in &mut self.rows {
            row.class = row.class.and_then(|class| kept.binary_search(&class).ok());
        }
        let names = |classes: Vec<usize>| classes.into_iter().map(|class| self.class_names[class].clone()).collect();
        let (taken, kept) = (names(taken), names(kept));
        self.class_names = kept;
        taken
    }

    fn checked(self) -> Result<Self> {
        self.pipeline.preprocessing.check()?;
        let elements = self.pipeline.row_elements();
        for row in &self.rows {
            ensure!(
                row.values.len() == elements,
                "`{}` has {} features, expected {elements}",
                row.path,
                row.values.len()
            );
            ensure!(
                row.class.is_none_or(|class| class < self.class_names.len()),
                "`{}` is of a class that has no name",
                row.path
            );
        }
        Ok(self)
    }
}

/// Everything about the rows but their values, as the array formats store it.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    pipeline: Pipeline,
    class_names: Vec<String>,
    paths: Vec<String>,
    sha256: Vec<Digest>,
    splits: Vec<Option<Split>>,
}

impl Index {
    fn of(features: &Features) -> Self {
        Self {
            pipeline: features.pipeline.clone(),
            class_names: features.class_names.clone(),
            paths: features.rows.iter().map(|row| row.path.clone()).collect(),
            sha256: features.rows.iter().map(|row| row.sha256.clone()).collect(),
            splits: features.rows.iter().map(|row| row.split).collect(),
        }
    }

    /// Joins the index with the rows' values, float32 in little-endian bytes, and classes, a negative class being
    /// none. Row by row: of many pictures a further copy would not fit into memory beside the file's bytes.
    fn with(self, values: &[u8], labels: &[i64]) -> Result<Features> {
        self.pipeline.preprocessing.check()?;
        let (count, elements) = (self.paths.len(), self.pipeline.row_elements());
        let (values, _) = values.as_chunks::<{ size_of::<f32>() }>();
        ensure!(values.len() == count * elements, "{} features for {count} paths", values.len());
        ensure!(
            labels.len() == count && self.sha256.len() == count && self.splits.len() == count,
            "arrays of different lengths"
        );
        let columns = self.paths.into_iter().zip(self.sha256).zip(self.splits).zip(labels);
        let rows = columns.zip(values.chunks_exact(elements)).map(|((((path, sha256), split), label), values)| Row {
            path,
            sha256,
            split,
            class: usize::try_from(*label).ok(),
            values: values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        });
        Ok(Features { rows: rows.collect(), pipeline: self.pipeline, class_names: self.class_names })
    }
}

/// Labels of rows as numbers, −1 for none.
fn labels(features: &Features) -> Vec<i64> {
    features.rows.iter().map(|row| row.class.map_or(-1, |class| class as i64)).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::image::Interpolation;

    pub fn pipeline() -> Pipeline {
        let preprocessing = Preprocessing::of(Convention::Keras, Interpolation::Bicubic, 299);
        Pipeline {
            backbone: Digest::of_bytes(b"weights"),
            base: "bundled".into(),
            convention: Convention::Keras,
            preprocessing,
            pool: Pool::Avg,
        }
    }

    /// A row whose values start with `start` and are zero otherwise.
    pub fn row(path: &str, split: Option<Split>, class: Option<usize>, start: &[f32]) -> Row {
        let mut values = start.to_vec();
        values.resize(FEATURES, 0.0);
        Row { path: path.into(), sha256: Digest::of_bytes(path.as_bytes()), split, class, values }
    }

    pub fn features(rows: Vec<Row>) -> Features {
        Features { pipeline: pipeline(), class_names: vec!["cat".into(), "dög".into()], rows }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn every_format_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let written = features(vec![
            row("a/1.jpg", Some(Split::Train), Some(0), &[0.1, -1.5e-30, 3.0e38]),
            row("ü b\n\"2\".jpg", Some(Split::Val), Some(1), &[f32::MIN_POSITIVE]),
            row("c.jpg", None, None, &[]),
        ]);
        for name in ["f.safetensors", "f.npz", "f.jsonl"] {
            let path = folder.path().join(name);
            written.write(&path).unwrap();
            assert_eq!(Features::read(&path).unwrap(), written, "{name}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let written = features(vec![row("a.jpg", None, Some(0), &[1.0]), row("b.jpg", None, Some(1), &[2.0])]);
        for name in ["f.safetensors", "f.npz"] {
            let path = folder.path().join(name);
            written.write(&path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            for length in [0, 5, 9, 300, bytes.len() / 2, bytes.len() - 1] {
                std::fs::write(&path, &bytes[..length]).unwrap();
                let error = Features::read(&path).unwrap_err().to_string();
                assert!(error.contains(name) && error.contains("extract-features"), "{error}");
            }
        }
    }

    #[test]
    fn other_weights_and_other_preprocessing_are_told_apart() {
        let (ours, mut theirs) = (pipeline(), pipeline());
        theirs.base = "the same weights by another name".into();
        assert!(ours.ensure_same(&theirs).is_ok());
        theirs.preprocessing.size = 150;
        assert!(ours.ensure_same(&theirs).unwrap_err().to_string().contains("150"));
        theirs.backbone = Digest::of_bytes(b"others");
        let error = ours.ensure_same(&theirs).unwrap_err().to_string();
        assert!(error.contains(ours.backbone.short()) && error.contains(theirs.backbone.short()), "{error}");
    }
}
