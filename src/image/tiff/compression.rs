//! The samples of a strip or tile.

use std::borrow::Cow;
use std::io::{Cursor, ErrorKind, Read};

use ::image::{ImageFormat, ImageReader};
use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::ZlibDecoder;
use weezl::{BitOrder, LzwStatus, decode::Decoder as Lzw};

use super::directory::Directory;
use super::fax::{self, Coding};
use super::layout::{Chunk, Compression, Layout, Number, Photometric, Predictor, unsupported};
use super::ycbcr;
use crate::image::decode::truncated_message;
use crate::image::jpeg::{self, Stored};

/// Samples of a pixel beyond its colours.
pub const MAX_EXTRA: usize = 4;

const JPEG_TABLES: u16 = 347;
/// Of the old kind: where a whole JPEG stream lies.
const JPEG_STREAM: u16 = 513;

/// The pixels of a chunk, row by row, the samples of a pixel side by side.
#[derive(Debug)]
pub struct Pixels {
    pub bytes: Vec<u8>,
    /// Bytes of a row.
    pub stride: usize,
    /// Whether a JPEG decoder has made RGB of luma and chroma already.
    pub is_rgb: bool,
}

/// # Errors
/// In one line with a remedy, if the data are cut, damaged or of a kind that is not supported.
pub fn chunk(layout: &Layout, directory: &Directory, chunk: &Chunk) -> Result<Pixels> {
    if !layout.is_planar {
        return plane(layout, directory, chunk, chunk.index, layout.samples);
    }
    let plane = |sample| plane(layout, directory, chunk, chunk.index + sample * layout.chunks_of_plane(), 1);
    let planes = (0..layout.samples).map(plane).collect::<Result<Vec<_>>>()?;
    ensure!(layout.bits.is_multiple_of(8), unsupported(format_args!("planes of {} bits", layout.bits)));
    let width = layout.bits / 8;
    let stride = chunk.width * width * layout.samples;
    let mut bytes = vec![0; stride * chunk.height];
    for (sample, plane) in planes.iter().enumerate() {
        let values =
            plane.bytes.chunks_exact(plane.stride).flat_map(|row| row[..chunk.width * width].chunks_exact(width));
        let pixels = bytes.chunks_exact_mut(width * layout.samples);
        pixels.zip(values).for_each(|(pixel, value)| pixel[sample * width..][..width].copy_from_slice(value));
    }
    Ok(Pixels { bytes, stride, is_rgb: false })
}

/// One plane of a chunk, or all of its `samples` side by side.
fn plane(layout: &Layout, directory: &Directory, chunk: &Chunk, index: usize, samples: usize) -> Result<Pixels> {
    match layout.compression {
        Compression::OldJpeg => return jpeg_pixels(layout, old_jpeg(directory)?, chunk, samples),
        Compression::Jpeg => {
            let stream = with_tables(directory.bytes(JPEG_TABLES), layout.compressed(directory, index)?)?;
            return jpeg_pixels(layout, &stream, chunk, samples);
        }
        _ => {}
    }
    let is_subsampled = layout.photometric == Photometric::YCbCr && samples >= 3 && layout.subsampling != [1, 1];
    let stride = if is_subsampled {
        ycbcr::row_bytes(chunk.width, layout.subsampling)
    } else {
        (chunk.width * samples * layout.bits).div_ceil(8)
    };
    let rows = if is_subsampled { chunk.height.div_ceil(layout.subsampling[1]) } else { chunk.height };
    let packed = layout.compressed(directory, index)?;
    let packed = if layout.has_reversed_bits && layout.compression != Compression::WebP {
        Cow::Owned(packed.iter().map(|byte| byte.reverse_bits()).collect())
    } else {
        Cow::Borrowed(packed)
    };
    let mut bytes = unpacked(layout, &packed, chunk, stride * rows)?;
    ensure!(bytes.len() == stride * rows, truncated_message("TIFF"));
    if layout.compression == Compression::Lzw || layout.compression == Compression::Deflate {
        bytes.chunks_exact_mut(stride).for_each(|row| undo_predictor(row, layout, samples));
    }
    if is_subsampled {
        let bytes = ycbcr::expanded(&bytes, chunk.width, chunk.height, layout.subsampling);
        return Ok(Pixels { bytes, stride: 3 * chunk.width, is_rgb: false });
    }
    Ok(Pixels { bytes, stride, is_rgb: false })
}

