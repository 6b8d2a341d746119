//! Pictures whose label the others contradict: confident learning on a linear head's out-of-fold probabilities.
//!
//! Source: C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels",
//! JAIR 70 (2021): the confident joint with its class thresholds, and pruning by noise rate.

use serde::Serialize;

use super::Place;
use crate::features::Features;

/// A picture that is likely of another class than its label says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelFault {
    #[serde(flatten)]
    pub place: Place,
    /// The class that it more likely is of.
    pub suggestion: String,
    /// What a head that has not seen it gives its label, and the suggestion.
    pub label_probability: f32,
    pub suggestion_probability: f32,
}

impl LabelFault {
    /// The label's probability less the suggestion's: −1 to 0, the lower the surer.
    pub fn margin(&self) -> f32 {
        self.label_probability - self.suggestion_probability
    }
}

/// A row whose label is doubted, by its place among the labelled rows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Doubt {
    row: usize,
    suggestion: usize,
    margin: f32,
}

/// The doubted ones of the `labelled` rows, the surest doubts first.
pub(super) fn find(features: &Features, labelled: &[usize], probabilities: &[Vec<f32>]) -> Vec<LabelFault> {
    let classes: Vec<usize> = labelled.iter().filter_map(|&row| features.rows[row].class).collect();
    let fault = |Doubt { row, suggestion, .. }: Doubt| LabelFault {
        place: Place::of(features, &features.rows[labelled[row]]),
        suggestion: features.class_names[suggestion].clone(),
        label_probability: probabilities[row][classes[row]],
        suggestion_probability: probabilities[row][suggestion],
    };
    doubts(&classes, probabilities).into_iter().map(fault).collect()
}

/// Pruning by noise rate: of each class as many rows as the joint says are of another class, by their margin.
fn doubts(classes: &[usize], probabilities: &[Vec<f32>]) -> Vec<Doubt> {
    let joint = joint(classes, probabilities);
    let mut doubts: Vec<Doubt> = Vec::new();
    for (label, counts) in joint.iter().enumerate() {
        let rows: Vec<usize> = (0..classes.len()).filter(|&row| classes[row] == label).collect();
        let others = counts.iter().map(|count| count.round() as usize).enumerate();
        for (suggestion, count) in others.filter(|&(suggestion, count)| suggestion != label && count > 0) {
            let margin = |row: usize| probabilities[row][label] - probabilities[row][suggestion];
            let doubt = |&row: &usize| Doubt { row, suggestion, margin: margin(row) };
            let mut of_pair: Vec<Doubt> = rows.iter().map(doubt).collect();
            of_pair.retain(|doubt| doubt.margin < 0.0);
            of_pair.sort_by(|a, b| a.margin.total_cmp(&b.margin));
            of_pair.truncate(count);
            doubts.extend(of_pair);
        }
    }
    // A row may be doubted in favour of several classes; the likeliest of them stays.
    doubts.sort_by(|a, b| a.row.cmp(&b.row).then(a.margin.total_cmp(&b.margin)));
    doubts.dedup_by_key(|doubt| doubt.row);
    doubts.sort_by(|a, b| a.margin.total_cmp(&b.margin));
    doubts
}

/// Rows by label and true class [K,K], as estimated: those that are likely enough of a class count for it, and each
/// label's counts are scaled to the number of its rows.
fn joint(classes: &[usize], probabilities: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let count = probabilities.first().map_or(0, Vec::len);
    let mut rows = vec![0.0; count];
    let mut confidence = vec![0.0; count];
    for (&class, probabilities) in classes.iter().zip(probabilities) {
        rows[class] += 1.0;
        confidence[class] += f64::from(probabilities[class]);
    }
    // What a class's own rows have on average; no row reaches that of a class without rows.
    let threshold = |class: usize| if rows[class] > 0.0 { confidence[class] / rows[class] } else { f64::INFINITY };
    let thresholds: Vec<f64> = (0..count).map(threshold).collect();
    let mut joint = vec![vec![0.0; count]; count];
    for (&label, probabilities) in classes.iter().zip(probabilities) {
        let reached = (0..count).filter(|&class| f64::from(probabilities[class]) >= thresholds[class]);
        if let Some(class) = reached.max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])) {
            joint[label][class] += 1.0;
        }
    }
    for (counts, rows) in joint.iter_mut().zip(rows) {
        let all: f64 = counts.iter().sum();
        if all > 0.0 {
            counts.iter_mut().for_each(|count| *count *= rows / all);
        }
    }
    joint
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities of the second of two classes.
    fn rows(second: &[f32]) -> Vec<Vec<f32>> {
        second.iter().map(|second| vec![1.0 - second, *second]).collect()
    }

    #[test]
    fn the_joint_is_that_of_the_formula() {
        // Thresholds: (0.9 + 0.8 + 0.1) / 3 = 0.6 and (0.9 + 0.7) / 2 = 0.8.
        let classes = [0, 0, 0, 1, 1];
        let probabilities = rows(&[0.1, 0.2, 0.9, 0.9, 0.7]);
        // The last row reaches neither threshold; the label's one other row stands for both.
        assert_eq!(joint(&classes, &probabilities), [[2.0, 1.0], [0.0, 2.0]]);
        let found = doubts(&classes, &probabilities);
        assert_eq!(found.iter().map(|doubt| (doubt.row, doubt.suggestion)).collect::<Vec<_>>(), [(2, 1)]);
    }

    #[test]
    fn as_many_labels_are_doubted_as_the_noise_rate_says_the_surest_first() {
        // Ten rows of each class, of which three and one have the other's label; one honest row is hard.
        let mut second = vec![0.05; 10];
        second[2] = 0.97;
        second[5] = 0.99;
        second[7] = 0.95;
        second[8] = 0.6;
        second.extend([0.96; 10]);
        second[14] = 0.001;
        let classes: Vec<usize> = (0..20).map(|row| row / 10).collect();
        let found: Vec<usize> = doubts(&classes, &rows(&second)).iter().map(|doubt| doubt.row).collect();
        assert_eq!(found, [14, 5, 2, 7]);
    }

    #[test]
    fn labels_that_nothing_contradicts_are_not_doubted() {
        let classes: Vec<usize> = (0..30).map(|row| row % 3).collect();
        let row = |class: &usize| (0..3).map(|other| if other == *class { 0.8 } else { 0.1 }).collect();
        assert!(doubts(&classes, &classes.iter().map(row).collect::<Vec<_>>()).is_empty());
        assert!(doubts(&[], &[]).is_empty());
    }
}
