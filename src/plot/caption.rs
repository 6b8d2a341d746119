//! Lines of text as a picture, to stand below a photograph.

use anyhow::{Result, anyhow};
use kuva::RasterBackend;
use kuva::render::render::{Primitive, Scene, TextAnchor};

use super::text;
use crate::image::{self, Picture};

/// Height of the letters as a share of the strip's width, and its limits in pixels.
const LETTERS: f64 = 0.045;
const SMALLEST: u32 = 13;
const LARGEST: u32 = 96;

/// From one line to the next, as a share of the letters' height, and what stands above and below them all.
const LINE: f64 = 1.5;
const MARGIN: f64 = 0.5;

/// A text of which the beginning is cut where both do not fit: a label before its probability.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    pub cut: &'a str,
    pub kept: &'a str,
}

impl<'a> Line<'a> {
    /// The name of a file, of which the end tells more than the middle.
    pub fn of_name(name: &'a str) -> Self {
        const END: usize = 10;
        let end = name.char_indices().rev().nth(END - 1).map_or(0, |(at, _)| at);
        Self { cut: &name[..end], kept: &name[end..] }
    }
}

/// `lines` in the middle of a white strip of `width` pixels.
///
/// # Errors
/// If the strip cannot be drawn.
pub fn caption(lines: &[Line], width: usize) -> Result<Picture> {
    let size = ((width as f64 * LETTERS) as u32).clamp(SMALLEST, LARGEST);
    let letter = f64::from(size);
    let mut scene = Scene::new(width as f64, ((LINE * lines.len() as f64 + 2.0 * MARGIN) * letter).ceil());
    let room = width as f64 - 2.0 * MARGIN * letter;
    for (row, line) in lines.iter().enumerate() {
        scene.add(Primitive::Text {
            x: 0.5 * width as f64,
            // Half the height of a capital below the middle of the line.
            y: (MARGIN + LINE * (row as f64 + 0.5) + 0.35) * letter,
            content: text::fitting_before(line.cut, line.kept, size, room),
            size,
            anchor: TextAnchor::Middle,
            rotate: None,
            bold: false,
            color: None,
        });
    }
    let drawn = RasterBackend::new().with_scale(1.0).render_scene(&scene);
    image::decode(&drawn.map_err(|error| anyhow!("a caption cannot be drawn: {error}"))?, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_is_as_wide_as_its_photograph_and_has_letters_on_it() {
        for width in [20, 333, 4000] {
            let strip = caption(&[Line { cut: "cat", kept: "  99.98 %" }], width).unwrap();
            assert_eq!(strip.width, width);
            let dark = strip.pixels.iter().filter(|&&value| value < 64).count();
            assert!(dark > 0 && dark < strip.pixels.len() / 3, "{width}: {dark}");
        }
    }

    #[test]
    fn every_line_adds_the_same_height() {
        let height = |lines: usize| caption(&vec![Line { cut: "cat", kept: "" }; lines], 200).unwrap().height;
        assert!(height(1) > 13 && height(3) - height(2) >= 19 && height(2) - height(1) >= 19);
    }

    #[test]
    fn the_end_of_a_name_is_kept() {
        let split = |name| Some(Line::of_name(name)).map(|line| (line.cut, line.kept));
        assert_eq!(split("IMG_20240131_123456.jpg"), Some(("IMG_20240131_", "123456.jpg")));
        assert_eq!(split("kätzchen.png"), Some(("kä", "tzchen.png")));
        assert_eq!(split("cat.jpg"), Some(("", "cat.jpg")));
    }
}
