//! What the JPEG decoders don't say: whether the file is whole, and which decoder reads it rightly.
//!
//! zune-jpeg 0.5 (behind the `image` crate) is the fast one, but it decodes a truncated file without an
//! error, and makes garbage of two kinds of valid files: 4:2:0 with a scan per component, and chroma that
//! is sampled more finely than luma. jpeg-decoder reads both as libjpeg does, and 4:2:0 more exactly. So the
//! markers are walked first. jpeg-decoder also makes a large picture smaller while it decodes it, which zune-jpeg can't.
//! Source: ITU-T T.81, annex B.

use ::image::{DynamicImage, GrayImage, RgbImage};
use anyhow::{Context, Result, bail, ensure};
use jpeg_decoder::{ColorTransform, Decoder, ImageInfo, PixelFormat};

use super::decode::{check_pixels, truncated_message};
use super::orientation::Metadata;

mod quality;

pub use quality::quality;

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const HUFFMAN_TABLES: u8 = 0xC4;
/// APP0, which also others use.
const JFIF: u8 = 0xE0;
/// APP14.
const ADOBE: u8 = 0xEE;
/// Defines a hierarchy of frames.
const HIERARCHY: u8 = 0xDE;
/// The frame of JPEG-LS.
const JPEG_LS: u8 = 0xF7;

/// What the markers of the first picture in a file tell.
#[derive(Debug)]
pub struct Outline {
    width: usize,
    height: usize,
    coding: Coding,
    components: Vec<Component>,
    /// How many components the first scan holds.
    interleaved: usize,
    /// Not so in the frames of a camera's Motion JPEG, which all use the tables of T.81, annex K.
    has_huffman_tables: bool,
    /// What three components are, as libjpeg sees it.
    is_rgb: bool,
    /// Whether every decoder sees it so.
    has_common_colours: bool,
    pub metadata: Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Coding {
    Sequential,
    Progressive,
    Lossless,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// Sampling factors: blocks across and down in a unit of the picture (MCU).
    across: usize,
    down: usize,
    seen: bool,
}

impl Outline {
    /// Walks the markers from the first to the end of the first picture.
    ///
    /// # Errors
    /// If the file ends before the picture does, announces too many pixels, or has none.
    pub fn read(bytes: &[u8]) -> Result<Outline> {
        let mut rest = Reader { bytes, at: 2 };
        let mut outline: Option<Outline> = None;
        let (mut is_jfif, mut adobe, mut has_tables) = (false, None, false);
        let (mut has_pixels, mut segments) = (false, Vec::new());
        loop {
            let marker = rest.marker().with_context(truncated)?;
            match marker {
                END_OF_IMAGE => break,
                _ if stands_alone(marker) => continue,
                _ => {}
            }
            let segment = rest.segment().with_context(truncated)?;
            match marker {
                HIERARCHY | JPEG_LS | 0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) && outline.is_none() => {
                    check_kind(marker, segment)?;
                    let frame = Outline::from_frame(marker, segment);
                    let frame = frame.context("damaged JPEG: the frame header is cut; copy the file again")?;
                    check_pixels(frame.width as u64, frame.height as u64)?;
                    outline = Some(frame);
                }
                HUFFMAN_TABLES => has_tables = true,
                JFIF if segment.starts_with(b"JFIF\0") => is_jfif = true,
                ADOBE if segment.starts_with(b"Adobe") => adobe = segment.get(11).copied(),
                START_OF_SCAN => {
                    has_pixels = true;
                    let data = rest.entropy_coded();
                    let outline = outline
                        .as_mut()
                        .context("damaged JPEG: pixels come before the frame header; copy the file again")?;
                    outline.see_scan(segment, data.len())?;
                }
                _ if !has_pixels => segments.push((marker, segment)),
                _ => {}
            }
        }
        let mut outline = outline.context("damaged JPEG: it has no frame header; copy the file again")?;
        let ids: Vec<u8> = outline.components.iter().map(|component| component.id).collect();
        outline.has_huffman_tables = has_tables;
        outline.has_common_colours = ids.len() != 3 || ids == [1, 2, 3] && adobe != Some(0);
        outline.is_rgb = !is_jfif && adobe.map_or(ids == b"RGB", |transform| transform == 0);
        outline.metadata = Metadata::of_jpeg(segments.into_iter());
        ensure!(outline.components.iter().all(|component| component.seen), truncated());
        Ok(outline)
    }

