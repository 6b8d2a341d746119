//! From luma and chroma to red, green and blue, as the library does that Pillow reads such files with.
//!
//! libheif (HEVC) repeats a sample of chroma for all pixels that share it unless a turn parts them, and cuts samples of more than 8 bits: before
//! anything else where chroma is quartered, otherwise when they are colours. libavif (AV1) has libyuv cut them first,
//! blend the four nearest samples of chroma in the ratio 9:3:3:1, and compute in fixed point; what libyuv doesn't know it
//! computes itself. Neither looks where samples of chroma were taken.
//! Sources: ITU-T H.273; libheif `color-conversion/yuv2rgb.cc`; libyuv `ScaleRowUp2_Bilinear`, `YuvPixel`.

use anyhow::{Result, bail};

use super::planes::Planes;

/// What the samples mean, in code points of ITU-T H.273.
#[derive(Debug, Clone, Copy)]
pub struct Colour {
    pub primaries: u16,
    pub matrix: u16,
    pub is_full_range: bool,
}

/// The library whose rounding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Libheif,
    Libavif,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Matrix {
    /// Green, blue and red are what luma, blue and red differences are called.
    Identity,
    /// Green and orange differences.
    YCgCo,
    /// The shares of red and blue in luma.
    Luma { red: f32, blue: f32 },
}

impl Colour {
    /// `[H, W, 3]`, 0 to 255.
    ///
    /// # Errors
    /// If the matrix is none of those that are supported.
    pub fn rgb(&self, planes: &mut Planes, name: &str) -> Result<Vec<u8>> {
        if planes.chroma.is_none() {
            return Ok(self.grey(planes).iter().flat_map(|level| [*level; 3]).collect());
        }
        let fixed = Fixed::of(self.matrix, self.is_full_range).filter(|_| planes.manner == Manner::Libavif);
        let is_quartered = planes.subsampling == [2, 2] && !planes.blends_chroma && self.is_full_range;
        if fixed.is_some() || planes.manner == Manner::Libheif && is_quartered {
            planes.cut_to_8_bits();
        }
        match fixed {
            Some(fixed) => Ok(converted(planes, |samples| fixed.rgb(samples))),
            None => Ok(converted(planes, self.conversion(planes, name)?)),
        }
    }

    /// `[H, W]`, 0 to 255. libheif takes the samples of a grey picture for full levels, whatever the range.
    pub fn grey(&self, planes: &Planes) -> Vec<u8> {
        let bits = planes.bits[0];
        let scale = Scale::of_luma(bits, self.is_full_range);
        let level = |sample: u16| match planes.manner {
            Manner::Libheif => (sample >> (bits - 8)) as u8,
            Manner::Libavif => level(scale.of(sample)),
        };
        planes.luma.iter().map(|sample| level(*sample)).collect()
    }

    /// What makes a pixel of luma, blue and red difference.
    fn conversion(&self, planes: &Planes, name: &str) -> Result<impl Fn([u16; 3]) -> [u8; 3] + use<>> {
        let matrix = self.matrix(name)?;
        let bits = planes.bits;
        let of_chroma = if matrix == Matrix::Identity { Scale::of_luma } else { Scale::of_chroma };
        let (mut luma, mut chroma) =
            (Scale::of_luma(bits[0], self.is_full_range), of_chroma(bits[1], self.is_full_range));
        // What the library computes in.
        let depth = if planes.manner == Manner::Libheif { bits[0] } else { 8 };
        let most = ((1_u32 << depth) - 1) as f32;
        if planes.manner == Manner::Libheif && !self.is_full_range {
            match matrix {
                // Its writer, too, knows no other range.
                Matrix::YCgCo => (luma, chroma) = (Scale::of_luma(bits[0], true), Scale::of_chroma(bits[1], true)),
                Matrix::Identity => chroma.factor = Scale::of_chroma(bits[1], false).factor,
                Matrix::Luma { .. } => {}
            }
            if matrix != Matrix::YCgCo {
                // It stretches the range by one level too much.
                luma.factor *= (most + 1.0) / most;
                chroma.factor *= (most + 1.0) / most;
            }
        }
        Ok(move |[y, cb, cr]: [u16; 3]| {
            let shares = matrix.rgb(luma.of(y), chroma.of(cb), chroma.of(cr));
            // A cast to whole numbers saturates.
            shares.map(|share| (((share * most + 0.5).min(most) as u16) >> (depth - 8)) as u8)
        })
    }

    fn matrix(&self, name: &str) -> Result<Matrix> {
        let (red, blue) = match self.matrix {
            0 => return Ok(Matrix::Identity),
            8 => return Ok(Matrix::YCgCo),
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            12 | 13 => luma_of_primaries(self.primaries),
            // Not said, or ITU-R BT.601.
            2 | 3 | 5 | 6 => (0.299, 0.114),
            matrix => bail!("unsupported {name}: colours of matrix {matrix}; {}", super::CONVERT),
        };
        Ok(Matrix::Luma { red, blue })
    }
}

/// The pixels that `convert` makes of luma, blue and red difference.
fn converted(planes: &Planes, convert: impl Fn([u16; 3]) -> [u8; 3]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(3 * planes.width * planes.height);
    let [mut blue, mut red] = [0; 2].map(|_| vec![0; planes.width]);
    for (y, luma) in planes.luma.chunks_exact(planes.width).enumerate() {
        for (plane, row) in planes.chroma.iter().flatten().zip([&mut blue, &mut red]) {
            if planes.blends_chroma { blend(plane, planes, y, row) } else { repeat(plane, planes, y, row) }
        }
        let samples = luma.iter().zip(&blue).zip(&red);
        pixels.extend(samples.flat_map(|((luma, blue), red)| convert([*luma, *blue, *red])));
    }
    pixels
}

