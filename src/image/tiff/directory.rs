//! The tags of the first page, in a classic TIFF, a BigTIFF, or a block of EXIF.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::image::decode::truncated_message;

/// Values of more entries than this are taken for damage.
const MAX_TAGS: u64 = 4096;

/// Where the values of a tag lie.
#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    kind: u16,
    /// None where the file ends before them.
    data: Option<&'a [u8]>,
}

#[derive(Debug)]
pub struct Directory<'a> {
    /// The whole file.
    pub file: &'a [u8],
    pub is_big_endian: bool,
    /// Where the directory behind this one begins; 0 behind the last.
    pub next: u64,
    widths: Widths,
    fields: BTreeMap<u16, Field<'a>>,
}

/// Bytes of: an offset, the number of tags, a tag.
#[derive(Debug, Clone, Copy)]
struct Widths {
    offset: usize,
    counter: usize,
    entry: u64,
}

const CLASSIC: Widths = Widths { offset: 4, counter: 2, entry: 12 };
const BIG: Widths = Widths { offset: 8, counter: 8, entry: 20 };

/// Reads numbers in the file's byte order.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl Reader<'_> {
    fn number(&self, at: u64, width: usize) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        Some(number(bytes, self.is_big_endian))
    }
}

/// An unsigned number of up to 8 bytes.
fn number(bytes: &[u8], is_big_endian: bool) -> u64 {
    let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if is_big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

impl<'a> Directory<'a> {
    /// # Errors
    /// If `file` doesn't begin like a TIFF, or ends within the directory.
    pub fn first(file: &'a [u8]) -> Result<Self> {
        let version = Self::reader(file)?.number(2, 2).with_context(|| truncated_message("TIFF"))?;
        ensure!(matches!(version, 42 | 43), "damaged TIFF: version {version}, expected 42 or 43; copy the file again");
        Self::first_whatever_the_version(file)
    }

    /// Cameras have version numbers of their own.
    ///
    /// # Errors
    /// As [`Self::first`].
    pub fn first_whatever_the_version(file: &'a [u8]) -> Result<Self> {
        let cut = || truncated_message("TIFF");
        let reader = Self::reader(file)?;
        let widths = if reader.number(2, 2).with_context(cut)? == 43 { BIG } else { CLASSIC };
        let start = reader.number(if widths.offset == 8 { 8 } else { 4 }, widths.offset).with_context(cut)?;
        Self::read(reader, widths, start)
    }

    /// Another directory of the same file.
    ///
    /// # Errors
    /// If the file ends within it.
    pub fn at(&self, start: u64) -> Result<Self> {
        Self::read(Reader { bytes: self.file, is_big_endian: self.is_big_endian }, self.widths, start)
    }

    fn reader(file: &'a [u8]) -> Result<Reader<'a>> {
        let is_big_endian = match file.get(..2) {
            Some(b"II") => false,
            Some(b"MM") => true,
            _ => bail!("damaged TIFF: it begins with no byte order; copy the file again"),
        };
        Ok(Reader { bytes: file, is_big_endian })
    }

    fn read(reader: Reader<'a>, widths: Widths, start: u64) -> Result<Self> {
        let cut = || truncated_message("TIFF");
        let Reader { bytes: file, is_big_endian } = reader;
        let count = reader.number(start, widths.counter).with_context(cut)?;
        ensure!(count <= MAX_TAGS, "damaged TIFF: {count} tags, expected a few dozen; copy the file again");
        let mut fields = BTreeMap::new();
        let first = start + widths.counter as u64;
        for i in 0..count {
            let at = first + i * widths.entry;
            let tag = reader.number(at, 2).with_context(cut)?;
            let field = reader.field(at, widths.offset).with_context(cut)?;
            fields.insert(tag as u16, Field { kind: field.0, data: place(file, field.1, field.2) });
        }
        // A block of EXIF often ends with its tags.
        let next = reader.number(first + count * widths.entry, widths.offset).unwrap_or(0);
        Ok(Self { file, is_big_endian, next, widths, fields })
    }

    pub fn has(&self, tag: u16) -> bool {
        self.fields.contains_key(&tag)
    }

    /// Whether the file ends before the values of `tag`.
    pub fn is_cut_at(&self, tag: u16) -> bool {
        self.fields.get(&tag).is_some_and(|field| field.data.is_none())
    }

    /// The values as they lie in the file.
    pub fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        self.fields.get(&tag)?.data
    }

    /// The values of a tag of whole numbers that are not negative.
    pub fn integers(&self, tag: u16) -> Option<Vec<u64>> {
        let numbers = self.numbers(tag)?;
        numbers.iter().map(|number| (*number >= 0.0 && number.fract() == 0.0).then_some(*number as u64)).collect()
    }

    pub fn integer(&self, tag: u16) -> Option<u64> {
        self.integers(tag)?.first().copied()
    }

    /// The values of a tag of numbers, whatever their type; exact up to 53 bits. Bytes are none, as in Pillow.
    pub fn numbers(&self, tag: u16) -> Option<Vec<f64>> {
        let field = self.fields.get(&tag)?;
        let width = width(field.kind).filter(|_| !matches!(field.kind, 1 | 2 | 7))?;
        let one = |bytes: &[u8]| -> f64 {
            let number = |bytes: &[u8]| number(bytes, self.is_big_endian);
            let whole = number(&bytes[..width.min(8)]);
            match field.kind {
                5 | 10 => {
                    let (above, below) = (number(&bytes[..4]) as u32, number(&bytes[4..]) as u32);
                    if field.kind == 5 {
                        f64::from(above) / f64::from(below)
                    } else {
                        f64::from(above as i32) / f64::from(below as i32)
                    }
                }
                6 => f64::from(whole as i8),
                8 => f64::from(whole as i16),
                9 => f64::from(whole as i32),
                11 => f64::from(f32::from_bits(whole as u32)),
                12 => f64::from_bits(whole),
                17 => whole as i64 as f64,
                _ => whole as f64,
            }
        };
        Some(field.data?.chunks_exact(width).map(one).collect())
    }
}

impl Reader<'_> {
    /// Type, number of bytes and offset of the values of the tag at `at`.
    fn field(&self, at: u64, offset: usize) -> Option<(u16, u64, u64)> {
        let kind = self.number(at + 2, 2)? as u16;
        let count = self.number(at + 4, offset)?;
        let length = count.saturating_mul(width(kind).unwrap_or(1) as u64);
        let inline = at + 4 + offset as u64;
        let start = if length <= offset as u64 { inline } else { self.number(inline, offset)? };
        self.number(inline, offset)?;
        Some((kind, length, start))
    }
}

fn place(file: &[u8], length: u64, start: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    file.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// Bytes of a value of this type.
fn width(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16 | 17 | 18 => Some(8),
        _ => None,
    }
}