    fn from_frame(marker: u8, segment: &[u8]) -> Option<Outline> {
        let (head, rest) = segment.split_first_chunk::<6>()?;
        let [_precision, height_high, height_low, width_high, width_low, count] = *head;
        let (components, _) = rest.get(..3 * usize::from(count))?.as_chunks::<3>();
        let component = |&[id, factors, _table]: &[u8; 3]| Component {
            id,
            across: usize::from(factors >> 4).max(1),
            down: usize::from(factors & 15).max(1),
            seen: false,
        };
        Some(Outline {
            width: usize::from(u16::from_be_bytes([width_high, width_low])),
            height: usize::from(u16::from_be_bytes([height_high, height_low])),
            coding: match marker {
                0xC0 | 0xC1 => Coding::Sequential,
                0xC2 => Coding::Progressive,
                _ => Coding::Lossless,
            },
            components: components.iter().map(component).collect(),
            interleaved: 0,
            has_huffman_tables: false,
            is_rgb: false,
            has_common_colours: true,
            metadata: Metadata::default(),
        })
    }

    /// Notes which components a scan of `bytes` entropy-coded bytes brings, and that it can hold them.
    fn see_scan(&mut self, header: &[u8], bytes: usize) -> Result<()> {
        let cut = "damaged JPEG: a scan header is cut; copy the file again";
        let count = usize::from(*header.first().context(cut)?);
        let (ids, _) = header.get(1..1 + 2 * count).context(cut)?.as_chunks::<2>();
        let [first_coefficient, _last, approximation] = *header[1 + 2 * count..].first_chunk().context(cut)?;

        let (widest, tallest) = self.factors();
        let mut blocks = 0;
        for component in self.components.iter_mut().filter(|component| ids.iter().any(|id| id[0] == component.id)) {
            component.seen = true;
            blocks += (self.width * component.across).div_ceil(8 * widest)
                * (self.height * component.down).div_ceil(8 * tallest);
        }
        if self.interleaved == 0 {
            self.interleaved = count;
        }
        // The shortest Huffman code has one bit: one for the mean of a block, one for "no more" after it.
        let bits_per_block = match self.coding {
            Coding::Sequential => 2,
            Coding::Progressive if first_coefficient == 0 && approximation >> 4 == 0 => 1,
            _ => 0,
        };
        ensure!(bytes * 8 >= blocks * bits_per_block, truncated());
        Ok(())
    }

