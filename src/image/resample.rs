//! Resampling that agrees with Pillow's `Image.resize` bit for bit: bicubic, bilinear and nearest.
//!
//! The pretrained weights were made with Pillow, and a different resampler moves a tenth of all values by
//! up to eleven levels. Source of the algorithm: Pillow 12's `Resample.c` and `Geometry.c`: an antialiasing
//! kernel that widens as the picture shrinks, fixed-point weights, columns first, rounded to 8 bits between
//! the two passes.

use serde::{Deserialize, Serialize};

use super::Picture;

/// Fraction bits of a weight: 32, less 8 for the sample and 2 for the overshoot of the cubic's lobes.
const FRACTION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// How a pixel between pixels is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic convolution with a = -0.5, what the pretrained weights expect
    Bicubic,
    /// A triangle over the nearest pixels
    Bilinear,
    /// The nearest pixel; the default of Keras' image loader
    Nearest,
}

impl Interpolation {
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Bicubic => "bicubic",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Nearest => "nearest",
        }
    }
}

impl std::fmt::Display for Interpolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The picture at `width`×`height`, as Pillow's `Image.resize((width, height), interpolation)` has it.
///
/// # Panics
/// If either picture has no pixels.
pub fn resize(picture: &Picture, width: usize, height: usize, interpolation: Interpolation) -> Picture {
    let columns = Axis { from: picture.width, to: width, start: 0, count: width };
    let rows = Axis { from: picture.height, to: height, start: 0, count: height };
    resize_window(picture, columns, rows, interpolation)
}

/// One direction of a resize, of which only the output pixels `start..start + count` are wanted.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub from: usize,
    pub to: usize,
    pub start: usize,
    pub count: usize,
}

/// A resize followed by a crop, without making what the crop throws away.
pub(super) fn resize_window(picture: &Picture, columns: Axis, rows: Axis, interpolation: Interpolation) -> Picture {
    for axis in [columns, rows] {
        assert!(axis.from > 0 && axis.count > 0 && axis.start + axis.count <= axis.to, "an empty picture or window");
    }
    assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
    let kernel: fn(f64) -> f64 = match interpolation {
        Interpolation::Bicubic => bicubic,
        Interpolation::Bilinear => bilinear,
        Interpolation::Nearest => return nearest(picture, columns, rows),
    };
    let support = if interpolation == Interpolation::Bicubic { 2.0 } else { 1.0 };
    let across = weights(columns, kernel, support);
    let down = weights(rows, kernel, support);

    let first = down.iter().map(|taps| taps.first).min().unwrap_or(0);
    let last = down.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
    let narrow = horizontal(picture, &across, first..last);
    let pixels = vertical(&narrow, 3 * columns.count, first, &down);
    Picture { width: columns.count, height: rows.count, pixels }
}

/// The source pixels that make one output pixel: `weights[i]` belongs to source pixel `first + i`.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn weights(axis: Axis, kernel: fn(f64) -> f64, support: f64) -> Vec<Taps> {
    let scale = axis.from as f64 / axis.to as f64;
    let stretch = scale.max(1.0);
    let support = support * stretch;
    (axis.start..axis.start + axis.count)
        .map(|output| {
            if axis.from == axis.to {
                // Pillow passes over an axis that keeps its size.
                return Taps { first: output, weights: vec![1 << FRACTION_BITS] };
            }
            let centre = (output as f64 + 0.5) * scale;
            // Casts saturate at 0, where Pillow clamps.
            let first = (centre - support + 0.5) as usize;
            let last = ((centre + support + 0.5) as usize).min(axis.from);
            let shares: Vec<f64> = (first..last).map(|x| kernel((x as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let total: f64 = shares.iter().sum();
            Taps { first, weights: shares.iter().map(|share| fixed_point(share, total)).collect() }
        })
        .collect()
}

fn fixed_point(share: &f64, total: f64) -> i32 {
    let share = if total == 0.0 { *share } else { share / total };
    let scaled = share * f64::from(1 << FRACTION_BITS);
    (scaled + 0.5_f64.copysign(scaled)) as i32
}

/// Cubic convolution with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn bilinear(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// `[rows.len(), across.len(), 3]`: each of the rows `rows` at its new width.
fn horizontal(picture: &Picture, across: &[Taps], rows: std::ops::Range<usize>) -> Vec<u8> {
    let mut output = vec![0; rows.len() * across.len() * 3];
    let sources = picture.pixels.chunks_exact(3 * picture.width).skip(rows.start);
    for (source, target) in sources.zip(output.chunks_exact_mut(3 * across.len())) {
        for (taps, pixel) in across.iter().zip(target.as_chunks_mut::<3>().0) {
            let (source, _) = source[3 * taps.first..].as_chunks::<3>();
            let mut sum = [HALF; 3];
            for ([r, g, b], weight) in source.iter().zip(&taps.weights) {
                sum[0] += i32::from(*r) * weight;
                sum[1] += i32::from(*g) * weight;
                sum[2] += i32::from(*b) * weight;
            }
            *pixel = sum.map(to_sample);
        }
    }
    output
}

/// Rows at their new height; `rows` holds rows of `stride` samples from source row `first` on.
fn vertical(rows: &[u8], stride: usize, first: usize, down: &[Taps]) -> Vec<u8> {
    let mut output = vec![0; down.len() * stride];
    let mut sums = vec![HALF; stride];
    for (taps, target) in down.iter().zip(output.chunks_exact_mut(stride)) {
        sums.fill(HALF);
        let sources = rows.chunks_exact(stride).skip(taps.first - first);
        for (source, weight) in sources.zip(&taps.weights) {
            for (sum, sample) in sums.iter_mut().zip(source) {
                *sum += i32::from(*sample) * weight;
            }
        }
        for (sample, sum) in target.iter_mut().zip(&sums) {
            *sample = to_sample(*sum);
        }
    }
    output
}

fn to_sample(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn nearest(picture: &Picture, columns: Axis, rows: Axis) -> Picture {
    let columns_of = nearest_sources(columns);
    let mut pixels = Vec::with_capacity(3 * columns.count * rows.count);
    let (source, _) = picture.pixels.as_chunks::<3>();
    for row in nearest_sources(rows) {
        for column in &columns_of {
            // What falls off the far edge by the rounding of the sum is black there as here.
            let inside = row < rows.from && *column < columns.from;
            pixels.extend(if inside { source[row * picture.width + column] } else { [0; 3] });
        }
    }
    Picture { width: columns.count, height: rows.count, pixels }
}

/// Which source pixel each output pixel shows. Pillow walks by repeated addition, and so do we: a product
/// would round differently where a centre falls on an edge between two pixels.
fn nearest_sources(axis: Axis) -> Vec<usize> {
    if axis.from == axis.to {
        return (axis.start..axis.start + axis.count).collect();
    }
    let step = axis.from as f64 / axis.to as f64;
    let walk = std::iter::successors(Some(step * 0.5), |position| Some(position + step));
    walk.skip(axis.start).take(axis.count).map(|position| position as usize).collect()
}
