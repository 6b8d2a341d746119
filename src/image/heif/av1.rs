//! One picture of AV1.

use anyhow::{Context, Result, anyhow, ensure};
use re_rav1d::dav1d::{Decoder, Error, PixelLayout, PlanarImageComponent, Settings, pixel};

use super::colour::{Colour, Manner};
use super::planes::Planes;
use crate::image::decode::truncated_message;

/// # Errors
/// In one line with a remedy.
pub fn planes(stream: Vec<u8>, most: usize, name: &str) -> Result<Planes> {
    // Without a byte the decoder would print a complaint.
    ensure!(!stream.is_empty(), truncated_message(name));
    let explain = |error| explain(error, name);
    let mut settings = Settings::new();
    // A thread of the decoder's own would not survive a panic, and its caller would wait for it.
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_frame_size_limit(most as u32);
    // Of a picture in layers the last is the whole one.
    settings.set_all_layers(false);
    let mut decoder = Decoder::with_settings(&settings).map_err(explain)?;
    let mut sent = decoder.send_data(stream, None, None, None);
    let picture = loop {
        match (decoder.get_picture(), sent) {
            (Ok(picture), _) => break picture,
            (Err(Error::Again), Err(Error::Again)) => sent = decoder.send_pending_data(),
            (Err(_), Err(error)) if error != Error::Again => return Err(explain(error)),
            (Err(error), _) => return Err(explain(error)),
        }
    };
    let bits = picture
        .bits_per_component()
        .with_context(|| format!("damaged {name}: samples of no known depth; copy the file again"))?
        .0;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let subsampling = match picture.pixel_layout() {
        PixelLayout::I420 => [2, 2],
        PixelLayout::I422 => [2, 1],
        _ => [1, 1],
    };
    let plane = |component| {
        let (width, height) = match component {
            PlanarImageComponent::Y => (width, height),
            _ => (width.div_ceil(subsampling[0]), height.div_ceil(subsampling[1])),
        };
        let samples = picture.plane(component);
        let stride = picture.stride(component) as usize;
        let mut plane = Vec::with_capacity(width * height);
        for row in samples.chunks(stride).take(height) {
            match bits {
                8 => plane.extend(row[..width].iter().copied().map(u16::from)),
                _ => plane.extend(row[..2 * width].as_chunks().0.iter().copied().map(u16::from_ne_bytes)),
            }
        }
        plane
    };
    let has_chroma = picture.pixel_layout() != PixelLayout::I400;
    let planes = Planes {
        width,
        height,
        subsampling,
        luma: plane(PlanarImageComponent::Y),
        chroma: has_chroma.then(|| [PlanarImageComponent::U, PlanarImageComponent::V].map(plane)),
        bits: [bits as u8; 2],
        colour: Colour {
            primaries: picture.color_primaries() as u16,
            matrix: picture.matrix_coefficients() as u16,
            is_full_range: picture.color_range() == pixel::YUVRange::Full,
        },
        manner: Manner::Libavif,
        blends_chroma: true,
    };
    planes.checked(name)
}

fn explain(error: Error, name: &str) -> anyhow::Error {
    match error {
        // It wants more than there is.
        Error::Again => anyhow!(truncated_message(name)),
        Error::NotEnoughMemory => anyhow!("too large: this {name} takes more memory than there is; scale it down"),
        Error::UnsupportedBitstream => {
            anyhow!("unsupported {name}: a kind of AV1 that its decoder doesn't know; {}", super::CONVERT)
        }
        _ => anyhow!("damaged {name}: its AV1 can't be decoded; copy the file again"),
    }
}
