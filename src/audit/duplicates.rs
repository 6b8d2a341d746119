//! Pictures that are there twice: the same bytes, or the same picture saved, scaled or mirrored anew.
//!
//! Neighbours in features are only candidates: a picture at half its size may be further away (cosine 0.75) than
//! another picture of the same animal (0.9). Those whose files are there are compared by their pixels.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::Place;
use super::files::Files;
use crate::dataset::Split;
use crate::features::{Features, Row};
use crate::image::{self, Fingerprint, Likeness};
use crate::similarity::Neighbour;

/// The least cosine of a candidate. Of 30 re-encoded, mirrored and halved copies of 200×200 the furthest had 0.75.
const CANDIDATE: f32 = 0.7;
/// The least correlation of 32×32 grey pixels that makes two pictures one. Among 6,000 photographs of cats and dogs
/// the most alike pair of different ones had 0.87, the least alike copy 0.9998.
const SAME_PIXELS: f32 = 0.95;
/// The least cosine where the pixels are out of reach. The most alike pair of different pictures had 0.92.
const SAME_FEATURES: f32 = 0.95;

/// Two pictures that are one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Duplicate {
    /// In different splits: what is learnt from the one flatters the figures on the other.
    pub leak: bool,
    pub kind: DuplicateKind,
    pub labels_differ: bool,
    pub first: Place,
    pub second: Place,
    /// Of their features.
    pub cosine: f32,
    /// Of their pixels, 32×32 and grey, where they were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKind {
    SameBytes,
    SamePicture,
    Mirrored,
    /// Told by the features alone, for a file is not there.
    SameFeatures,
}

impl DuplicateKind {
    pub fn name(self) -> &'static str {
        match self {
            DuplicateKind::SameBytes => "same bytes",
            DuplicateKind::SamePicture => "same picture",
            DuplicateKind::Mirrored => "mirrored",
            DuplicateKind::SameFeatures => "same features",
        }
    }
}

/// Two rows that hold one picture, by their indices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub first: usize,
    pub second: usize,
    pub kind: DuplicateKind,
    pub cosine: f32,
    pub correlation: Option<f32>,
}

/// The first row of each file content, in order, and a pair of it with each further one.
pub(super) fn exact(rows: &[Row]) -> (Vec<usize>, Vec<Pair>) {
    let mut first_of = HashMap::new();
    let (mut distinct, mut pairs) = (Vec::new(), Vec::new());
    for (second, row) in rows.iter().enumerate() {
        let first = *first_of.entry(&row.sha256).or_insert(second);
        if first == second {
            distinct.push(second);
        } else {
            let kind = DuplicateKind::SameBytes;
            pairs.push(Pair { first, second, kind, cosine: 1.0, correlation: None });
        }
    }
    (distinct, pairs)
}

/// Pairs among the `distinct` rows, of which `neighbours` has the nearest others.
pub(super) fn near(features: &Features, distinct: &[usize], neighbours: &[Vec<Neighbour>], files: &Files) -> Vec<Pair> {
    let candidates = candidates(distinct, neighbours);
    let mut wanted: Vec<usize> = candidates.iter().flat_map(|(first, second, _)| [*first, *second]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let known = |row: &usize| files.facts[*row].is_some();
    let print = |row: &usize| fingerprint(&features.rows[*row].path).map(|print| (*row, print));
    let prints: HashMap<usize, Fingerprint> = wanted.par_iter().filter(|row| known(row)).filter_map(print).collect();
    let judge = |&(first, second, cosine): &(usize, usize, f32)| {
        let likeness = prints.get(&first).zip(prints.get(&second)).map(|(first, second)| first.likeness(second));
        let kind = judged(cosine, likeness)?;
        Some(Pair { first, second, kind, cosine, correlation: likeness.map(|likeness| likeness.correlation) })
    };
    candidates.par_iter().filter_map(judge).collect()
}

/// Pairs of rows that are near enough to be looked at, each once, the earlier row first.
fn candidates(distinct: &[usize], neighbours: &[Vec<Neighbour>]) -> Vec<(usize, usize, f32)> {
    let of_row = |(row, neighbours): (&usize, &Vec<Neighbour>)| {
        let near = neighbours.iter().take_while(|neighbour| neighbour.cosine >= CANDIDATE);
        let pair = |neighbour: &Neighbour| {
            let other = distinct[neighbour.row];
            (*row.min(&other), *row.max(&other), neighbour.cosine)
        };
        near.map(pair).collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = distinct.iter().zip(neighbours).flat_map(of_row).collect();
    pairs.sort_by_key(|(first, second, _)| (*first, *second));
    pairs.dedup_by_key(|(first, second, _)| (*first, *second));
    pairs
}

fn judged(cosine: f32, likeness: Option<Likeness>) -> Option<DuplicateKind> {
    match likeness {
        Some(likeness) if likeness.correlation < SAME_PIXELS => None,
        Some(Likeness { is_mirrored: true, .. }) => Some(DuplicateKind::Mirrored),
        Some(_) => Some(DuplicateKind::SamePicture),
        None => (cosine >= SAME_FEATURES).then_some(DuplicateKind::SameFeatures),
    }
}

/// None if the picture can't be read after all.
fn fingerprint(path: &str) -> Option<Fingerprint> {
    let picture = image::decode(&image::read(Path::new(path)).ok()?, Fingerprint::NEEDED_SIDE).ok()?;
    Some(Fingerprint::of(&picture))
}

/// The pairs as results name them: leaks first, those of training pictures before others.
pub(super) fn named(features: &Features, pairs: &[Pair]) -> Vec<Duplicate> {
    let duplicate = |pair: &Pair| {
        let [first, second] = [pair.first, pair.second].map(|row| &features.rows[row]);
        Duplicate {
            leak: first.split != second.split,
            kind: pair.kind,
            labels_differ: first.class != second.class,
            first: Place::of(features, first),
            second: Place::of(features, second),
            cosine: pair.cosine,
            correlation: pair.correlation,
        }
    };
    let mut duplicates: Vec<Duplicate> = pairs.iter().map(duplicate).collect();
    let rank = |duplicate: &Duplicate| {
        let is_of_training =
            [&duplicate.first, &duplicate.second].iter().any(|place| place.split == Some(Split::Train));
        (!duplicate.leak, !is_of_training, duplicate.kind)
    };
    duplicates.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.cosine.total_cmp(&a.cosine)));
    duplicates
}

