//! A box of a picture, turned about its centre: bilinear, and reflected at the picture's border.
//!
//! Only the box's pixels are made. Positions are integers with 32 fraction bits: walking along a row is two
//! additions, and every machine rounds alike.

use super::Window;
use crate::image::Picture;

const FRACTION_BITS: u32 = 32;
/// Bits of a bilinear weight: two of them and a sample fit 32.
const WEIGHT_BITS: u32 = 11;

/// What `window` shows after it was turned by `degrees`; what it shows turns counter-clockwise.
///
/// Where its shorter side is above `needed_side`, it comes at that size: the resize that follows takes the
/// rest out anyway.
pub fn rotate(picture: &Picture, window: Window, degrees: f64, needed_side: usize) -> Picture {
    let shrink = (window.width.min(window.height) as f64 / needed_side as f64).max(1.0);
    let [width, height] = [window.width, window.height].map(|side| (side as f64 / shrink).round() as usize);
    let across = Steps::over(window.left, window.width, width);
    let down = Steps::over(window.top, window.height, height);
    let (sine, cosine) = degrees.to_radians().sin_cos();
    let step = [across.step * cosine, across.step * sine].map(fixed_point);

    let mut pixels = vec![0; 3 * width * height];
    for (row, target) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let (left, below) = (across.offset(0), down.offset(row));
        let start = [across.centre + left * cosine - below * sine, down.centre + left * sine + below * cosine];
        let [mut x, mut y] = start.map(|position| fixed_point(position - 0.5));
        for pixel in target.as_chunks_mut::<3>().0 {
            *pixel = bilinear(picture, x, y);
            x += step[0];
            y += step[1];
        }
    }
    Picture { width, height, pixels }
}

/// One direction of the box: `count` steps about its centre, in source pixels.
struct Steps {
    centre: f64,
    step: f64,
    count: usize,
}

impl Steps {
    fn over(start: usize, length: usize, count: usize) -> Self {
        Self { centre: start as f64 + length as f64 / 2.0, step: length as f64 / count as f64, count }
    }

    /// How far the middle of a step lies from the centre.
    fn offset(&self, index: usize) -> f64 {
        (index as f64 + 0.5 - self.count as f64 / 2.0) * self.step
    }
}

fn fixed_point(position: f64) -> i64 {
    (position * (1_i64 << FRACTION_BITS) as f64).round() as i64
}

/// The sample at a position, where whole numbers are the middles of pixels.
fn bilinear(picture: &Picture, x: i64, y: i64) -> [u8; 3] {
    const ONE: u32 = 1 << WEIGHT_BITS;
    const HALF: u32 = 1 << (2 * WEIGHT_BITS - 1);
    let ((left, share_right), (top, share_bottom)) = (split(x), split(y));
    let [a, b, c, d] = neighbours(picture, left, top);
    std::array::from_fn(|channel| {
        let [a, b, c, d] = [a, b, c, d].map(|pixel| u32::from(pixel[channel]));
        let above = a * (ONE - share_right) + b * share_right;
        let below = c * (ONE - share_right) + d * share_right;
        ((above * (ONE - share_bottom) + below * share_bottom + HALF) >> (2 * WEIGHT_BITS)) as u8
    })
}

/// The pixel before a position, and the weight of the one after it.
fn split(position: i64) -> (i64, u32) {
    let rounded = position + (1 << (FRACTION_BITS - WEIGHT_BITS - 1));
    let share = (rounded >> (FRACTION_BITS - WEIGHT_BITS)) & ((1 << WEIGHT_BITS) - 1);
    (rounded >> FRACTION_BITS, share as u32)
}

/// The 2×2 pixels from `(left, top)` on, row by row.
fn neighbours(picture: &Picture, left: i64, top: i64) -> [[u8; 3]; 4] {
    let (pixels, _) = picture.pixels.as_chunks::<3>();
    let (width, height) = (picture.width, picture.height);
    // Negative numbers wrap to large ones. Most lie inside, and reflecting takes divisions.
    let (column, row) = (left as usize, top as usize);
    if column < width - 1 && row < height - 1 {
        let (above, below) = pixels[row * width + column..].split_at(width);
        return [above[0], above[1], below[0], below[1]];
    }
    let [rows, columns] = [(top, height), (left, width)].map(|(at, length)| [at, at + 1].map(|at| reflect(at, length)));
    let at = |row: usize, column: usize| pixels[row * width + column];
    [at(rows[0], columns[0]), at(rows[0], columns[1]), at(rows[1], columns[0]), at(rows[1], columns[1])]
}

/// Beyond the border the picture comes back, its outermost pixel first.
fn reflect(index: i64, length: usize) -> usize {
    let length = length as i64;
    let index = index.rem_euclid(2 * length);
    index.min(2 * length - 1 - index) as usize
}
