//! Contact sheets, and PNG as a decoder reads it back.

use super::*;

fn plain(width: usize, height: usize, sample: u8) -> Picture {
    Picture { width, height, pixels: vec![sample; 3 * width * height] }
}

/// The red of a pixel.
fn at(picture: &Picture, x: usize, y: usize) -> u8 {
    picture.pixels[3 * (y * picture.width + x)]
}

#[test]
fn tiles_stand_row_by_row_with_white_between_and_around_them() {
    let sheet = contact_sheet(&[plain(2, 3, 10), plain(2, 3, 20), plain(2, 3, 30)], 2);
    assert_eq!((sheet.width, sheet.height), (16 + 2 + 16 + 2 + 16, 16 + 3 + 16 + 3 + 16));
    let corners = [(16, 16), (17, 18), (34, 16), (35, 18), (16, 35), (17, 37)].map(|(x, y)| at(&sheet, x, y));
    assert_eq!(corners, [10, 10, 20, 20, 30, 30]);
    assert_eq!(sheet.pixels.iter().filter(|sample| **sample != 255).count(), 3 * 3 * 6);
}

#[test]
fn a_tile_stands_in_the_middle_of_its_column_and_at_the_foot_of_its_row() {
    let sheet = contact_sheet(&[plain(1, 5, 10), plain(7, 2, 20), plain(3, 1, 30)], 2);
    assert_eq!((sheet.width, sheet.height), (16 + 7 + 16 + 7 + 16, 16 + 5 + 16 + 1 + 16));
    let ends = [(19, 16), (19, 20), (39, 19), (45, 20), (18, 37), (20, 37)].map(|(x, y)| at(&sheet, x, y));
    assert_eq!(ends, [10, 10, 20, 20, 30, 30]);
    assert_eq!(sheet.pixels.iter().filter(|sample| **sample != 255).count(), 3 * (5 + 14 + 3));
}

#[test]
fn a_sheet_of_many_pictures_is_about_as_wide_as_a_screen() {
    for (count, size) in [(60, [320, 240]), (100, [200, 100]), (303, [320, 350]), (400, [100, 300])] {
        let pictures = vec![plain(size[0], size[1], 10); count];
        let sheet = contact_sheet(&pictures, screen_columns(&pictures));
        let shape = sheet.width as f64 / sheet.height as f64;
        assert!((1.1..1.6).contains(&shape), "{count} of {size:?}: {}×{}", sheet.width, sheet.height);
    }
    assert_eq!(screen_columns(&[plain(320, 240, 10)]), 1);
}

#[test]
fn a_picture_is_widened_framed_and_set_above_another() {
    let wide = plain(2, 3, 10).widened(7);
    let row = |picture: &Picture, y: usize| (0..picture.width).map(|x| at(picture, x, y)).collect::<Vec<_>>();
    assert_eq!((wide.height, row(&wide, 2)), (3, vec![255, 255, 10, 10, 255, 255, 255]));
    assert_eq!(plain(2, 3, 10).widened(1), plain(2, 3, 10));
    let framed = plain(1, 1, 10).framed(1, [90, 0, 0]).above(&plain(3, 1, 20));
    assert_eq!([0, 1, 2, 3].map(|y| row(&framed, y)), [[90; 3], [90, 10, 90], [90; 3], [20; 3]]);
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
