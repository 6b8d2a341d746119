//! What could give the class away without a look at the picture: its size, its format, how it was saved.
//!
//! Each attribute alone is cut into bins, each bin predicts the class that is most at home in it, and the
//! cross-validated balanced accuracy of that is held against a guess.

use serde::Serialize;

use super::folds::{FOLDS, Fit, Judged, folds};
use crate::features::Features;
use crate::image::Facts;

/// Bins that an attribute of many values is cut into, each of about as many pictures.
const BINS: usize = 16;
/// The share of the way from a guess to certainty above which an attribute is named.
const WORTH_NAMING: f64 = 0.2;
/// Standard errors above a guess that chance does not reach.
const STANDARD_ERRORS: f64 = 4.0;

/// An attribute and how well it alone predicts the class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shortcut {
    pub attribute: &'static str,
    /// Mean of the classes' recalls on pictures that were not learnt from.
    pub balanced_accuracy: f64,
    /// That of a guess.
    pub chance: f64,
    /// Whether a network may learn it in place of what the pictures show.
    pub is_suspicious: bool,
}

/// An attribute of a picture as a number, where it has it.
type Attribute = fn(&Facts) -> Option<f64>;

const ATTRIBUTES: [(&str, Attribute); 5] = [
    ("width", |facts| Some(facts.width as f64)),
    ("height", |facts| Some(facts.height as f64)),
    ("aspect ratio", |facts| Some(facts.width as f64 / facts.height as f64)),
    ("format", |facts| Some(facts.format.bytes().fold(0.0, |sum, byte| 256.0 * sum + f64::from(byte)))),
    ("JPEG quality", |facts| facts.jpeg_quality.map(f64::from)),
];

/// Judges the `labelled` rows whose files were looked at, of the classes that have enough of them.
pub(super) fn judge(
    features: &Features,
    facts: &[Option<Facts>],
    labelled: &[usize],
    groups: &[usize],
) -> Judged<Shortcut> {
    let known = |&row: &usize| Some((facts[row].as_ref()?, features.rows[row].class?, groups[row]));
    let known: Vec<(&Facts, usize, usize)> = labelled.iter().filter_map(known).collect();
    let pictures = known.iter().map(|(_, class, group)| (*class, *group));
    let fit = Fit::of(&features.class_names, pictures, "different pictures whose files were looked at");
    if let Some(reason) = fit.reason {
        return Judged::skipped(reason);
    }
    let judged = known.into_iter().filter(|(_, class, _)| fit.holds(*class));
    let (pictures, groups): (Vec<_>, Vec<_>) = judged.map(|(facts, class, group)| ((facts, class), group)).unzip();
    Judged { found: find(&pictures, &groups), skipped: None, left_out: fit.left_out }
}

/// Every attribute's figures on labelled pictures, the best predictor first; none for fewer than two classes.
fn find(pictures: &[(&Facts, usize)], groups: &[usize]) -> Vec<Shortcut> {
    let classes: Vec<usize> = pictures.iter().map(|(_, class)| *class).collect();
    let counts = counts(&classes);
    let present = counts.iter().filter(|count| **count > 0.0).count();
    if present < 2 {
        return Vec::new();
    }
    let chance = 1.0 / present as f64;
    let error = counts.iter().filter(|count| **count > 0.0).map(|count| chance * (1.0 - chance) / count).sum::<f64>();
    let limit = (STANDARD_ERRORS * error.sqrt() * chance).max(WORTH_NAMING * (1.0 - chance));
    let folds = folds(&classes, groups);
    let shortcut = |(attribute, of): (&'static str, Attribute)| {
        let values: Vec<Option<f64>> = pictures.iter().map(|(facts, _)| of(facts)).collect();
        let balanced_accuracy = cross_validated(&values, &classes, &folds);
        Shortcut { attribute, balanced_accuracy, chance, is_suspicious: balanced_accuracy - chance > limit }
    };
    let mut shortcuts: Vec<Shortcut> = ATTRIBUTES.into_iter().map(shortcut).collect();
    shortcuts.sort_by(|a, b| b.balanced_accuracy.total_cmp(&a.balanced_accuracy));
    shortcuts
}

/// Pictures of each class.
fn counts(classes: &[usize]) -> Vec<f64> {
    let mut counts = vec![0.0; classes.iter().max().map_or(0, |most| most + 1)];
    classes.iter().for_each(|&class| counts[class] += 1.0);
    counts
}

/// Balanced accuracy of the bins' predictions for what they have not seen.
fn cross_validated(values: &[Option<f64>], classes: &[usize], folds: &[usize]) -> f64 {
    let all = counts(classes);
    let mut right = vec![0.0; all.len()];
    for fold in 0..FOLDS {
        let (held, learnt): (Vec<usize>, Vec<usize>) = (0..values.len()).partition(|&row| folds[row] == fold);
        let bins = Bins::of(learnt.iter().filter_map(|&row| values[row]).collect());
        let mut seen = vec![vec![0.0; all.len()]; bins.count()];
        let of_class = counts(&learnt.iter().map(|&row| classes[row]).collect::<Vec<_>>());
        for row in learnt {
            // Every class weighs the same, as it does in the figure.
            seen[bins.of_value(values[row])][classes[row]] += 1.0 / of_class[classes[row]];
        }
        let prediction: Vec<usize> = seen.iter().map(|weights| heaviest(weights)).collect();
        for row in held {
            right[classes[row]] += f64::from(u8::from(prediction[bins.of_value(values[row])] == classes[row]));
        }
    }
    let recalls: Vec<f64> =
        right.iter().zip(&all).filter(|(_, all)| **all > 0.0).map(|(right, all)| right / all).collect();
    recalls.iter().sum::<f64>() / recalls.len() as f64
}

