//! What the pictures' files tell: which can't be read, which are odd, and what their headers say.

use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

use crate::architecture::MIN_INPUT_SIZE;
use crate::features::{Features, Row};
use crate::image::{self, Facts};
use crate::weights::Digest;

/// Files that are looked at before an interrupt is heard.
const BATCH: usize = 256;

/// A file that should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFault {
    pub path: String,
    pub kind: FileFaultKind,
    /// In words, with the remedy where there is one.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFaultKind {
    Unreadable,
    /// Other bytes than those that the features come from.
    Changed,
    Animated,
    /// Inks, whose colours depend on a profile that is not used.
    Cmyk,
    /// The name says another format than the content.
    WrongExtension,
    /// Smaller than the smallest input of the network.
    Tiny,
}

impl FileFaultKind {
    pub fn name(self) -> &'static str {
        match self {
            FileFaultKind::Unreadable => "unreadable",
            FileFaultKind::Changed => "changed",
            FileFaultKind::Animated => "animated",
            FileFaultKind::Cmyk => "CMYK",
            FileFaultKind::WrongExtension => "wrong extension",
            FileFaultKind::Tiny => "tiny",
        }
    }
}

/// What is known of each row's file, in the order of the rows.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// None where the file is gone, has changed or can't be read.
    pub facts: Vec<Option<Facts>>,
    pub faults: Vec<FileFault>,
    /// Files that are where the features say.
    pub found: usize,
}

/// Looks at the file of each row that is still there; `unreadable` files have none, for a reason. `done` hears of rows.
pub(super) fn inspect(
    features: &Features,
    unreadable: &[(String, String)],
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Files> {
    let mut files = Files::default();
    files.faults.extend(unreadable.iter().map(|(path, reason)| FileFault {
        path: path.clone(),
        kind: FileFaultKind::Unreadable,
        detail: reason.clone(),
    }));
    for rows in features.rows.chunks(BATCH) {
        let inspected: Vec<Option<Result<Facts>>> = rows.par_iter().map(inspect_row).collect();
        for (row, facts) in rows.iter().zip(inspected) {
            files.take(row, facts);
        }
        done(rows.len())?;
    }
    files.faults.sort_by_key(|fault| fault.kind);
    Ok(files)
}

/// None for a file that is no longer there.
fn inspect_row(row: &Row) -> Option<Result<Facts>> {
    let path = Path::new(&row.path);
    path.is_file().then(|| {
        let bytes = image::read(path)?;
        ensure!(Digest::of_bytes(&bytes) == row.sha256, Changed);
        Facts::read(&bytes)
    })
}

#[derive(Debug, thiserror::Error)]
#[error("has changed since its features were made; extract them again")]
struct Changed;

impl Files {
    fn take(&mut self, row: &Row, facts: Option<Result<Facts>>) {
        self.found += usize::from(facts.is_some());
        let facts = match facts {
            Some(Ok(facts)) => Some(facts),
            Some(Err(error)) => {
                let kind = if error.is::<Changed>() { FileFaultKind::Changed } else { FileFaultKind::Unreadable };
                self.faults.push(FileFault { path: row.path.clone(), kind, detail: format!("{error:#}") });
                None
            }
            None => {
                if row.path.contains(char::REPLACEMENT_CHARACTER) {
                    let detail = "its name is not UTF-8; rename it".to_owned();
                    self.faults.push(FileFault { path: row.path.clone(), kind: FileFaultKind::Unreadable, detail });
                }
                None
            }
        };
        if let Some(facts) = &facts {
            self.faults.extend(oddities(&row.path, facts));
        }
        self.facts.push(facts);
    }
}

fn oddities(path: &str, facts: &Facts) -> Vec<FileFault> {
    let Facts { format, width, height, .. } = *facts;
    let kinds = [
        (facts.is_animated, FileFaultKind::Animated, format!("{format} with several frames; the first is taken")),
        (facts.is_cmyk, FileFaultKind::Cmyk, format!("{format} in CMYK; its colours may be off, convert it to RGB")),
        (facts.contradicts(Path::new(path)), FileFaultKind::WrongExtension, format!("is {format}; rename it")),
        (
            width.min(height) < MIN_INPUT_SIZE,
            FileFaultKind::Tiny,
            format!("{width}×{height} pixels, below the network's {MIN_INPUT_SIZE}"),
        ),
    ];
    let fault = |(_, kind, detail)| FileFault { path: path.to_owned(), kind, detail };
    kinds.into_iter().filter(|(is_so, ..)| *is_so).map(fault).collect()
}
