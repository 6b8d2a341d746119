//! Luma and chroma as they are coded.

use anyhow::{Result, ensure};

use super::colour::{Colour, Manner};
use crate::image::Picture;
use crate::image::decode::{MAX_BYTES, check_pixels};

/// Samples of a plane that a decoder may make.
pub const MAX_SAMPLES: usize = (MAX_BYTES / 4) as usize;

#[derive(Debug)]
pub struct Planes {
    pub width: usize,
    pub height: usize,
    /// Luma samples across and down for each pair of chroma samples.
    pub subsampling: [usize; 2],
    /// `[H, W]`, row-major.
    pub luma: Vec<u16>,
    /// Blue and red differences, each `[H / down, W / across]` rounded up; none in a grey picture.
    pub chroma: Option<[Vec<u16>; 2]>,
    /// Of luma and chroma samples.
    pub bits: [u8; 2],
    /// What the bitstream says.
    pub colour: Colour,
    pub manner: Manner,
    /// Whether a pixel gets its chroma from the samples around it, and not only from the one that covers it.
    pub blends_chroma: bool,
}

impl Planes {
    /// # Errors
    /// If the sizes are not to be had, or don't agree.
    pub fn checked(self, name: &str) -> Result<Self> {
        check_pixels(self.width as u64, self.height as u64)?;
        let [across, down] = self.chroma_size();
        let is_whole = self.luma.len() == self.width * self.height
            && self.chroma.iter().flatten().all(|plane| plane.len() == across * down);
        ensure!(is_whole, "damaged {name}: planes of the wrong size; copy the file again");
        ensure!(
            self.bits.iter().all(|bits| (8..=16).contains(bits)),
            "damaged {name}: samples of {:?} bits; copy the file again",
            self.bits
        );
        Ok(self)
    }

    /// Width and height of the planes of chroma.
    pub fn chroma_size(&self) -> [usize; 2] {
        [self.width.div_ceil(self.subsampling[0]), self.height.div_ceil(self.subsampling[1])]
    }

    pub fn is_like(&self, other: &Planes) -> bool {
        self.subsampling == other.subsampling
            && self.bits == other.bits
            && self.chroma.is_some() == other.chroma.is_some()
    }

    /// Planes of the same kind for a picture of another size.
    pub fn blank(&self, width: usize, height: usize, name: &str) -> Result<Self> {
        let mut blank = Self { width, height, luma: Vec::new(), chroma: None, ..*self };
        let [across, down] = blank.chroma_size();
        let count = width * height + if self.chroma.is_some() { 2 * across * down } else { 0 };
        ensure!(
            2 * count as u64 <= MAX_BYTES,
            "too large: decoding this {name} takes {} MiB, the limit is {} MiB; scale it down",
            (2 * count) >> 20,
            MAX_BYTES >> 20
        );
        blank.luma = vec![0; width * height];
        blank.chroma = self.chroma.as_ref().map(|_| [0; 2].map(|_| vec![0; across * down]));
        Ok(blank)
    }

    /// Lays `tile` with its first pixel at `left`, `top`; what doesn't fit is cut.
    pub fn paste(&mut self, tile: &Planes, left: usize, top: usize, name: &str) -> Result<()> {
        let [across, down] = self.subsampling;
        ensure!(
            left.is_multiple_of(across) && top.is_multiple_of(down) || self.chroma.is_none(),
            "unsupported {name}: tiles that divide a pair of chroma samples; {}",
            super::CONVERT
        );
        copy(&mut self.luma, [self.width, self.height], &tile.luma, tile.width, [left, top]);
        let (size, tile_width) = (self.chroma_size(), tile.chroma_size()[0]);
        if let (Some(chroma), Some(tile)) = (&mut self.chroma, &tile.chroma) {
            for (plane, tile) in chroma.iter_mut().zip(tile) {
                copy(plane, size, tile, tile_width, [left / across, top / down]);
            }
        }
        Ok(())
    }

    /// Leaves the high bits of each sample.
    pub fn cut_to_8_bits(&mut self) {
        let [luma, chroma] = self.bits.map(|bits| bits - 8);
        let planes = [(&mut self.luma, luma)].into_iter();
        for (plane, bits) in planes.chain(self.chroma.iter_mut().flatten().map(|plane| (plane, chroma))) {
            if bits > 0 {
                plane.iter_mut().for_each(|sample| *sample >>= bits);
            }
        }
        self.bits = [8; 2];
    }

    /// Levels of luma, as of a picture without colours.
    pub fn levels(self, said: Option<Colour>) -> Vec<u8> {
        let colour = said.unwrap_or(self.colour);
        colour.grey(&self)
    }

    /// # Errors
    /// If the colours are of a kind that is not supported.
    pub fn into_rgb(mut self, said: Option<Colour>, name: &str) -> Result<Picture> {
        let pixels = said.unwrap_or(self.colour).rgb(&mut self, name)?;
        Ok(Picture { width: self.width, height: self.height, pixels })
    }
}

fn copy(plane: &mut [u16], [width, height]: [usize; 2], tile: &[u16], tile_width: usize, [left, top]: [usize; 2]) {
    let count = tile_width.min(width.saturating_sub(left));
    for (row, samples) in tile.chunks_exact(tile_width).enumerate().take(height.saturating_sub(top)) {
        plane[(top + row) * width + left..][..count].copy_from_slice(&samples[..count]);
    }
}
