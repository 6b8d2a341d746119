//! Files of formats that may hold several frames, put together here by hand.
//! Source: "PNG specification", third edition (acTL, fcTL, fdAT); "WebP container specification" (VP8X, ANIM, ANMF).

use super::*;

fn png_checksum(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

fn png_chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &png_checksum(&body).to_be_bytes()].concat()
}

fn encoded(format: ::image::ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    ::image::RgbImage::from_fn(16, 16, |x, y| ::image::Rgb([x as u8, y as u8, 9])).write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A PNG of so many frames, all the same.
fn apng(frames: u32) -> Vec<u8> {
    let still = encoded(::image::ImageFormat::Png);
    let at = |kind: &[u8]| still.windows(4).position(|window| window == kind).unwrap() - 4;
    let (start, end) = (at(b"IDAT"), at(b"IEND"));
    let pixels = &still[start + 8..end - 4]; // of a picture this small there is one chunk
    let control = |sequence: u32| {
        let [sequence, side, zero] = [sequence, 16, 0_u32].map(u32::to_be_bytes);
        png_chunk(b"fcTL", &[&sequence[..], &side, &side, &zero, &zero, &[0, 1, 0, 10, 0, 0]].concat())
    };
    let count = png_chunk(b"acTL", &[frames.to_be_bytes(), [0; 4]].concat());
    let mut file = [&still[..start], &count, &control(0), &still[start..end]].concat();
    for frame in 1..frames {
        file.extend(control(2 * frame - 1));
        file.extend(png_chunk(b"fdAT", &[&(2 * frame).to_be_bytes(), pixels].concat()));
    }
    [&file, &still[end..]].concat()
}

fn webp_chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    [kind, &(data.len() as u32).to_le_bytes(), data].concat()
}

/// A WebP of so many frames, all the same.
fn animated_webp(frames: usize) -> Vec<u8> {
    let still = encoded(::image::ImageFormat::WebP);
    let header = webp_chunk(b"VP8X", &[0b10, 0, 0, 0, 15, 0, 0, 15, 0, 0]);
    let loops = webp_chunk(b"ANIM", &[0; 6]);
    let place = [0, 0, 0, 0, 0, 0, 15, 0, 0, 15, 0, 0, 100, 0, 0, 0];
    let frame = webp_chunk(b"ANMF", &[&place[..], &still[12..]].concat());
    webp_chunk(b"RIFF", &[b"WEBP", &header[..], &loops, &frame.repeat(frames)].concat())
}

#[test]
fn a_file_is_animated_if_it_has_a_second_frame() {
    for (name, file) in [("PNG", apng as fn(u32) -> Vec<u8>), ("WebP", |frames| animated_webp(frames as usize))] {
        for frames in [1, 2, 3] {
            let facts = Facts::read(&file(frames)).unwrap();
            assert_eq!((facts.format, facts.is_animated), (name, frames > 1), "{frames} frames");
        }
        assert!(decode_whole(&file(2)).is_ok());
    }
    assert!(!Facts::read(&encoded(::image::ImageFormat::Png)).unwrap().is_animated);
}
