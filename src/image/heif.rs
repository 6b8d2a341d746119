//! HEIF, the container of HEIC and AVIF: the picture that a viewer shows first.
//!
//! ```text
//! bytes ──items──▶ primary item ──hevc or av1──▶ planes of tiles ──▶ planes ──colour──▶ [H,W,3] ──clap, irot, imir──▶
//! ```
//!
//! Phones store a photograph as a grid of tiles. These are joined before the chroma planes are upsampled, so that no
//! seam shows. Alpha planes, thumbnails, depth and gain maps are left aside. The container's turn counts and EXIF's is
//! ignored, as in libheif. A sequence without a primary item gives its first frame.
//! Sources: ISO/IEC 23008-12 (HEIF), 23000-22 (MIAF), the AVIF specification 1.1.

#[cfg(feature = "avif")]
mod av1;
mod coded;
mod colour;
#[cfg(feature = "heic")]
mod hevc;
mod planes;
mod sequence;
mod transform;

use anyhow::{Context, Result, anyhow, bail, ensure};
use heifer_isobmff::boxes::{ColorInfo, Grid, Property};
use heifer_isobmff::{BoxIter, Error, HeifFile, ItemId};

use super::Picture;
use super::decode::{check_pixels, truncated_message};
use coded::{Coded, Coding};
use colour::Colour;
use planes::{MAX_SAMPLES, Planes};
use sequence::Sequence;
use transform::Transform;

/// Of pictures that are made of others; real files have one or two levels.
const MAX_DEPTH: usize = 4;
/// Pixels along a side of the largest block of AV1; HEVC's are half as long.
const LARGEST_BLOCK: u32 = 128;

/// Upright, or as upright as the container says.
///
/// # Errors
/// In one line with a remedy, if the file is cut, damaged, too large or holds a picture of a kind that is not supported.
pub(super) fn decode(bytes: &[u8], name: &'static str) -> Result<Picture> {
    match Container::read(bytes, name)? {
        Container::Items(items) => items.picture(items.file.primary_id, 0),
        Container::Sequence(sequence) => {
            let frame = sequence.first.planes(MAX_SAMPLES, name)?;
            frame.into_rgb(sequence.colour, name)
        }
    }
}

/// What the boxes tell of the picture.
#[derive(Debug)]
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    pub is_animated: bool,
}

/// # Errors
/// As [`decode`], as far as the boxes tell.
pub(super) fn header(bytes: &[u8], name: &'static str) -> Result<Header> {
    let is_animated = Sequence::frames(bytes) > 1;
    let (width, height) = match Container::read(bytes, name)? {
        Container::Items(items) => items.size(items.file.primary_id, 0)?,
        Container::Sequence(sequence) => sequence.size,
    };
    check_pixels(u64::from(width), u64::from(height))?;
    Ok(Header { width: width as usize, height: height as usize, is_animated })
}

enum Container<'a> {
    Items(Items<'a>),
    Sequence(Sequence),
}

impl<'a> Container<'a> {
    fn read(bytes: &'a [u8], name: &'static str) -> Result<Self> {
        // Phones leave data of their own behind the last box, which is no box.
        let whole = whole_boxes(bytes);
        match HeifFile::parse(whole) {
            Ok(file) => Ok(Self::Items(Items { file, name })),
            Err(Error::UnexpectedEof) => bail!(truncated_message(name)),
            Err(error) => match (Sequence::first(bytes, name)?, error) {
                (Some(sequence), _) => Ok(Self::Sequence(sequence)),
                (None, Error::MissingBox(_)) if whole.len() < bytes.len() => bail!(truncated_message(name)),
                (None, Error::MissingBox(_)) => bail!(
                    "damaged {name}: it says that it holds a picture, and has none; copy the file again, or {CONVERT}"
                ),
                (None, error) => Err(explain(&error, name)),
            },
        }
    }
}

/// A file as far as its boxes are whole.
fn whole_boxes(bytes: &[u8]) -> &[u8] {
    let boxes = BoxIter::new(bytes).map_while(Result::ok);
    let ends = boxes.map(|found| found.offset + found.header.header_size as usize + found.content.len());
    &bytes[..ends.last().unwrap_or(0)]
}

/// A file whose pictures are items.
struct Items<'a> {
    file: HeifFile<'a>,
    name: &'static str,
}

