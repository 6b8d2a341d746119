//! From a picture to the numbers that the network was trained on.
//!
//! ```text
//! picture ──resize──▶ ──centre crop──▶ [size,size,3] ──(x/255 - mean) / std──▶
//! ```
//!
//! Keras squashes the whole picture to a square. timm and torchvision bring the shorter side to a little more than
//! the square and cut the centre out. What the samples are scaled by differs from one set of weights to the next, so
//! all of it travels with them. Sources: Keras Applications' `preprocess_input` with `load_img`; timm's evaluation
//! transform and torchvision's `Resize`, `CenterCrop` and `Normalize`.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::resample::{Axis, Interpolation, resize, resize_window};
use super::{Picture, Window};
use crate::architecture::{MAX_INPUT_SIZE, MIN_INPUT_SIZE};
use crate::convention::Convention;

/// The share of the shorter side that timm's crop keeps (`crop_pct` of `legacy_xception.tf_in1k`).
const TIMM_CROP_SHARE: f64 = 0.8975;
/// Longest shorter side before the crop: at most eight times the network's input.
const MAX_CROPPED_SIDE: usize = 8 * MAX_INPUT_SIZE;

/// Pixels a side that a picture keeps for each of the network's input when it is scaled down before it is resampled.
const OVERSAMPLING: usize = 4;

/// How a picture becomes the network's input; travels inside a model file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Preprocessing {
    pub resize: Resize,
    pub interpolation: Interpolation,
    /// Height and width of the network's input, in pixels.
    pub size: usize,
    pub normalisation: Normalisation,
}

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The whole picture, whatever its shape (Keras).
    Squash,
    /// The middle, after the shorter side was brought to the input's size divided by this share, rounded down (timm's
    /// `crop_pct`).
    Crop(f64),
    /// The middle, after the shorter side was brought to this many pixels (torchvision).
    Shorter(usize),
}

/// What becomes of the samples: `(x / 255 - mean) / std` for each channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// In the order of the network's channels.
    pub mean: [f64; 3],
    pub std: [f64; 3],
    #[serde(default)]
    pub channels: Channels,
}

/// The order of the network's three input channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    #[default]
    Rgb,
    Bgr,
}

impl Resize {
    /// That of a family of weights.
    pub const fn of(convention: Convention) -> Self {
        match convention {
            Convention::Keras => Self::Squash,
            Convention::Timm => Self::Crop(TIMM_CROP_SHARE),
        }
    }

    /// Length of the shorter side before the crop to `size`; none where nothing is cropped.
    fn shorter_side(self, size: usize) -> Option<usize> {
        match self {
            Self::Squash => None,
            Self::Crop(share) => Some((size as f64 / share).floor() as usize),
            Self::Shorter(side) => Some(side),
        }
    }
}

impl Normalisation {
    /// -1 to 1: Keras' mode `tf`, and what timm does with the weights of that origin.
    pub const SYMMETRIC: Self = Self { mean: [0.5; 3], std: [0.5; 3], channels: Channels::Rgb };

    /// The network's number for each of a channel's 256 samples, in float32 as the frameworks compute it.
    fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|sample| {
            let sample = sample as f32;
            if (mean, std) == (0.5, 0.5) {
                sample / 127.5 - 1.0
            } else if std == 1.0 / 255.0 {
                // Keras' mode `caffe` subtracts from 0..255 and scales nothing.
                sample - (mean * 255.0) as f32
            } else {
                (sample / 255.0 - mean as f32) / std as f32
            }
        })
    }
}

impl Preprocessing {
    /// What the weights of a family were trained with.
    pub const fn of(convention: Convention, interpolation: Interpolation, size: usize) -> Self {
        Self { resize: Resize::of(convention), interpolation, size, normalisation: Normalisation::SYMMETRIC }
    }

    /// The same for another input size; a crop keeps its share of the picture.
    pub fn with_size(self, size: usize) -> Self {
        let resize = match self.resize {
            Resize::Shorter(side) => Resize::Shorter((side * size).div_ceil(self.size)),
            resize => resize,
        };
        Self { resize, size, ..self }
    }

    /// Passes if the network takes pictures of this size and the numbers make sense.
    ///
    /// # Errors
    /// Names what does not fit and the range.
    pub fn check(&self) -> Result<()> {
        let (size, range) = (self.size, MIN_INPUT_SIZE..=MAX_INPUT_SIZE);
        ensure!(
            range.contains(&size),
            "its input is {size}×{size} pixels, expected {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE} a side"
        );
        let side = self.resize.shorter_side(size).unwrap_or(size);
        ensure!(
            (size..=MAX_CROPPED_SIDE).contains(&side),
            "its pictures are brought to {side} pixels before the middle {size} are cut out, expected {size} to \
             {MAX_CROPPED_SIDE}"
        );
        let Normalisation { mean, std, .. } = self.normalisation;
        ensure!(
            mean.iter().chain(&std).all(|value| value.abs() <= 1e6) && std.iter().all(|std| *std >= 1e-6),
            "its mean {mean:?} and std {std:?} make no sense, expected numbers for samples of 0 to 1, std above 0"
        );
        Ok(())
    }

    /// The network's input, `[size, size, 3]`.
    ///
    /// # Panics
    /// If the picture has no pixels or `size` is 0.
    pub fn apply(&self, picture: &Picture) -> Vec<f32> {
        self.normalise(&self.crop(picture))
    }