/// The first of the largest.
fn heaviest(weights: &[f64]) -> usize {
    let first = |best: usize, (index, weight): (usize, &f64)| if *weight > weights[best] { index } else { best };
    weights.iter().enumerate().fold(0, first)
}

/// Where an attribute is cut: bin `i` holds what is at most `ends[i]`, the last what is above all; one more is for
/// pictures without it.
struct Bins {
    ends: Vec<f64>,
}

impl Bins {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let mut distinct = values.clone();
        distinct.dedup();
        let mut ends = distinct;
        if ends.len() > BINS {
            ends = (1..BINS).map(|bin| values[values.len() * bin / BINS]).collect();
            ends.dedup();
        }
        Self { ends }
    }

    fn count(&self) -> usize {
        self.ends.len() + 2
    }

    fn of_value(&self, value: Option<f64>) -> usize {
        value.map_or(self.ends.len() + 1, |value| self.ends.partition_point(|end| *end < value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{features, row};

    fn facts(width: usize, jpeg_quality: Option<u8>) -> Facts {
        let format = if jpeg_quality.is_some() { "JPEG" } else { "PNG" };
        Facts { format, width, height: 100, jpeg_quality, is_animated: false, is_cmyk: false }
    }

    fn find_in(pictures: &[(Facts, usize)]) -> Vec<Shortcut> {
        let pictures: Vec<(&Facts, usize)> = pictures.iter().map(|(facts, class)| (facts, *class)).collect();
        find(&pictures, &(0..pictures.len()).collect::<Vec<_>>())
    }

    #[test]
    fn a_quality_that_gives_the_class_away_is_suspicious_and_a_width_that_does_not_is_not() {
        // One class of five is saved at 75, the others at 95; widths go round whatever the class.
        let picture = |i: usize| (facts(200 + i % 7, Some(if i.is_multiple_of(5) { 75 } else { 95 })), i % 5);
        let found = find_in(&(0..500).map(picture).collect::<Vec<_>>());
        assert_eq!(found[0].attribute, "JPEG quality");
        // The one class is always told, of the others one is guessed for all four: (1 + 1) / 5.
        assert!((found[0].balanced_accuracy - 0.4).abs() < 1e-9 && found[0].is_suspicious, "{found:?}");
        assert!(found[1..].iter().all(|shortcut| !shortcut.is_suspicious), "{found:?}");
    }

    /// Classes 0 and 1, each saved at a quality of its own, and as many pictures of them.
    fn judge_of(counts: [usize; 2]) -> Judged<Shortcut> {
        let classes: Vec<usize> = counts.iter().enumerate().flat_map(|(class, count)| vec![class; *count]).collect();
        let of = |(index, class): (usize, &usize)| row(&index.to_string(), None, Some(*class), &[1.0]);
        let known = features(classes.iter().enumerate().map(of).collect());
        let facts: Vec<_> =
            classes.iter().map(|class| Some(facts(200, Some(if *class == 0 { 75 } else { 95 })))).collect();
        let all: Vec<usize> = (0..classes.len()).collect();
        judge(&known, &facts, &all, &all)
    }

    #[test]
    fn classes_of_fewer_pictures_than_folds_are_left_out_of_the_figure() {
        let enough = judge_of([5, 5]);
        assert!(enough.found[0].balanced_accuracy == 1.0 && enough.found[0].attribute == "JPEG quality");
        let few = judge_of([5, 4]);
        assert!(few.found.is_empty() && few.skipped.unwrap().contains("only class `cat` has 5 different pictures"));
    }

    #[test]
    fn formats_are_told_apart_by_their_names() {
        let picture = |i: usize| (Facts { format: ["PNG", "BMP"][i % 2], ..facts(200, None) }, i % 2);
        let found = find_in(&(0..40).map(picture).collect::<Vec<_>>());
        assert_eq!((found[0].attribute, found[0].balanced_accuracy), ("format", 1.0));
    }

    #[test]
    fn a_missing_attribute_is_a_value_too() {
        let picture = |i: usize| (facts(200, i.is_multiple_of(2).then_some(90)), i % 2);
        let found = find_in(&(0..40).map(picture).collect::<Vec<_>>());
        let quality = found.iter().find(|shortcut| shortcut.attribute == "JPEG quality").unwrap();
        assert!(quality.balanced_accuracy == 1.0 && quality.is_suspicious);
    }

    #[test]
    fn chance_is_no_shortcut_among_few_pictures() {
        let picture = |i: usize| (facts(200 + i * i % 11, Some(90)), i % 2);
        assert!(find_in(&(0..12).map(picture).collect::<Vec<_>>()).iter().all(|shortcut| !shortcut.is_suspicious));
        assert!(find_in(&[(facts(1, None), 0), (facts(2, None), 0)]).is_empty());
    }
}
