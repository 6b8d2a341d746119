//! Queries and what was found for them, as one picture.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::image::{self, Picture};
use crate::output::{self, Existing};
use crate::plot::{self, Line};

/// The longer side of a thumbnail in pixels.
const SIDE: usize = 200;
/// Around a thumbnail: blue if it is a query, otherwise white.
const FRAME: usize = 4;
const QUERY: [u8; 3] = [0, 114, 178];
const WHITE: [u8; 3] = [255; 3];
/// In the place of a picture that cannot be read any more.
const GREY: [u8; 3] = [200; 3];
/// A sheet of more pictures would be larger than viewers open.
pub const MOST_PICTURES: usize = 2000;

/// A picture of the sheet.
#[derive(Debug)]
pub struct Tile<'a> {
    pub path: &'a Path,
    /// What it is to the query, and its class; none of the query itself.
    pub found: Option<String>,
}

/// Writes a PNG with a row of tiles for each of `rows`, and says how many pictures could not be read.
pub fn write(path: &Path, existing: Existing, rows: &[Vec<Tile>]) -> Result<usize> {
    let name = path.display();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    ensure!(columns > 0, "{name}: no query could be read, so there is nothing to draw");
    let drawn: Result<Vec<(Picture, bool)>> = rows.par_iter().flatten().map(draw).collect();
    let (tiles, is_missing): (Vec<_>, Vec<_>) = drawn?.into_iter().unzip();
    let sheet = image::contact_sheet(&tiles, columns);
    output::write_atomically(path, existing, &image::png(&sheet)?)?;
    let missing = rows.iter().flatten().zip(is_missing).filter(|(_, is_missing)| *is_missing);
    Ok(missing.map(|(tile, _)| tile.path).collect::<HashSet<_>>().len())
}

/// The tile with its caption, and whether its picture is missing.
fn draw(tile: &Tile) -> Result<(Picture, bool)> {
    let read = image::read(tile.path).and_then(|bytes| image::decode(&bytes, SIDE));
    let is_missing = read.is_err();
    let thumbnail = read.map_or_else(|_| Picture::plain(SIDE, SIDE, GREY), |picture| image::fitting(&picture, SIDE));
    let color = if tile.found.is_none() { QUERY } else { WHITE };
    let picture = thumbnail.framed(FRAME, color).widened(SIDE + 2 * FRAME);
    let name = tile.path.file_name().unwrap_or_default().to_string_lossy();
    let found = Line { cut: tile.found.as_deref().unwrap_or("query"), kept: "" };
    let caption = plot::caption(&[Line::of_name(&name), found], picture.width)?;
    Ok((picture.above(&caption), is_missing))
}
