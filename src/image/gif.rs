//! GIF: the first frame as Pillow has it.
//!
//! The picture is as large as the logical screen, or larger where the frame reaches beyond it. Around a smaller frame
//! there is its transparent colour, or colour 0 if it has none: the background colour of the screen is not asked. An
//! index without a colour is black; without any palette the indices are levels of grey.
//! Source: "Graphics Interchange Format", version 89a; Pillow's `GifImagePlugin`.

use std::borrow::Cow;
use std::num::NonZeroU64;

use anyhow::{Context, Result, anyhow, ensure};
use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};

use super::Picture;
use super::decode::{MAX_BYTES, check_pixels, truncated_message};

const TRAILER: u8 = b';';

pub(super) fn decode(bytes: &[u8]) -> Result<Picture> {
    let bytes = &*with_colours(bytes);
    let mut decoder = open(bytes)?;
    let info = decoder.next_frame_info().map_err(|error| explain(error, bytes))?;
    let frame = info.with_context(|| without_frame(bytes))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
    let (transparent, local) = (frame.transparent, frame.palette.clone());
    let width = (left + frame_width).max(usize::from(decoder.width()));
    let height = (top + frame_height).max(usize::from(decoder.height()));
    check_pixels(width as u64, height as u64)?;
    ensure!(frame_width > 0 && frame_height > 0, "damaged GIF: its first frame has no pixels; copy the file again");

    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(|error| explain(error, bytes))?;
    let palette = colours(local.as_deref().or(decoder.global_palette()));
    let mut picture = Picture::plain(width, height, palette[usize::from(transparent.unwrap_or(0))]);
    let frame = indices.iter().flat_map(|index| palette[usize::from(*index)]).collect();
    picture.paste(&Picture { width: frame_width, height: frame_height, pixels: frame }, left, top);
    Ok(picture)
}

/// Width and height of the picture that [`decode`] makes.
pub(super) fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    let bytes = &*with_colours(bytes);
    let mut decoder = open(bytes)?;
    let info = decoder.next_frame_info().map_err(|error| explain(error, bytes))?;
    let frame = info.with_context(|| without_frame(bytes))?;
    let (right, bottom) = (frame.left as usize + frame.width as usize, frame.top as usize + frame.height as usize);
    Ok((right.max(decoder.width().into()), bottom.max(decoder.height().into())))
}

/// Whether there is a second frame that can be decoded.
pub(super) fn is_animated(bytes: &[u8]) -> bool {
    open(&with_colours(bytes)).is_ok_and(|mut decoder| (0..2).all(|_| matches!(decoder.read_next_frame(), Ok(Some(_)))))
}

fn open(bytes: &[u8]) -> Result<Decoder<&[u8]>> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(NonZeroU64::new(MAX_BYTES).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    options.allow_unknown_blocks(true);
    options.read_info(bytes).map_err(|error| explain(error, bytes))
}

/// The decoder refuses frames without any palette; they get one of all greys.
fn with_colours(bytes: &[u8]) -> Cow<'_, [u8]> {
    const SCREEN: usize = 10; // signature and size; then a byte of flags
    const HAS_256_COLOURS: u8 = 0x87;
    match bytes.split_at_checked(SCREEN + 3) {
        Some((head, rest)) if head[SCREEN] & 0x80 == 0 => {
            let mut head = head.to_vec();
            head[SCREEN] |= HAS_256_COLOURS;
            Cow::Owned([&head, greys().as_flattened(), rest].concat())
        }
        _ => Cow::Borrowed(bytes),
    }
}

fn greys() -> [[u8; 3]; 256] {
    std::array::from_fn(|grey| [grey as u8; 3])
}

fn colours(table: Option<&[u8]>) -> [[u8; 3]; 256] {
    let table = table.map_or(&[][..], |table| table.as_chunks().0);
    // A palette of the first greys stands for all of them.
    if greys().starts_with(table) {
        return greys();
    }
    let mut colours = [[0; 3]; 256];
    colours.iter_mut().zip(table).for_each(|(colour, entry)| *colour = *entry);
    colours
}

fn without_frame(bytes: &[u8]) -> String {
    if is_cut(bytes) {
        truncated_message("GIF")
    } else {
        "damaged GIF: it has no frame; copy the file again".to_owned()
    }
}

fn is_cut(bytes: &[u8]) -> bool {
    bytes.last() != Some(&TRAILER)
}

fn explain(error: DecodingError, bytes: &[u8]) -> anyhow::Error {
    match error {
        DecodingError::MemoryLimit => {
            anyhow!("too large: decoding this GIF takes more than {} MiB; scale it down", MAX_BYTES >> 20)
        }
        _ if is_cut(bytes) => anyhow!(truncated_message("GIF")),
        error => anyhow!("damaged GIF: {error}; copy the file again"),
    }
}
