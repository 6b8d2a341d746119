//! PNG: the chunks around the pixels.
//!
//! The decoder is given the chunks that make the pixels and no others: it panics on a palette whose length isn't a
//! multiple of 3, and refuses some pictures for what is wrong with a text or a colour profile. Transparency is dropped
//! with its chunk, and of an APNG the default image is left, which is what Pillow reads.
//! Source: "PNG specification", third edition.

use std::borrow::Cow;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::ZlibDecoder;

use super::decode::truncated_message;
use super::orientation::Metadata;

const SIGNATURE: usize = 8;
const PALETTE_COLOUR: u8 = 3;
/// Packets of XMP and EXIF are far smaller; what unpacks to more is an attack.
const MAX_TEXT: u64 = 1 << 24;
const XMP_KEYWORD: &[u8] = b"XML:com.adobe.xmp";
/// What ImageMagick calls the text that it keeps EXIF in.
const PROFILE_KEYWORD: &[u8] = b"Raw profile type exif";

/// A file taken apart.
#[derive(Debug)]
pub(super) struct Png {
    /// The file again, as the decoder bears it.
    pub pixels: Vec<u8>,
    pub metadata: Metadata,
    /// Frames of an APNG.
    pub frames: usize,
    /// Bits that the samples had before they were stored, by the chunk sBIT.
    significant_bits: Option<u8>,
}

impl Png {
    /// # Errors
    /// If the file ends within its pixels, or has indices into a palette and none.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let pixels = Vec::with_capacity(bytes.len());
        let mut png = Self { pixels, metadata: Metadata::default(), frames: 0, significant_bits: None };
        png.pixels.extend(bytes.get(..SIGNATURE).with_context(|| truncated_message("PNG"))?);
        let (mut header, mut palette, mut data) = (None, None, Vec::new());
        let mut rest = &bytes[SIGNATURE..];
        while let Some(chunk) = Chunk::next(&mut rest) {
            ensure!(
                &chunk.kind != b"CgBI",
                "unsupported PNG: changed by Xcode for iPhones; take the original, or convert it to JPEG or PNG"
            );
            let is_needed = matches!(&chunk.kind, b"IHDR" | b"PLTE" | b"IDAT");
            ensure!(!(chunk.is_cut && (is_needed || data.is_empty())), truncated_message("PNG"));
            match &chunk.kind {
                b"IHDR" => header = header.or(Some(chunk)),
                b"PLTE" => palette = Some(chunk),
                b"IDAT" => data.push(chunk),
                b"IEND" => break,
                _ if !chunk.is_cut => png.note(&chunk),
                _ => {}
            }
        }
        let header = header.context("damaged PNG: it has no header; copy the file again")?;
        png.pixels.extend(header.whole);
        if header.data.get(9) == Some(&PALETTE_COLOUR) {
            let palette = palette.filter(|palette| palette.data.len() >= 3);
            let palette = palette.context("damaged PNG: it has no palette; copy the file again")?;
            png.pixels.extend_from_slice(&palette.with_whole_colours());
        }
        data.iter().for_each(|chunk| png.pixels.extend(chunk.whole));
        // A file whose last chunk is missing has all of its pixels.
        png.pixels.extend(Chunk::made(b"IEND", &[]));
        Ok(png)
    }

    /// The largest value of a 16-bit sample, if the file tells how many bits it had.
    pub fn white(&self) -> Option<u32> {
        self.significant_bits.filter(|bits| (1..=16).contains(bits)).map(|bits| (1 << bits) - 1)
    }

    fn note(&mut self, chunk: &Chunk) {
        let keyword = |name: &[u8]| chunk.data.strip_prefix(name)?.strip_prefix(b"\0");
        match &chunk.kind {
            b"fcTL" => self.frames += 1,
            b"eXIf" => self.metadata.exif = Some(chunk.data.to_vec()),
            b"sBIT" => self.significant_bits = chunk.data.iter().copied().max(),
            b"iTXt" => {
                if let Some(text) = keyword(XMP_KEYWORD).and_then(international_text) {
                    self.metadata.xmp = Some(text.into_owned());
                }
            }
            b"zTXt" if self.metadata.exif.is_none() => {
                let packed = keyword(PROFILE_KEYWORD).and_then(|text| text.strip_prefix(b"\0"));
                self.metadata.exif = packed.and_then(inflated).and_then(|text| profile(&text));
            }
            b"tEXt" if self.metadata.exif.is_none() => {
                self.metadata.exif = keyword(PROFILE_KEYWORD).and_then(profile);
            }
            _ => {}
        }
    }
}

struct Chunk<'a> {
    kind: [u8; 4],
    data: &'a [u8],
    /// With length and checksum.
    whole: &'a [u8],
    is_cut: bool,
}

impl<'a> Chunk<'a> {
    /// The chunk at the front of `rest`, which then begins behind it.
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let bytes = *rest;
        let (length, behind) = bytes.split_first_chunk::<4>()?;
        let (kind, behind) = behind.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let whole = bytes.get(..length.saturating_add(12));
        *rest = whole.map_or(&[], |whole| &bytes[whole.len()..]);
        let data = behind.get(..length).unwrap_or(behind);
        Some(Self { kind: *kind, data, whole: whole.unwrap_or(bytes), is_cut: whole.is_none() })
    }

    fn made(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut checksum = flate2::Crc::new();
        checksum.update(kind);
        checksum.update(data);
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &checksum.sum().to_be_bytes()].concat()
    }

    /// A palette without the bytes that make no whole colour.
    fn with_whole_colours(&self) -> Cow<'a, [u8]> {
        let surplus = self.data.len() % 3;
        match self.data.len() {
            _ if surplus == 0 => Cow::Borrowed(self.whole),
            length => Cow::Owned(Self::made(&self.kind, &self.data[..length - surplus])),
        }
    }
}

/// The text of an iTXt chunk behind its keyword.
fn international_text(data: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (&[is_packed, _method], rest) = data.split_first_chunk::<2>()?;
    let mut parts = rest.splitn(3, |byte| *byte == 0); // language, translated keyword, text
    let text = parts.nth(2)?;
    if is_packed == 0 { Some(Cow::Borrowed(text)) } else { inflated(text).map(Cow::Owned) }
}

fn inflated(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).take(MAX_TEXT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The bytes that stand in hexadecimal digits below a name and a length, a line each.
fn profile(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.splitn(4, |byte| *byte == b'\n').nth(3)?.iter().copied().filter(|byte| *byte != b'\n').collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