/// For each row the first row that shows the same picture, by way of any number of pairs.
pub(super) fn groups(rows: usize, pairs: &[Pair]) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..rows).collect();
    fn root(parent: &mut [usize], mut row: usize) -> usize {
        while parent[row] != row {
            parent[row] = parent[parent[row]];
            row = parent[row];
        }
        row
    }
    for pair in pairs {
        let (first, second) = (root(&mut parent, pair.first), root(&mut parent, pair.second));
        parent[first.max(second)] = first.min(second);
    }
    (0..rows).map(|row| root(&mut parent, row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{features, row};
    use crate::weights::Digest;

    #[test]
    fn every_further_copy_of_the_same_bytes_is_a_pair_with_the_first() {
        let mut rows: Vec<Row> = ["a", "b", "c", "d"].map(|path| row(path, None, None, &[1.0])).into();
        rows[2].sha256 = rows[0].sha256.clone();
        rows[3].sha256 = rows[0].sha256.clone();
        let (distinct, pairs) = exact(&rows);
        assert_eq!(distinct, [0, 1]);
        assert_eq!(pairs.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), [(0, 2), (0, 3)]);
        assert_eq!(groups(4, &pairs), [0, 1, 0, 0]);
    }

    #[test]
    fn groups_are_joined_by_chains_of_pairs() {
        let pair =
            |first, second| Pair { first, second, kind: DuplicateKind::SamePicture, cosine: 1.0, correlation: None };
        assert_eq!(groups(6, &[pair(4, 5), pair(1, 3), pair(3, 4)]), [0, 1, 2, 1, 1, 1]);
    }

    #[test]
    fn leaks_of_training_pictures_come_first() {
        let [train, val, test] = [Split::Train, Split::Val, Split::Test].map(Some);
        let rows = [train, train, val, test].into_iter().enumerate();
        let mut rows: Vec<Row> = rows.map(|(i, split)| row(&i.to_string(), split, Some(0), &[1.0])).collect();
        rows[1].sha256 = Digest::of_bytes(b"other");
        rows[3].class = Some(1);
        let pair = |first, second, kind| Pair { first, second, kind, cosine: 1.0, correlation: None };
        use DuplicateKind::{Mirrored, SameBytes};
        let pairs = [pair(0, 1, SameBytes), pair(2, 3, SameBytes), pair(1, 2, Mirrored)];
        let named = named(&features(rows), &pairs);
        let told: Vec<_> = named.iter().map(|d| (d.leak, d.first.path.as_str(), d.labels_differ)).collect();
        assert_eq!(told, [(true, "1", false), (true, "2", true), (false, "0", false)]);
    }

    #[test]
    fn pixels_decide_where_they_are_at_hand() {
        let likeness = |correlation, is_mirrored| Some(Likeness { correlation, is_mirrored });
        assert_eq!(judged(0.99, likeness(0.8, false)), None);
        assert_eq!(judged(0.75, likeness(0.99, false)), Some(DuplicateKind::SamePicture));
        assert_eq!(judged(0.75, likeness(0.99, true)), Some(DuplicateKind::Mirrored));
        assert_eq!(judged(0.9, None), None);
        assert_eq!(judged(0.99, None), Some(DuplicateKind::SameFeatures));
    }
}
