//! How good a classifier is on labelled pictures: figures from truths and probabilities alone.
//!
//! Each figure is scikit-learn's of the same name, with which the tests compare; where a class has
//! no pictures or no predictions, a ratio without a denominator is 0 (`zero_division=0`).

mod rejection;

use anyhow::{Result, ensure};
use serde::Serialize;

pub use rejection::{Acceptance, Rejection};

use crate::calibration::{self, ReliabilityBin};
use crate::classifier::{self, Prediction};

/// A picture of a known class and what the classifier says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub path: String,
    /// Index of the picture's class.
    pub truth: usize,
    /// [K]
    pub probabilities: Vec<f32>,
}

/// How right a set of answers is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub pictures: usize,
    pub correct: usize,
    pub accuracy: f64,
    /// Where the accuracy on all pictures of this kind lies, with 95 % confidence.
    pub accuracy_interval: [f64; 2],
    /// Share of pictures whose class is among the five likeliest, if there are more than five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_accuracy: Option<f64>,
    /// Mean of −ln of the true class's probability, in nats.
    pub log_loss: f64,
    /// Mean distance between the likeliest class's probability and the share of right answers, over `reliability`.
    pub expected_calibration_error: f64,
    pub reliability: Vec<ReliabilityBin>,
    /// Mean recall of the classes that have pictures.
    pub balanced_accuracy: f64,
    /// Plain mean over the classes that have pictures or were predicted, as scikit-learn's
    /// `precision_recall_fscore_support(average="macro", zero_division=0)`.
    pub macro_average: Scores,
    pub class_names: Vec<String>,
    pub classes: Vec<ClassScores>,
    /// Pictures [K,K]: rows are the truth, columns the prediction.
    pub confusion_matrix: Vec<Vec<usize>>,
    /// Wrong predictions, most confident first.
    pub mistakes: Vec<Mistake>,
}

/// Precision, recall and their harmonic mean.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Scores {
    /// Share of the class's predictions that are right.
    pub precision: f64,
    /// Share of the class's pictures that are predicted as it.
    pub recall: f64,
    pub f1: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScores {
    pub label: String,
    #[serde(flatten)]
    pub scores: Scores,
    /// Pictures of the class.
    pub support: usize,
    /// Pictures that were taken for it.
    pub predicted: usize,
}

impl ClassScores {
    /// Whether the class is in the macro averages: some picture is of it or was taken for it.
    pub fn is_in_average(&self) -> bool {
        self.support > 0 || self.predicted > 0
    }
}

/// A wrong prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    pub path: String,
    pub truth: String,
    pub truth_probability: f32,
    pub prediction: String,
    pub probability: f32,
}

impl Answer {
    /// The likeliest class.
    ///
    /// # Panics
    /// If there are no classes.
    pub fn prediction(&self) -> Prediction {
        classifier::likeliest(&self.probabilities, 1)[0]
    }

    /// Probability of the likeliest class, and whether it is the picture's.
    fn confidence(&self) -> (f64, bool) {
        let Prediction { class, probability } = self.prediction();
        (probability.into(), class == self.truth)
    }

    fn has_in_top(&self, top: usize) -> bool {
        classifier::likeliest(&self.probabilities, top).iter().any(|prediction| prediction.class == self.truth)
    }

    /// −ln of the true class's probability, which is clipped as scikit-learn's `log_loss` clips
    /// float32: a certainty that is wrong costs 15.9 nats, not infinitely many.
    fn log_loss(&self) -> f64 {
        let epsilon = f64::from(f32::EPSILON);
        -f64::from(self.probabilities[self.truth]).clamp(epsilon, 1.0 - epsilon).ln()
    }
}

