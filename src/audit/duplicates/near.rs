//! The same picture saved, scaled or mirrored anew.
//!
//! Neighbours in features are only candidates: a picture at half its size may be further away (cosine 0.75) than
//! another picture of the same animal (0.9). Those whose files are there are compared by their pixels; either way,
//! what they have in common with other pictures does not count.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;

use super::shared::{Centre, layout_mates};
use super::{DuplicateKind, Pair};
use crate::audit::files::Files;
use crate::features::Features;
use crate::image::{self, Fingerprint, Likeness};
use crate::similarity::Neighbour;

/// The least cosine of a candidate. Of 30 re-encoded, mirrored and halved copies of 200×200 the furthest had 0.75.
const CANDIDATE: f32 = 0.7;
/// The least correlation of 32×32 grey pixels that makes two pictures one, as they are and beyond their layout. Among
/// 6,000 photographs of cats and dogs the most alike pair of different ones had 0.87, the least alike copy 0.9998; of
/// 36 discs of one layout 0.997 as they are and 0.88 beyond it, the least alike copy (JPEG quality 10) 0.979.
const SAME_PIXELS: f32 = 0.95;
/// The least cosine where the pixels are out of reach. The most alike pair of different pictures had 0.92.
const SAME_FEATURES: f32 = 0.95;
/// The least cosine beyond the mean of all rows there. Copies of photographs that are as near as [`SAME_FEATURES`]
/// have 0.906 and more; of 58 pairs of different discs of one layout all but one have less than this.
const SAME_FEATURES_BEYOND: f32 = 0.9;
/// Pictures that are decoded before an interrupt is heard.
const BATCH: usize = 64;

/// Pairs among the `distinct` rows, of which `neighbours` has the nearest others. `done` hears of pictures, as many as
/// there are rows in all.
///
/// # Errors
/// Those of `done`.
pub fn near(
    features: &Features,
    distinct: &[usize],
    neighbours: &[Vec<Neighbour>],
    files: &Files,
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Pair>> {
    let candidates = candidates(neighbours);
    let mut wanted: Vec<usize> = candidates.iter().flat_map(|(first, second, _)| [*first, *second]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|place| files.facts[distinct[*place]].is_some());
    let print = |&place: &usize| Some((place, fingerprint(&features.rows[distinct[place]].path)?));
    let mut prints = HashMap::new();
    for places in wanted.chunks(BATCH) {
        prints.par_extend(places.par_iter().filter_map(print));
        done(places.len())?;
    }
    done(distinct.len() - wanted.len())?;
    let rows: Vec<&[f32]> = distinct.iter().map(|&row| features.rows[row].values.as_slice()).collect();
    let crowd = Crowd { neighbours, prints, centre: Centre::of(&rows), rows };
    let row_pair = |pair: Pair| Pair { first: distinct[pair.first], second: distinct[pair.second], ..pair };
    Ok(candidates.par_iter().filter_map(|candidate| crowd.judged(*candidate)).map(row_pair).collect())
}

/// Pairs of places in `neighbours` that are near enough to be looked at, each once, the earlier first.
fn candidates(neighbours: &[Vec<Neighbour>]) -> Vec<(usize, usize, f32)> {
    let of_place = |(place, neighbours): (usize, &Vec<Neighbour>)| {
        let pair = |other: &Neighbour| (place.min(other.row), place.max(other.row), other.cosine);
        near_enough(neighbours).map(pair).collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = neighbours.iter().enumerate().flat_map(of_place).collect();
    pairs.sort_by_key(|(first, second, _)| (*first, *second));
    pairs.dedup_by_key(|(first, second, _)| (*first, *second));
    pairs
}

fn near_enough(neighbours: &[Neighbour]) -> impl Iterator<Item = &Neighbour> {
    neighbours.iter().take_while(|neighbour| neighbour.cosine >= CANDIDATE)
}

/// None if the picture can't be read after all.
fn fingerprint(path: &str) -> Option<Fingerprint> {
    let picture = image::decode(&image::read(Path::new(path)).ok()?, Fingerprint::NEEDED_SIDE).ok()?;
    Some(Fingerprint::of(&picture))
}

/// The pictures among which copies are looked for, by their places in `neighbours`.
struct Crowd<'a> {
    neighbours: &'a [Vec<Neighbour>],
    rows: Vec<&'a [f32]>,
    centre: Centre,
    /// Of the pictures that are at hand.
    prints: HashMap<usize, Fingerprint>,
}

impl Crowd<'_> {
    /// The candidates as a pair, if they are one picture.
    fn judged(&self, (first, second, cosine): (usize, usize, f32)) -> Option<Pair> {
        let likeness = self.prints.get(&first).zip(self.prints.get(&second)).map(|(a, b)| a.likeness(b));
        let kind = match likeness {
            Some(likeness) => self.same_pixels(first, second, likeness)?,
            None => self.same_features(first, second, cosine)?,
        };
        Some(Pair { first, second, kind, cosine, correlation: likeness.map(|likeness| likeness.correlation) })
    }

    fn same_pixels(&self, first: usize, second: usize, likeness: Likeness) -> Option<DuplicateKind> {
        if likeness.correlation < SAME_PIXELS {
            return None;
        }
        let mut near: Vec<usize> = [first, second]
            .iter()
            .flat_map(|place| near_enough(&self.neighbours[*place]).map(|neighbour| neighbour.row))
            .filter(|place| ![first, second].contains(place))
            .collect();
        near.sort_unstable();
        near.dedup();
        let (first, second) = (&self.prints[&first], &self.prints[&second]);
        let second = if likeness.is_mirrored { &second.mirrored() } else { second };
        let mates = layout_mates(first, second, near.iter().filter_map(|place| self.prints.get(place)));
        let is_same = mates.is_none_or(|mates| first.correlation_beyond(second, &mates) >= SAME_PIXELS);
        let kind = if likeness.is_mirrored { DuplicateKind::Mirrored } else { DuplicateKind::SamePicture };
        is_same.then_some(kind)
    }

    fn same_features(&self, first: usize, second: usize, cosine: f32) -> Option<DuplicateKind> {
        let beyond = || self.centre.cosine_beyond(self.rows[first], self.rows[second]);
        let is_same = cosine >= SAME_FEATURES && beyond().is_none_or(|cosine| cosine >= SAME_FEATURES_BEYOND);
        is_same.then_some(DuplicateKind::SameFeatures)
    }
}

#[cfg(test)]
mod tests;
