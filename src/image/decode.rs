//! From a file's bytes to an upright RGB picture: the one place that decodes pictures.
//!
//! The format is told by the content, never by the file's name. What Pillow's `convert("RGB")` makes of a
//! picture is the measure, for the pretrained weights were made with it. A header may announce anything, so
//! its size is checked before memory is taken.

use std::io::{Cursor, ErrorKind};
use std::path::Path;

use ::image::error::UnsupportedErrorKind;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use anyhow::{Context, Result, anyhow, bail, ensure};

use super::depth::{self, Narrowed};
#[cfg(any(feature = "heic", feature = "avif"))]
use super::heif;
use super::isolate::isolated;
#[cfg(feature = "jxl")]
use super::jxl;
use super::kind::Codec;
use super::png::Png;
use super::webp::WebP;
use super::{Kind, Picture, bmp, gif, jpeg, raw, tiff};

/// Phones reach 200 megapixels.
const MAX_PIXELS: u64 = 200_000_000;
/// What a JPEG can have; a longer side would be blown up beyond memory where the shorter is tiny.
const MAX_SIDE: u64 = 65_535;
/// What a decoder may take for the decoded picture, at whatever depth it is stored.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// The bytes of a picture's file, for [`decode`].
///
/// # Errors
/// In one line with a remedy, without the path: the caller's result names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let explain = |error: std::io::Error| match error.kind() {
        // Names are kept as text; this stands where one was none.
        ErrorKind::NotFound if path.to_string_lossy().contains(char::REPLACEMENT_CHARACTER) => {
            anyhow!("no such file, and its name is not UTF-8; save the list as UTF-8, or rename the file")
        }
        ErrorKind::NotFound => anyhow!("no such file; check the path"),
        ErrorKind::PermissionDenied => anyhow!("permission denied; make it readable"),
        _ => anyhow!("cannot be read: {error}"),
    };
    let found = path.metadata().map_err(explain)?;
    if found.is_dir() {
        std::fs::read_dir(path).map_err(|error| explain(error).context("the folder cannot be read"))?;
        bail!("a folder without pictures");
    }
    // A pipe may never end, a device neither.
    ensure!(found.is_file(), "no ordinary file; copy its content into one");
    ensure!(
        found.len() <= MAX_BYTES,
        "too large: a file of {} MiB, the limit is {}",
        found.len() >> 20,
        MAX_BYTES >> 20
    );
    std::fs::read(path).map_err(explain)
}

/// The picture that `bytes`, a whole file, holds; the first one where there are several. A large JPEG is
/// scaled down by 2 or 4 while it is decoded, as long as both sides keep `side` pixels: of 12 megapixels
/// and more that takes half the time, and a sixteenth of the memory of 48.
///
/// # Errors
/// In one line with a remedy: if `bytes` is empty, no picture of a known format, truncated, damaged, of an
/// unsupported kind, or announces more than 200 megapixels or 1 GiB.
pub fn decode(bytes: &[u8], side: usize) -> Result<Picture> {
    let (codec, name) = recognise(bytes)?;
    let Decoded { picture, orientation, is_stretched } = isolated(name, || decode_kind(bytes, codec, name, side))?;
    if is_stretched {
        depth::note_stretched(bytes);
    }
    oriented(picture, orientation)
}

/// The picture turned or mirrored.
pub(super) fn oriented(picture: Picture, orientation: Orientation) -> Result<Picture> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let stored = ::image::RgbImage::from_raw(width, height, picture.pixels);
    let mut upright = DynamicImage::ImageRgb8(stored.context("a picture without all of its pixels")?);
    upright.apply_orientation(orientation);
    let (width, height) = (upright.width() as usize, upright.height() as usize);
    Ok(Picture { width, height, pixels: upright.into_rgb8().into_raw() })
}

/// A picture as it is stored.
struct Decoded {
    picture: Picture,
    orientation: Orientation,
    /// Whether the range of its samples was guessed.
    is_stretched: bool,
}

