//! What a file tells of its picture beside the pixels: format, size, how it was saved, what is odd about it.

use std::io::Cursor;
use std::path::Path;

use ::image::codecs::gif::GifDecoder;
use ::image::codecs::png::PngDecoder;
use ::image::codecs::webp::WebPDecoder;
use ::image::{AnimationDecoder, Frames, ImageDecoder, ImageFormat, ImageReader};
use anyhow::Result;
use serde::Serialize;

use super::decode::recognise;
use super::{Kind, jpeg};

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
        let facts = |width, height| Self {
            format: name,
            width,
            height,
            jpeg_quality: None,
            is_animated: is_animated(bytes, format),
            is_cmyk: false,
        };
        if format == ImageFormat::Jpeg {
            let outline = jpeg::Outline::read(bytes)?;
            let (width, height) = outline.size();
            let jpeg_quality = jpeg::quality(bytes);
            return Ok(Self { jpeg_quality, is_cmyk: outline.is_cmyk(), ..facts(width, height) });
        }
        let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder()?;
        let (width, height) = decoder.dimensions();
        let is_cmyk = decoder.original_color_type() == ::image::ExtendedColorType::Cmyk8;
        Ok(Self { is_cmyk, ..facts(width as usize, height as usize) })
    }

    /// Whether a file of this name is commonly of another format.
    pub fn contradicts(&self, path: &Path) -> bool {
        Kind::of_name(path).is_some_and(|said| said.name != self.format)
    }
}

/// Whether a second frame is there to be decoded; a file that may hold several often has one.
fn is_animated(bytes: &[u8], format: ImageFormat) -> bool {
    let bytes = Cursor::new(bytes);
    let several = |frames: Frames| frames.take(2).flatten().count() > 1;
    match format {
        ImageFormat::Gif => GifDecoder::new(bytes).is_ok_and(|gif| several(gif.into_frames())),
        ImageFormat::WebP => {
            WebPDecoder::new(bytes).is_ok_and(|webp| webp.has_animation() && several(webp.into_frames()))
        }
        ImageFormat::Png => {
            let frames =
                PngDecoder::new(bytes).and_then(|png| Ok(if png.is_apng()? { Some(png.apng()?) } else { None }));
            frames.is_ok_and(|png| png.is_some_and(|png| several(png.into_frames())))
        }
        _ => false,
    }
}
