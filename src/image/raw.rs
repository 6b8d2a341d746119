//! RAW files: the preview that the camera made of its picture.
//!
//! What the sensor saw isn't developed here, for every program that does so gets other colours. Cameras put a JPEG
//! beside it, often of full size: in the first directory (CR2, ARW), in one below it (NEF, DNG) or behind it, in a tag
//! (RW2), behind the header (RAF) or in a box (CR3). The largest counts. It lies as the sensor was held, and the first
//! directory tells how that was.
//! Sources: TIFF/EP; the DNG specification 1.7; LibRaw and ExifTool for what cameras write.

use std::collections::BTreeSet;

use ::image::metadata::Orientation;
use anyhow::{Result, bail, ensure};

use super::decode::truncated_message;
use super::jpeg::Outline;
use super::orientation;
use super::tiff::Directory;

mod tag {
    pub const JPEG_FROM_RAW: u16 = 0x2E;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const STRIP_LENGTHS: u16 = 279;
    pub const SUB_IFDS: u16 = 330;
    pub const JPEG_OFFSET: u16 = 513;
    pub const JPEG_LENGTH: u16 = 514;
    pub const XMP: u16 = 700;
}

/// A file has about ten; a chain may be endless.
const MAX_DIRECTORIES: usize = 64;
/// EXIF's thumbnail is 160 pixels wide, and often has black bars: no picture of what was photographed.
const MAX_THUMBNAIL: usize = 160;

/// A JPEG within a file.
#[derive(Debug)]
pub(super) struct Preview<'a> {
    pub jpeg: &'a [u8],
    pub outline: Outline,
    pub orientation: Orientation,
}

impl<'a> Preview<'a> {
    /// # Errors
    /// In one line with a remedy, if the file is cut or has no preview that is more than a thumbnail.
    pub fn find(bytes: &'a [u8]) -> Result<Self> {
        ensure!(
            bytes.get(6..14) != Some(b"HEAPCCDR"),
            "unsupported RAW: Canon's CRW, which is not read; convert it to JPEG"
        );
        let mut search = Search::default();
        let orientation = if bytes.starts_with(b"FUJIFILMCCD-RAW ") {
            search.fuji(bytes);
            None
        } else if bytes.get(4..8) == Some(b"ftyp") {
            search.canon_boxes(bytes)
        } else if bytes.starts_with(b"II") || bytes.starts_with(b"MM") {
            search.directories(bytes)?
        } else {
            None
        };
        ensure!(!search.is_cut, truncated_message("RAW"));
        let Some((jpeg, outline)) = search.largest else {
            bail!(
                "unsupported RAW: it holds no preview in JPEG, and what the sensor saw is not developed here; convert it to JPEG"
            );
        };
        let (width, height) = outline.size();
        if width.max(height) <= MAX_THUMBNAIL {
            bail!(
                "unsupported RAW: its largest preview is a thumbnail of {width}×{height} pixels, and what the sensor saw is not \
                 developed here; convert it to JPEG"
            );
        }
        let orientation = orientation.unwrap_or_else(|| outline.metadata.orientation());
        Ok(Self { jpeg, outline, orientation })
    }
}

#[derive(Default)]
struct Search<'a> {
    largest: Option<(&'a [u8], Outline)>,
    /// Whether the file ends before one of its previews does.
    is_cut: bool,
}

impl<'a> Search<'a> {
    /// All directories of a file that is built like TIFF; how the camera was held, if the first one says so.
    fn directories(&mut self, bytes: &'a [u8]) -> Result<Option<Orientation>> {
        let first = Directory::first_whatever_the_version(bytes)?;
        let turn = orientation::value(&first);
        let said = turn.map(|_| orientation::resolve(turn, first.bytes(tag::XMP)));
        let mut seen = BTreeSet::new();
        let mut open = vec![first];
        while let Some(directory) = open.pop() {
            self.directory(&directory);
            self.is_cut |= directory.is_cut_at(tag::SUB_IFDS);
            let below = directory.integers(tag::SUB_IFDS).unwrap_or_default();
            for start in below.into_iter().chain([directory.next]) {
                if start != 0 && seen.len() < MAX_DIRECTORIES && seen.insert(start) {
                    // Some cameras leave a number behind their last directory that leads nowhere.
                    let found = directory.at(start);
                    self.is_cut |= found.is_err() && start != directory.next;
                    open.extend(found);
                }
            }
        }
        Ok(said)
    }

