//! Many pictures on one, for a look at what the network is trained on.

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use anyhow::{Context, Result};

use super::{Interpolation, Picture, resize};

/// White pixels between two tiles.
const GAP: usize = 4;

/// The pictures row by row on white, each in the upper left of a tile as large as the largest needs.
///
/// # Panics
/// If there is no picture, one without pixels, or no column.
pub fn contact_sheet(pictures: &[Picture], columns: usize) -> Picture {
    assert!(!pictures.is_empty() && columns > 0, "an empty sheet");
    let tile_width = pictures.iter().map(|picture| picture.width).max().unwrap_or(0) + GAP;
    let tile_height = pictures.iter().map(|picture| picture.height).max().unwrap_or(0) + GAP;
    let width = columns * tile_width - GAP;
    let height = pictures.len().div_ceil(columns) * tile_height - GAP;

    let mut pixels = vec![255; 3 * width * height];
    for (index, picture) in pictures.iter().enumerate() {
        let (left, top) = (index % columns * tile_width, index / columns * tile_height);
        let targets = pixels.chunks_exact_mut(3 * width).skip(top);
        for (target, row) in targets.zip(picture.pixels.chunks_exact(3 * picture.width)) {
            target[3 * left..][..row.len()].copy_from_slice(row);
        }
    }
    Picture { width, height, pixels }
}

/// The picture, made smaller if a side is longer than `side`.
///
/// # Panics
/// If the picture has no pixels or `side` is 0.
pub fn fitting(picture: &Picture, side: usize) -> Picture {
    let longest = picture.width.max(picture.height);
    if longest <= side {
        return picture.clone();
    }
    let scaled = |length: usize| (length * side).div_ceil(longest);
    resize(picture, scaled(picture.width), scaled(picture.height), Interpolation::Bicubic)
}

/// The picture as the bytes of a PNG file.
///
/// # Errors
/// If a side is 0 or beyond what the format can have.
pub fn png(picture: &Picture) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Picture { width, height, pixels } = picture;
    let size = || format!("a picture of {width}×{height} pixels cannot be written as PNG");
    let (columns, rows) = (u32::try_from(*width).with_context(size)?, u32::try_from(*height).with_context(size)?);
    PngEncoder::new(&mut bytes).write_image(pixels, columns, rows, ExtendedColorType::Rgb8).with_context(size)?;
    Ok(bytes)
}
