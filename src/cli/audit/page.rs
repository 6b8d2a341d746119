//! The findings as a page, with small pictures.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use super::Context;
use crate::audit::Audit;
use crate::image;
use crate::output::{self, Existing};
use crate::report::{self, AuditReport};

const PAGE: &str = "audit.html";
/// Longest side of the pictures, in pixels.
const SIDE: usize = 240;

/// Makes the folder and refuses, before any work, a file that could not be written later.
pub fn refuse_unwritable(folder: Option<&Path>, existing: Existing) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    output::refuse_unwritable(&folder.join(PAGE), existing)
}

/// Writes the page if there is a folder for it.
pub fn write(folder: Option<&Path>, existing: Existing, data: &str, audit: &Audit, context: &Context) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let mut paths: Vec<&str> = AuditReport::pictures(audit).collect();
    paths.sort_unstable();
    paths.dedup();
    // A picture that cannot be shown is among the findings with its reason.
    let thumbnails: HashMap<String, String> =
        paths.into_par_iter().filter_map(|path| Some((path.to_owned(), thumbnail(path).ok()?))).collect();
    let path = folder.join(PAGE);
    let html = AuditReport { data, audit, thumbnails: &thumbnails }.html();
    output::write_atomically(&path, existing, html.as_bytes())?;
    context.terminal.note(format_args!("{}: open it in a browser", path.display()));
    Ok(())
}

fn thumbnail(path: &str) -> Result<String> {
    report::jpeg_uri(&image::decode(&image::read(Path::new(path))?, SIDE)?, SIDE)
}
