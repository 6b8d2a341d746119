//! How well a distance tells known pictures from others.

use serde::Serialize;

use crate::rejection::Known;

/// Shares of known pictures for which the figures are told.
const SHARES: [f64; 2] = [0.95, 0.99];

/// How known and unknown pictures are told apart by their distance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejection {
    pub known_pictures: usize,
    pub unknown_pictures: usize,
    /// Probability that an unknown picture is farther than a known one, equal distances counting half; 0.5 is
    /// no better than a guess.
    pub auroc: f64,
    pub thresholds: Vec<Acceptance>,
}

/// What `--keep-known` does at one setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Acceptance {
    /// The option's value: the share of the training's validation pictures within the distance.
    pub reject: f64,
    pub distance: f64,
    /// Share of the known pictures that are taken for known.
    pub known_accepted: f64,
    /// Share of the unknown pictures that are taken for unknown.
    pub unknown_rejected: f64,
}

impl Rejection {
    /// From distances of pictures of the model's classes and of others, at least one of each.
    pub fn new(known: &Known, known_distances: &[f64], unknown_distances: &[f64]) -> Self {
        let within = |distances: &[f64], limit: f64| {
            distances.iter().filter(|&&distance| distance <= limit).count() as f64 / distances.len() as f64
        };
        let acceptance = |reject: f64| {
            let distance = known.threshold(reject);
            let known_accepted = within(known_distances, distance);
            Acceptance { reject, distance, known_accepted, unknown_rejected: 1.0 - within(unknown_distances, distance) }
        };
        Self {
            known_pictures: known_distances.len(),
            unknown_pictures: unknown_distances.len(),
            auroc: auroc(known_distances, unknown_distances),
            thresholds: SHARES.map(acceptance).to_vec(),
        }
    }
}

/// Area under the curve of the true positive rate over the false positive rate: Mann and Whitney's U, from ranks.
fn auroc(negatives: &[f64], positives: &[f64]) -> f64 {
    let all = negatives.iter().map(|&value| (value, false)).chain(positives.iter().map(|&value| (value, true)));
    let mut all: Vec<(f64, bool)> = all.collect();
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (mut below, mut won) = (0, 0.0);
    for equal in all.chunk_by(|(a, _), (b, _)| a == b) {
        let positives = equal.iter().filter(|(_, is_positive)| *is_positive).count();
        let negatives = equal.len() - positives;
        won += positives as f64 * (f64::from(below) + 0.5 * negatives as f64);
        below += negatives as u32;
    }
    won / (negatives.len() as f64 * positives.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::values;

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        // Rounded, so that many are equal.
        let distances = |seed, count, shift| -> Vec<f64> {
            values(seed, count).into_iter().map(|value| (f64::from(value) * 8.0).round() + shift).collect()
        };
        let (known, unknown) = (distances(1, 70, 0.0), distances(2, 50, 2.0));
        let score = |(k, u): (f64, f64)| {
            if u > k {
                1.0
            } else if u == k {
                0.5
            } else {
                0.0
            }
        };
        let pairs = known.iter().flat_map(|&k| unknown.iter().map(move |&u| (k, u)));
        let expected = pairs.map(score).sum::<f64>() / (70.0 * 50.0);
        assert!(expected > 0.55 && expected < 0.99, "{expected}");
        assert!((auroc(&known, &unknown) - expected).abs() < 1e-12, "{expected}");
        assert!((auroc(&unknown, &known) - (1.0 - expected)).abs() < 1e-12);
    }
}
