//! One picture of HEVC.

use anyhow::{Result, anyhow};
use heifer_hevc_dec::Error;
use heifer_hevc_dec::decoder::{DecodeOptions, decode_picture};

use super::colour::{Colour, Manner};
use super::planes::Planes;
use crate::image::decode::truncated_message;

/// # Errors
/// In one line with a remedy.
pub fn planes(stream: &[u8], most: usize, name: &str) -> Result<Planes> {
    let options = DecodeOptions { max_pixels: most as u64, ..DecodeOptions::default() };
    let frame = decode_picture(stream, options).map_err(|error| explain(&error, name))?;
    let subsampling = match frame.chroma_format {
        1 => [2, 2],
        2 => [2, 1],
        _ => [1, 1],
    };
    let [luma, blue, red] = frame.planes;
    let [width, height] = [frame.widths[0], frame.heights[0]].map(|side| side as usize);
    let planes = Planes {
        width,
        height,
        subsampling,
        luma,
        chroma: (frame.chroma_format != 0).then_some([blue, red]),
        bits: frame.bit_depth,
        colour: Colour { primaries: 2, matrix: frame.matrix_coeffs.into(), is_full_range: frame.full_range },
        manner: Manner::Libheif,
        blends_chroma: false,
    };
    planes.checked(name)
}

fn explain(error: &Error, name: &str) -> anyhow::Error {
    match error {
        Error::UnexpectedEof => anyhow!(truncated_message(name)),
        Error::Invalid("picture is incomplete") => anyhow!(truncated_message(name)),
        Error::Unimplemented(found) => anyhow!("unsupported {name}: {found}; {}", super::CONVERT),
        error => anyhow!("damaged {name}: {error}; copy the file again"),
    }
}
