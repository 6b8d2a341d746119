//! Queries and what was found for them, as one picture.

use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::image::{self, Picture};
use crate::output::{self, Existing};

/// The longer side of a thumbnail in pixels.
const SIDE: usize = 128;
/// A sheet of more pictures would be larger than viewers open.
pub const MOST_PICTURES: usize = 2000;

/// Writes a PNG with a row of thumbnails for each of `rows`; a picture that is not there is a grey square.
pub fn write(path: &Path, existing: Existing, rows: &[Vec<&Path>]) -> Result<()> {
    let name = path.display();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    ensure!(columns > 0, "{name}: no query could be read, so there is nothing to draw");
    let thumbnails: Vec<Picture> = rows.par_iter().flat_map(|row| row.par_iter().map(|path| thumbnail(path))).collect();
    let sheet = image::contact_sheet(&thumbnails, columns);
    output::write_atomically(path, existing, &image::png(&sheet)?)
}

fn thumbnail(path: &Path) -> Picture {
    const GREY: u8 = 200;
    match image::read(path).and_then(|bytes| image::decode(&bytes, SIDE)) {
        Ok(picture) => image::fitting(&picture, SIDE),
        Err(_) => Picture { width: SIDE, height: SIDE, pixels: vec![GREY; 3 * SIDE * SIDE] },
    }
}
