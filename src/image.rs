//! Pictures: from a file's bytes to the numbers that the network sees.
//!
//! `decode` → [`Picture`] (upright, RGB) → [`resize`] → [`Preprocessing::apply`]. Decoding stands in one
//! place, so a picture means the same to every command; the resampling is Pillow's bit for bit, for the
//! pretrained weights were trained and published with it. While a network is trained, an [`Augmentation`]
//! stands before [`Preprocessing::normalise`].

mod augment;
mod bmp;
mod decode;
mod depth;
mod facts;
mod fingerprint;
mod gif;
mod heat;
#[cfg(any(feature = "heic", feature = "avif"))]
mod heif;
mod isolate;
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
mod kind;
mod orientation;
mod png;
mod preprocess;
mod raw;
mod resample;
mod sheet;
mod tiff;
mod webp;

pub use augment::{Augmentation, generator, mirror};
pub use decode::{decode, read};
pub use depth::stretched_files;
pub use facts::Facts;
pub use fingerprint::{Common, Fingerprint, Likeness};
pub use heat::{Window, overlaid};
pub use kind::{Kind, extension, is_picture};
pub use preprocess::{Channels, Normalisation, Preprocessing, Resize};
pub use resample::{Interpolation, resize};
pub use sheet::{contact_sheet, fitting, png, screen_columns};

/// A picture as a viewer shows it: turned upright, RGB, transparency dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// `[H, W, 3]`, row-major, 0 to 255.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}×{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests;
