//! BMP: the headers that the decoder does not know, and Pillow's levels of 5 and 6 bits.
//!
//! Source: "Bitmap header types" of Windows; the OS/2 2.0 header, which may end after any of its fields.

use std::borrow::Cow;

use anyhow::{Result, bail, ensure};

use super::Picture;

/// Bytes before the header that has the picture's size.
const FILE_HEADER: usize = 14;
const INFO_HEADER: usize = 40;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn compression_name(compression: u32) -> String {
    match compression {
        4 => "a JPEG within it".to_owned(),
        5 => "a PNG within it".to_owned(),
        6 => "bit fields with alpha".to_owned(),
        other => format!("compression {other}"),
    }
}

/// The file with a header of Windows in place of one of OS/2 2.0, whose first 40 bytes are the same.
pub(super) fn with_known_header(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    let known = |size| matches!(size, 12 | 40 | 52 | 56 | 108 | 124) || !(16..=64).contains(&size);
    let sizes = u32_at(bytes, FILE_HEADER).zip(u32_at(bytes, 10));
    let Some((size, offset)) = sizes.filter(|(size, _)| !known(*size)) else {
        let has_compression = sizes.is_some_and(|(size, _)| size as usize >= INFO_HEADER);
        if let Some(compression @ 4..) = u32_at(bytes, FILE_HEADER + 16).filter(|_| has_compression) {
            bail!("unsupported BMP: {}; convert it to JPEG or 8-bit PNG", compression_name(compression));
        }
        return Ok(Cow::Borrowed(bytes));
    };
    let (head, rest) = bytes.split_at(bytes.len().min(FILE_HEADER + size as usize));
    let mut head = head.to_vec();
    head.resize(FILE_HEADER + INFO_HEADER, 0);
    let compression = u32_at(&head, FILE_HEADER + 16).unwrap_or(0);
    ensure!(compression < 3, "unsupported BMP: compression {compression} of OS/2; convert it to JPEG or 8-bit PNG");
    head[10..14].copy_from_slice(&(offset.wrapping_add(INFO_HEADER as u32).wrapping_sub(size)).to_le_bytes());
    head[FILE_HEADER..FILE_HEADER + 4].copy_from_slice(&(INFO_HEADER as u32).to_le_bytes());
    Ok(Cow::Owned([&head, rest].concat()))
}

/// A picture of 16 bits a pixel at Pillow's levels: a share of 31 or 63 cut to a share of 255, where the decoder
/// repeats the upper bits below.
pub(super) fn with_pillows_levels(mut picture: Picture, bytes: &[u8]) -> Picture {
    let (bits, compression) = (u32_at(bytes, FILE_HEADER + 14), u32_at(bytes, FILE_HEADER + 16));
    let masks = [0, 1, 2].map(|i| u32_at(bytes, FILE_HEADER + INFO_HEADER + 4 * i));
    let depths = match (bits.map(|bits| bits & 0xFFFF), compression, masks) {
        (Some(16), Some(0), _) | (Some(16), Some(3), [Some(0x7C00), Some(0x3E0), Some(0x1F)]) => [5, 5, 5],
        (Some(16), Some(3), [Some(0xF800), Some(0x7E0), Some(0x1F)]) => [5, 6, 5],
        _ => return picture,
    };
    for pixel in picture.pixels.as_chunks_mut::<3>().0 {
        for (level, depth) in pixel.iter_mut().zip(depths) {
            *level = (u32::from(*level >> (8 - depth)) * 255 / ((1 << depth) - 1)) as u8;
        }
    }
    picture
}
