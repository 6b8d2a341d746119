//! The same picture saved, scaled or mirrored anew.
//!
//! Neighbours in features are only candidates: a picture at half its size may be further away (cosine 0.75) than
//! another picture of the same animal (0.9). Those whose files are there are compared by their pixels; either way,
//! what they have in common with other pictures does not count.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;

use super::shared::{Centre, Layout};
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
/// Pictures that tell what a layout is.
const SAMPLE: usize = 256;

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
    wanted.retain(|place| prints.contains_key(place));
    let sample = wanted.iter().copied().step_by(wanted.len().div_ceil(SAMPLE).max(1)).collect();
    let rows: Vec<&[f32]> = distinct.iter().map(|&row| features.rows[row].values.as_slice()).collect();
    let crowd = Crowd { prints, sample, centre: Centre::of(&rows), rows };
    let row_pair = |pair: Pair| Pair { first: distinct[pair.first], second: distinct[pair.second], ..pair };
    Ok(crowd.pairs(&candidates).into_iter().map(row_pair).collect())
}

/// Places in `neighbours` that are near enough to be looked at, and their cosine.
type Candidate = (usize, usize, f32);

/// Each pair once, the earlier place first, in order.
fn candidates(neighbours: &[Vec<Neighbour>]) -> Vec<Candidate> {
    let of_place = |(place, neighbours): (usize, &Vec<Neighbour>)| {
        let near = neighbours.iter().take_while(|neighbour| neighbour.cosine >= CANDIDATE);
        let pair = |other: &Neighbour| (place.min(other.row), place.max(other.row), other.cosine);
        near.map(pair).collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = neighbours.iter().enumerate().flat_map(of_place).collect();
    pairs.sort_by_key(|(first, second, _)| (*first, *second));
    pairs.dedup_by_key(|(first, second, _)| (*first, *second));
    pairs
}

/// None if the picture can't be read after all.
fn fingerprint(path: &str) -> Option<Fingerprint> {
    let picture = image::decode(&image::read(Path::new(path)).ok()?, Fingerprint::NEEDED_SIDE).ok()?;
    Some(Fingerprint::of(&picture))
}

/// The pictures among which copies are looked for, by their places in `neighbours`.
struct Crowd<'a> {
    rows: Vec<&'a [f32]>,
    centre: Centre,
    /// Of the pictures that are at hand.
    prints: HashMap<usize, Fingerprint>,
    /// Some of those.
    sample: Vec<usize>,
}

impl Crowd<'_> {
    /// The candidates that are one picture.
    fn pairs(&self, candidates: &[Candidate]) -> Vec<Pair> {
        let of_first: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.0 == b.0).collect();
        of_first.into_par_iter().flat_map_iter(|candidates| self.pairs_of_one(candidates)).collect()
    }

    /// Those of candidates whose first is the same: its layout is looked for once, and only if need be.
    fn pairs_of_one(&self, candidates: &[Candidate]) -> Vec<Pair> {
        let layout = OnceCell::new();
        let pair = |&(first, second, cosine): &Candidate| {
            let likeness = self.prints.get(&first).zip(self.prints.get(&second)).map(|(a, b)| a.likeness(b));
            let layout = || layout.get_or_init(|| Layout::of(first, &self.prints, &self.sample));
            let kind = match likeness {
                Some(likeness) => self.same_pixels(second, likeness, layout)?,
                None => self.same_features(first, second, cosine)?,
            };
            Some(Pair { first, second, kind, cosine, correlation: likeness.map(|likeness| likeness.correlation) })
        };
        candidates.iter().filter_map(pair).collect()
    }

    fn same_pixels<'a>(
        &'a self,
        second: usize,
        likeness: Likeness,
        layout: impl FnOnce() -> &'a Layout<'a>,
    ) -> Option<DuplicateKind> {
        let Likeness { correlation, is_mirrored } = likeness;
        let beyond = || {
            let print = &self.prints[&second];
            let turned = if is_mirrored { Cow::Owned(print.mirrored()) } else { Cow::Borrowed(print) };
            layout().correlation_beyond(second, &turned)
        };
        let is_same = correlation >= SAME_PIXELS && beyond().is_none_or(|correlation| correlation >= SAME_PIXELS);
        is_same.then_some(if is_mirrored { DuplicateKind::Mirrored } else { DuplicateKind::SamePicture })
    }

    fn same_features(&self, first: usize, second: usize, cosine: f32) -> Option<DuplicateKind> {
        let beyond = || self.centre.cosine_beyond(self.rows[first], self.rows[second]);
        let is_same = cosine >= SAME_FEATURES && beyond().is_none_or(|cosine| cosine >= SAME_FEATURES_BEYOND);
        is_same.then_some(DuplicateKind::SameFeatures)
    }
}

#[cfg(test)]
mod tests;
