//! Pictures that are like no others: far from even their tenth neighbour.
//!
//! Source: S. Ramaswamy, R. Rastogi, K. Shim, "Efficient algorithms for mining outliers from large data sets",
//! SIGMOD 2000 (the distance to the k-th neighbour); the limit is the median and the median absolute deviation's.

use serde::Serialize;

use super::Place;
use crate::features::Features;
use crate::similarity::Neighbour;
use crate::terminal::counted;

/// The neighbour that counts; nearer ones may be copies or the rest of a burst.
pub(super) const NEIGHBOUR: usize = 10;
/// Fewer pictures have no crowd to stand apart from.
const FEWEST: usize = 50;
/// Deviations above the median, as those of a normal distribution count; Iglewicz and Hoaglin (1993) take 3.5.
const LIMIT: f64 = 3.5;
/// The standard deviation of a normal distribution for each median absolute deviation.
const DEVIATIONS: f64 = 1.4826;

/// A picture far from all others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlier {
    #[serde(flatten)]
    pub place: Place,
    /// 1 − the cosine of its features with those of its tenth neighbour.
    pub distance: f64,
    /// How many deviations that is above the median of all pictures.
    pub deviations: f64,
}

/// Why so many different pictures are not judged.
pub(super) fn skipped(pictures: usize) -> Option<String> {
    let pictures_found = counted(pictures, "different picture", "different pictures");
    (pictures < FEWEST).then(|| format!("{pictures_found}, expected {FEWEST} or more"))
}

/// Of the `distinct` rows, of which `neighbours` has the nearest others, the furthest first.
pub(super) fn find(features: &Features, distinct: &[usize], neighbours: &[Vec<Neighbour>]) -> Vec<Outlier> {
    let distances: Option<Vec<f64>> = neighbours.iter().map(|near| Some(distance(near.get(NEIGHBOUR - 1)?))).collect();
    let Some(distances) = distances.filter(|distances| distances.len() >= FEWEST) else { return Vec::new() };
    let outlier = |(&row, &distance, deviations): (&usize, &f64, f64)| Outlier {
        place: Place::of(features, &features.rows[row]),
        distance,
        deviations,
    };
    let deviations = deviations(&distances);
    let all = distinct.iter().zip(&distances).zip(deviations).map(|((row, distance), above)| (row, distance, above));
    let mut outliers: Vec<Outlier> = all.filter(|(.., above)| *above > LIMIT).map(outlier).collect();
    outliers.sort_by(|a, b| b.distance.total_cmp(&a.distance));
    outliers
}

fn distance(neighbour: &Neighbour) -> f64 {
    1.0 - f64::from(neighbour.cosine)
}

/// How far each value is above the median.
fn deviations(values: &[f64]) -> Vec<f64> {
    let centre = median(values.to_vec());
    let spread = DEVIATIONS * median(values.iter().map(|value| (value - centre).abs()).collect());
    // Where most values are the same, no spread can be told.
    values.iter().map(|value| if spread > 0.0 { (value - centre) / spread } else { 0.0 }).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{features, row};

    #[test]
    fn deviations_are_those_of_the_median_absolute_deviation() {
        // scipy.stats.median_abs_deviation([1, 2, 3, 4, 100]) is 1, the median 3.
        let found = deviations(&[1.0, 2.0, 3.0, 4.0, 100.0]);
        assert!((found[4] - 97.0 / 1.4826).abs() < 1e-9 && found[2] == 0.0, "{found:?}");
        assert_eq!(deviations(&[1.0, 1.0, 1.0, 9.0]), [0.0; 4]);
    }

    #[test]
    fn the_picture_that_stands_apart_is_found() {
        let cosine = |row: usize| if row == 17 { 0.1 } else { 0.8 + 0.001 * (row % 7) as f32 };
        let near = |row| vec![Neighbour { row: 0, cosine: cosine(row) }; NEIGHBOUR];
        let all = features((0..60).map(|i| row(&format!("{i}.jpg"), None, None, &[1.0])).collect());
        let (distinct, neighbours): (Vec<usize>, Vec<_>) = (0..60).map(|row| (row, near(row))).unzip();
        let found = find(&all, &distinct, &neighbours);
        assert_eq!(found.iter().map(|outlier| outlier.place.path.as_str()).collect::<Vec<_>>(), ["17.jpg"]);
        assert!(find(&all, &distinct[..40], &neighbours[..40]).is_empty());
        assert_eq!(skipped(60), None);
        assert_eq!(skipped(1).as_deref(), Some("1 different picture, expected 50 or more"));
    }
}
