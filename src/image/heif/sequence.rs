//! A file of moving pictures without a still one: the first frame of its first track of pictures.
//! Source: ISO/IEC 14496-12, 8.5 to 8.7.

use anyhow::{Result, anyhow};
use heifer_isobmff::BoxIter;
use heifer_isobmff::boxes::{ColorInfo, HevcConfig, Property};

use super::coded::{Coded, Coding};
use super::colour::Colour;
use crate::image::decode::truncated_message;

/// From the start of a sample's description to the boxes within it.
const DESCRIPTION: usize = 78;

#[derive(Debug)]
pub struct Sequence {
    pub first: Coded,
    pub colour: Option<Colour>,
    /// As the track says.
    pub size: (u32, u32),
}

impl Sequence {
    /// How many frames the longest track of pictures has; 0 in a file of still pictures.
    pub fn frames(bytes: &[u8]) -> usize {
        tracks(bytes).filter_map(|track| Table::of(track).map(|table| table.frames)).max().unwrap_or(0)
    }

    /// None where the file has no track of pictures.
    ///
    /// # Errors
    /// If the first frame is cut, or coded in an unsupported way.
    pub fn first(bytes: &[u8], name: &str) -> Result<Option<Self>> {
        let Some(table) = tracks(bytes).find_map(Table::of) else { return Ok(None) };
        let damaged = || anyhow!("damaged {name}: its first frame is not to be found; copy the file again");
        let data = table.first(bytes).ok_or_else(damaged)?.ok_or_else(|| anyhow!(truncated_message(name)))?;
        let (kind, description) = table.description().ok_or_else(damaged)?;
        let size = description.get(24..28).and_then(|size| size.as_chunks().0.first_chunk::<2>());
        let [width, height] = size.ok_or_else(damaged)?.map(|side| u32::from(u16::from_be_bytes(side)));
        let boxes = description.get(DESCRIPTION..).unwrap_or_default();
        let property = |kind: &[u8; 4]| {
            let content = find(boxes, kind)?;
            Property::parse(heifer_isobmff::FourCC(*kind), content).ok()
        };
        let first = match &kind {
            b"hvc1" | b"hev1" => match property(b"hvcC") {
                Some(Property::HevcConfig(config)) => {
                    let stream = with_start_codes(&config, data).ok_or_else(damaged)?;
                    Coded { coding: Coding::Hevc, stream }
                }
                _ => return Err(damaged()),
            },
            b"av01" => Coded { coding: Coding::Av1, stream: data.to_vec() },
            kind => return Err(anyhow!(super::unsupported(*kind, name))),
        };
        let colour = match property(b"colr") {
            Some(Property::Color(ColorInfo::Nclx { primaries, matrix, full_range, .. })) => {
                Some(Colour { primaries, matrix, is_full_range: full_range })
            }
            _ => None,
        };
        Ok(Some(Self { first, colour, size: (width, height) }))
    }
}

/// NAL units with start codes instead of lengths, behind those of the configuration.
fn with_start_codes(config: &HevcConfig, mut data: &[u8]) -> Option<Vec<u8>> {
    const START: [u8; 4] = [0, 0, 0, 1];
    let mut stream = Vec::with_capacity(data.len() + 256);
    let mut add = |unit: &[u8]| {
        stream.extend(START);
        stream.extend(unit);
    };
    config.nal_units.iter().for_each(|unit| add(unit));
    while !data.is_empty() {
        let (length, rest) = data.split_at_checked(config.nal_length_size.into())?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        add(unit);
        data = rest;
    }
    Some(stream)
}

/// The tables of a track's samples.
struct Table<'a> {
    boxes: &'a [u8],
    frames: usize,
}

impl<'a> Table<'a> {
    /// None for a track of sound, text or anything but pictures.
    fn of(track: &'a [u8]) -> Option<Self> {
        let media = find(track, b"mdia")?;
        let handler = find(media, b"hdlr")?.get(8..12)?;
        let boxes = find(find(media, b"minf")?, b"stbl")?;
        let frames = number(find(boxes, b"stsz")?, 8)? as usize;
        (matches!(handler, b"pict" | b"vide") && frames > 0).then_some(Self { boxes, frames })
    }

    /// Type and content of the first description of samples.
    fn description(&self) -> Option<([u8; 4], &'a [u8])> {
        let entries = find(self.boxes, b"stsd")?.get(8..)?;
        let first = BoxIter::new(entries).next()?.ok()?;
        Some((first.header.box_type.0, first.content))
    }

    /// The bytes of the first sample; the inner none where the file ends before them.
    fn first<'f>(&self, file: &'f [u8]) -> Option<Option<&'f [u8]>> {
        let sizes = find(self.boxes, b"stsz")?;
        let size = match number(sizes, 4)? {
            0 => number(sizes, 12)?,
            size => size,
        };
        let offset = match find(self.boxes, b"stco") {
            Some(offsets) => u64::from(number(offsets, 8)?),
            None => {
                let offsets = find(self.boxes, b"co64")?;
                u64::from(number(offsets, 8)?) << 32 | u64::from(number(offsets, 12)?)
            }
        };
        let start = usize::try_from(offset).ok()?;
        Some(file.get(start..start.checked_add(size as usize)?))
    }
}

/// The tracks of a file, as far as it is whole.
fn tracks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let boxes = BoxIter::new(find(bytes, b"moov").unwrap_or_default()).map_while(Result::ok);
    boxes.filter(|found| found.header.box_type.0 == *b"trak").map(|found| found.content)
}

/// The content of the first box of this type.
fn find<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    BoxIter::new(bytes).map_while(Result::ok).find(|found| found.header.box_type.0 == *kind).map(|found| found.content)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_be_bytes(*number))
}
