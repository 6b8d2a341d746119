//! Decoding against Pillow's `ImageOps.exif_transpose(image).convert("RGB")`.

use std::collections::BTreeMap;

use super::*;

#[derive(Deserialize)]
struct Decoded {
    width: usize,
    height: usize,
    sha256: String,
    exact: bool,
}

#[test]
fn every_lossless_picture_is_pillows_bit_for_bit() {
    let cases: BTreeMap<String, Decoded> = expectations("decode.json");
    assert!(cases.values().filter(|case| case.exact).count() >= 30);
    for (name, expected) in cases.into_iter().filter(|(_, case)| case.exact) {
        let picture = decode_whole(&fixture(&name)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!((picture.width, picture.height), (expected.width, expected.height), "{name}");
        assert_eq!(sha256(&picture.pixels), expected.sha256, "{name}");
    }
}

/// Tolerance: JPEG leaves the rounding of the inverse DCT and of the chroma's upsampling to the decoder.
/// Measured against libjpeg-turbo 3.1: at most 3 levels, 0.02 on average without and 0.40 with subsampling.
/// A wrong upsampling, colour space or turn costs tens of levels on average.
#[test]
fn every_jpeg_is_pillows_within_three_levels() {
    let cases: BTreeMap<String, Decoded> = expectations("decode.json");
    assert!(cases.values().filter(|case| !case.exact).count() >= 30);
    for (name, expected) in cases.into_iter().filter(|(_, case)| !case.exact) {
        let picture = decode_whole(&fixture(&name)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!((picture.width, picture.height), (expected.width, expected.height), "{name}");
        let reference = decode_whole(&fixture(&format!("expected/{name}.png"))).unwrap();
        assert_eq!(sha256(&reference.pixels), expected.sha256, "{name}: the expectation itself is damaged");
        let levels = || picture.pixels.iter().zip(&reference.pixels).map(|(ours, theirs)| ours.abs_diff(*theirs));
        let (most, sum) = (levels().max().unwrap(), levels().map(f64::from).sum::<f64>());
        let mean = sum / picture.pixels.len() as f64;
        assert!(most <= 3 && mean < 0.55, "{name}: at most {most}, on average {mean:.3} levels off");
    }
}

#[test]
fn all_eight_orientations_show_the_same_upright_picture_or_its_mirror() {
    let upright = decode_whole(&fixture("orientation-1.jpg")).unwrap();
    let at = |picture: &Picture, x: usize, y: usize| picture.pixels[3 * (y * picture.width + x)..][..3].to_vec();
    let (right, bottom) = (upright.width - 1, upright.height - 1);
    // Where EXIF says that the stored first row and column belong; TIFF 6.0, tag 274.
    for (orientation, swapped) in [(2, false), (3, false), (4, false), (5, true), (6, true), (7, true), (8, true)] {
        let turned = decode_whole(&fixture(&format!("orientation-{orientation}.jpg"))).unwrap();
        let size = if swapped { (upright.height, upright.width) } else { (upright.width, upright.height) };
        assert_eq!((turned.width, turned.height), size);
        for (x, y) in [(0, 0), (right, 0), (0, bottom), (right, bottom), (3, 2), (9, 11)] {
            let (to_x, to_y) = match orientation {
                2 => (right - x, y),
                3 => (right - x, bottom - y),
                4 => (x, bottom - y),
                5 => (y, x),
                6 => (bottom - y, x),
                7 => (bottom - y, right - x),
                _ => (y, right - x),
            };
            assert_eq!(at(&turned, to_x, to_y), at(&upright, x, y), "orientation {orientation}, {x},{y}");
        }
    }
}

#[test]
fn the_content_and_not_the_name_tells_the_format() {
    for name in ["extension-lies.png", "extension-lies.jpg"] {
        assert!(decode_whole(&fixture(name)).is_ok(), "{name}");
    }
}

/// A photograph enlarged to what a camera makes, as a JPEG.
fn camera_jpeg(width: usize, height: usize) -> Vec<u8> {
    let sample = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/chelsea.png")).unwrap();
    let large = resize(&decode_whole(&sample).unwrap(), width, height, Interpolation::Bicubic);
    let mut bytes = Vec::new();
    let encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    let size = [width, height].map(|side| u32::try_from(side).unwrap());
    ::image::ImageEncoder::write_image(encoder, &large.pixels, size[0], size[1], ::image::ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

/// Tolerance: measured one level at most, 0.19 on average; a picture shifted by half of its own pixels
/// was up to 11 levels off.
#[test]
fn a_large_jpeg_scaled_down_while_it_is_decoded_gives_the_network_the_same_picture() {
    for (width, height, factor) in [(2400, 1200, 4), (1204, 802, 2), (1104, 2008, 2)] {
        let bytes = camera_jpeg(width, height);
        for convention in [Convention::Keras, Convention::Timm] {
            let preprocessing = Preprocessing::of(convention, Interpolation::Bicubic, 71);
            let scaled = decode(&bytes, preprocessing.needed_side()).unwrap();
            assert_eq!((scaled.width, scaled.height), (width / factor, height / factor));
            let (whole, scaled) = (preprocessing.crop(&decode_whole(&bytes).unwrap()), preprocessing.crop(&scaled));
            let levels = || whole.pixels.iter().zip(&scaled.pixels).map(|(whole, scaled)| whole.abs_diff(*scaled));
            let mean = levels().map(f64::from).sum::<f64>() / whole.pixels.len() as f64;
            let most = levels().max().unwrap();
            assert!(most <= 1 && mean < 0.25, "at most {most}, on average {mean:.3} levels off");
        }
    }
}

#[test]
fn a_jpeg_is_not_scaled_below_the_side_that_is_needed_nor_where_single_pixels_are_taken() {
    let bytes = camera_jpeg(600, 400);
    let size = |side| decode(&bytes, side).map(|picture| (picture.width, picture.height)).unwrap();
    assert_eq!((size(401), size(201), size(200), size(100)), ((600, 400), (600, 400), (300, 200), (150, 100)));
    let nearest = Preprocessing::of(Convention::Keras, Interpolation::Nearest, 71);
    assert_eq!(size(nearest.needed_side()), (600, 400));
    // Sides that a factor doesn't divide.
    let odd = decode(&camera_jpeg(602, 401), 50).unwrap();
    assert_eq!((odd.width, odd.height), (602, 401));
}

#[test]
fn a_jpeg_without_huffman_tables_has_the_standard_ones() {
    let jpeg = camera_jpeg(64, 48);
    // The encoder uses the tables of T.81, annex K.
    let mut without = jpeg.clone();
    while let Some(start) = without.windows(2).position(|marker| marker == [0xFF, 0xC4]) {
        let length = usize::from(u16::from_be_bytes([without[start + 2], without[start + 3]]));
        without.drain(start..start + 2 + length);
    }
    assert!(without.len() < jpeg.len());
    let [expected, found] = [jpeg, without].map(|file| decode(&file, usize::MAX).unwrap());
    let most = expected.pixels.iter().zip(&found.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(most <= Some(6), "{most:?}");
}

/// A JPEG with its components called otherwise.
fn with_ids(jpeg: &[u8], ids: [u8; 3]) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    let scan = jpeg.windows(2).position(|marker| marker == [0xFF, 0xDA]).unwrap();
    for (index, id) in ids.into_iter().enumerate() {
        jpeg[frame + 10 + 3 * index] = id;
        jpeg[scan + 5 + 2 * index] = id;
    }
    jpeg
}

#[test]
fn the_colours_of_a_jpeg_are_those_that_libjpeg_takes_it_for() {
    let jpeg = camera_jpeg(600, 400);
    let (start, rest) = jpeg.split_at(2);
    assert_eq!(rest[..2], [0xFF, 0xE0]);
    let (jfif, rest) = rest.split_at(2 + usize::from(u16::from_be_bytes([rest[2], rest[3]])));
    // Adobe's marker, version 100, transform 0: three components that are red, green and blue.
    let adobe = b"\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00\x00";
    let of = |parts: &[&[u8]], ids| with_ids(&parts.concat(), ids);
    let rgb = of(&[start, adobe, rest], [1, 2, 3]);
    for (file, same) in [
        (of(&[start, rest], [1, 2, 3]), &jpeg),
        (of(&[start, rest], [0, 1, 2]), &jpeg),
        (of(&[start, jfif, adobe, rest], [1, 2, 3]), &jpeg),
        (of(&[start, jfif, rest], *b"RGB"), &jpeg),
        (of(&[start, rest], *b"RGB"), &rgb),
        (of(&[start, adobe, rest], [0, 1, 2]), &rgb),
    ] {
        for side in [usize::MAX, 50] {
            let [file, same] = [&file, same].map(|file| decode(file, side).unwrap());
            let most = file.pixels.iter().zip(&same.pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(5) && file.width == same.width, "{most:?}");
        }
    }
    let raw = crate::image::jpeg::decode_samples(&rgb, crate::image::jpeg::Stored::Rgb).unwrap().2;
    assert_eq!(decode(&rgb, usize::MAX).unwrap().pixels, raw);
}