/// At most `length` bytes; fewer where the data end early.
fn unpacked(layout: &Layout, packed: &[u8], chunk: &Chunk, length: usize) -> Result<Vec<u8>> {
    let fax = |coding| {
        let is_bilevel = layout.bits == 1 && (layout.samples == 1 || layout.is_planar);
        ensure!(is_bilevel, unsupported(format_args!("CCITT compression of {} bits", layout.bits * layout.samples)));
        fax::decode(packed, chunk.width, chunk.height, coding)
    };
    match layout.compression {
        Compression::None => Ok(packed[..length.min(packed.len())].to_vec()),
        Compression::PackBits => Ok(unpack_bits(packed, length)),
        Compression::Lzw => unpack_lzw(packed, length),
        Compression::Deflate => inflate(packed, length),
        Compression::FaxRows { on_words } => fax(Coding::Rows { on_words }),
        Compression::Fax3 { is_2d } => fax(Coding::Group3 { is_2d }),
        Compression::Fax4 => fax(Coding::Group4),
        Compression::WebP => unpack_webp(layout, packed, chunk),
        Compression::Jpeg | Compression::OldJpeg => bail!(unsupported(format_args!("this kind of JPEG"))),
    }
}

fn unpack_bits(mut packed: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length.min(packed.len() * 64));
    while bytes.len() < length
        && let Some((head, rest)) = packed.split_first()
    {
        packed = rest;
        match *head as i8 {
            -128 => {}
            count @ 0.. => {
                let count = (count as usize + 1).min(packed.len());
                bytes.extend(&packed[..count]);
                packed = &packed[count..];
            }
            count => {
                let Some((value, rest)) = packed.split_first() else { break };
                bytes.resize(bytes.len() + 1 + usize::from(count.unsigned_abs()), *value);
                packed = rest;
            }
        }
    }
    bytes.truncate(length);
    bytes
}

/// Codes from the high bit down; very old files have them from the low bit up, and then begin with a 0.
fn unpack_lzw(packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let is_old = matches!(packed, [0, second, ..] if second & 1 == 1);
    let mut decoder = if is_old { Lzw::new(BitOrder::Lsb, 8) } else { Lzw::with_tiff_size_switch(BitOrder::Msb, 8) };
    let (mut bytes, mut read, mut filled) = (vec![0; length], 0, 0);
    while filled < length {
        let step = decoder.decode_bytes(&packed[read..], &mut bytes[filled..]);
        (read, filled) = (read + step.consumed_in, filled + step.consumed_out);
        match step.status {
            Ok(LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => bail!("damaged TIFF: {error}; copy the file again"),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn inflate(packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match ZlibDecoder::new(packed).take(length as u64).read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            bail!("damaged TIFF: its deflate data are no such; copy the file again")
        }
        _ => Ok(bytes),
    }
}

fn unpack_webp(layout: &Layout, packed: &[u8], chunk: &Chunk) -> Result<Vec<u8>> {
    let damaged = || anyhow!("damaged TIFF: its WebP data cannot be decoded; copy the file again");
    let reader = ImageReader::with_format(Cursor::new(packed), ImageFormat::WebP);
    let size = ImageReader::with_format(Cursor::new(packed), ImageFormat::WebP).into_dimensions();
    ensure!(size.is_ok_and(|size| size == (chunk.width as u32, chunk.height as u32)), damaged());
    let picture = reader.decode().map_err(|_| damaged())?;
    match layout.samples {
        3 => Ok(picture.into_rgb8().into_raw()),
        4 => Ok(picture.into_rgba8().into_raw()),
        samples => bail!(unsupported(format_args!("WebP compression of {samples} samples"))),
    }
}

/// The stream of an abbreviated JPEG with the tables that it shares with others.
fn with_tables<'a>(tables: Option<&[u8]>, stream: &'a [u8]) -> Result<Cow<'a, [u8]>> {
    let Some(tables) = tables else { return Ok(Cow::Borrowed(stream)) };
    let tables = tables.strip_suffix(&[0xFF, 0xD9]).unwrap_or(tables);
    let stream = stream.strip_prefix(&[0xFF, 0xD8]).with_context(|| truncated_message("TIFF"))?;
    Ok(Cow::Owned([tables, stream].concat()))
}