    /// The network's input from the picture that [`Self::crop`] or an augmentation made of it.
    ///
    /// # Panics
    /// If the picture is not `size`×`size`.
    pub fn normalise(&self, square: &Picture) -> Vec<f32> {
        assert_eq!((square.width, square.height), (self.size, self.size), "the network's input");
        let [first, second, third] = [0, 1, 2].map(|channel| self.normalisation.table(channel));
        let (pixels, _) = square.pixels.as_chunks::<3>();
        let scaled = |[a, b, c]: [u8; 3]| [first[usize::from(a)], second[usize::from(b)], third[usize::from(c)]];
        match self.normalisation.channels {
            Channels::Rgb => pixels.iter().flat_map(|pixel| scaled(*pixel)).collect(),
            Channels::Bgr => pixels.iter().flat_map(|[r, g, b]| scaled([*b, *g, *r])).collect(),
        }
    }

    /// Sides that a picture needs so that scaling it down beforehand leaves the network's input as it is,
    /// within one level of 255.
    pub fn needed_side(&self) -> usize {
        match self.interpolation {
            Interpolation::Nearest => usize::MAX, // it takes single pixels
            Interpolation::Bicubic | Interpolation::Bilinear => {
                // A crop that cuts a narrow border off makes do with a little less.
                let cropped = self.resize.shorter_side(self.size).map_or(0, |side| 7 * side / 2);
                cropped.max(OVERSAMPLING * self.size)
            }
        }
    }

    /// What the network sees, still as a picture of `size`×`size`.
    ///
    /// # Panics
    /// If the picture has no pixels or `size` is 0.
    pub fn crop(&self, picture: &Picture) -> Picture {
        match self.resize.shorter_side(self.size) {
            None => resize(picture, self.size, self.size, self.interpolation),
            Some(side) => {
                let (columns, rows) = self.axes(side, picture.width, picture.height);
                resize_window(picture, columns, rows, self.interpolation)
            }
        }
    }

    /// The part of a picture of this size that the network sees.
    pub fn window(&self, width: usize, height: usize) -> Window {
        let (left, top, seen_width, seen_height) = match self.resize.shorter_side(self.size) {
            None => (0.0, 0.0, 1.0, 1.0),
            Some(side) => {
                let (columns, rows) = self.axes(side, width, height);
                let share = |axis: Axis| (axis.start as f64 / axis.to as f64, axis.count as f64 / axis.to as f64);
                let ((left, seen_width), (top, seen_height)) = (share(columns), share(rows));
                (left, top, seen_width, seen_height)
            }
        };
        let (width, height) = (width as f64, height as f64);
        Window { left: left * width, top: top * height, width: seen_width * width, height: seen_height * height }
    }

    /// The crop of a picture of this size whose shorter side is brought to `side`: its columns and rows.
    fn axes(&self, side: usize, width: usize, height: usize) -> (Axis, Axis) {
        // The longer side in proportion, rounded down.
        let longer = |long: usize, short: usize| ((side * long) as f64 / short as f64) as usize;
        let (to_width, to_height) =
            if width <= height { (side, longer(height, width)) } else { (longer(width, height), side) };
        (self.centre(width, to_width), self.centre(height, to_height))
    }

    /// The middle `size` pixels; a half is rounded to the even neighbour, as Python's `round` does.
    fn centre(&self, from: usize, to: usize) -> Axis {
        let start = ((to - self.size) as f64 / 2.0).round_ties_even() as usize;
        Axis { from, to, start, count: self.size }
    }
}

/// A preprocessing as files hold it: in earlier versions the convention alone said how pictures are resized and scaled.
#[derive(Deserialize)]
struct Stored {
    resize: Option<Resize>,
    interpolation: Interpolation,
    size: usize,
    normalisation: Option<Normalisation>,
    /// In the place of `resize`, in files of earlier versions.
    convention: Option<Convention>,
}

impl TryFrom<Stored> for Preprocessing {
    type Error = anyhow::Error;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let Stored { resize, interpolation, size, normalisation, convention } = stored;
        let resize = resize.or(convention.map(Resize::of)).context("a preprocessing that does not say `resize`")?;
        Ok(Self { resize, interpolation, size, normalisation: normalisation.unwrap_or(Normalisation::SYMMETRIC) })
    }
}

/// Equal are those that make the same of every picture, however the crop is written.
impl PartialEq for Preprocessing {
    fn eq(&self, other: &Self) -> bool {
        let side = |one: &Self| one.resize.shorter_side(one.size);
        (self.size, self.interpolation, side(self)) == (other.size, other.interpolation, side(other))
            && self.normalisation == other.normalisation
    }
}

/// `shorter side 333, centre 299×299, bicubic, samples of -1 to 1`.
impl std::fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resize, interpolation, size, normalisation } = self;
        match resize.shorter_side(*size) {
            None => write!(f, "squashed to {size}×{size}, {interpolation}")?,
            Some(side) => write!(f, "shorter side {side}, centre {size}×{size}, {interpolation}")?,
        }
        let Normalisation { mean, std, channels } = normalisation;
        let list = |values: &[f64; 3]| values.map(|value| format!("{value:.4}")).join(" ");
        match *normalisation == Normalisation::SYMMETRIC {
            true => f.write_str(", samples of -1 to 1")?,
            false => write!(f, ", mean {}, std {}", list(mean), list(std))?,
        }
        f.write_str(if *channels == Channels::Bgr { ", BGR" } else { "" })
    }
}
