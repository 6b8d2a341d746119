//! What the tags say of how the samples lie in the file and what they mean.

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::compression::MAX_EXTRA;
use super::directory::Directory;
use crate::image::decode::{MAX_BYTES, check_pixels, truncated_message};

mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_LENGTHS: u16 = 279;
    pub const MAX_SAMPLE: u16 = 281;
    pub const PLANAR: u16 = 284;
    pub const FAX_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOUR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_LENGTHS: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const S_MAX_SAMPLE: u16 = 341;
    pub const SUBSAMPLING: u16 = 530;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Photometric {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
    /// Signed a and b.
    CieLab,
    /// a and b moved by 128.
    IccLab,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Unsigned,
    Signed,
    Float,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    /// CCITT modified Huffman: rows that end on a byte, or on two.
    FaxRows {
        on_words: bool,
    },
    /// CCITT Group 3, in one dimension or two.
    Fax3 {
        is_2d: bool,
    },
    Fax4,
    Lzw,
    OldJpeg,
    Jpeg,
    Deflate,
    PackBits,
    WebP,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    None,
    Horizontal,
    Float,
}

/// Samples beyond the colours: whether the first of them was multiplied into these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    None,
    Dropped,
    Associated,
}

#[derive(Debug)]
pub struct Layout {
    pub width: usize,
    pub height: usize,
    pub photometric: Photometric,
    pub number: Number,
    pub bits: usize,
    /// Samples of a pixel, all of the same number of bits.
    pub samples: usize,
    pub extra: Extra,
    pub compression: Compression,
    pub predictor: Predictor,
    pub is_planar: bool,
    pub is_big_endian: bool,
    pub has_reversed_bits: bool,
    /// Luma samples across and down for each pair of chroma samples.
    pub subsampling: [usize; 2],
    /// The largest value of a sample, if a tag says it.
    pub white: Option<f64>,
    /// Of 256 colours at most.
    pub palette: Vec<[u8; 3]>,
    pub ycbcr: Option<super::ycbcr::Conversion>,
    chunk: [usize; 2],
    is_tiled: bool,
    offsets: Vec<u64>,
    lengths: Option<Vec<u64>>,
}

/// A strip or tile.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    pub index: usize,
    pub left: usize,
    pub top: usize,
    /// Pixels as they are stored; a tile may reach beyond the picture.
    pub width: usize,
    pub height: usize,
}

