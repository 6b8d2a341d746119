//! Heat laid over a photograph.

use rayon::prelude::*;

use super::Picture;

/// Opacity of the hottest place.
const OPACITY: f32 = 0.6;

/// A part of a photograph, in its pixels; may lie between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The picture with `heat` of `size` (width, height) stretched over `window`: red is 1, and what is 0, or
/// outside, stays as it is.
///
/// Shapes: `heat` [height, width], 0 to 1.
///
/// # Panics
/// If `heat` is empty or has another size.
pub fn overlaid(picture: &Picture, window: Window, size: (usize, usize), heat: &[f32]) -> Picture {
    let (width, height) = size;
    assert!(!heat.is_empty() && heat.len() == width * height, "a heat map");
    let columns: Vec<Option<Between>> =
        (0..picture.width).map(|x| Between::of(x, window.left, window.width, width)).collect();
    let mut pixels = picture.pixels.clone();
    pixels.par_chunks_mut(3 * picture.width).enumerate().for_each(|(y, row)| {
        let Some(rows) = Between::of(y, window.top, window.height, height) else { return };
        let (upper, lower) = (&heat[rows.first * width..][..width], &heat[rows.second * width..][..width]);
        for (pixel, column) in row.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            if let Some(column) = column {
                tint(pixel, rows.mix(column.in_row(upper), column.in_row(lower)));
            }
        }
    });
    Picture { pixels, ..*picture }
}

/// Mixes a pixel with the colour of its heat.
fn tint(pixel: &mut [u8; 3], heat: f32) {
    let color = colorous::TURBO.eval_continuous(f64::from(heat));
    let opacity = OPACITY * heat.clamp(0.0, 1.0).sqrt();
    for (value, color) in pixel.iter_mut().zip([color.r, color.g, color.b]) {
        *value = (f32::from(*value) * (1.0 - opacity) + f32::from(color) * opacity).round() as u8;
    }
}

/// The two cells of a map that a pixel lies between.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Between {
    first: usize,
    second: usize,
    /// Share of the second.
    share: f32,
}

impl Between {
    /// Of pixel `index` along an axis of `cells` stretched over `length` pixels from `start` on; none outside.
    fn of(index: usize, start: f64, length: f64, cells: usize) -> Option<Self> {
        let place = (index as f64 + 0.5 - start) / length;
        if !(0.0..1.0).contains(&place) {
            return None;
        }
        // Cells are known in their middle; beyond the outer middles they stay what they are.
        let cell = (place * cells as f64 - 0.5).clamp(0.0, (cells - 1) as f64);
        let first = cell as usize;
        Some(Self { first, second: (first + 1).min(cells - 1), share: (cell - first as f64) as f32 })
    }

    fn mix(self, first: f32, second: f32) -> f32 {
        first + (second - first) * self.share
    }

    fn in_row(self, row: &[f32]) -> f32 {
        self.mix(row[self.first], row[self.second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_itself_in_its_middle_and_fades_into_its_neighbour() {
        let at = |index| Between::of(index, 0.0, 8.0, 2).map(|cell| cell.in_row(&[0.0, 1.0]));
        // The middles lie at 2 and 6, pixel centres at halves.
        assert_eq!(at(0), Some(0.0));
        assert_eq!(at(3), Some(0.375));
        assert_eq!(at(7), Some(1.0));
        assert_eq!(at(8), None);
    }

    #[test]
    fn only_the_window_is_tinted() {
        let picture = Picture { width: 4, height: 2, pixels: vec![100; 24] };
        let window = Window { left: 1.0, top: 0.0, width: 2.0, height: 2.0 };
        let tinted = overlaid(&picture, window, (1, 1), &[1.0]);
        let is_tinted = |x: usize| tinted.pixels[3 * x..][..3] != [100, 100, 100];
        assert_eq!([0, 1, 2, 3].map(is_tinted), [false, true, true, false]);
        assert_eq!(overlaid(&picture, window, (1, 1), &[0.0]), picture);
    }
}
