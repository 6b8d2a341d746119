//! Whether two files show the same picture: their pixels, made small and grey, side by side and mirrored.
//!
//! Coarse enough that compression and scaling leave it as it is, fine enough that two photographs of the same
//! thing differ.

use super::{Interpolation, Picture, resize};

/// Pixels a side.
const SIDE: usize = 32;

/// A picture at 32×32, grey, with a mean of 0 and a length of 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Fingerprint {
    values: Vec<f32>,
}

/// How alike two pictures are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likeness {
    /// Pearson's correlation of the pixels, −1 to 1; 0 where one of them is of a single colour.
    pub correlation: f32,
    /// Whether it is that of one with the mirror image of the other.
    pub is_mirrored: bool,
}

impl Fingerprint {
    /// A picture needs no longer sides than this for it.
    pub const NEEDED_SIDE: usize = 4 * SIDE;

    /// # Panics
    /// If the picture has no pixels.
    pub fn of(picture: &Picture) -> Self {
        let small = resize(picture, SIDE, SIDE, Interpolation::Bilinear);
        let (pixels, _) = small.pixels.as_chunks::<3>();
        // Luma of ITU-R BT.601, as JPEG has it.
        let grey = |[r, g, b]: &[u8; 3]| 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b);
        let mut values: Vec<f32> = pixels.iter().map(grey).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        values.iter_mut().for_each(|value| *value -= mean);
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        // Less than a level of 255 is no picture but rounding.
        let scale = if length > SIDE as f32 { 1.0 / length } else { 0.0 };
        values.iter_mut().for_each(|value| *value *= scale);
        Self { values }
    }

    pub fn likeness(&self, other: &Fingerprint) -> Likeness {
        let sum = |rows: &dyn Fn(usize, usize) -> usize| -> f32 {
            let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
            places.map(|(x, y)| self.values[y * SIDE + x] * other.values[rows(x, y)]).sum()
        };
        let (straight, mirrored) = (sum(&|x, y| y * SIDE + x), sum(&|x, y| y * SIDE + SIDE - 1 - x));
        Likeness { correlation: straight.max(mirrored), is_mirrored: mirrored > straight }
    }

    /// That of the mirror image.
    pub fn mirrored(&self) -> Self {
        Self { values: self.values.chunks_exact(SIDE).flat_map(|row| row.iter().rev().copied()).collect() }
    }
}

/// What pictures have in common: the mean of them.
#[derive(Debug, Clone)]
pub struct Common {
    sum: Vec<f32>,
    pub pictures: usize,
}

impl Common {
    pub fn of<'a>(pictures: impl Iterator<Item = &'a Fingerprint>) -> Self {
        let mut common = Self { sum: vec![0.0; SIDE * SIDE], pictures: 0 };
        for picture in pictures {
            common.sum.iter_mut().zip(&picture.values).for_each(|(sum, value)| *sum += value);
            common.pictures += 1;
        }
        common
    }

    /// Without one of them.
    pub fn without(mut self, picture: &Fingerprint) -> Self {
        self.sum.iter_mut().zip(&picture.values).for_each(|(sum, value)| *sum -= value);
        self.pictures -= 1;
        self
    }

    /// Pearson's correlation of what is left of two pictures once this is taken away; 0 where nothing is.
    pub fn correlation_beyond(&self, one: &Fingerprint, other: &Fingerprint) -> f32 {
        let (mut dot, mut own, mut others) = (0.0, 0.0, 0.0);
        for ((left, right), sum) in one.values.iter().zip(&other.values).zip(&self.sum) {
            let mean = sum / self.pictures.max(1) as f32;
            let (left, right) = (left - mean, right - mean);
            dot += left * right;
            own += left * left;
            others += right * right;
        }
        if own > 0.0 && others > 0.0 { dot / (own * others).sqrt() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, value: impl Fn(f32, f32) -> f32) -> Picture {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let at = |(x, y)| value((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32);
        let pixels = places.flat_map(|place| [at(place) as u8; 3]).collect();
        Picture { width, height, pixels }
    }

    fn waves(x: f32, y: f32) -> f32 {
        128.0 + 60.0 * (9.0 * x).sin() + 60.0 * (5.0 * y + 3.0 * x).cos()
    }

    #[test]
    fn size_and_mirroring_leave_a_picture_the_same() {
        let whole = Fingerprint::of(&picture(200, 150, waves));
        let half = whole.likeness(&Fingerprint::of(&picture(100, 75, waves)));
        assert!(half.correlation > 0.999 && !half.is_mirrored, "{half:?}");
        let mirrored = whole.likeness(&Fingerprint::of(&picture(200, 150, |x, y| waves(1.0 - x, y))));
        assert!(mirrored.correlation > 0.999 && mirrored.is_mirrored, "{mirrored:?}");
        let other = whole.likeness(&Fingerprint::of(&picture(200, 150, |x, y| waves(y, x))));
        assert!(other.correlation < 0.8, "{other:?}");
    }

    #[test]
    fn what_is_left_of_two_pictures_of_one_layout_tells_them_apart() {
        let print = |own: f32| {
            let mark = move |x: f32, y: f32| 15.0 * (own * x).sin() * (own * y).cos();
            Fingerprint::of(&picture(64, 64, move |x, y| 0.8 * waves(x, y) + 20.0 + mark(x, y)))
        };
        let [one, other] = [31.0, 37.0].map(print);
        let shared: Vec<Fingerprint> = (1..20).map(|i| print(i as f32)).collect();
        let common = Common::of(shared.iter().chain([&one])).without(&one);
        assert!(one.likeness(&other).correlation > 0.95);
        assert!(common.correlation_beyond(&one, &other) < 0.5);
        assert!(common.correlation_beyond(&one, &one) > 0.9999);
        assert_eq!(Common::of([&one].into_iter()).correlation_beyond(&one, &one), 0.0);
        assert_eq!(one.mirrored().mirrored(), one);
        let mirrored = one.likeness(&one.mirrored());
        assert!(mirrored.is_mirrored && mirrored.correlation > 0.9999, "{mirrored:?}");
    }

    #[test]
    fn a_picture_of_one_colour_is_like_nothing() {
        let plain = Fingerprint::of(&picture(40, 40, |_, _| 77.0));
        assert_eq!(plain.likeness(&plain).correlation, 0.0);
    }
}
