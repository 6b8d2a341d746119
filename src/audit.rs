//! What is wrong with a data set, told from its features and its files: pictures that are there twice, most of all
//! in training and validation; labels that the other pictures contradict; pictures like no others; what gives the
//! class away without a look; odd files.
//!
//! Everything is found from a features file. The pictures themselves, where they are still there, decide about
//! duplicates and tell of files.

mod duplicates;
mod files;
mod folds;
mod held_out;
mod labels;
mod outliers;
mod shortcuts;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde::Serialize;

pub use duplicates::{Duplicate, DuplicateKind};
pub use files::{FileFault, FileFaultKind};
pub use labels::LabelFault;
pub use outliers::Outlier;
pub use shortcuts::Shortcut;

use crate::dataset::Split;
use crate::features::{Features, Row};
use crate::image::Facts;
use crate::similarity;
use crate::weights::Pool;

/// What an interrupted audit says of its results.
pub const NOTHING_KEPT: &str = "nothing has been written";

/// A picture, as findings name it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Place {
    pub path: String,
    pub split: Option<Split>,
    /// The class that its folder gives it.
    pub label: Option<String>,
}

impl Place {
    fn of(features: &Features, row: &Row) -> Self {
        let label = row.class.map(|class| features.class_names[class].clone());
        Self { path: row.path.clone(), split: row.split, label }
    }
}

/// How many pictures a class has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    pub label: String,
    pub train: usize,
    pub val: usize,
    pub test: usize,
    /// In no split.
    pub unsplit: usize,
}

impl ClassCount {
    pub fn pictures(&self) -> usize {
        self.train + self.val + self.test + self.unsplit
    }
}

/// Everything that an audit finds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    pub pictures: usize,
    /// Of these, files that were where the features say, so that they could be looked at.
    pub files_found: usize,
    pub classes: Vec<ClassCount>,
    /// Leaks first.
    pub duplicates: Vec<Duplicate>,
    /// The surest first.
    pub labels: Vec<LabelFault>,
    /// Why labels were not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_skipped: Option<String>,
    /// The furthest first.
    pub outliers: Vec<Outlier>,
    /// Every attribute, the best predictor of the class first.
    pub shortcuts: Vec<Shortcut>,
    pub files: Vec<FileFault>,
}

impl Audit {
    /// How much [`Self::of`] will tell `done` of.
    pub fn steps(features: &Features) -> usize {
        let labelled = features.rows.iter().filter(|row| row.class.is_some()).count();
        3 * features.rows.len() + labelled
    }

    /// Audits pictures with these features; `unreadable` are those that have none, with the reason. `done` hears of
    /// steps and may end the audit.
    ///
    /// # Errors
    /// Those of `done`, and if the features are not pooled or not numbers.
    pub fn of(
        features: &Features,
        unreadable: &[(String, String)],
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        ensure!(features.pipeline.pool != Pool::None, "an audit needs pooled features; pass --pool avg");
        features.ensure_finite()?;
        let inspected = files::inspect(features, unreadable, done)?;
        tracing::debug!("{} files looked at", inspected.found);
        let (distinct, mut pairs) = duplicates::exact(&features.rows);
        let rows: Vec<&[f32]> = distinct.iter().map(|&row| features.rows[row].values.as_slice()).collect();
        let neighbours = similarity::nearest_others(&rows, outliers::NEIGHBOUR, done)?;
        tracing::debug!("neighbours of {} pictures are known", distinct.len());
        done(2 * (features.rows.len() - distinct.len()))?; // a copy is neither searched for nor looked at
        pairs.extend(duplicates::near(features, &distinct, &neighbours, &inspected, done)?);
        tracing::debug!("{} pairs are one picture", pairs.len());
        let groups = duplicates::groups(features.rows.len(), &pairs);
        let labelled: Vec<usize> = (0..features.rows.len()).filter(|&row| features.rows[row].class.is_some()).collect();
        let (labels, labels_skipped) = match unfit_for_labels(features, &labelled, &groups) {
            Some(reason) => (Vec::new(), Some(reason)),
            None => {
                let probabilities = held_out::probabilities(features, &labelled, &groups, done)?;
                (labels::find(features, &labelled, &probabilities), None)
            }
        };
        Ok(Self {
            pictures: features.rows.len(),
            files_found: inspected.found,
            classes: class_counts(features),
            duplicates: duplicates::named(features, &pairs),
            labels,
            labels_skipped,
            outliers: outliers::find(features, &distinct, &neighbours),
            shortcuts: find_shortcuts(features, &inspected.facts, &labelled, &groups),
            files: inspected.faults,
        })
    }

    pub fn leaks(&self) -> usize {
        self.duplicates.iter().filter(|duplicate| duplicate.leak).count()
    }
}

/// Why the labels of these rows can't be judged by the others.
fn unfit_for_labels(features: &Features, labelled: &[usize], groups: &[usize]) -> Option<String> {
    // Copies of one picture count once, for they are held out together.
    let of_class = |class| labelled.iter().filter(move |&&row| features.rows[row].class == Some(class));
    let count = |class| of_class(class).map(|&row| groups[row]).collect::<HashSet<_>>().len();
    let names = &features.class_names;
    let small = names.iter().enumerate().find(|(class, _)| count(*class) < folds::FOLDS);
    match (names.len(), small) {
        (0, _) => Some("no picture has a label".to_owned()),
        (1, _) => Some(format!("`{}` is the only class", names[0])),
        (_, Some((class, name))) => {
            Some(format!("class `{name}` has {} different pictures, expected {} or more", count(class), folds::FOLDS))
        }
        _ => None,
    }
}

fn class_counts(features: &Features) -> Vec<ClassCount> {
    let count = |(class, label): (usize, &String)| {
        let of = |split| features.rows.iter().filter(|row| row.class == Some(class) && row.split == split).count();
        let [train, val, test] = [Split::Train, Split::Val, Split::Test].map(|split| of(Some(split)));
        ClassCount { label: label.clone(), train, val, test, unsplit: of(None) }
    };
    features.class_names.iter().enumerate().map(count).collect()
}

fn find_shortcuts(features: &Features, facts: &[Option<Facts>], labelled: &[usize], groups: &[usize]) -> Vec<Shortcut> {
    let picture = |&row: &usize| Some(((facts[row].as_ref()?, features.rows[row].class?), groups[row]));
    let (pictures, groups): (Vec<_>, Vec<_>) = labelled.iter().filter_map(picture).unzip();
    shortcuts::find(&pictures, &groups)
}
