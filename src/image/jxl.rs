//! JPEG XL, by jxl-oxide: the first frame, as libjxl shows it.
//!
//! Colours come out as the file says they are coded, and what was coded as XYB in the file's original colour space;
//! alpha is dropped. A JPEG that was packed without loss is unpacked first, as in Pillow's plugin. The orientation of the codestream is applied, that of EXIF ignored, as in libjxl.
//! Source: ISO/IEC 18181.

use anyhow::{Context, Result, anyhow, ensure};
use jxl_oxide::{
    AllocTracker, FrameBufferSample, InitializeResult, JpegReconstructionStatus, JxlImage, JxlThreadPool, Render,
};

use super::decode::{MAX_BYTES, check_pixels, truncated_message};
use super::{Picture, depth};

const NAME: &str = "JPEG XL";
/// What the decoder may take: it computes in floats, and has most planes twice.
const MAX_MEMORY: u64 = 2 * MAX_BYTES;
/// Bytes that the decoder is given at once.
const PART: usize = 1 << 16;

/// What a file holds.
pub(super) enum Content {
    /// Upright, and whether the range of its samples was guessed.
    Picture(Picture, bool),
    /// The file of a JPEG that was packed without loss.
    Jpeg(Vec<u8>),
}

/// # Errors
/// In one line with a remedy, if the file is cut, damaged, too large or holds a picture of a kind that is not supported.
pub(super) fn read(bytes: &[u8]) -> Result<Content> {
    let mut file = Parser::new(bytes);
    let mut image = file.header()?;
    // Further frames may be many.
    while image.num_loaded_keyframes() == 0 {
        let part = file.next().with_context(|| truncated_message(NAME))?;
        file.unused = part.len() - image.feed_bytes(part).map_err(explain)?;
    }
    match unpacked_jpeg(&mut image, &mut file) {
        Some(jpeg) => Ok(Content::Jpeg(jpeg)),
        None => rendered(&image),
    }
}

/// The JPEG that the file was made of, if it was made of one and can be had again.
fn unpacked_jpeg(image: &mut JxlImage, file: &mut Parser) -> Option<Vec<u8>> {
    // Metadata may stand behind the pixels.
    while let JpegReconstructionStatus::NeedMoreData = image.jpeg_reconstruction_status() {
        let part = file.next()?;
        file.unused = part.len() - image.feed_bytes(part).ok()?;
    }
    let is_there = matches!(image.jpeg_reconstruction_status(), JpegReconstructionStatus::Available);
    let mut jpeg = Vec::new();
    (is_there && image.reconstruct_jpeg(&mut jpeg).is_ok()).then_some(jpeg)
}

fn rendered(image: &JxlImage) -> Result<Content> {
    let frame = image.render_frame(0).map_err(explain)?;
    let stream = frame.stream_no_alpha();
    let (width, height) = (stream.width() as usize, stream.height() as usize);
    let channels = stream.channels() as usize;
    ensure!(matches!(channels, 1 | 3), "unsupported {NAME}: CMYK; convert it to JPEG or PNG");
    let is_deep = matches!(
        image.image_header().metadata.bit_depth,
        jxl_oxide::image::BitDepth::IntegerSample { bits_per_sample: 16 }
    );
    let stretched = is_deep.then(|| depth::narrow(&samples::<u16>(&frame), None)).filter(|narrowed| narrowed.is_guess);
    let is_stretched = stretched.is_some();
    // Real 16-bit samples are rounded as libjxl does.
    let samples = stretched.map_or_else(|| samples::<u8>(&frame), |narrowed| narrowed.samples);
    let pixels = if channels == 3 { samples } else { samples.iter().flat_map(|grey| [*grey; 3]).collect() };
    Ok(Content::Picture(Picture { width, height, pixels }, is_stretched))
}

/// Every sample but those of alpha.
fn samples<Sample: FrameBufferSample + Copy + Default>(frame: &Render) -> Vec<Sample> {
    let mut stream = frame.stream_no_alpha();
    let length = stream.channels() as usize * stream.width() as usize * stream.height() as usize;
    let mut samples = vec![Sample::default(); length];
    stream.write_to_buffer(&mut samples);
    samples
}

/// What the header tells of the picture.
#[derive(Debug)]
pub(super) struct Header {
    pub width: usize,
    pub height: usize,
    pub is_animated: bool,
}

/// # Errors
/// As [`read`], as far as the header tells.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let image = Parser::new(bytes).header()?;
    let header = image.image_header();
    let (width, height) = (header.size.width as usize, header.size.height as usize);
    Ok(Header { width, height, is_animated: header.metadata.animation.is_some() })
}

/// Feeds a decoder from the front of a file.
struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of the last part, what the decoder wants again.
    unused: usize,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, unused: 0 }
    }

    /// The next part; none where the file is at its end.
    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.at - self.unused;
        let end = self.bytes.len().min(self.at + PART);
        let has_more = end > self.at;
        self.at = end;
        has_more.then(|| &self.bytes[start..end])
    }

    /// A picture of which the header is read.
    fn header(&mut self) -> Result<JxlImage> {
        let memory = AllocTracker::with_limit(MAX_MEMORY as usize);
        let mut image = JxlImage::builder().pool(JxlThreadPool::none()).alloc_tracker(memory).build_uninit();
        loop {
            let part = self.next().with_context(|| truncated_message(NAME))?;
            self.unused = part.len() - image.feed_bytes(part).map_err(explain)?;
            match image.try_init().map_err(explain)? {
                InitializeResult::NeedMoreData(rest) => image = rest,
                InitializeResult::Initialized(image) => {
                    let size = &image.image_header().size;
                    check_pixels(size.width.into(), size.height.into())?;
                    return Ok(image);
                }
            }
        }
    }
}

fn explain(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error.as_ref();
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let found = cause.to_string().replace('\n', " ");
    if found.contains("allocate") {
        anyhow!("too large: decoding this {NAME} takes more than {} MiB; scale it down", MAX_MEMORY >> 20)
    } else {
        anyhow!("damaged {NAME}: {found}; copy the file again")
    }
}
