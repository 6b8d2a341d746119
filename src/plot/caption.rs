//! A line of text as a picture, to stand below a photograph.

use anyhow::{Result, anyhow};
use kuva::RasterBackend;
use kuva::render::render::{Primitive, Scene, TextAnchor};

use super::text;
use crate::image::{self, Picture};

/// Height of the letters as a share of the strip's width, and its limits in pixels.
const LETTERS: f64 = 0.045;
const SMALLEST: u32 = 11;
const LARGEST: u32 = 96;

/// `line` on a white strip of `width` pixels, cut where it does not fit.
///
/// # Errors
/// If the strip cannot be drawn.
pub fn caption(line: &str, width: usize) -> Result<Picture> {
    let size = ((width as f64 * LETTERS) as u32).clamp(SMALLEST, LARGEST);
    let (margin, height) = (0.5 * f64::from(size), 2.0 * f64::from(size));
    let mut scene = Scene::new(width as f64, height);
    scene.add(Primitive::Text {
        x: margin,
        y: 0.5 * height + 0.35 * f64::from(size),
        content: text::fitting(line, size, width as f64 - 2.0 * margin),
        size,
        anchor: TextAnchor::Start,
        rotate: None,
        bold: false,
        color: None,
    });
    let drawn = RasterBackend::new().with_scale(1.0).render_scene(&scene);
    image::decode(&drawn.map_err(|error| anyhow!("`{line}` cannot be drawn: {error}"))?, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_is_as_wide_as_its_photograph_and_has_letters_on_it() {
        for width in [20, 333, 4000] {
            let strip = caption("cat 99.98 %", width).unwrap();
            assert_eq!(strip.width, width);
            let dark = strip.pixels.iter().filter(|&&value| value < 64).count();
            assert!(dark > 0 && dark < strip.pixels.len() / 3, "{width}: {dark}");
        }
    }
}
