//! TIFF, the container of many kinds of pictures: its first page as Pillow reads it.
//!
//! ```text
//! bytes ──directory──▶ tags ──layout──▶ strips or tiles ──compression──▶ samples ──colour──▶ [H,W,3]
//! ```
//!
//! The `tiff` crate drops tags that change what a picture looks like (FillOrder, the kind of alpha) and refuses
//! palettes, subsampled YCbCr and most of CCITT. Which combinations Pillow knows stands in its
//! `TiffImagePlugin.OPEN_INFO`; what it refuses is read here where the specification leaves no doubt.
//! Source: TIFF 6.0 and its technical notes; BigTIFF's design; libtiff for what writers do.

mod colour;
mod compression;
mod directory;
mod fax;
mod layout;
mod ycbcr;

use ::image::metadata::Orientation;
use anyhow::Result;

use super::Picture;
use super::orientation;
use colour::Canvas;
use layout::Layout;

pub(super) use directory::Directory;

const XMP: u16 = 700;

/// A page, and whether the range of its samples was guessed.
pub(super) struct Page {
    pub picture: Picture,
    pub orientation: Orientation,
    pub is_stretched: bool,
}

/// # Errors
/// In one line with a remedy, if the file is cut, damaged, too large or of a kind that is not supported.
pub(super) fn decode(bytes: &[u8]) -> Result<Page> {
    let directory = Directory::first(bytes)?;
    let layout = Layout::read(&directory)?;
    let mut canvas = Canvas::new(&layout);
    for chunk in layout.chunks() {
        let pixels = compression::chunk(&layout, &directory, &chunk)?;
        canvas.paint(&chunk, &pixels);
    }
    let (pixels, is_stretched) = canvas.finish();
    let picture = Picture { width: layout.width, height: layout.height, pixels };
    let orientation = orientation::resolve(orientation::value(&directory), directory.bytes(XMP));
    Ok(Page { picture, orientation, is_stretched })
}

/// What a directory says of the page.
#[derive(Debug)]
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    pub is_cmyk: bool,
}

/// # Errors
/// As [`decode`], as far as the tags tell.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let layout = Layout::read(&Directory::first(bytes)?)?;
    Ok(Header { width: layout.width, height: layout.height, is_cmyk: layout.is_cmyk() })
}
