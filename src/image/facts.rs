//! What a file tells of its picture beside the pixels: format, size, how it was saved, what is odd about it.

use std::path::Path;

use ::image::ImageFormat;
use anyhow::Result;
use serde::Serialize;

use super::decode::{dimensions, recognise};
#[cfg(any(feature = "heic", feature = "avif"))]
use super::heif;
use super::isolate::isolated;
#[cfg(feature = "jxl")]
use super::jxl;
use super::kind::Codec;
use super::png::Png;
use super::webp::WebP;
use super::{Kind, bmp, gif, jpeg, raw, tiff};

/// Read from a file's headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What the content is, whatever the file's name says.
    pub format: &'static str,
    /// As stored, before any turn that EXIF asks for; of a RAW file, its preview's.
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
        let (codec, name) = recognise(bytes)?;
        isolated(name, || Self::of_kind(bytes, codec, name))
    }

    fn of_kind(bytes: &[u8], codec: Codec, name: &'static str) -> Result<Self> {
        let plain = |(width, height)| Self {
            format: name,
            width,
            height,
            jpeg_quality: None,
            is_animated: false,
            is_cmyk: false,
        };
        Ok(match codec {
            Codec::Jpeg => {
                let outline = jpeg::Outline::read(bytes)?;
                Self { jpeg_quality: jpeg::quality(bytes), is_cmyk: outline.is_cmyk(), ..plain(outline.size()) }
            }
            Codec::Png => {
                let png = Png::read(bytes)?;
                Self { is_animated: png.frames > 1, ..plain(dimensions(&png.pixels, ImageFormat::Png, name)?) }
            }
            Codec::WebP => {
                let is_animated = WebP::read(bytes).is_ok_and(|webp| webp.frames > 1);
                Self { is_animated, ..plain(dimensions(bytes, ImageFormat::WebP, name)?) }
            }
            Codec::Gif => Self { is_animated: gif::is_animated(bytes), ..plain(gif::size(bytes)?) },
            Codec::Bmp => plain(dimensions(&bmp::with_known_header(bytes)?, ImageFormat::Bmp, name)?),
            Codec::Tiff => {
                let tiff::Header { width, height, is_cmyk } = tiff::header(bytes)?;
                Self { is_cmyk, ..plain((width, height)) }
            }
            #[cfg(any(feature = "heic", feature = "avif"))]
            Codec::Heif => {
                let heif::Header { width, height, is_animated } = heif::header(bytes, name)?;
                Self { is_animated, ..plain((width, height)) }
            }
            #[cfg(feature = "jxl")]
            Codec::JpegXl => {
                let jxl::Header { width, height, is_animated } = jxl::header(bytes)?;
                Self { is_animated, ..plain((width, height)) }
            }
            Codec::Raw => plain(raw::Preview::find(bytes)?.outline.size()),
        })
    }

    /// Whether a file of this name is commonly of another format.
    pub fn contradicts(&self, path: &Path) -> bool {
        Kind::of_name(path).is_some_and(|said| said.name != self.format)
    }
}