    fn directory(&mut self, directory: &Directory<'a>) {
        let file = directory.file;
        for (offsets, lengths) in [(tag::JPEG_OFFSET, tag::JPEG_LENGTH), (tag::STRIP_OFFSETS, tag::STRIP_LENGTHS)] {
            let (offset, length) = (directory.integers(offsets), directory.integers(lengths));
            if let (Some([offset]), Some([length])) = (offset.as_deref(), length.as_deref()) {
                self.consider(file, *offset, *length);
            }
        }
        if let Some(jpeg) = directory.bytes(tag::JPEG_FROM_RAW) {
            self.take(jpeg);
        }
        self.is_cut |= directory.is_cut_at(tag::JPEG_FROM_RAW);
    }

    /// The header says where the preview is.
    fn fuji(&mut self, bytes: &'a [u8]) {
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|number| u32::from_be_bytes(*number));
        match (number(84), number(88)) {
            (Some(offset), Some(length)) => self.consider(bytes, offset.into(), length.into()),
            _ => self.is_cut = true,
        }
    }

    /// What may be a JPEG, and often is samples of the sensor.
    fn consider(&mut self, file: &'a [u8], offset: u64, length: u64) {
        /// What Panasonic writes where another tag has the offset.
        const ELSEWHERE: u64 = 0xFFFF_FFFF;
        if offset == ELSEWHERE {
            return;
        }
        let Some(start) = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)) else {
            self.is_cut |= length > 0;
            return;
        };
        match usize::try_from(length).ok().and_then(|length| start.get(..length)) {
            Some(data) => self.take(data),
            None => self.is_cut |= start.starts_with(b"\xff\xd8"),
        }
    }

    fn take(&mut self, data: &'a [u8]) {
        if !data.starts_with(b"\xff\xd8\xff") {
            return;
        }
        let Ok(outline) = Outline::read(data) else { return };
        let area = |outline: &Outline| outline.size().0 * outline.size().1;
        let is_larger = self.largest.as_ref().is_none_or(|(_, largest)| area(&outline) > area(largest));
        if outline.is_preview() && is_larger {
            self.largest = Some((data, outline));
        }
    }

    /// A file of ISO media: the preview in a box of Canon's, and the first directory in another.
    fn canon_boxes(&mut self, bytes: &'a [u8]) -> Option<Orientation> {
        const PREVIEW: &[u8; 16] = b"\xea\xf4\x2b\x5e\x1c\x98\x4b\x88\xb9\xfb\xb7\xdc\x40\x6e\x4d\x16";
        const METADATA: &[u8; 16] = b"\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48";
        /// Before the box of the preview, and in it before the JPEG.
        const BEFORE: (usize, usize) = (8, 16);
        for preview in all(bytes, b"uuid").filter_map(|uuid| uuid.strip_prefix(PREVIEW.as_slice())) {
            for (_, content) in boxes(preview.get(BEFORE.0..).unwrap_or_default()) {
                self.take(content.get(BEFORE.1..).unwrap_or_default());
            }
        }
        // The samples of the sensor are the last box.
        self.is_cut |= all(bytes, b"mdat").next().is_none();
        let mut metadata =
            all(all(bytes, b"moov").next()?, b"uuid").filter_map(|uuid| uuid.strip_prefix(METADATA.as_slice()));
        let tiff = all(metadata.next()?, b"CMT1").next()?;
        let turn = orientation::value(&Directory::first(tiff).ok()?);
        turn.map(|_| orientation::resolve(turn, None))
    }
}

/// The contents of the boxes of a type.
fn all<'a>(bytes: &'a [u8], kind: &'static [u8; 4]) -> impl Iterator<Item = &'a [u8]> {
    boxes(bytes).filter_map(move |(found, content)| (found == kind).then_some(content))
}

/// Types and contents of the boxes of ISO media that are whole.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (kind, mut content) = behind.split_first_chunk::<4>()?;
        let (mut header, mut length) = (8, u64::from(u32::from_be_bytes(*length)));
        if length == 1 {
            let (long, behind) = content.split_first_chunk::<8>()?;
            (header, length, content) = (16, u64::from_be_bytes(*long), behind);
        } else if length == 0 {
            length = rest.len() as u64;
        }
        let size = usize::try_from(length.checked_sub(header)?).ok()?;
        let found = content.get(..size)?;
        rest = &content[size..];
        Some((kind, found))
    })
}