/// The whole stream that old-style JPEG may keep; without one its parts are scattered over tags.
fn old_jpeg<'a>(directory: &Directory<'a>) -> Result<&'a [u8]> {
    let start = directory.integer(JPEG_STREAM).and_then(|start| usize::try_from(start).ok());
    let stream = start.and_then(|start| directory.file.get(start..)).filter(|stream| stream.starts_with(&[0xFF, 0xD8]));
    stream.with_context(|| unsupported(format_args!("old-style JPEG compression")))
}

fn jpeg_pixels(layout: &Layout, stream: &[u8], chunk: &Chunk, samples: usize) -> Result<Pixels> {
    ensure!(layout.bits == 8, unsupported(format_args!("JPEG compression of {} bits a sample", layout.bits)));
    let is_ycbcr = layout.photometric == Photometric::YCbCr && samples == 3;
    let stored = match samples {
        1 => Stored::Grey,
        3 if is_ycbcr => Stored::YCbCr,
        3 => Stored::Rgb,
        4 => Stored::FourChannels,
        _ => bail!(unsupported(format_args!("JPEG compression of {samples} samples"))),
    };
    let (width, height, bytes) = jpeg::decode_samples(stream, stored).map_err(|error| {
        // The words of the JPEG decoder, for the file that it is in.
        anyhow!(format!("{error:#}").replacen("JPEG", "TIFF", 1))
    })?;
    ensure!(
        width >= chunk.width && height >= chunk.height,
        "damaged TIFF: a JPEG of {width}×{height} pixels, expected {}×{}; copy the file again",
        chunk.width,
        chunk.height
    );
    Ok(Pixels { bytes, stride: width * samples, is_rgb: is_ycbcr })
}

/// Turns differences back into samples, of a row.
fn undo_predictor(row: &mut [u8], layout: &Layout, samples: usize) {
    match (layout.predictor, layout.bits) {
        (Predictor::None, _) => {}
        (Predictor::Float, bits) => undo_float(row, bits / 8, samples, layout.is_big_endian),
        (Predictor::Horizontal, 8) => (samples..row.len()).for_each(|i| row[i] = row[i].wrapping_add(row[i - samples])),
        (Predictor::Horizontal, bits) => {
            let width = bits / 8;
            for at in (samples * width..row.len()).step_by(width) {
                let read = |at: usize| number(&row[at..at + width], layout.is_big_endian);
                let sum = read(at).wrapping_add(read(at - samples * width));
                let sum = if layout.is_big_endian { sum << (64 - bits) } else { sum };
                let bytes = if layout.is_big_endian { sum.to_be_bytes() } else { sum.to_le_bytes() };
                row[at..at + width].copy_from_slice(&bytes[..width]);
            }
        }
    }
}

/// The third predictor: differences of bytes, which stand in the row by their weight.
/// Source: Adobe Photoshop TIFF Technical Note 3.
fn undo_float(row: &mut [u8], width: usize, samples: usize, is_big_endian: bool) {
    (samples..row.len()).for_each(|i| row[i] = row[i].wrapping_add(row[i - samples]));
    let weights = row.to_vec();
    let count = row.len() / width;
    for (i, value) in row.chunks_exact_mut(width).enumerate() {
        for (weight, byte) in value.iter_mut().enumerate() {
            let weight = if is_big_endian { weight } else { width - 1 - weight };
            *byte = weights[weight * count + i];
        }
    }
}

/// An unsigned number of up to 8 bytes.
pub fn number(bytes: &[u8], is_big_endian: bool) -> u64 {
    let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if is_big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

/// A sample that is no unsigned number, or has more than 16 bits.
pub fn real(bytes: &[u8], number_kind: Number, is_big_endian: bool) -> f32 {
    let bits = number(bytes, is_big_endian);
    match (number_kind, bytes.len()) {
        (Number::Float, 2) => half::f16::from_bits(bits as u16).to_f32(),
        (Number::Float, 4) => f32::from_bits(bits as u32),
        (Number::Float, _) => f64::from_bits(bits) as f32,
        (Number::Signed, 2) => f32::from(bits as i16),
        (Number::Signed, _) => bits as i32 as f32,
        (Number::Unsigned, _) => bits as f32,
    }
}
