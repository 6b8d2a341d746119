//! From samples to RGB, row by row, as Pillow converts them.

use super::compression::{Pixels, number, real};
use super::layout::{Chunk, Extra, Layout, Number, Photometric};
use crate::image::depth::{Narrowed, narrow, narrow_numbers};
use crate::image::jpeg::cmyk_to_rgb;

/// The picture as far as it is painted.
pub struct Canvas<'a> {
    layout: &'a Layout,
    samples: Samples,
}

/// Of 8 bits at once; what has more waits for the whole range to be known.
enum Samples {
    Rgb(Vec<u8>),
    /// One or three for each pixel.
    Deep(Vec<u16>),
    Real(Vec<f32>),
}

impl<'a> Canvas<'a> {
    pub fn new(layout: &'a Layout) -> Self {
        let pixels = layout.width * layout.height;
        let lights = lights(layout);
        let samples = if is_real(layout) {
            Samples::Real(vec![0.0; lights * pixels])
        } else if is_deep(layout) {
            Samples::Deep(vec![0; lights * pixels])
        } else {
            Samples::Rgb(vec![0; 3 * pixels])
        };
        Self { layout, samples }
    }

    /// Takes over what of a chunk lies within the picture.
    pub fn paint(&mut self, chunk: &Chunk, pixels: &Pixels) {
        let layout = self.layout;
        let (width, lights) = (layout.width, lights(layout));
        let columns = chunk.width.min(width - chunk.left);
        let rows = pixels.bytes.chunks_exact(pixels.stride).take(chunk.height.min(layout.height - chunk.top));
        for (y, row) in rows.enumerate() {
            let start = (chunk.top + y) * width + chunk.left;
            match &mut self.samples {
                Samples::Rgb(rgb) => {
                    let target = &mut rgb[3 * start..][..3 * columns];
                    paint_row(layout, row, pixels.is_rgb, target.as_chunks_mut::<3>().0);
                }
                Samples::Deep(deep) => {
                    let target = &mut deep[lights * start..][..lights * columns];
                    let sample = |x: usize, light: usize| sample(layout, row, x * layout.samples + light);
                    fill(target, lights, |x, light| sample(x, light) as u16);
                }
                Samples::Real(numbers) => {
                    let target = &mut numbers[lights * start..][..lights * columns];
                    let width = layout.bits / 8;
                    let at = |x: usize, light: usize| (x * layout.samples + light) * width;
                    fill(target, lights, |x, light| {
                        real(&row[at(x, light)..][..width], layout.number, layout.is_big_endian)
                    });
                }
            }
        }
    }

    /// The RGB pixels, and whether their range was guessed.
    pub fn finish(self) -> (Vec<u8>, bool) {
        let Narrowed { mut samples, is_guess } = match self.samples {
            Samples::Rgb(pixels) => return (pixels, false),
            Samples::Deep(samples) => narrow(&samples, self.layout.white.map(|white| white as u32)),
            Samples::Real(numbers) => narrow_numbers(&numbers, self.layout.number == Number::Float, self.layout.white),
        };
        // Of floats, like Pillow, not: what their white is nobody says.
        if self.layout.photometric == Photometric::WhiteIsZero && self.layout.number != Number::Float {
            samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
        }
        let pixels =
            if lights(self.layout) == 3 { samples } else { samples.iter().flat_map(|grey| [*grey; 3]).collect() };
        (pixels, is_guess)
    }
}

fn fill<T>(target: &mut [T], lights: usize, value: impl Fn(usize, usize) -> T) {
    for (x, pixel) in target.chunks_exact_mut(lights).enumerate() {
        pixel.iter_mut().enumerate().for_each(|(light, target)| *target = value(x, light));
    }
}

/// Samples that are light: 3 of RGB, 1 of grey.
fn lights(layout: &Layout) -> usize {
    if layout.photometric == Photometric::Rgb { 3 } else { 1 }
}

fn is_real(layout: &Layout) -> bool {
    layout.bits > 16 || layout.number == Number::Float || layout.number == Number::Signed && layout.bits > 8
}

