//! Pictures that are there twice: the same bytes, or the same picture saved, scaled or mirrored anew.
//!
//! Which rows hold the same bytes, their hashes tell; `near` finds the rest.

mod near;
mod shared;

use std::collections::HashMap;

use serde::Serialize;

use super::Place;
use crate::dataset::Split;
use crate::features::{Features, Row};

pub(super) use near::near;

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

/// Why there can be no leaks: no two pictures are in different splits. One that is in none leaks nothing.
pub(super) fn leaks_skipped(rows: &[Row]) -> Option<String> {
    let mut splits = rows.iter().filter_map(|row| row.split);
    match splits.next() {
        Some(first) if splits.all(|split| split == first) => Some(format!("all pictures are in `{}`", first.name())),
        Some(_) => None,
        None => (!rows.is_empty()).then(|| "the data is not split".to_owned()),
    }
}

/// Whether both are known and not the same.
fn differ<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a != b)
}

/// The pairs as results name them: leaks first, those of training pictures before others.
pub(super) fn named(features: &Features, pairs: &[Pair]) -> Vec<Duplicate> {
    let duplicate = |pair: &Pair| {
        let [first, second] = [pair.first, pair.second].map(|row| &features.rows[row]);
        Duplicate {
            leak: differ(first.split, second.split),
            kind: pair.kind,
            labels_differ: differ(first.class, second.class),
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
    fn leaks_need_two_splits() {
        let rows =
            |splits: &[Option<Split>]| -> Vec<Row> { splits.iter().map(|split| row("a", *split, None, &[])).collect() };
        assert_eq!(leaks_skipped(&rows(&[None, None])).as_deref(), Some("the data is not split"));
        assert_eq!(leaks_skipped(&rows(&[Some(Split::Val); 3])).as_deref(), Some("all pictures are in `val`"));
        assert_eq!(leaks_skipped(&rows(&[None, Some(Split::Val)])).as_deref(), Some("all pictures are in `val`"));
        assert_eq!(leaks_skipped(&rows(&[Some(Split::Val), Some(Split::Train)])), None);
    }
}
