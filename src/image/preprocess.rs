//! From a picture to the numbers that the network was trained on.
//!
//! Keras squashes the whole picture to a square. timm brings the shorter side to a little more than the
//! square and cuts the centre out. Both scale 0..255 to -1..1. Sources: Keras Applications'
//! `preprocess_input` (mode `tf`) with `load_img`; timm's evaluation transform with `crop_pct` 0.8975 and
//! torchvision's `Resize` and `CenterCrop`.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::resample::{Axis, Interpolation, resize, resize_window};
use super::{Picture, Window};
use crate::architecture::{MAX_INPUT_SIZE, MIN_INPUT_SIZE};
use crate::convention::Convention;

/// The share of the shorter side that timm's crop keeps (`crop_pct` of `legacy_xception.tf_in1k`).
const TIMM_CROP_SHARE: f64 = 0.8975;

/// Pixels a side that a picture keeps for each of the network's input (3.6 under timm, which cuts a
/// border off) when it is scaled down before it is resampled.
const OVERSAMPLING: usize = 4;

/// How a picture becomes the network's input; travels inside a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preprocessing {
    pub convention: Convention,
    pub interpolation: Interpolation,
    /// Height and width of the network's input, in pixels.
    pub size: usize,
}

impl Preprocessing {
    /// Passes if the network takes pictures of this size.
    ///
    /// # Errors
    /// Names the size and the range.
    pub fn check(&self) -> Result<()> {
        let range = MIN_INPUT_SIZE..=MAX_INPUT_SIZE;
        ensure!(
            range.contains(&self.size),
            "its input is {size}×{size} pixels, expected {MIN_INPUT_SIZE} to {MAX_INPUT_SIZE} a side",
            size = self.size
        );
        Ok(())
    }

    /// The network's input, `[size, size, 3]`, RGB, -1 to 1.
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
        square.pixels.iter().map(|sample| f32::from(*sample) / 127.5 - 1.0).collect()
    }

    /// Sides that a picture needs so that scaling it down beforehand leaves the network's input as it is,
    /// within one level of 255.
    pub fn needed_side(&self) -> usize {
        match self.interpolation {
            Interpolation::Nearest => usize::MAX, // it takes single pixels
            Interpolation::Bicubic | Interpolation::Bilinear => OVERSAMPLING * self.size,
        }
    }

    /// What the network sees, still as a picture of `size`×`size`.
    ///
    /// # Panics
    /// If the picture has no pixels or `size` is 0.
    pub fn crop(&self, picture: &Picture) -> Picture {
        match self.convention {
            Convention::Keras => resize(picture, self.size, self.size, self.interpolation),
            Convention::Timm => {
                let (columns, rows) = self.timm_axes(picture.width, picture.height);
                resize_window(picture, columns, rows, self.interpolation)
            }
        }
    }

    /// The part of a picture of this size that the network sees.
    pub fn window(&self, width: usize, height: usize) -> Window {
        let (left, top, seen_width, seen_height) = match self.convention {
            Convention::Keras => (0.0, 0.0, 1.0, 1.0),
            Convention::Timm => {
                let (columns, rows) = self.timm_axes(width, height);
                let share = |axis: Axis| (axis.start as f64 / axis.to as f64, axis.count as f64 / axis.to as f64);
                let ((left, seen_width), (top, seen_height)) = (share(columns), share(rows));
                (left, top, seen_width, seen_height)
            }
        };
        let (width, height) = (width as f64, height as f64);
        Window { left: left * width, top: top * height, width: seen_width * width, height: seen_height * height }
    }

    /// timm's crop of a picture of this size: its columns and rows.
    fn timm_axes(&self, width: usize, height: usize) -> (Axis, Axis) {
        let (to_width, to_height) = self.timm_size(width, height);
        (self.centre(width, to_width), self.centre(height, to_height))
    }

    /// The size before the crop: the shorter side given, the longer one in proportion, rounded down.
    fn timm_size(&self, width: usize, height: usize) -> (usize, usize) {
        let shorter = (self.size as f64 / TIMM_CROP_SHARE).floor() as usize;
        let longer = |long: usize, short: usize| ((shorter * long) as f64 / short as f64) as usize;
        if width <= height { (shorter, longer(height, width)) } else { (longer(width, height), shorter) }
    }

    /// The middle `size` pixels; a half is rounded to the even neighbour, as Python's `round` does.
    fn centre(&self, from: usize, to: usize) -> Axis {
        let start = ((to - self.size) as f64 / 2.0).round_ties_even() as usize;
        Axis { from, to, start, count: self.size }
    }
}

impl std::fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { convention, interpolation, size } = self;
        write!(f, "{convention}, {interpolation}, {size}×{size}")
    }
}