/// Alpha is undone in 8 bits, and inks are mixed in them.
fn is_deep(layout: &Layout) -> bool {
    layout.bits > 8 && layout.photometric != Photometric::Cmyk && layout.extra != Extra::Associated
}

/// The unsigned sample number `i` of a row.
fn sample(layout: &Layout, row: &[u8], i: usize) -> u32 {
    match layout.bits {
        8 => row[i].into(),
        16 => number(&row[2 * i..2 * i + 2], layout.is_big_endian) as u32,
        bits => {
            let start = i * bits;
            let bytes = &row[start / 8..(start + bits).div_ceil(8)];
            let above = 8 * bytes.len() - start % 8 - bits;
            (number(bytes, true) >> above) as u32 & ((1 << bits) - 1)
        }
    }
}

fn paint_row(layout: &Layout, row: &[u8], is_rgb: bool, target: &mut [[u8; 3]]) {
    let is_plain = layout.photometric == Photometric::Rgb && layout.extra == Extra::None;
    if layout.bits == 8 && (is_plain || is_rgb) {
        let (pixels, _) = row.as_chunks::<3>();
        target.copy_from_slice(&pixels[..target.len()]);
        return;
    }
    let levels = (1_u32 << layout.bits) - 1;
    for (x, pixel) in target.iter_mut().enumerate() {
        let raw = |light: usize| sample(layout, row, x * layout.samples + light);
        let level =
            |light: usize| if layout.bits == 16 { (raw(light) >> 8) as u8 } else { (raw(light) * 255 / levels) as u8 };
        let alpha = |colours: usize| if layout.extra == Extra::Associated { level(colours) } else { u8::MAX };
        let lit = |light: usize, colours: usize| undone(level(light), alpha(colours));
        *pixel = match layout.photometric {
            Photometric::BlackIsZero => [lit(0, 1); 3],
            Photometric::WhiteIsZero => [255 - lit(0, 1); 3],
            Photometric::Rgb => [0, 1, 2].map(|light| lit(light, 3)),
            Photometric::Palette => layout.palette[raw(0) as usize],
            Photometric::Cmyk => cmyk_to_rgb(&[0, 1, 2, 3].map(level)),
            Photometric::YCbCr => match &layout.ycbcr {
                Some(conversion) => conversion.rgb([0, 1, 2].map(level)),
                None => [level(0); 3],
            },
            Photometric::CieLab => lab_to_rgb(level(0), level(1) as i8, level(2) as i8),
            Photometric::IccLab => lab_to_rgb(level(0), (level(1) ^ 0x80) as i8, (level(2) ^ 0x80) as i8),
        };
    }
}

/// A colour before alpha was multiplied into it.
fn undone(level: u8, alpha: u8) -> u8 {
    match alpha {
        0 => 0,
        u8::MAX => level,
        _ => (u32::from(level) * 255 / u32::from(alpha)).min(255) as u8,
    }
}

/// CIE L*a*b* of light D50 as sRGB, as Pillow has it from littleCMS.
/// Source: CIE 15; IEC 61966-2-1, its primaries adapted to D50 by Bradford's method (ICC.1, annex E).
fn lab_to_rgb(lightness: u8, a: i8, b: i8) -> [u8; 3] {
    let y = (f64::from(lightness) * 100.0 / 255.0 + 16.0) / 116.0;
    let (x, z) = (y + f64::from(a) / 500.0, y - f64::from(b) / 200.0);
    let linear = |t: f64| if t > 6.0 / 29.0 { t.powi(3) } else { 3.0 * (6.0_f64 / 29.0).powi(2) * (t - 4.0 / 29.0) };
    let (x, y, z) = (0.9642 * linear(x), linear(y), 0.8249 * linear(z));
    let lights = [
        3.133_856_1 * x - 1.616_866_7 * y - 0.490_614_6 * z,
        -0.978_768_4 * x + 1.916_141_5 * y + 0.033_454_0 * z,
        0.071_945_3 * x - 0.228_991_4 * y + 1.405_242_7 * z,
    ];
    lights.map(|light| {
        let light = light.clamp(0.0, 1.0);
        let curved = if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
        (255.0 * curved + 0.5) as u8
    })
}