impl Decoded {
    fn upright(picture: Picture) -> Self {
        Self { picture, orientation: Orientation::NoTransforms, is_stretched: false }
    }
}

fn decode_kind(bytes: &[u8], codec: Codec, name: &'static str, side: usize) -> Result<Decoded> {
    let (picture, orientation, white) = match codec {
        Codec::Jpeg => {
            let outline = jpeg::Outline::read(bytes)?;
            (decode_jpeg(bytes, &outline, side)?, outline.metadata.orientation(), None)
        }
        Codec::Png => {
            let png = Png::read(bytes)?;
            (decode_with(&png.pixels, ImageFormat::Png, name)?, png.metadata.orientation(), png.white())
        }
        Codec::WebP => {
            let webp = WebP::read(bytes)?;
            let picture = webp.place(decode_with(&webp.still, ImageFormat::WebP, name)?)?;
            (picture, webp.metadata.orientation(), None)
        }
        Codec::Bmp => {
            let (picture, _) = to_rgb(decode_with(&bmp::with_known_header(bytes)?, ImageFormat::Bmp, name)?, None);
            return Ok(Decoded::upright(bmp::with_pillows_levels(picture, bytes)));
        }
        Codec::Gif => return Ok(Decoded::upright(gif::decode(bytes)?)),
        Codec::Tiff => {
            let tiff::Page { picture, orientation, is_stretched } = tiff::decode(bytes)?;
            return Ok(Decoded { picture, orientation, is_stretched });
        }
        #[cfg(any(feature = "heic", feature = "avif"))]
        Codec::Heif => return Ok(Decoded::upright(heif::decode(bytes, name)?)),
        #[cfg(feature = "jxl")]
        Codec::JpegXl => {
            return match jxl::read(bytes)? {
                jxl::Content::Picture(picture, is_stretched) => {
                    Ok(Decoded { is_stretched, ..Decoded::upright(picture) })
                }
                jxl::Content::Jpeg(jpeg) => decode_kind(&jpeg, Codec::Jpeg, name, side),
            };
        }
        Codec::Raw => {
            let raw::Preview { jpeg, outline, orientation } = raw::Preview::find(bytes)?;
            (decode_jpeg(jpeg, &outline, side)?, orientation, None)
        }
    };
    let (picture, is_stretched) = to_rgb(picture, white);
    Ok(Decoded { picture, orientation, is_stretched })
}

/// The error for a file that ends before its picture does.
pub(super) fn truncated_message(name: &str) -> String {
    format!("truncated: the {name} data ends early; copy the file again")
}

/// What reads the content, and what people call its format.
pub(super) fn recognise(bytes: &[u8]) -> Result<(Codec, &'static str)> {
    ensure!(!bytes.is_empty(), "the file is empty; copy it again");
    match Kind::of_bytes(bytes) {
        Some(kind) => kind.codec.map(|codec| (codec, kind.name)).ok_or_else(|| anyhow!(kind.refusal())),
        None => bail!("not a picture: supported formats are {}; convert the file or leave it out", Kind::all_read()),
    }
}

fn decode_jpeg(bytes: &[u8], outline: &jpeg::Outline, side: usize) -> Result<DynamicImage> {
    let factor = outline.factor(side);
    if !outline.has_huffman_tables() {
        return jpeg::decode_scaled(&jpeg::as_motion_jpeg(bytes), outline, factor);
    }
    let zune = || decode_with(bytes, ImageFormat::Jpeg, "JPEG");
    match (outline.suits_zune(), factor == 1 && !outline.has_quartered_chroma()) {
        (false, _) => jpeg::decode_scaled(bytes, outline, factor),
        (true, true) => zune(),
        // What the stricter decoder refuses, the other may still read.
        (true, false) => jpeg::decode_scaled(bytes, outline, factor).or_else(|_| zune()),
    }
}

