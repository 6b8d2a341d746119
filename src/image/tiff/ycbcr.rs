//! YCbCr outside JPEG: units of lumas that share a pair of chromas, and the way to RGB that tags may set.
//!
//! Source: TIFF 6.0, section 21. As in libtiff, a pixel takes the chroma of its unit as it is, and
//! what references are set against is cut to whole numbers.

use super::directory::Directory;

const COEFFICIENTS: u16 = 529;
const REFERENCES: u16 = 532;

/// Bytes of a row of units.
pub fn row_bytes(width: usize, [across, down]: [usize; 2]) -> usize {
    width.div_ceil(across) * (across * down + 2)
}

/// Units as pixels of three samples each.
pub fn expanded(units: &[u8], width: usize, height: usize, [across, down]: [usize; 2]) -> Vec<u8> {
    let unit = across * down + 2;
    let row = row_bytes(width, [across, down]);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let units = &units[y / down * row..][..row];
        for x in 0..width {
            let unit = &units[x / across * unit..][..unit];
            pixels.extend([unit[y % down * across + x % across], unit[unit.len() - 2], unit[unit.len() - 1]]);
        }
    }
    pixels
}

/// Luma's shares of red, green and blue, and the values that are black and white.
#[derive(Debug)]
pub struct Conversion {
    shares: [f64; 3],
    references: [f64; 6],
}

impl Conversion {
    pub fn new(directory: &Directory) -> Self {
        let numbers = |tag| directory.numbers(tag).filter(|numbers| numbers.iter().all(|number| number.is_finite()));
        let shares = numbers(COEFFICIENTS).and_then(|shares| shares.first_chunk().copied());
        let shares = shares.filter(|shares: &[f64; 3]| shares[1] != 0.0).unwrap_or([0.299, 0.587, 0.114]);
        let references = numbers(REFERENCES).and_then(|references| references.first_chunk().copied());
        Self { shares, references: references.unwrap_or([0.0, 255.0, 128.0, 255.0, 128.0, 255.0]) }
    }

    pub fn rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        let [red, green, blue] = self.shares;
        let value = |code: u8, at: usize, full: f64| {
            let (black, white) = (self.references[at], self.references[at + 1]);
            let range = if white == black { 1.0 } else { white - black };
            ((f64::from(code) - black) * full / range).trunc()
        };
        let (y, cb, cr) = (value(y, 0, 255.0), value(cb, 2, 127.0), value(cr, 4, 127.0));
        let (to_red, to_blue) = (cr * (2.0 - 2.0 * red), cb * (2.0 - 2.0 * blue));
        let to_green = -(red * to_red + blue * to_blue) / green;
        // A cast saturates.
        [to_red, to_green, to_blue].map(|chroma| (y + (chroma + 0.5).floor()) as u8)
    }
}
