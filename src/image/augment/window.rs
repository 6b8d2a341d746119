//! The box that a random resized crop cuts out.
//!
//! Source: torchvision's `RandomResizedCrop.get_params`.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::image::Picture;

/// Narrowest and widest shape, width by height.
const ASPECT: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Boxes that are drawn until one fits into the picture.
const TRIES: usize = 10;

/// A box of whole pixels within a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Window {
    pub fn whole(picture: &Picture) -> Self {
        Self { left: 0, top: 0, width: picture.width, height: picture.height }
    }

    /// A box of at least the share `least` of the picture's area, anywhere in the picture.
    pub fn draw(picture: &Picture, least: f64, random: &mut ChaCha8Rng) -> Self {
        let area = (picture.width * picture.height) as f64;
        // All are drawn, so that what is drawn after them does not depend on the picture's shape.
        let tries: [[f64; 2]; TRIES] = random.random();
        let [across, down]: [f64; 2] = random.random();
        let sizes = tries.map(|[share, aspect]| {
            let area = area * between(least, 1.0, share);
            let aspect = between(ASPECT[0].ln(), ASPECT[1].ln(), aspect).exp();
            [(area * aspect).sqrt(), (area / aspect).sqrt()].map(|side| side.round_ties_even() as usize)
        });
        let fits =
            |[width, height]: &[usize; 2]| (1..=picture.width).contains(width) && (1..=picture.height).contains(height);
        let Some([width, height]) = sizes.into_iter().find(fits) else { return Self::centred(picture) };
        Self { left: place(picture.width - width, across), top: place(picture.height - height, down), width, height }
    }

    /// The largest box about the centre that is neither too narrow nor too wide.
    fn centred(picture: &Picture) -> Self {
        let longest = |shorter: usize| (shorter as f64 * ASPECT[1]).round_ties_even() as usize;
        let width = picture.width.min(longest(picture.height));
        let height = picture.height.min(longest(picture.width));
        Self { left: (picture.width - width) / 2, top: (picture.height - height) / 2, width, height }
    }

    pub fn cut(self, picture: &Picture) -> Picture {
        let rows = picture.pixels.chunks_exact(3 * picture.width).skip(self.top).take(self.height);
        let mut pixels = Vec::with_capacity(3 * self.width * self.height);
        rows.for_each(|row| pixels.extend_from_slice(&row[3 * self.left..][..3 * self.width]));
        Picture { width: self.width, height: self.height, pixels }
    }
}

/// From `low` to `high` as `share` goes from 0 to 1.
fn between(low: f64, high: f64, share: f64) -> f64 {
    low + (high - low) * share
}

/// One of the `room + 1` places, as `share` goes from 0 to 1.
fn place(room: usize, share: f64) -> usize {
    (((room + 1) as f64 * share) as usize).min(room)
}