/// libyuv's coefficients: levels times 64, those of luma for samples of 16 bits.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    luma: u32,
    bias: i32,
    blue_of_blue: i32,
    green_of_blue: i32,
    green_of_red: i32,
    red_of_red: i32,
}

impl Fixed {
    /// For the matrices that libyuv knows.
    fn of(matrix: u16, is_full_range: bool) -> Option<Self> {
        let [blue_of_blue, green_of_blue, green_of_red, red_of_red] = match (matrix, is_full_range) {
            (1, true) => [119, 12, 30, 101],
            (1, false) => [128, 14, 34, 115],
            (2 | 5 | 6, true) => [113, 22, 46, 90],
            (2 | 5 | 6, false) => [128, 25, 52, 102],
            (9, true) => [120, 11, 37, 94],
            (9, false) => [128, 12, 42, 107],
            _ => return None,
        };
        let (luma, bias) = match (matrix, is_full_range) {
            (_, true) => (16320, 32),
            (9, false) => (19003, -1160),
            (_, false) => (18997, -1160),
        };
        Some(Self { luma, bias, blue_of_blue, green_of_blue, green_of_red, red_of_red })
    }

    /// Of samples of 8 bits.
    fn rgb(self, [y, cb, cr]: [u16; 3]) -> [u8; 3] {
        let y = ((u32::from(y) * 0x0101 * self.luma) >> 16) as i32 + self.bias;
        let [cb, cr] = [cb, cr].map(|sample| i32::from(sample) - 128);
        let green = y - self.green_of_blue * cb - self.green_of_red * cr;
        [y + self.red_of_red * cr, green, y + self.blue_of_blue * cb].map(|level| (level >> 6).clamp(0, 255) as u8)
    }
}

impl Matrix {
    fn rgb(self, y: f32, cb: f32, cr: f32) -> [f32; 3] {
        match self {
            Matrix::Identity => [cr, y, cb],
            Matrix::YCgCo => [y - cb + cr, y + cb, y - cb - cr],
            Matrix::Luma { red, blue } => {
                let r = y + 2.0 * (1.0 - red) * cr;
                let b = y + 2.0 * (1.0 - blue) * cb;
                [r, (y - red * r - blue * b) / (1.0 - red - blue), b]
            }
        }
    }
}

/// The shares of red and blue in white, where luma is made from the primaries. Source: H.273, equations 32 to 37.
fn luma_of_primaries(primaries: u16) -> (f32, f32) {
    match primaries {
        4 => (0.2990, 0.1146),
        5 => (0.2220, 0.0713),
        6 | 7 => (0.2124, 0.0866),
        8 => (0.2536, 0.0678),
        9 => (0.2627, 0.0593),
        11 => (0.2095, 0.0689),
        12 => (0.2290, 0.0793),
        22 => (0.2318, 0.0960),
        _ => (0.2126, 0.0722),
    }
}

/// How samples mean 0 to 1, or −0.5 to 0.5.
#[derive(Clone, Copy)]
struct Scale {
    zero: f32,
    factor: f32,
}

impl Scale {
    fn of_luma(bits: u8, is_full_range: bool) -> Self {
        let unit = (1_u32 << (bits - 8)) as f32;
        let (zero, one) = if is_full_range { (0.0, (1_u32 << bits) as f32 - 1.0) } else { (16.0 * unit, 219.0 * unit) };
        Self { zero, factor: 1.0 / one }
    }

    fn of_chroma(bits: u8, is_full_range: bool) -> Self {
        let unit = (1_u32 << (bits - 8)) as f32;
        let one = if is_full_range { (1_u32 << bits) as f32 - 1.0 } else { 224.0 * unit };
        Self { zero: 128.0 * unit, factor: 1.0 / one }
    }

    fn of(self, sample: u16) -> f32 {
        (f32::from(sample) - self.zero) * self.factor
    }
}

fn level(share: f32) -> u8 {
    // A cast saturates.
    (share * 255.0 + 0.5) as u8
}

/// A row of chroma as wide as luma, from the sample that covers each pixel.
fn repeat(plane: &[u16], planes: &Planes, y: usize, row: &mut [u16]) {
    let [across, down] = planes.subsampling;
    let samples = &plane[y / down * planes.chroma_size()[0]..];
    row.iter_mut().enumerate().for_each(|(x, sample)| *sample = samples[x / across]);
}

/// A row of chroma as wide as luma, from the samples around each pixel.
fn blend(plane: &[u16], planes: &Planes, y: usize, row: &mut [u16]) {
    let [width, height] = planes.chroma_size();
    let [across, down] = planes.subsampling;
    let neighbours = |at: usize, factor: usize, size: usize| match (factor, at % 2) {
        (1, _) => (at, at),
        (_, 0) => (at / 2, (at / 2).saturating_sub(1)),
        _ => (at / 2, (at / 2 + 1).min(size - 1)),
    };
    let (near, far) = neighbours(y, down, height);
    let [near, far] = [near, far].map(|y| &plane[y * width..][..width]);
    let column = |x: usize| 3 * u32::from(near[x]) + u32::from(far[x]);
    for (x, sample) in row.iter_mut().enumerate() {
        let (near, far) = neighbours(x, across, width);
        *sample = ((3 * column(near) + column(far) + 8) >> 4) as u16;
    }
}
