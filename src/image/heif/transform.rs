//! What the container says is done to a picture before it is shown.

use ::image::metadata::Orientation;
use anyhow::{Context, Result};
use heifer_isobmff::boxes::Property;

use crate::image::Picture;
use crate::image::decode::oriented;

#[derive(Debug, Clone, Copy)]
pub enum Transform {
    /// First column and row, width and height.
    Crop([usize; 2], [usize; 2]),
    Turn(Orientation),
}

impl Transform {
    /// What `property` does to a picture of `width` and `height`; most do nothing.
    ///
    /// # Errors
    /// If it shows what lies outside of the picture.
    pub fn of(property: &Property, [width, height]: [usize; 2], name: &str) -> Result<Option<Self>> {
        Ok(Some(match property {
            // Against the clock.
            Property::Rotation(quarters) => match quarters % 4 {
                1 => Self::Turn(Orientation::Rotate270),
                2 => Self::Turn(Orientation::Rotate180),
                3 => Self::Turn(Orientation::Rotate90),
                _ => return Ok(None),
            },
            Property::Mirror(true) => Self::Turn(Orientation::FlipVertical),
            Property::Mirror(false) => Self::Turn(Orientation::FlipHorizontal),
            Property::CleanAperture { width: across, height: down, horiz_offset, vert_offset } => {
                // Half a pixel is cut as libheif does it.
                let across = span(width, *across, *horiz_offset, f64::floor);
                let down = span(height, *down, *vert_offset, f64::round);
                let spans = across.zip(down).with_context(|| {
                    format!("damaged {name}: what is to be shown lies outside of the picture; copy the file again")
                })?;
                let ((left, width), (top, height)) = spans;
                Self::Crop([left, top], [width, height])
            }
            _ => return Ok(None),
        }))
    }

    pub fn applied(self, picture: Picture) -> Result<Picture> {
        match self {
            Self::Turn(orientation) => oriented(picture, orientation),
            Self::Crop([left, top], [width, height]) => {
                let rows = picture.pixels.chunks_exact(3 * picture.width).skip(top).take(height);
                let pixels = rows.flat_map(|row| &row[3 * left..3 * (left + width)]).copied().collect();
                Ok(Picture { width, height, pixels })
            }
        }
    }

    /// Width and height of what becomes of a picture.
    pub fn size(self, [width, height]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Crop(_, size) => size,
            Self::Turn(Orientation::Rotate90 | Orientation::Rotate270) => [height, width],
            Self::Turn(_) => [width, height],
        }
    }

    /// Whether pixels that share a sample of chroma are parted, in a picture of `width` and `height`.
    pub fn parts_chroma(self, [width, height]: [usize; 2], [across, down]: [usize; 2]) -> bool {
        let [right, bottom] = [!width.is_multiple_of(across), !height.is_multiple_of(down)];
        match self {
            Self::Crop([left, top], _) => !left.is_multiple_of(across) || !top.is_multiple_of(down),
            Self::Turn(Orientation::Rotate90) => across != down || bottom,
            Self::Turn(Orientation::Rotate270) => across != down || right,
            // Mirrored upside down, an odd width parts nothing; libheif looks at both sides all the same.
            Self::Turn(Orientation::Rotate180 | Orientation::FlipVertical | Orientation::FlipHorizontal) => {
                right || bottom
            }
            Self::Turn(_) => false,
        }
    }
}

/// Colours that were multiplied by `alpha`, of as many pixels, as they were before.
pub fn undo_multiplication(picture: &mut Picture, alpha: &[u8]) {
    for (pixel, alpha) in picture.pixels.chunks_exact_mut(3).zip(alpha) {
        for level in pixel {
            let (whole, alpha) = (u32::from(*level) * 255 + u32::from(*alpha) / 2, u32::from(*alpha));
            *level = whole.checked_div(alpha).unwrap_or(0).min(255) as u8;
        }
    }
}

/// First pixel and number of pixels that are shown of `size`: as many as `length`, whose middle lies `offset` from that
/// of the picture.
fn span(size: usize, length: (u32, u32), offset: (i32, u32), rounded: fn(f64) -> f64) -> Option<(usize, usize)> {
    let share = |above: f64, below: u32| (below != 0).then(|| above / f64::from(below));
    let (length, offset) = (share(f64::from(length.0), length.1)?, share(f64::from(offset.0), offset.1)?);
    let first = rounded(offset + (size as f64 - length) / 2.0);
    let length = length.round();
    let fits = first >= 0.0 && length >= 1.0 && first + length <= size as f64;
    fits.then_some((first as usize, length as usize))
}
