//! Pictures whose label the others contradict: confident learning on a linear head's out-of-fold probabilities.
//!
//! Source: C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset labels",
//! JAIR 70 (2021): the confident joint with its class thresholds, and pruning by noise rate.

use std::collections::{BTreeSet, HashSet};

use anyhow::Result;
use serde::Serialize;

use super::folds::{Fit, Judged};
use super::{Place, held_out};
use crate::features::Features;

/// Standard errors above a guess that heads which know nothing of the classes reach once in 44 times.
const STANDARD_ERRORS: f64 = 2.0;

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

/// Judges the `labelled` rows of the classes that have pictures enough, the surest doubts first. `done` hears of all
/// labelled rows.
///
/// # Errors
/// If the user interrupts or a tensor operation fails.
pub(super) fn judge(
    features: &Features,
    labelled: &[usize],
    groups: &[usize],
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Judged<LabelFault>> {
    let class = |row: &usize| features.rows[*row].class;
    let pictures = labelled.iter().filter_map(|row| Some((class(row)?, groups[*row])));
    let fit = Fit::of(&features.class_names, pictures, "different pictures");
    if let Some(reason) = fit.reason {
        done(labelled.len())?;
        return Ok(Judged::skipped(reason));
    }
    // Heads have an output for every class, but never learn of those left out, so that these are not suggested.
    let is_judged = |row: &usize| class(row).is_some_and(|class| fit.holds(class));
    let judged: Vec<usize> = labelled.iter().copied().filter(is_judged).collect();
    done(labelled.len() - judged.len())?;
    let probabilities = held_out::probabilities(features, &judged, groups, done)?;
    let classes: Vec<usize> = judged.iter().filter_map(class).collect();
    let groups: Vec<usize> = judged.iter().map(|&row| groups[row]).collect();
    if let Some(reason) = ignorance(&classes, &groups, &probabilities) {
        return Ok(Judged::skipped(reason));
    }
    let fault = |Doubt { row, suggestion, .. }: Doubt| LabelFault {
        place: Place::of(features, &features.rows[judged[row]]),
        suggestion: features.class_names[suggestion].clone(),
        label_probability: probabilities[row][classes[row]],
        suggestion_probability: probabilities[row][suggestion],
    };
    let found = doubts(&classes, &probabilities).into_iter().map(fault).collect();
    Ok(Judged { found, skipped: None, left_out: fit.left_out })
}

/// Why heads with these `probabilities` have no say: their balanced accuracy is what a guess may reach by chance. Rows
/// of one group are one picture.
fn ignorance(classes: &[usize], groups: &[usize], probabilities: &[Vec<f32>]) -> Option<String> {
    let likeliest = |row: &Vec<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let (mut recalls, mut variance) = (Vec::new(), 0.0);
    let present: BTreeSet<usize> = classes.iter().copied().collect();
    let chance = 1.0 / present.len() as f64;
    for class in present {
        let rows: Vec<usize> = (0..classes.len()).filter(|&row| classes[row] == class).collect();
        let right = rows.iter().filter(|&&row| likeliest(&probabilities[row]) == Some(class)).count();
        let pictures = rows.iter().map(|&row| groups[row]).collect::<HashSet<_>>().len();
        recalls.push(right as f64 / rows.len() as f64);
        variance += chance * (1.0 - chance) / pictures as f64;
    }
    let accuracy = recalls.iter().sum::<f64>() * chance;
    let is_guess = accuracy <= chance + STANDARD_ERRORS * variance.sqrt() * chance;
    let percent = 100.0 * accuracy;
    is_guess.then(|| {
        format!(
            "heads that never saw a picture are right for only {percent:.0} % of a class on average, no better than \
             a guess"
        )
    })
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
    fn heads_have_a_say_if_a_guess_would_hardly_be_right_as_often() {
        // 25 pictures of each of two classes: a guess is right for 0.5 with a standard error of 0.5 / √50 = 0.0707, so
        // that up to 0.641 says nothing.
        let classes: Vec<usize> = (0..50).map(|row| row / 25).collect();
        let right =
            |count: usize| rows(&(0..50).map(|row| f32::from((row % 25 < count) == (row >= 25))).collect::<Vec<_>>());
        let all: Vec<usize> = (0..50).collect();
        let reason = ignorance(&classes, &all, &right(16)).unwrap();
        assert!(reason.contains("only 64 %"), "{reason}");
        assert_eq!(ignorance(&classes, &all, &right(17)), None);
        // Were they five pictures each, five times, 0.816 would say nothing.
        let copies: Vec<usize> = (0..50).map(|row| row / 5).collect();
        assert!(
            ignorance(&classes, &copies, &right(20)).is_some() && ignorance(&classes, &copies, &right(21)).is_none()
        );
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
