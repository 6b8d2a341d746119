//! Findings for programs: a line of JSON for each, the summary first.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::audit::{Audit, ClassCount};

/// What kind of finding a line holds, then its own keys.
#[derive(Serialize)]
struct Line<'a, T> {
    finding: &'static str,
    #[serde(flatten)]
    of: &'a T,
}

#[derive(Serialize)]
struct Summary<'a> {
    pictures: usize,
    files_found: usize,
    leaks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaks_skipped: Option<&'a str>,
    duplicates: usize,
    labels: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels_skipped: Option<&'a str>,
    labels_left_out: &'a [String],
    outliers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    outliers_skipped: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortcuts_skipped: Option<&'a str>,
    shortcuts_left_out: &'a [String],
    files: usize,
    classes: &'a [ClassCount],
}

pub fn write(audit: &Audit, file: &mut dyn Write) -> Result<()> {
    let summary = Summary {
        pictures: audit.pictures,
        files_found: audit.files_found,
        leaks: audit.leaks(),
        leaks_skipped: audit.leaks_skipped.as_deref(),
        duplicates: audit.duplicates.len(),
        labels: audit.labels.len(),
        labels_skipped: audit.labels_skipped.as_deref(),
        labels_left_out: &audit.labels_left_out,
        outliers: audit.outliers.len(),
        outliers_skipped: audit.outliers_skipped.as_deref(),
        shortcuts_skipped: audit.shortcuts_skipped.as_deref(),
        shortcuts_left_out: &audit.shortcuts_left_out,
        files: audit.files.len(),
        classes: &audit.classes,
    };
    lines(file, "summary", &[summary])?;
    lines(file, "duplicate", &audit.duplicates)?;
    lines(file, "label", &audit.labels)?;
    lines(file, "outlier", &audit.outliers)?;
    lines(file, "shortcut", &audit.shortcuts)?;
    lines(file, "file", &audit.files)
}

fn lines<T: Serialize>(file: &mut dyn Write, finding: &'static str, all: &[T]) -> Result<()> {
    for of in all {
        let line = serde_json::to_string(&Line { finding, of })?;
        writeln!(file, "{line}")?;
    }
    Ok(())
}
