//! The findings as a page, with small pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rayon::prelude::*;

use super::Context;
use crate::audit::Audit;
use crate::output::{self, Existing};
use crate::report::{self, AuditReport};
use crate::{image, interrupt};

const PAGE: &str = "audit.html";
/// Longest side of the pictures, in pixels.
const SIDE: usize = 240;

/// The page's file in the folder for it, which passes if it can be written later.
pub fn output(folder: &Path, existing: Existing, data: &Path) -> Result<PathBuf> {
    output::refuse_unwritable_in(folder, [PAGE], existing, Some(data))?;
    Ok(folder.join(PAGE))
}

/// Writes the page if there is a folder for it.
pub fn write(folder: Option<&Path>, existing: Existing, data: &str, audit: &Audit, context: &Context) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    let thumbnails = thumbnails(audit)?;
    context.write_page(folder, PAGE, existing, &AuditReport { data, audit, thumbnails: &thumbnails }.html())
}

/// The pictures that a page shows of an audit, by their paths; one that cannot be read is left out.
pub fn thumbnails(audit: &Audit) -> Result<HashMap<String, String>> {
    let mut paths: Vec<&str> = AuditReport::pictures(audit).collect();
    paths.sort_unstable();
    paths.dedup();
    let small = |path: &str| {
        interrupt::check(|| "the page has not been written".to_owned())?;
        Ok(thumbnail(path).ok().map(|uri| (path.to_owned(), uri)))
    };
    let thumbnails: Vec<_> = paths.into_par_iter().map(small).collect::<Result<_>>()?;
    Ok(thumbnails.into_iter().flatten().collect())
}

fn thumbnail(path: &str) -> Result<String> {
    report::jpeg_uri(&image::decode(&image::read(Path::new(path))?, SIDE)?, SIDE)
}