impl Evaluation {
    /// Figures of `answers` to pictures of the classes `class_names`, with at most `mistakes` mistakes.
    ///
    /// # Errors
    /// If there are no answers, or one has not a number for each class.
    pub fn new<'a>(
        class_names: &[String],
        answers: impl IntoIterator<Item = &'a Answer>,
        mistakes: usize,
    ) -> Result<Self> {
        const TOP: usize = 5;
        let classes = class_names.len();
        let answers: Vec<&Answer> = answers.into_iter().collect();
        ensure!(!answers.is_empty(), "no pictures to evaluate on");
        let mut confusion_matrix = vec![vec![0; classes]; classes];
        for answer in &answers {
            let is_complete = answer.probabilities.len() == classes && answer.truth < classes;
            ensure!(
                is_complete && answer.probabilities.iter().all(|probability| probability.is_finite()),
                "{}: the model's answer is not a probability for each of {classes} classes; its weights are damaged",
                answer.path
            );
            confusion_matrix[answer.truth][answer.prediction().class] += 1;
        }
        let pictures = answers.len();
        let share = |count: usize| count as f64 / pictures as f64;
        let correct = (0..classes).map(|class| confusion_matrix[class][class]).sum();
        let in_top = || answers.iter().filter(|answer| answer.has_in_top(TOP)).count();
        let scores = class_scores(class_names, &confusion_matrix);
        let reliability =
            calibration::reliability(&answers.iter().map(|answer| answer.confidence()).collect::<Vec<_>>());
        Ok(Self {
            pictures,
            correct,
            accuracy: share(correct),
            accuracy_interval: wilson_interval(correct, pictures),
            top_5_accuracy: (classes > TOP).then(|| share(in_top())),
            log_loss: answers.iter().map(|answer| answer.log_loss()).sum::<f64>() / pictures as f64,
            expected_calibration_error: calibration::expected_calibration_error(&reliability),
            reliability,
            balanced_accuracy: mean(&scores, |class| class.support > 0, |scores| scores.recall),
            macro_average: macro_average(&scores),
            class_names: class_names.to_vec(),
            classes: scores,
            confusion_matrix,
            mistakes: worst_mistakes(class_names, &answers, mistakes),
        })
    }
}

/// The interval of a share that 95 % confidence gives, within 0 and 1 and of use at either end.
///
/// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
/// JASA 22 (1927); recommended by Brown, Cai and DasGupta, Statistical Science 16 (2001).
fn wilson_interval(successes: usize, trials: usize) -> [f64; 2] {
    /// 97.5 % of a normal distribution lie below.
    const Z: f64 = 1.959_963_984_540_054;
    let (n, share) = (trials as f64, successes as f64 / trials as f64);
    let centre = share + Z * Z / (2.0 * n);
    let half_width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [centre - half_width, centre + half_width].map(|end| (end / (1.0 + Z * Z / n)).clamp(0.0, 1.0))
}

fn class_scores(class_names: &[String], confusion_matrix: &[Vec<usize>]) -> Vec<ClassScores> {
    let ratio = |count: usize, of: usize| if of == 0 { 0.0 } else { count as f64 / of as f64 };
    let mut predicted = vec![0; class_names.len()];
    for row in confusion_matrix {
        predicted.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
    }
    let scores = |class: usize| {
        let (hits, support) = (confusion_matrix[class][class], confusion_matrix[class].iter().sum());
        let scores = Scores {
            precision: ratio(hits, predicted[class]),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, predicted[class] + support),
        };
        ClassScores { label: class_names[class].clone(), scores, support, predicted: predicted[class] }
    };
    (0..class_names.len()).map(scores).collect()
}

fn macro_average(classes: &[ClassScores]) -> Scores {
    let mean = |of| mean(classes, ClassScores::is_in_average, of);
    Scores { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) }
}

/// Mean of a figure over the classes that count.
fn mean(classes: &[ClassScores], counts: fn(&ClassScores) -> bool, of: fn(&Scores) -> f64) -> f64 {
    let figures: Vec<f64> = classes.iter().filter(|class| counts(class)).map(|class| of(&class.scores)).collect();
    figures.iter().sum::<f64>() / figures.len() as f64
}

fn worst_mistakes(class_names: &[String], answers: &[&Answer], count: usize) -> Vec<Mistake> {
    let predictions = answers.iter().map(|answer| (answer, answer.prediction()));
    let mut wrong: Vec<_> = predictions.filter(|(answer, prediction)| prediction.class != answer.truth).collect();
    // Equally confident ones stay in the order of the pictures.
    wrong.sort_by(|(_, a), (_, b)| b.probability.total_cmp(&a.probability));
    let mistake = |(answer, prediction): (&&Answer, Prediction)| Mistake {
        path: answer.path.clone(),
        truth: class_names[answer.truth].clone(),
        truth_probability: answer.probabilities[answer.truth],
        prediction: class_names[prediction.class].clone(),
        probability: prediction.probability,
    };
    wrong.into_iter().take(count).map(mistake).collect()
}

#[cfg(test)]
mod tests;
