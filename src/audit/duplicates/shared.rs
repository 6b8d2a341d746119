//! What two pictures have in common with others, and so does not make them one: in X-rays, slides or products on
//! white, different pictures correlate at 0.97 and more by the layout that they all share.

use crate::image::Fingerprint;
use crate::similarity;

/// Fewer pictures of one layout do not tell what it is.
const FEWEST_MATES: usize = 8;
/// The least correlation of pictures of one layout.
const SAME_LAYOUT: f32 = 0.8;
/// The least correlation of pictures that are surely copies: they show the picture, not the layout. Copies of
/// photographs have 0.9998 and more, different discs of one layout 0.997 at most.
const SURE_COPY: f32 = 0.999;
/// Fewer rows may be copies for the most part, which no cosine tells as surely as pixels do.
const FEWEST_ROWS: usize = 20;

/// Of the pictures `near` two that are alike, those of the same layout, turned as the first is; none if they are too
/// few.
pub fn layout_mates<'a>(
    first: &Fingerprint,
    second: &Fingerprint,
    near: impl Iterator<Item = &'a Fingerprint>,
) -> Option<Vec<Fingerprint>> {
    let mate = |other: &Fingerprint| {
        let [like_first, like_second] = [first, second].map(|picture| picture.likeness(other));
        let is_copy = like_first.correlation.max(like_second.correlation) >= SURE_COPY;
        let is_mate = like_first.correlation >= SAME_LAYOUT && !is_copy;
        is_mate.then(|| if like_first.is_mirrored { other.mirrored() } else { other.clone() })
    };
    Some(near.filter_map(mate).collect::<Vec<_>>()).filter(|mates| mates.len() >= FEWEST_MATES)
}

/// Where rows scaled to length 1 lie on the whole.
pub struct Centre {
    sum: Vec<f64>,
    rows: usize,
}

impl Centre {
    pub fn of(rows: &[&[f32]]) -> Self {
        let mut sum = vec![0.0; rows.first().map_or(0, |row| row.len())];
        for row in rows {
            sum.iter_mut().zip(unit(row)).for_each(|(sum, value)| *sum += value);
        }
        Self { sum, rows: rows.len() }
    }

    /// The cosine of two of the rows as seen from the mean of all others; none if those are too few.
    pub fn cosine_beyond(&self, first: &[f32], second: &[f32]) -> Option<f32> {
        let others = self.rows.checked_sub(2).filter(|others| *others >= FEWEST_ROWS)?;
        let (mut dot, mut own, mut other) = (0.0, 0.0, 0.0);
        for ((left, right), sum) in unit(first).zip(unit(second)).zip(&self.sum) {
            let mean = (sum - left - right) / others as f64;
            let (left, right) = (left - mean, right - mean);
            dot += left * right;
            own += left * left;
            other += right * right;
        }
        Some(if own > 0.0 && other > 0.0 { (dot / (own * other).sqrt()) as f32 } else { 0.0 })
    }
}

fn unit(row: &[f32]) -> impl Iterator<Item = f64> {
    let norm = f64::from(similarity::norm(row));
    let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    row.iter().map(move |value| f64::from(*value) * scale)
}
