//! What two pictures have in common with others, and so does not make them one: in X-rays, slides or products on
//! white, different pictures correlate at 0.97 and more by the layout that they all share.

use std::collections::HashMap;

use crate::image::{Common, Fingerprint};
use crate::similarity;

/// Fewer pictures of one layout do not tell what it is.
const FEWEST_MATES: usize = 8;
/// What a smaller share of the pictures has in common is no layout: it may be one picture with its versions, turned,
/// cropped and saved a dozen times over.
const FEWEST_MATES_OF: usize = 8;
/// The least correlation of pictures of one layout.
const SAME_LAYOUT: f32 = 0.8;
/// The least correlation of pictures that are surely copies: they show the picture, not the layout. Copies of
/// photographs have 0.9998 and more, different discs of one layout 0.997 at most.
const SURE_COPY: f32 = 0.999;
/// Fewer rows may be copies for the most part, which no cosine tells as surely as pixels do.
const FEWEST_ROWS: usize = 20;

/// What a picture has in common with others of its layout.
pub struct Layout<'a> {
    picture: &'a Fingerprint,
    /// Those others, turned as it is.
    mates: HashMap<usize, Fingerprint>,
    common: Common,
    fewest: usize,
}

impl<'a> Layout<'a> {
    /// Of the picture at `own`, as the pictures of a `sample` tell.
    pub fn of(own: usize, prints: &'a HashMap<usize, Fingerprint>, sample: &[usize]) -> Self {
        let picture = &prints[&own];
        let mate = |place: &usize| {
            let other = &prints[place];
            let likeness = picture.likeness(other);
            let is_mate = *place != own && (SAME_LAYOUT..SURE_COPY).contains(&likeness.correlation);
            is_mate.then(|| (*place, if likeness.is_mirrored { other.mirrored() } else { other.clone() }))
        };
        let mates: HashMap<usize, Fingerprint> = sample.iter().filter_map(mate).collect();
        // In their order, so that the sum is the same every time.
        let common = Common::of(sample.iter().filter_map(|place| mates.get(place)));
        Self { picture, mates, common, fewest: FEWEST_MATES.max(sample.len() / FEWEST_MATES_OF) }
    }

    /// The correlation with another picture, turned as this is, beyond what both have in common with the rest; none if
    /// that is too little to be a layout.
    pub fn correlation_beyond(&self, place: usize, other: &Fingerprint) -> Option<f32> {
        let common = match self.mates.get(&place) {
            Some(other) => self.common.clone().without(other),
            None => self.common.clone(),
        };
        (common.pictures >= self.fewest).then(|| common.correlation_beyond(self.picture, other))
    }
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
