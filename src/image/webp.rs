//! WebP: the container around the pixels.
//!
//! Of an animation only the first frame is decoded, on a black canvas. Pillow's decoder takes its pixels as they
//! are, while the `image` crate mixes the half transparent ones with the canvas. EXIF and XMP count where the header
//! announces them.
//! Source: "WebP Container Specification".

use std::borrow::Cow;

use ::image::DynamicImage;
use anyhow::{Context, Result, ensure};

use super::Picture;
use super::decode::{check_pixels, truncated_message};
use super::orientation::Metadata;

const HAS_XMP: u8 = 1 << 2;
const HAS_EXIF: u8 = 1 << 3;
const HAS_ALPHA: u8 = 1 << 4;
/// Of the header of a frame: place, size, duration, how it is drawn.
const FRAME_HEADER: usize = 16;

/// A file taken apart.
#[derive(Debug)]
pub(super) struct WebP<'a> {
    /// A file of one picture.
    pub still: Cow<'a, [u8]>,
    pub metadata: Metadata,
    pub frames: usize,
    canvas: Option<Canvas>,
}

/// Where an animation shows its first frame.
#[derive(Debug)]
struct Canvas {
    width: usize,
    height: usize,
    left: usize,
    top: usize,
}

impl<'a> WebP<'a> {
    /// # Errors
    /// If the file ends within its first frame, or announces too much.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut webp = Self { still: Cow::Borrowed(bytes), metadata: Metadata::default(), frames: 0, canvas: None };
        let mut chunks = chunks(bytes.get(12..).unwrap_or_default());
        let Some((b"VP8X", header)) = chunks.next() else { return Ok(webp) };
        let flags = header.first().copied().unwrap_or(0);
        let mut frame = None;
        for (kind, data) in chunks {
            match kind {
                b"EXIF" if flags & HAS_EXIF != 0 => webp.metadata.exif = Some(data.to_vec()),
                b"XMP " if flags & HAS_XMP != 0 => webp.metadata.xmp = Some(data.to_vec()),
                b"ANMF" => {
                    webp.frames += 1;
                    frame = frame.or(Some(data));
                }
                _ => {}
            }
        }
        if let Some(frame) = frame {
            let cut = || truncated_message("WebP");
            let [width, height] = [header.get(4..), header.get(7..)].map(number);
            let [left, top] = [frame.get(..), frame.get(3..)].map(number);
            let (width, height) = (width.with_context(cut)? + 1, height.with_context(cut)? + 1);
            check_pixels(width as u64, height as u64)?;
            let (left, top) = (2 * left.with_context(cut)?, 2 * top.with_context(cut)?);
            webp.canvas = Some(Canvas { width, height, left, top });
            webp.still = Cow::Owned(still(frame).with_context(cut)?);
        }
        Ok(webp)
    }

    /// The decoded still where the animation shows it.
    pub fn place(&self, picture: DynamicImage) -> Result<DynamicImage> {
        let Some(Canvas { width, height, left, top }) = self.canvas else { return Ok(picture) };
        let (frame_width, frame_height) = (picture.width() as usize, picture.height() as usize);
        ensure!(
            left + frame_width <= width && top + frame_height <= height,
            "damaged WebP: its first frame of {frame_width}×{frame_height} pixels at {left},{top} reaches beyond its canvas of \
             {width}×{height}; copy the file again"
        );
        let frame = Picture { width: frame_width, height: frame_height, pixels: picture.into_rgb8().into_raw() };
        let mut canvas = Picture::plain(width, height, [0; 3]);
        canvas.paste(&frame, left, top);
        let canvas = ::image::RgbImage::from_raw(width as u32, height as u32, canvas.pixels);
        Ok(DynamicImage::ImageRgb8(canvas.context("a canvas without all of its pixels")?))
    }
}

/// A file of its own for the picture in a frame.
fn still(frame: &[u8]) -> Option<Vec<u8>> {
    let data = frame.get(FRAME_HEADER..)?;
    let body = if data.starts_with(b"ALPH") {
        // Width and height, each less one, are the same three bytes in either header.
        let header = [&[HAS_ALPHA, 0, 0, 0][..], frame.get(6..12)?].concat();
        [b"WEBPVP8X\x0a\0\0\0", &header[..], data].concat()
    } else {
        [b"WEBP", data].concat()
    };
    Some([b"RIFF", &u32::try_from(body.len()).ok()?.to_le_bytes()[..], &body].concat())
}

/// Kind and data of the chunks that are whole.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, behind) = rest.split_first_chunk::<4>()?;
        let (length, behind) = behind.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let data = behind.get(..length)?;
        rest = behind.get(length + length % 2..).unwrap_or_default();
        Some((kind, data))
    })
}

/// Three bytes, the lowest first.
fn number(bytes: Option<&[u8]>) -> Option<usize> {
    let [low, middle, high] = *bytes?.first_chunk()?;
    Some(u32::from_le_bytes([low, middle, high, 0]) as usize)
}