impl Items<'_> {
    /// An item as it is shown.
    fn picture(&self, id: ItemId, depth: usize) -> Result<Picture> {
        ensure!(depth < MAX_DEPTH, "damaged {}: its pictures are made of each other; copy the file again", self.name);
        if &self.kind(id)?.0 == b"iden" {
            let picture = self.picture(self.inputs(id)?[0], depth + 1)?;
            let transforms = self.transforms(id, [picture.width, picture.height])?;
            return transforms.iter().try_fold(picture, |picture, (transform, _)| transform.applied(picture));
        }
        let (mut planes, colour) = self.planes(id)?;
        let transforms = self.transforms(id, [planes.width, planes.height])?;
        let subsampling = planes.subsampling;
        planes.blends_chroma |= transforms.iter().any(|(transform, size)| transform.parts_chroma(*size, subsampling));
        let mut picture = planes.into_rgb(colour, self.name)?;
        if let Some(alpha) = self.file.referenced_items(id, b"prem").first() {
            let (planes, colour) = self.planes(*alpha)?;
            transform::undo_multiplication(&mut picture, &planes.levels(colour));
        }
        transforms.iter().try_fold(picture, |picture, (transform, _)| transform.applied(picture))
    }

    /// What is done to a picture of this size, in turn, each with the size that it is done to.
    fn transforms(&self, id: ItemId, mut size: [usize; 2]) -> Result<Vec<(Transform, [usize; 2])>> {
        let mut transforms = Vec::new();
        for property in self.properties(id)? {
            if let Some(transform) = Transform::of(property, size, self.name)? {
                transforms.push((transform, size));
                size = transform.size(size);
            }
        }
        Ok(transforms)
    }

    /// The samples of an item, and what the container says of their colours.
    fn planes(&self, id: ItemId) -> Result<(Planes, Option<Colour>)> {
        if &self.kind(id)?.0 == b"grid" {
            let (planes, first) = self.joined(id)?;
            Ok((planes, self.colour(id)?.or(self.colour(first)?)))
        } else {
            Ok((self.coded(id)?, self.colour(id)?))
        }
    }

    /// The tiles of a grid side by side, and the first of them.
    fn joined(&self, id: ItemId) -> Result<(Planes, ItemId)> {
        let grid = self.grid(id)?;
        let tiles = self.inputs(id)?;
        let (columns, rows) = (usize::from(grid.columns), usize::from(grid.rows));
        ensure!(
            tiles.len() >= columns * rows,
            "damaged {}: {} tiles, expected {}; copy the file again",
            self.name,
            tiles.len(),
            columns * rows
        );
        let (width, height) = (grid.output_width as usize, grid.output_height as usize);
        let mut joined: Option<(Planes, [usize; 2])> = None;
        for (index, tile) in tiles[..columns * rows].iter().enumerate() {
            let kind = self.kind(*tile)?;
            ensure!(
                !matches!(&kind.0, b"grid" | b"iden" | b"iovl"),
                "unsupported {}: a grid of pictures that are made of others; {CONVERT}",
                self.name
            );
            let place = [index % columns, index / columns];
            // What lies beyond the picture is not seen.
            if joined.as_ref().is_some_and(|(_, [tile_width, tile_height])| {
                place[0] * tile_width >= width || place[1] * tile_height >= height
            }) {
                continue;
            }
            let planes = self.coded(*tile)?;
            let (canvas, size) = match &mut joined {
                Some(joined) => joined,
                None => {
                    let size = [planes.width, planes.height];
                    ensure!(
                        size[0] * columns >= width && size[1] * rows >= height,
                        "damaged {}: {columns}×{rows} tiles of {}×{} pixels don't fill {width}×{height}; copy the file again",
                        self.name,
                        size[0],
                        size[1]
                    );
                    joined.insert((planes.blank(width, height, self.name)?, size))
                }
            };
            ensure!(
                [planes.width, planes.height] == *size && canvas.is_like(&planes),
                "damaged {}: tiles of different kinds; copy the file again",
                self.name
            );
            canvas.paste(&planes, place[0] * size[0], place[1] * size[1], self.name)?;
        }
        let (joined, _) =
            joined.with_context(|| format!("damaged {}: a grid without tiles; copy the file again", self.name))?;
        Ok((joined, tiles[0]))
    }

    fn grid(&self, id: ItemId) -> Result<Grid> {
        let grid = self.file.grid(id).map_err(|error| explain(&error, self.name))?;
        check_pixels(u64::from(grid.output_width), u64::from(grid.output_height))?;
        Ok(grid)
    }

    /// The samples of a picture that is no composition of others.
    fn coded(&self, id: ItemId) -> Result<Planes> {
        let explain = |error: Error| explain(&error, self.name);
        let mut most = MAX_SAMPLES;
        if let Some((width, height)) = self.file.image_size(id).map_err(explain)? {
            check_pixels(u64::from(width), u64::from(height))?;
            // Blocks may reach beyond the edges.
            let whole = |side: u32| side.next_multiple_of(LARGEST_BLOCK) as usize;
            most = most.min(whole(width) * whole(height));
        }
        let coded = match &self.kind(id)?.0 {
            b"hvc1" | b"hev1" => Coded { coding: Coding::Hevc, stream: self.file.hevc_bitstream(id).map_err(explain)? },
            b"av01" => Coded { coding: Coding::Av1, stream: self.file.item_data(id).map_err(explain)?.into_owned() },
            kind => bail!(unsupported(*kind, self.name)),
        };
        coded.planes(most, self.name)
    }

    fn size(&self, id: ItemId, depth: usize) -> Result<(u32, u32)> {
        ensure!(depth < MAX_DEPTH, "damaged {}: its pictures are made of each other; copy the file again", self.name);
        match &self.kind(id)?.0 {
            b"grid" => self.grid(id).map(|grid| (grid.output_width, grid.output_height)),
            b"iden" => self.size(self.inputs(id)?[0], depth + 1),
            _ => {
                let size = self.file.image_size(id).map_err(|error| explain(&error, self.name))?;
                size.with_context(|| format!("damaged {}: it has no size; copy the file again", self.name))
            }
        }
    }

    fn kind(&self, id: ItemId) -> Result<heifer_isobmff::FourCC> {
        Ok(self.file.item(id).map_err(|error| explain(&error, self.name))?.item_type)
    }

    /// At least one.
    fn inputs(&self, id: ItemId) -> Result<&[ItemId]> {
        let inputs = self.file.referenced_items(id, b"dimg");
        ensure!(!inputs.is_empty(), "damaged {}: a picture made of none; copy the file again", self.name);
        Ok(inputs)
    }

    fn properties(&self, id: ItemId) -> Result<Vec<&Property>> {
        Ok(self.file.item_properties(id).map_err(|error| explain(&error, self.name))?.collect())
    }

    /// What the container says of the colours, which counts before what the pictures themselves say.
    fn colour(&self, id: ItemId) -> Result<Option<Colour>> {
        Ok(self.properties(id)?.iter().find_map(|property| match property {
            Property::Color(ColorInfo::Nclx { primaries, matrix, full_range, .. }) => {
                Some(Colour { primaries: *primaries, matrix: *matrix, is_full_range: *full_range })
            }
            _ => None,
        }))
    }
}