    pub fn has_huffman_tables(&self) -> bool {
        self.has_huffman_tables
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Whether it has inks instead of colours of light.
    pub fn is_cmyk(&self) -> bool {
        self.components.len() == 4
    }

    /// Whether it is coded as previews are, and not as samples of a sensor.
    pub fn is_preview(&self) -> bool {
        self.coding != Coding::Lossless && matches!(self.components.len(), 1 | 3)
    }

    fn factors(&self) -> (usize, usize) {
        let across = self.components.iter().map(|component| component.across).max();
        let down = self.components.iter().map(|component| component.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// The largest factor by which decoding may scale down and leave both sides at `side` or more. It
    /// divides both, for a last pixel that is half a pixel would shift all others; and by 8 only the
    /// mean of a block would be left, rounded once too often. 1 for what jpeg-decoder can't scale.
    pub fn factor(&self, side: usize) -> usize {
        if self.coding == Coding::Lossless || self.is_cmyk() {
            return 1;
        }
        let fits = |length: usize, factor: &usize| length.is_multiple_of(*factor) && length / factor >= side;
        [4, 2].into_iter().find(|factor| fits(self.width, factor) && fits(self.height, factor)).unwrap_or(1)
    }

    /// Whether chroma is sampled more coarsely than luma both across and down. There zune-jpeg is up to 6 levels
    /// off libjpeg, 0.26 on average (150 pictures of all sizes), and jpeg-decoder 3 and 0.12, in twice the time.
    pub fn has_quartered_chroma(&self) -> bool {
        let (widest, tallest) = self.factors();
        self.components.iter().any(|component| component.across < widest && component.down < tallest)
    }

    /// Whether zune-jpeg reads a file like this as libjpeg does. Measured over 17 sampling patterns, baseline
    /// and progressive, 9 sizes each: everything but what is ruled out here agrees within 5 levels (pictures
    /// two pixels wide within 41: libjpeg doesn't smooth their chroma).
    pub fn suits_zune(&self) -> bool {
        let (widest, tallest) = self.factors();
        let luma_is_finest = self.components.first().is_some_and(|luma| luma.across == widest && luma.down == tallest);
        let whole_ratios = self.components.iter().all(|component| {
            let ratio = |max: usize, own: usize| max.is_multiple_of(own) && (max / own).is_power_of_two();
            ratio(widest, component.across) && ratio(tallest, component.down)
        });
        let one_scan = self.coding == Coding::Progressive || self.interleaved == self.components.len();
        luma_is_finest && whole_ratios && one_scan && self.coding != Coding::Lossless && self.has_common_colours
    }
}

/// Names the kinds of JPEG that no decoder here reads.
fn check_kind(marker: u8, frame: &[u8]) -> Result<()> {
    let (precision, components) = (frame.first().copied().unwrap_or(8), frame.get(5).copied().unwrap_or(3));
    let has_height = frame.get(1..3) != Some(&[0, 0]);
    let kind = match marker {
        JPEG_LS => "JPEG-LS".to_owned(),
        HIERARCHY | 0xC5..=0xC7 => "hierarchical coding".to_owned(),
        0xC9..=0xCF => "arithmetic coding".to_owned(),
        0xC3 if matches!(precision, 2..=7 | 9..=16) => format!("lossless, {precision} bits a sample"),
        _ if precision == 12 => "12 bits a sample".to_owned(),
        _ if precision != 8 => bail!("damaged JPEG: {precision} bits a sample; copy the file again"),
        _ if !has_height => "its height stands behind its pixels".to_owned(),
        _ if matches!(components, 1 | 3 | 4) => return Ok(()),
        _ => format!("{components} components"),
    };
    bail!("unsupported JPEG: {kind}; convert it to a baseline JPEG or a PNG")
}

fn truncated() -> String {
    truncated_message("JPEG")
}

/// Whether no segment follows a marker.
fn stands_alone(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xD0..=START_OF_IMAGE | END_OF_IMAGE)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next marker; fill bytes and what stands between segments by mistake are passed over.
    fn marker(&mut self) -> Option<u8> {
        loop {
            self.at += self.bytes.get(self.at..)?.iter().position(|byte| *byte == 0xFF)? + 1;
            let code = *self.bytes.get(self.at)?;
            if !matches!(code, 0x00 | 0xFF) {
                self.at += 1;
                return Some(code);
            }
        }
    }

    fn segment(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.bytes.get(self.at..)?.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        self.at += length.max(2);
        rest.get(..length.saturating_sub(2))
    }

    /// Everything up to the next marker that is neither a stuffed 0xFF nor a restart.
    fn entropy_coded(&mut self) -> &'a [u8] {
        let data = self.bytes.get(self.at..).unwrap_or(&[]);
        let ends = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7);
        let length = data.windows(2).position(ends).unwrap_or(data.len());
        self.at += length;
        &data[..length]
    }
}