impl Layout {
    pub fn read(directory: &Directory) -> Result<Self> {
        let integer = |tag, default| match directory.integer(tag) {
            None if directory.is_cut_at(tag) => Err(anyhow!(truncated_message("TIFF"))),
            found => Ok(found.unwrap_or(default)),
        };
        let side = |tag| -> Result<u64> {
            ensure!(directory.has(tag), "damaged TIFF: it has no size; copy the file again");
            integer(tag, 0)
        };
        let (width, height) = (side(tag::WIDTH)?, side(tag::HEIGHT)?);
        check_pixels(width, height)?;
        let (width, height) = (width as usize, height as usize);

        let compression = compression(integer(tag::COMPRESSION, 1)?, integer(tag::FAX_OPTIONS, 0)?)?;
        let is_old_jpeg = compression == Compression::OldJpeg;
        let photometric = match integer(tag::PHOTOMETRIC, 0)? {
            _ if is_old_jpeg => Photometric::YCbCr,
            code => photometric(code)?,
        };
        let samples = integer(tag::SAMPLES, if is_old_jpeg { 3 } else { 1 })? as usize;
        let colours = photometric.samples().min(if photometric == Photometric::YCbCr { samples } else { 4 });
        ensure!(
            (colours..=colours + MAX_EXTRA).contains(&samples),
            unsupported(format_args!("{samples} samples a pixel, expected {colours} and at most {MAX_EXTRA} more"))
        );
        ensure!(
            photometric != Photometric::YCbCr || matches!(samples, 1 | 3),
            unsupported(format_args!("YCbCr of {samples} samples"))
        );
        let is_grey = matches!(photometric, Photometric::WhiteIsZero | Photometric::BlackIsZero);
        ensure!(!is_grey || samples <= 2, unsupported(format_args!("{samples} bands of grey")));
        let extra = match directory.integer(tag::EXTRA_SAMPLES) {
            _ if samples == colours => Extra::None,
            Some(1) => Extra::Associated,
            _ => Extra::Dropped,
        };
        let bits = same(directory, tag::BITS, samples, 1, "bits a sample")? as usize;
        let number = match same(directory, tag::SAMPLE_FORMAT, samples, 1, "formats of samples")? {
            2 => Number::Signed,
            3 => Number::Float,
            5 | 6 => bail!(unsupported(format_args!("complex numbers"))),
            _ => Number::Unsigned,
        };
        check_depth(photometric, number, bits)?;

        // Old-style JPEG is one stream, however many strips it is said to have.
        let is_tiled = !is_old_jpeg && directory.has(tag::TILE_OFFSETS) && !directory.has(tag::STRIP_OFFSETS);
        let (offsets, lengths) =
            if is_tiled { (tag::TILE_OFFSETS, tag::TILE_LENGTHS) } else { (tag::STRIP_OFFSETS, tag::STRIP_LENGTHS) };
        ensure!(!directory.is_cut_at(offsets) && !directory.is_cut_at(lengths), truncated_message("TIFF"));
        let offsets = directory
            .integers(offsets)
            .context("damaged TIFF: nothing says where its pixels are; copy the file again")?;
        let chunk = if is_tiled {
            [integer(tag::TILE_WIDTH, 0)?, integer(tag::TILE_HEIGHT, 0)?]
        } else if is_old_jpeg {
            [width as u64, height as u64]
        } else {
            [width as u64, integer(tag::ROWS_PER_STRIP, height as u64)?.min(height as u64)]
        };
        let layout = Self {
            width,
            height,
            photometric,
            number,
            bits,
            samples,
            extra,
            compression,
            predictor: predictor(integer(tag::PREDICTOR, 1)?, bits, number)?,
            is_planar: integer(tag::PLANAR, 1)? == 2 && samples > 1,
            is_big_endian: directory.is_big_endian,
            has_reversed_bits: integer(tag::FILL_ORDER, 1)? == 2,
            subsampling: subsampling(directory)?,
            white: white(directory, number, bits),
            palette: palette(directory, photometric, bits)?,
            ycbcr: (photometric == Photometric::YCbCr && samples >= 3)
                .then(|| super::ycbcr::Conversion::new(directory)),
            chunk: chunk.map(|side| usize::try_from(side).unwrap_or(usize::MAX)),
            is_tiled,
            offsets,
            lengths: directory.integers(lengths),
        };
        let has_whole_planes = layout.photometric != Photometric::YCbCr || layout.subsampling == [1, 1];
        ensure!(!layout.is_planar || has_whole_planes, unsupported(format_args!("planes of subsampled chroma")));
        layout.check_chunks()?;
        Ok(layout)
    }

    fn check_chunks(&self) -> Result<()> {
        let [width, height] = self.chunk;
        ensure!(width > 0 && height > 0, "damaged TIFF: tiles of {width}×{height} pixels; copy the file again");
        let bits =
            [width, height, self.samples, self.bits].iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        let whole = self.width * self.height * self.samples * self.bits;
        let most = bits.unwrap_or(usize::MAX).max(whole) / 8;
        ensure!(
            most as u64 <= MAX_BYTES,
            "too large: the header announces {}×{} pixels in {} MiB, the limit is {} MiB; scale it down",
            self.width,
            self.height,
            most >> 20,
            MAX_BYTES >> 20
        );
        let expected = self.chunks_of_plane() * if self.is_planar { self.samples } else { 1 };
        ensure!(
            self.offsets.len() >= expected || self.compression == Compression::OldJpeg,
            "damaged TIFF: {} strips or tiles, expected {expected}; copy the file again",
            self.offsets.len()
        );
        Ok(())
    }