/// What to do about a picture that is whole but can't be read.
const CONVERT: &str = "convert it to JPEG or PNG";

fn unsupported(kind: [u8; 4], name: &str) -> String {
    let found = match &kind {
        b"iovl" => "a picture laid over others".to_owned(),
        b"avc1" | b"avc3" => "H.264 in HEIF".to_owned(),
        b"vvc1" | b"vvi1" => "H.266 (VVC) in HEIF".to_owned(),
        b"evc1" => "EVC in HEIF".to_owned(),
        b"lhv1" | b"lhe1" => "HEVC in layers".to_owned(),
        b"j2k1" => "JPEG 2000 in HEIF".to_owned(),
        b"jpeg" | b"mjpg" => "JPEG in HEIF".to_owned(),
        b"jxs1" => "JPEG XS in HEIF".to_owned(),
        b"unci" | b"uncv" => "uncompressed samples in HEIF".to_owned(),
        b"tmap" => "a picture that is made by a tone map".to_owned(),
        kind => format!("a picture of type `{}`", kind.escape_ascii()),
    };
    format!("unsupported {name}: {found}; {CONVERT}")
}

fn explain(error: &Error, name: &str) -> anyhow::Error {
    match error {
        Error::UnexpectedEof => anyhow!(truncated_message(name)),
        Error::Unimplemented(found) => anyhow!("unsupported {name}: {found}; {CONVERT}"),
        error => anyhow!("damaged {name}: {error}; copy the file again"),
    }
}