/// The decoder for what zune-jpeg gets wrong, or can't: with a `factor` of 2 or 4 it makes a smaller
/// picture, each block from its lowest coefficients.
pub fn decode_scaled(bytes: &[u8], outline: &Outline, factor: usize) -> Result<DynamicImage> {
    let mut decoder = Decoder::new(bytes);
    if outline.components.len() == 3 {
        decoder.set_color_transform(if outline.is_rgb { ColorTransform::RGB } else { ColorTransform::YCbCr });
    }
    if factor > 1 {
        let side = |side: usize| (side / factor) as u16; // a JPEG's sides have 16 bits
        // What is wrong with the header, decoding says as well.
        let _ = decoder.scale(side(outline.width), side(outline.height));
    }
    let (info, samples) = decode_with(decoder)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let picture = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::CMYK32 => {
            let samples = samples.as_chunks::<4>().0.iter().flat_map(cmyk_to_rgb).collect();
            RgbImage::from_raw(width, height, samples).map(DynamicImage::from)
        }
        PixelFormat::L16 => bail!("unsupported JPEG: 16 bits a sample; convert it to a baseline JPEG or a PNG"),
    };
    picture.context("damaged JPEG: fewer pixels than its header says; copy the file again")
}

/// The same picture as a frame of Motion JPEG, for which the decoder knows the tables.
pub fn as_motion_jpeg(bytes: &[u8]) -> Vec<u8> {
    let (start, rest) = bytes.split_at(2.min(bytes.len()));
    [start, b"\xFF\xE0\x00\x0EAVI1\x00\x00\x00\x00\x00\x00\x00\x00", rest].concat()
}

/// What the samples of a stream are that does not say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    Grey,
    YCbCr,
    Rgb,
    FourChannels,
}

/// Width, height and samples of a stream inside another file; YCbCr becomes RGB, all else stays as it is.
pub fn decode_samples(bytes: &[u8], stored: Stored) -> Result<(usize, usize, Vec<u8>)> {
    let outline = Outline::read(bytes)?;
    let (expected, transform) = match stored {
        Stored::Grey => (1, ColorTransform::Grayscale),
        Stored::YCbCr => (3, ColorTransform::YCbCr),
        Stored::Rgb => (3, ColorTransform::RGB),
        Stored::FourChannels => (4, ColorTransform::CMYK),
    };
    let found = outline.components.len();
    ensure!(found == expected, "damaged JPEG: {found} components, expected {expected}; copy the file again");
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(transform);
    let (info, mut samples) = decode_with(decoder)?;
    if stored == Stored::FourChannels {
        // The decoder takes all such streams for Adobe's, who inverts.
        samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
    }
    Ok((usize::from(info.width), usize::from(info.height), samples))
}

fn decode_with(mut decoder: Decoder<&[u8]>) -> Result<(ImageInfo, Vec<u8>)> {
    let samples = match decoder.decode() {
        Ok(samples) => samples,
        Err(jpeg_decoder::Error::Io(_)) => bail!(truncated()),
        Err(jpeg_decoder::Error::Unsupported(feature)) => {
            bail!("unsupported JPEG: {feature:?}; convert it to a baseline JPEG or a PNG")
        }
        Err(error) => bail!("damaged JPEG: {error}; copy the file again"),
    };
    let info = decoder.info().context("damaged JPEG: it has no frame header; copy the file again")?;
    let expected = usize::from(info.width) * usize::from(info.height) * info.pixel_format.pixel_bytes();
    ensure!(
        samples.len() == expected,
        "damaged JPEG: {} samples, expected {expected}; copy the file again",
        samples.len()
    );
    Ok((info, samples))
}

/// As Pillow's `convert("RGB")`: each ink takes its share of what the black leaves.
pub fn cmyk_to_rgb([cyan, magenta, yellow, black]: &[u8; 4]) -> [u8; 3] {
    let light = u32::from(255 - black);
    [cyan, magenta, yellow].map(|ink| ((u32::from(255 - ink) * light + 127) / 255) as u8)
}
