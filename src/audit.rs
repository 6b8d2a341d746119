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

use anyhow::{Result, ensure};
use serde::Serialize;

pub use duplicates::{Duplicate, DuplicateKind};
pub use files::{FileFault, FileFaultKind};
pub use labels::LabelFault;
pub use outliers::Outlier;
pub use shortcuts::Shortcut;

use crate::dataset::Split;
use crate::features::{Features, Row};
use crate::similarity;
use crate::terminal::counted;
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
    /// Of these, pictures that could not be looked at, for their file is gone, has changed or can't be read.
    pub unseen: usize,
    pub classes: Vec<ClassCount>,
    /// Leaks first.
    pub duplicates: Vec<Duplicate>,
    /// Why there could be no leaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaks_skipped: Option<String>,
    /// The surest first.
    pub labels: Vec<LabelFault>,
    /// Why labels were not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_skipped: Option<String>,
    /// Classes of too few pictures for their labels to be judged.
    pub labels_left_out: Vec<String>,
    /// The furthest first.
    pub outliers: Vec<Outlier>,
    /// Why outliers were not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outliers_skipped: Option<String>,
    /// Every attribute, the best predictor of the class first.
    pub shortcuts: Vec<Shortcut>,
    /// Why shortcuts were not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcuts_skipped: Option<String>,
    /// Classes of too few files for the shortcuts' figures.
    pub shortcuts_left_out: Vec<String>,
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
        let labels = labels::judge(features, &labelled, &groups, done)?;
        let shortcuts = shortcuts::judge(features, &inspected.facts, &labelled, &groups);
        Ok(Self {
            pictures: features.rows.len(),
            files_found: inspected.found,
            classes: class_counts(features),
            unseen: inspected.facts.iter().filter(|facts| facts.is_none()).count(),
            duplicates: duplicates::named(features, &pairs),
            leaks_skipped: duplicates::leaks_skipped(&features.rows),
            labels: labels.found,
            labels_skipped: labels.skipped,
            labels_left_out: labels.left_out,
            outliers: outliers::find(features, &distinct, &neighbours),
            outliers_skipped: outliers::skipped(distinct.len()),
            shortcuts: shortcuts.found,
            shortcuts_skipped: shortcuts.skipped,
            shortcuts_left_out: shortcuts.left_out,
            files: inspected.faults,
        })
    }

    pub fn leaks(&self) -> usize {
        self.duplicates.iter().filter(|duplicate| duplicate.leak).count()
    }

    /// Every kind of finding, how many there are and what that says.
    pub fn headline(&self) -> [(&'static str, usize, String); 6] {
        let leaks = self.leaks();
        let leaks_skipped = self.leaks_skipped.as_ref().map(|reason| format!("not looked for: {reason}"));
        let leaks_remark = leaks_skipped.unwrap_or_else(|| "one picture in two splits; keep one of each".to_owned());
        let labels =
            remark(self.labels_skipped.as_deref(), &self.labels_left_out, "the other pictures say another class");
        let shortcuts =
            remark(self.shortcuts_skipped.as_deref(), &self.shortcuts_left_out, "what tells the class without a look");
        let suspicious = self.shortcuts.iter().filter(|shortcut| shortcut.is_suspicious).count();
        [
            ("leaks", leaks, leaks_remark),
            ("duplicates", self.duplicates.len() - leaks, "one picture twice in a split".to_owned()),
            ("doubtful labels", self.labels.len(), labels),
            ("outliers", self.outliers.len(), remark(self.outliers_skipped.as_deref(), &[], "like no other picture")),
            ("shortcuts", suspicious, shortcuts),
            ("odd files", self.files.len(), self.files_remark()),
        ]
    }

    fn files_remark(&self) -> String {
        match (self.pictures - self.files_found, self.files_found) {
            (0, _) => String::new(),
            (_, 0) => "files not looked at: none is there".to_owned(),
            (missing, _) => format!("{} not there", counted(missing, "file is", "files are")),
        }
    }
}

/// `usual`, or what was not judged and why.
fn remark(skipped: Option<&str>, left_out: &[String], usual: &str) -> String {
    match (skipped, left_out) {
        (Some(reason), _) => format!("not judged: {reason}"),
        (None, []) => usual.to_owned(),
        (None, left_out) => format!("{usual}; {}", left_out_remark(left_out)),
    }
}

/// Names classes that were left out, the first few of many.
pub fn left_out_remark(classes: &[String]) -> String {
    const NAMED: usize = 3;
    let names: Vec<String> = classes.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let further = match classes.len().saturating_sub(NAMED) {
        0 => String::new(),
        further => format!(" and {further} more"),
    };
    format!("not judged, with fewer than {} different pictures: {}{further}", folds::FOLDS, names.join(", "))
}

fn class_counts(features: &Features) -> Vec<ClassCount> {
    let count = |(class, label): (usize, &String)| {
        let of = |split| features.rows.iter().filter(|row| row.class == Some(class) && row.split == split).count();
        let [train, val, test] = [Split::Train, Split::Val, Split::Test].map(|split| of(Some(split)));
        ClassCount { label: label.clone(), train, val, test, unsplit: of(None) }
    };
    features.class_names.iter().enumerate().map(count).collect()
}
