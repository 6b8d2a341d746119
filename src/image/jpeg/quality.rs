//! The quality that a JPEG was saved with, told from its quantisation table.
//!
//! Source: `jpeg_quality_scaling` and `jpeg_add_quant_table` in libjpeg's `jcparam.c`, which scale the luma table of
//! ITU-T T.81, annex K.1, by the quality. Other programs have tables of their own: then it is the quality of
//! libjpeg's table that rounds as coarsely on the whole.

use super::{Reader, START_OF_SCAN};

/// The 64 values of the standard's luma table together.
const STANDARD_SUM: f64 = 3688.0;
/// Define quantisation tables.
const TABLES: u8 = 0xDB;

/// 1 to 100, or none if the file has no table for luma.
pub fn quality(bytes: &[u8]) -> Option<u8> {
    let mut rest = Reader { bytes, at: 2 };
    loop {
        let marker = rest.marker()?;
        if marker == START_OF_SCAN {
            return None;
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

fn of_sum(sum: u32) -> u8 {
    let percent = 100.0 * f64::from(sum) / STANDARD_SUM;
    let quality = if percent > 100.0 { 5000.0 / percent } else { (200.0 - percent) / 2.0 };
    quality.round().clamp(1.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use ::image::codecs::jpeg::JpegEncoder;

    use super::*;

    #[test]
    fn the_quality_is_the_one_that_an_encoder_with_libjpegs_tables_was_told() {
        let picture = ::image::RgbImage::from_fn(16, 16, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
        for expected in [10, 25, 50, 60, 75, 85, 90, 95, 100] {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, expected).encode_image(&picture).unwrap();
            // Values are clipped to 255 at low and to 1 at high quality.
            let found = quality(&bytes).unwrap();
            let allowed = if expected < 25 { 3 } else { 0 };
            assert!(found.abs_diff(expected) <= allowed, "{found}, expected {expected}");
        }
    }

    #[test]
    fn a_cut_file_has_no_quality() {
        assert_eq!(quality(&[0xFF, 0xD8, 0xFF, TABLES, 0, 67, 0]), None);
        assert_eq!(quality(&[]), None);
    }
}