    pub fn is_cmyk(&self) -> bool {
        self.photometric == Photometric::Cmyk
    }

    /// The chunks of the first plane.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let [width, height] = self.chunk;
        let across = self.width.div_ceil(width);
        let (picture_height, is_tiled) = (self.height, self.is_tiled);
        (0..self.chunks_of_plane()).map(move |index| {
            let top = index / across * height;
            let height = if is_tiled { height } else { height.min(picture_height - top) };
            Chunk { index, left: index % across * width, top, width, height }
        })
    }

    pub fn chunks_of_plane(&self) -> usize {
        self.width.div_ceil(self.chunk[0]) * self.height.div_ceil(self.chunk[1])
    }

    /// The compressed bytes of a chunk; without a length they may reach to the end of the file.
    pub fn compressed<'a>(&self, directory: &Directory<'a>, index: usize) -> Result<&'a [u8]> {
        let cut = || truncated_message("TIFF");
        let start = usize::try_from(*self.offsets.get(index).with_context(cut)?).with_context(cut)?;
        let bytes = directory.file.get(start..).with_context(cut)?;
        match self.lengths.as_ref().and_then(|lengths| lengths.get(index)) {
            // Some writers leave the length of uncompressed strips at 0.
            None | Some(0) => Ok(bytes),
            Some(length) => bytes.get(..usize::try_from(*length)?).with_context(cut),
        }
    }
}

pub fn unsupported(found: std::fmt::Arguments) -> String {
    format!("unsupported TIFF: {found}; convert it to JPEG or 8-bit PNG")
}

impl Photometric {
    /// Samples that make the colour.
    fn samples(self) -> usize {
        match self {
            Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Palette => 1,
            Photometric::Rgb | Photometric::YCbCr | Photometric::CieLab | Photometric::IccLab => 3,
            Photometric::Cmyk => 4,
        }
    }
}

fn photometric(code: u64) -> Result<Photometric> {
    Ok(match code {
        0 => Photometric::WhiteIsZero,
        1 => Photometric::BlackIsZero,
        2 => Photometric::Rgb,
        3 => Photometric::Palette,
        5 => Photometric::Cmyk,
        6 => Photometric::YCbCr,
        8 => Photometric::CieLab,
        9 => Photometric::IccLab,
        4 => bail!(unsupported(format_args!("a transparency mask"))),
        32803 | 34892 => bail!(unsupported(format_args!("raw data of a camera"))),
        32844 | 32845 => bail!(unsupported(format_args!("logarithmic colours (LogLuv)"))),
        _ => bail!(unsupported(format_args!("colours of the kind {code}"))),
    })
}

fn compression(code: u64, fax_options: u64) -> Result<Compression> {
    let name = match code {
        1 => return Ok(Compression::None),
        2 => return Ok(Compression::FaxRows { on_words: false }),
        32771 => return Ok(Compression::FaxRows { on_words: true }),
        3 => return Ok(Compression::Fax3 { is_2d: fax_options & 1 == 1 }),
        4 => return Ok(Compression::Fax4),
        5 => return Ok(Compression::Lzw),
        6 => return Ok(Compression::OldJpeg),
        7 => return Ok(Compression::Jpeg),
        8 | 32946 => return Ok(Compression::Deflate),
        32773 => return Ok(Compression::PackBits),
        50001 => return Ok(Compression::WebP),
        32766 => "NeXT",
        32809 => "ThunderScan",
        32909 => "PixarLog",
        33003 | 33005 | 34712 => "JPEG 2000",
        34661 => "JBIG",
        34676 | 34677 => "SGILog",
        34887 => "LERC",
        34892 => "lossy DNG",
        34925 => "LZMA",
        50000 => "Zstandard",
        50002 | 52546 => "JPEG XL",
        _ => bail!(unsupported(format_args!("compression {code}"))),
    };
    bail!(unsupported(format_args!("{name} compression")))
}

