//! Contact sheets, and PNG as a decoder reads it back.

use super::*;

fn plain(width: usize, height: usize, sample: u8) -> Picture {
    Picture { width, height, pixels: vec![sample; 3 * width * height] }
}

#[test]
fn tiles_stand_row_by_row_with_white_between_them() {
    let sheet = contact_sheet(&[plain(2, 3, 10), plain(2, 3, 20), plain(2, 3, 30)], 2);
    assert_eq!((sheet.width, sheet.height), (2 + 4 + 2, 3 + 4 + 3));
    let at = |x: usize, y: usize| sheet.pixels[3 * (y * sheet.width + x)];
    assert_eq!([at(0, 0), at(1, 2), at(6, 0), at(7, 2), at(0, 7), at(1, 9)], [10, 10, 20, 20, 30, 30]);
    let white = [at(2, 0), at(5, 2), at(0, 3), at(1, 6), at(6, 7), at(7, 9)];
    assert_eq!(white, [255; 6]);
    assert_eq!(sheet.pixels.iter().filter(|sample| **sample != 255).count(), 3 * 3 * 6);
}

#[test]
fn a_tile_is_as_large_as_the_largest_picture() {
    let sheet = contact_sheet(&[plain(1, 5, 10), plain(7, 2, 20)], 1);
    assert_eq!((sheet.width, sheet.height), (7, 5 + 4 + 5));
}

#[test]
fn a_png_holds_the_same_pixels() {
    let picture = pattern([37, 21]);
    assert_eq!(decode_whole(&png(&picture).unwrap()).unwrap(), picture);
}

#[test]
fn a_picture_without_pixels_is_no_png() {
    let error = png(&plain(0, 3, 0)).unwrap_err().to_string();
    assert_eq!(error, "a picture of 0×3 pixels cannot be written as PNG");
}
