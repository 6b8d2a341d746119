//! A picture with its caption below it.

use anyhow::Result;

use crate::image::{self, Picture};
use crate::plot::{self, Line};

/// A caption on a narrower picture would be cut to nothing.
const LEAST_WIDTH: usize = 120;

/// The picture above its label, on white if it is too narrow for that.
pub fn captioned(picture: Picture, label: Line) -> Result<Picture> {
    above(picture.widened(LEAST_WIDTH), &[label])
}

/// The picture no larger than `side`, above its name and label, and as wide as every other of its sheet.
pub fn tile(picture: &Picture, side: usize, name: &str, label: Line) -> Result<Picture> {
    above(image::fitting(picture, side).widened(side), &[Line::of_name(name), label])
}

fn above(picture: Picture, lines: &[Line]) -> Result<Picture> {
    let caption = plot::caption(lines, picture.width)?;
    Ok(picture.above(&caption))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Line<'static> = Line { cut: "cat", kept: "  99.98 %" };

    #[test]
    fn a_narrow_picture_is_widened_for_its_caption_and_a_wide_one_is_not() {
        let width = |width| captioned(Picture::white(width, 10), LABEL).unwrap().width;
        assert_eq!([1, 120, 1000].map(width), [120, 120, 1000]);
    }

    #[test]
    fn tiles_of_a_sheet_have_one_width_and_one_height_of_caption() {
        let sizes = [(1, 1), (320, 200), (10, 4000), (4000, 10)].map(|(width, height)| {
            let picture = Picture::white(width, height);
            let tile = tile(&picture, 320, "kitten.jpg", LABEL).unwrap();
            (tile.width, tile.height - image::fitting(&picture, 320).height)
        });
        assert!(sizes.iter().all(|size| *size == (320, sizes[0].1)), "{sizes:?}");
    }
}
