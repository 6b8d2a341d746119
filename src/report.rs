//! What an evaluation tells, as one HTML file to look at and to hand on: everything is inside it, it asks
//! nothing of a network, follows the reader's light or dark, and can be read on a telephone and on paper.
//!
//! Scripts only sort and search; without them the tables stand in the order of the file.

mod figures;
mod page;
#[cfg(test)]
mod tests;

use crate::evaluate::{Answer, Evaluation};

pub use figures::{jpeg_uri, reliability};

/// What stands in the report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub model: &'a str,
    pub data: &'a str,
    /// Which pictures of the data.
    pub split: &'a str,
    pub evaluation: &'a Evaluation,
    pub answers: &'a [&'a Answer],
    /// Path and reason of the pictures that could not be read.
    pub unreadable: &'a [(&'a str, &'a str)],
    /// Of the first mistakes of the evaluation, in their order.
    pub thumbnails: &'a [Thumbnail],
    /// An SVG file, where the model's run has left one.
    pub learning_curves: Option<&'a str>,
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
