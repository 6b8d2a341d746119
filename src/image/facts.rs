//! What a file tells of its picture beside the pixels: format, size, how it was saved, what is odd about it.

use std::path::Path;

use ::image::ImageFormat;
use anyhow::Result;
use serde::Serialize;

use super::decode::{dimensions, recognise};
use super::isolate::isolated;
use super::png::Png;
use super::webp::WebP;
use super::{Kind, bmp, gif, jpeg, tiff};

/// Read from a file's headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What the content is, whatever the file's name says.
    pub format: &'static str,
    /// As stored, before any turn that EXIF asks for.
    pub width: usize,
    pub height: usize,
    /// 1 to 100, what libjpeg would call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jpeg_quality: Option<u8>,
    pub is_animated: bool,
    pub is_cmyk: bool,
}

impl Facts {
    /// # Errors
    /// In one line with a remedy, if `bytes` is no picture of a known format or its header is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let (format, name) = recognise(bytes)?;
        isolated(name, || Self::of_format(bytes, format, name))
    }

    fn of_format(bytes: &[u8], format: ImageFormat, name: &'static str) -> Result<Self> {
        let (mut jpeg_quality, mut is_cmyk) = (None, false);
        let (width, height) = match format {
            ImageFormat::Jpeg => {
                let outline = jpeg::Outline::read(bytes)?;
                (jpeg_quality, is_cmyk) = (jpeg::quality(bytes), outline.is_cmyk());
                outline.size()
            }
            ImageFormat::Tiff => {
                let header = tiff::header(bytes)?;
                is_cmyk = header.is_cmyk;
                (header.width, header.height)
            }
            ImageFormat::Gif => gif::size(bytes)?,
            ImageFormat::Png => dimensions(&Png::read(bytes)?.pixels, format, name)?,
            ImageFormat::Bmp => dimensions(&bmp::with_known_header(bytes)?, format, name)?,
            _ => dimensions(bytes, format, name)?,
        };
        Ok(Self { format: name, width, height, jpeg_quality, is_animated: is_animated(bytes, format), is_cmyk })
    }

    /// Whether a file of this name is commonly of another format.
    pub fn contradicts(&self, path: &Path) -> bool {
        Kind::of_name(path).is_some_and(|said| said.name != self.format)
    }
}

/// Whether a second frame is there; a file that may hold several often has one.
fn is_animated(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Gif => gif::is_animated(bytes),
        ImageFormat::WebP => WebP::read(bytes).is_ok_and(|webp| webp.frames > 1),
        ImageFormat::Png => Png::read(bytes).is_ok_and(|png| png.frames > 1),
        _ => false,
    }
}
