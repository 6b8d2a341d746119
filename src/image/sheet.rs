//! Many pictures on one, for a look at what the network is trained on.

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use anyhow::{Context, Result};

use super::{Interpolation, Picture, resize};

/// White pixels between two tiles, and around them all.
const GAP: usize = 16;
/// Width over height of a sheet whose columns mean nothing.
const SHAPE: f64 = 4.0 / 3.0;

/// The pictures row by row on white, in columns as wide as the widest and rows as high as their highest, each in the
/// middle of its column and at the foot of its row, where captions stand in one line.
///
/// # Panics
/// If there is no picture, one without pixels, or no column.
pub fn contact_sheet(pictures: &[Picture], columns: usize) -> Picture {
    assert!(!pictures.is_empty() && columns > 0, "an empty sheet");
    let column_width = pictures.iter().map(|picture| picture.width).max().unwrap_or(0);
    let rows =
        || pictures.chunks(columns).map(|row| (row, row.iter().map(|picture| picture.height).max().unwrap_or(0)));
    let width = GAP + columns * (column_width + GAP);
    let height = GAP + rows().map(|(_, row_height)| row_height + GAP).sum::<usize>();

    let mut sheet = Picture::white(width, height);
    let mut top = GAP;
    for (row, row_height) in rows() {
        for (column, picture) in row.iter().enumerate() {
            let left = GAP + column * (column_width + GAP) + (column_width - picture.width) / 2;
            sheet.paste(picture, left, top + row_height - picture.height);
        }
        top += row_height + GAP;
    }
    sheet
}

/// How many columns make a sheet of the pictures about as wide as a screen is, for its height.
///
/// # Panics
/// If there is no picture.
pub fn screen_columns(pictures: &[Picture]) -> usize {
    let (count, mean) = (pictures.len(), |sum: usize| sum as f64 / pictures.len() as f64);
    let width = pictures.iter().map(|picture| picture.width).max().unwrap_or(0) + GAP;
    let height = mean(pictures.iter().map(|picture| picture.height).sum()) + GAP as f64;
    // How far off a number of columns is, the same for twice as wide and for half as wide.
    let off = |columns: usize| {
        let shape = (columns * width) as f64 / (count.div_ceil(columns) as f64 * height);
        (shape / SHAPE).ln().abs()
    };
    (1..=count).min_by(|&a, &b| off(a).total_cmp(&off(b))).expect("a sheet has pictures")
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

impl Picture {
    /// A picture of one colour.
    pub fn plain(width: usize, height: usize, color: [u8; 3]) -> Self {
        Self { width, height, pixels: color.repeat(width * height) }
    }

    /// A picture of nothing but white.
    pub fn white(width: usize, height: usize) -> Self {
        Self::plain(width, height, [u8::MAX; 3])
    }

    /// Lays `picture` over this one.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn paste(&mut self, picture: &Picture, left: usize, top: usize) {
        assert!(left + picture.width <= self.width && top + picture.height <= self.height, "a picture too large");
        let targets = self.pixels.chunks_exact_mut(3 * self.width).skip(top);
        for (target, row) in targets.zip(picture.pixels.chunks_exact(3 * picture.width)) {
            target[3 * left..][..row.len()].copy_from_slice(row);
        }
    }

    /// The picture in the middle of white that is `width` wide, or as it is if that is no wider.
    pub fn widened(self, width: usize) -> Self {
        if self.width >= width {
            return self;
        }
        let mut canvas = Self::white(width, self.height);
        canvas.paste(&self, (width - self.width) / 2, 0);
        canvas
    }

    /// The picture in a frame.
    pub fn framed(&self, thickness: usize, color: [u8; 3]) -> Self {
        let mut canvas = Self::plain(self.width + 2 * thickness, self.height + 2 * thickness, color);
        canvas.paste(self, thickness, thickness);
        canvas
    }

    /// The picture with another of the same width below it.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn above(mut self, other: &Picture) -> Self {
        assert_eq!(self.width, other.width, "pictures of two widths");
        self.pixels.extend_from_slice(&other.pixels);
        self.height += other.height;
        self
    }
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
