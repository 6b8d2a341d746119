//! What an evaluation or an audit tells, as one HTML file to look at and to hand on: everything is inside it, it asks
//! nothing of a network, follows the reader's light or dark, and can be read on a telephone and on paper.
//!
//! Scripts only sort and search; without them the tables stand in the order of the file.

mod audit;
mod figures;
mod page;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::audit::Audit;
use crate::classifier::Views;
use crate::evaluate::{Answer, Evaluation, Rejection};

pub use figures::{confusion_matrix, jpeg_uri, reliability};

/// What stands in the report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub model: &'a str,
    pub data: &'a str,
    /// Which pictures of the data.
    pub split: &'a str,
    /// What of each picture was judged.
    pub views: Views,
    pub evaluation: &'a Evaluation,
    pub answers: &'a [&'a Answer],
    /// Path and reason of the pictures that could not be read.
    pub unreadable: &'a [(&'a str, &'a str)],
    /// Of the first mistakes of the evaluation, in their order; none where a picture could not be read again.
    pub thumbnails: &'a [Option<Thumbnail>],
    /// An SVG file, where the model's run has left one.
    pub learning_curves: Option<&'a str>,
    /// How well pictures of other things are told apart.
    pub rejection: Option<&'a Rejection>,
    /// Of the whole data, where it was asked for.
    pub audit: Option<AuditReport<'a>>,
}

/// An audit, as a page of its own or a section of a [`Report`].
#[derive(Debug, Clone, Copy)]
pub struct AuditReport<'a> {
    pub data: &'a str,
    pub audit: &'a Audit,
    /// Small pictures as data URIs, by their paths; one that is missing leaves its place empty.
    pub thumbnails: &'a HashMap<String, String>,
}

impl AuditReport<'_> {
    /// Findings of each kind that the page shows.
    pub const SHOWN: usize = 60;

    /// The whole file.
    pub fn html(&self) -> String {
        audit::page(self).into_string()
    }

    /// The pictures that the page shows of an audit, some of them more than once.
    pub fn pictures(audit: &Audit) -> impl Iterator<Item = &str> {
        let (leaks, others) = audit.duplicates.split_at(audit.leaks());
        let shown = leaks.iter().take(Self::SHOWN).chain(others.iter().take(Self::SHOWN));
        let duplicates = shown.flat_map(|pair| [&pair.first, &pair.second]);
        let labels = audit.labels.iter().take(Self::SHOWN).map(|fault| &fault.place);
        let outliers = audit.outliers.iter().take(Self::SHOWN).map(|outlier| &outlier.place);
        duplicates.chain(labels).chain(outliers).map(|place| place.path.as_str())
    }
}

/// A picture, and the same with what spoke for the wrong class laid over it, as data URIs.
#[derive(Debug, Clone, Default)]
pub struct Thumbnail {
    pub photograph: String,
    pub heat: String,
}

impl Report<'_> {
    /// The whole file.
    pub fn html(&self) -> String {
        page::page(self).into_string()
    }
}
