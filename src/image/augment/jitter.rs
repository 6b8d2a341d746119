//! Brightness, contrast and saturation, changed in random order.
//!
//! Source: torchvision's `ColorJitter` and, under it, Pillow's `ImageEnhance`, which this agrees with bit for
//! bit: each change mixes the picture with one that lacks the property.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::image::Picture;

/// What a factor is applied to: 0 takes the property away, 1 changes nothing.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Mixes with black.
    Brightness,
    /// Mixes with the grey picture's mean.
    Contrast,
    /// Mixes with the grey picture.
    Saturation,
}

/// Each of the changes once, in random order, with factors from `1 - limit` to `1 + limit`.
pub fn draw(limit: f64, random: &mut ChaCha8Rng) -> [(Change, f32); 3] {
    let mut changes = [Change::Brightness, Change::Contrast, Change::Saturation].map(|change| {
        let [order, factor]: [f64; 2] = random.random();
        (order, change, 1.0 + limit * (2.0 * factor - 1.0))
    });
    changes.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    changes.map(|(_, change, factor)| (change, factor as f32))
}

impl Change {
    pub fn apply(self, picture: &mut Picture, factor: f32) {
        let (pixels, _) = picture.pixels.as_chunks_mut::<3>();
        match self {
            Change::Brightness => pixels.iter_mut().for_each(|pixel| mix(pixel, 0, factor)),
            Change::Contrast => {
                let mean = mean_grey(pixels);
                pixels.iter_mut().for_each(|pixel| mix(pixel, mean, factor));
            }
            Change::Saturation => pixels.iter_mut().for_each(|pixel| mix(pixel, grey(*pixel), factor)),
        }
    }
}

/// Away from `base` by `factor`, cut off below the point, as Pillow's `Image.blend` does in its floats.
fn mix(pixel: &mut [u8; 3], base: u8, factor: f32) {
    let base = f32::from(base);
    *pixel = pixel.map(|sample| (base + factor * (f32::from(sample) - base)) as u8);
}

/// ITU-R 601 with 16 fraction bits, as Pillow's `convert("L")` has it.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Half a level is rounded up.
fn mean_grey(pixels: &[[u8; 3]]) -> u8 {
    let sum: u64 = pixels.iter().map(|pixel| u64::from(grey(*pixel))).sum();
    let count = pixels.len() as u64;
    ((2 * sum + count) / (2 * count)) as u8
}
