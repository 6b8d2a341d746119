//! Resampling against Pillow's.

use super::*;

#[derive(Deserialize)]
struct Resized {
    from: [usize; 2],
    to: [usize; 2],
    interpolation: Interpolation,
    sha256: String,
}

#[test]
fn a_resized_picture_is_pillows_bit_for_bit() {
    let cases: Vec<Resized> = expectations("resize.json");
    assert!(cases.len() >= 75);
    for Resized { from, to: [width, height], interpolation, sha256: expected } in cases {
        let resized = resize(&pattern(from), width, height, interpolation);
        assert_eq!((resized.width, resized.height), (width, height));
        assert_eq!(sha256(&resized.pixels), expected, "{from:?} to {width}×{height}, {interpolation}");
    }
}

#[test]
fn a_single_colour_stays_that_colour_at_any_size() {
    let picture = Picture { width: 37, height: 23, pixels: [9, 200, 255].repeat(37 * 23) };
    for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear, Interpolation::Nearest] {
        for (width, height) in [(1, 1), (299, 299), (5, 90), (36, 24)] {
            let resized = resize(&picture, width, height, interpolation);
            assert_eq!(resized.pixels, [9, 200, 255].repeat(width * height), "{interpolation} {width}×{height}");
        }
    }
}

#[test]
#[should_panic(expected = "an empty picture or window")]
fn a_picture_without_pixels_is_refused() {
    resize(&Picture { width: 0, height: 3, pixels: Vec::new() }, 2, 2, Interpolation::Bicubic);
}