fn decode_with(bytes: &[u8], format: ImageFormat, name: &str) -> Result<DynamicImage> {
    let explain = |error| if is_cut(bytes, format) { anyhow!(truncated_message(name)) } else { explain(error, name) };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The PNG decoder must be told at once, the others only after their header has been judged.
    reader.limits(if format == ImageFormat::Png { limits.clone() } else { Limits::no_limits() });
    let mut decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    check_pixels(u64::from(width), u64::from(height))?;
    let needed = decoder.total_bytes();
    ensure!(
        needed <= MAX_BYTES,
        "too large: the header announces {width}×{height} pixels in {} MiB, the limit is {} MiB; scale it down",
        needed >> 20,
        MAX_BYTES >> 20
    );
    decoder.set_limits(limits).map_err(explain)?;
    DynamicImage::from_decoder(decoder).map_err(explain)
}

/// Width and height that a file's header tells.
pub(super) fn dimensions(bytes: &[u8], format: ImageFormat, name: &str) -> Result<(usize, usize)> {
    let size = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions();
    let (width, height) = size.map_err(|error| explain(error, name))?;
    Ok((width as usize, height as usize))
}

/// Whether a file that its decoder refuses misses its end, for the format whose decoder doesn't tell.
fn is_cut(bytes: &[u8], format: ImageFormat) -> bool {
    let announced = || bytes.get(4..8).and_then(|length| length.first_chunk::<4>());
    let is_longer = |length: &[u8; 4]| u64::from(u32::from_le_bytes(*length)) + 8 > bytes.len() as u64;
    format == ImageFormat::WebP && announced().is_none_or(is_longer)
}

/// Refuses a picture whose announced size is a mistake or an attack.
pub(super) fn check_pixels(width: u64, height: u64) -> Result<()> {
    ensure!(width > 0 && height > 0, "damaged: the header announces {width}×{height} pixels; copy the file again");
    ensure!(
        width.max(height) <= MAX_SIDE,
        "too large: the header announces {width}×{height} pixels, the limit is {MAX_SIDE} a side; scale it down"
    );
    let pixels = width * height;
    ensure!(
        pixels <= MAX_PIXELS,
        "too large: the header announces {width}×{height} pixels ({} megapixels), the limit is {} megapixels; scale it down",
        pixels / 1_000_000,
        MAX_PIXELS / 1_000_000
    );
    Ok(())
}

/// Alpha is dropped and grey repeated, as Pillow does. `white` is the largest value of a 16-bit sample, if the file
/// says so. Also, whether that was guessed.
fn to_rgb(picture: DynamicImage, white: Option<u32>) -> (Picture, bool) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (pixels, is_guess) = match picture {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            let Narrowed { samples, is_guess } = depth::narrow(&picture.into_luma16(), white);
            (samples.iter().flat_map(|grey| [*grey; 3]).collect(), is_guess)
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
            let Narrowed { samples, is_guess } = depth::narrow(&picture.into_rgb16(), white);
            (samples, is_guess)
        }
        picture => (picture.into_rgb8().into_raw(), false),
    };
    (Picture { width, height, pixels }, is_guess)
}

/// One line for the user; the decoders' own errors repeat themselves along their sources.
fn explain(error: ImageError, name: &str) -> anyhow::Error {
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => anyhow!(truncated_message(name)),
        ImageError::Limits(_) => {
            anyhow!("too large: decoding this {name} takes more than {} MiB; scale it down", MAX_BYTES >> 20)
        }
        ImageError::Unsupported(error) => {
            let found = match error.kind() {
                UnsupportedErrorKind::Color(colour) => format!("colours of the kind {colour:?}"),
                UnsupportedErrorKind::Format(_) => "this kind of file".to_string(),
                UnsupportedErrorKind::GenericFeature(feature) => feature,
                _ => error.to_string(),
            };
            anyhow!("unsupported {name}: {found}; convert it to JPEG or 8-bit PNG")
        }
        error => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let found = cause.to_string().replace('\n', " ");
            anyhow!("damaged {name}: {found}; copy the file again")
        }
    }
}
