//! Augmentation: the same picture, seen a little differently in each epoch of training.
//!
//! ```text
//! picture ──crop box──▶ ──rotation──▶ ──resize──▶ [size,size,3] ──flip──▶ ──jitter──▶
//! ```
//!
//! Source: torchvision's `RandomResizedCrop`, `RandomRotation`, `RandomHorizontalFlip` and `ColorJitter`.
//! Unlike there, the crop box is turned about its own centre, so that more of what it shows is picture, and
//! what it shows from beyond the border is the picture's reflection instead of black.

mod jitter;
mod rotate;
mod text;
mod window;

use std::borrow::Cow;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Picture, Preprocessing, resize};
use rotate::rotate;
use window::Window;

/// What may happen to a picture before the network is trained on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Augmentation {
    /// Smallest share of the picture's area that a random resized crop keeps; 1 leaves the crop out.
    pub crop: f64,
    /// Whether every other picture is mirrored.
    pub flip: bool,
    /// Largest angle either way, in degrees.
    pub rotation: f64,
    /// Largest change of brightness, contrast and saturation: factors lie in `1 - jitter..1 + jitter`.
    pub jitter: f64,
}

impl Augmentation {
    pub const NONE: Self = Self { crop: 1.0, flip: false, rotation: 0.0, jitter: 0.0 };
    pub const ALL: Self = Self { crop: 0.6, flip: true, rotation: 15.0, jitter: 0.2 };

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// What the network sees of the picture this time, `size`×`size`.
    ///
    /// Each part draws the same count of numbers whatever the picture, the parts in the order of the fields.
    ///
    /// # Panics
    /// If the picture has no pixels or `size` is 0.
    pub fn apply(&self, picture: &Picture, preprocessing: &Preprocessing, random: &mut ChaCha8Rng) -> Picture {
        let window = (self.crop < 1.0).then(|| Window::draw(picture, self.crop, random));
        let is_flipped = self.flip && random.random();
        let angle = (self.rotation > 0.0).then(|| self.rotation * (2.0 * random.random::<f64>() - 1.0));

        let cut = match (window, angle) {
            (None, None) => Cow::Borrowed(picture),
            (Some(window), None) => Cow::Owned(window.cut(picture)),
            (window, Some(angle)) => {
                let window = window.unwrap_or(Window::whole(picture));
                Cow::Owned(rotate(picture, window, angle, preprocessing.needed_side()))
            }
        };
        let mut square = match window {
            Some(_) => resize(&cut, preprocessing.size, preprocessing.size, preprocessing.interpolation),
            None => preprocessing.crop(&cut),
        };
        if is_flipped {
            mirror(&mut square.pixels, square.width);
        }
        if self.jitter > 0.0 {
            for (change, factor) in jitter::draw(self.jitter, random) {
                change.apply(&mut square, factor);
            }
        }
        square
    }
}

/// The random numbers of one picture in one epoch, whichever thread comes to it and when.
pub fn generator(seed: u64, path_key: &str, epoch: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(epoch.to_le_bytes());
    hash.update(path_key);
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Makes pixels of three samples, `width` in each row, their mirror image.
pub fn mirror<T>(pixels: &mut [T], width: usize) {
    for row in pixels.chunks_exact_mut(3 * width) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests;
