//! The quality that a JPEG was saved with, told from its quantisation table.
//!
//! Source: `jpeg_quality_scaling` and `jpeg_add_quant_table` in libjpeg's `jcparam.c`, which scale the luma table of
//! ITU-T T.81, annex K.1, by the quality. Other programs have tables of their own: then it is the quality of
//! libjpeg's table that rounds as coarsely on the whole.

use super::{Reader, START_OF_SCAN, stands_alone};

/// The standard's luma table, row by row.
#[rustfmt::skip]
const STANDARD: [u32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
/// Define quantisation tables.
const TABLES: u8 = 0xDB;

/// 1 to 100, or none if the file has no table for luma.
pub fn quality(bytes: &[u8]) -> Option<u8> {
    let mut rest = Reader { bytes, at: 2 };
    loop {
        let marker = rest.marker()?;
        match marker {
            START_OF_SCAN => return None,
            _ if stands_alone(marker) => continue,
            _ => {}
        }
        let segment = rest.segment()?;
        if marker == TABLES
            && let Some(sum) = luma_sum(segment)
        {
            return Some(of_sum(sum));
        }
    }
}

/// Of the values of table 0, which is luma's by custom.
fn luma_sum(mut segment: &[u8]) -> Option<u32> {
    while let Some((head, rest)) = segment.split_first() {
        let is_wide = head >> 4 != 0;
        let (table, behind) = rest.split_at_checked(if is_wide { 128 } else { 64 })?;
        if head & 15 == 0 {
            let wide = |pair: &[u8; 2]| u32::from(u16::from_be_bytes(*pair));
            let narrow = || table.iter().map(|value| u32::from(*value)).sum();
            return Some(if is_wide { table.as_chunks::<2>().0.iter().map(wide).sum() } else { narrow() });
        }
        segment = behind;
    }
    None
}

/// The quality at which libjpeg's luma table has the sum that is nearest.
fn of_sum(sum: u32) -> u8 {
    let sum_at = |quality: u32| -> u32 {
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        STANDARD.iter().map(|value| ((value * percent + 50) / 100).clamp(1, 255)).sum()
    };
    (1..=100).min_by_key(|quality| sum_at(u32::from(*quality)).abs_diff(sum)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use ::image::codecs::jpeg::JpegEncoder;

    use super::*;

    #[test]
    fn the_quality_is_the_one_that_an_encoder_with_libjpegs_tables_was_told() {
        let picture = ::image::RgbImage::from_fn(16, 16, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
        for expected in [3, 10, 25, 50, 60, 75, 85, 90, 95, 100] {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, expected).encode_image(&picture).unwrap();
            assert_eq!(quality(&bytes), Some(expected));
        }
    }

    #[test]
    fn markers_that_stand_alone_are_passed_over() {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 60).encode_image(&::image::RgbImage::new(16, 16)).unwrap();
        bytes.splice(2..2, [0xFF, 0x01, 0xFF, 0xD3, 0xFF, 0xD8]);
        assert_eq!(quality(&bytes), Some(60));
    }

    #[test]
    fn a_cut_file_has_no_quality() {
        assert_eq!(quality(&[0xFF, 0xD8, 0xFF, TABLES, 0, 67, 0]), None);
        assert_eq!(quality(&[]), None);
    }
}