/// The value that a tag gives each sample, or once for all.
fn same(directory: &Directory, tag: u16, samples: usize, default: u64, what: &str) -> Result<u64> {
    ensure!(!directory.is_cut_at(tag), truncated_message("TIFF"));
    let values = directory.integers(tag).unwrap_or_default();
    let first = values.first().copied().unwrap_or(default);
    let different = values.iter().take(samples).any(|value| *value != first);
    ensure!(!different, unsupported(format_args!("different {what} ({values:?})")));
    Ok(first)
}

fn check_depth(photometric: Photometric, number: Number, bits: usize) -> Result<()> {
    let is_known = match (photometric, number) {
        (_, Number::Float) => matches!(bits, 16 | 32 | 64) && is_light(photometric),
        (_, Number::Signed) if bits == 8 => true,
        (_, Number::Signed) => matches!(bits, 16 | 32) && is_light(photometric),
        (Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Rgb, _) => matches!(bits, 1..=16 | 32),
        (Photometric::Palette, _) => matches!(bits, 1 | 2 | 4 | 8),
        (Photometric::Cmyk, _) => matches!(bits, 8 | 16),
        (Photometric::YCbCr | Photometric::CieLab | Photometric::IccLab, _) => bits == 8,
    };
    let number = format!("{number:?}").to_lowercase();
    ensure!(is_known, unsupported(format_args!("{photometric:?} of {number} samples of {bits} bits")));
    Ok(())
}

fn is_light(photometric: Photometric) -> bool {
    matches!(photometric, Photometric::WhiteIsZero | Photometric::BlackIsZero | Photometric::Rgb)
}

fn predictor(code: u64, bits: usize, number: Number) -> Result<Predictor> {
    match code {
        2 if matches!(bits, 8 | 16 | 32 | 64) => Ok(Predictor::Horizontal),
        3 if number == Number::Float => Ok(Predictor::Float),
        2 | 3 => bail!(unsupported(format_args!("predictor {code} for samples of {bits} bits"))),
        _ => Ok(Predictor::None),
    }
}

fn subsampling(directory: &Directory) -> Result<[usize; 2]> {
    let values = directory.integers(tag::SUBSAMPLING).unwrap_or_else(|| vec![2, 2]);
    let [across, down] = *values.as_slice() else {
        bail!("damaged TIFF: subsampling {values:?}, expected two numbers; copy the file again");
    };
    ensure!(
        [across, down].iter().all(|factor| matches!(factor, 1 | 2 | 4)),
        "damaged TIFF: subsampling {values:?}, expected factors of 1, 2 or 4; copy the file again"
    );
    Ok([across as usize, down as usize])
}

/// What MaxSampleValue or SMaxSampleValue says, or the number of bits where it is no common one.
fn white(directory: &Directory, number: Number, bits: usize) -> Option<f64> {
    let said = [tag::MAX_SAMPLE, tag::S_MAX_SAMPLE].into_iter().find_map(|tag| directory.numbers(tag));
    let largest = said.map(|values| values.iter().copied().fold(0.0, f64::max));
    let of_bits = || (number == Number::Unsigned && !matches!(bits, 16 | 32)).then(|| 2.0_f64.powi(bits as i32) - 1.0);
    largest.filter(|largest| *largest >= 1.0).or_else(of_bits)
}

/// The colour map: first all reds, then all greens, then all blues, of 16 bits. libtiff takes one without a value
/// above 255 for one of 8 bits, for there are such files.
fn palette(directory: &Directory, photometric: Photometric, bits: usize) -> Result<Vec<[u8; 3]>> {
    if photometric != Photometric::Palette {
        return Ok(Vec::new());
    }
    ensure!(!directory.is_cut_at(tag::COLOUR_MAP), truncated_message("TIFF"));
    let map = directory.integers(tag::COLOUR_MAP).context("damaged TIFF: it has no colour map; copy the file again")?;
    let shift = if map.iter().all(|value| *value < 256) { 0 } else { 8 };
    let colours = map.len() / 3;
    let colour = |i: usize| if i < colours { [0, 1, 2].map(|c| (map[c * colours + i] >> shift) as u8) } else { [0; 3] };
    Ok((0..1 << bits).map(colour).collect())
}
