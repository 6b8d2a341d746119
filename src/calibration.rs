//! How far a classifier's probabilities can be trusted: the temperature that makes them fit, and how well
//! confidence and accuracy agree.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", 2017.

mod reliability;

use anyhow::Result;
use candle_core::Tensor;

pub use reliability::{ReliabilityBin, expected_calibration_error, reliability};

/// Temperatures that [`fit_temperature`] may find: what lies beyond says that there are too few examples.
const TEMPERATURES: [f64; 2] = [0.05, 20.0];
/// What is expected before any row is seen: mistakes that few rows fail to show, the median of the temperature (a head
/// that is penalised for large weights is less sure than it may be) and the standard deviation of its logarithm. Chosen
/// on draws of 2 to 100 pictures a class of one half of a training set, judged on its other half.
const UNSEEN_MISTAKES: f64 = 0.15;
const EXPECTED: f64 = 0.5;
const DEVIATION: f64 = 1.0;
/// Steps of the search; halving alone would bring the bracket below a float's last digit.
const STEPS: usize = 60;

/// Logits of examples whose class is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logits {
    /// [N,K], row-major; a single sigmoid output z stands as the two logits 0 and z.
    values: Vec<f64>,
    /// [N]
    truths: Vec<usize>,
}

impl Logits {
    /// Takes in a batch.
    ///
    /// Shapes: `logits` [N,1] or [N,K], one class for each row.
    ///
    /// # Errors
    /// If the logits can't be read from their device.
    pub fn add(&mut self, logits: &Tensor, truths: &[usize]) -> Result<()> {
        for row in logits.to_vec2::<f32>()? {
            self.values.extend((row.len() == 1).then_some(0.0));
            self.values.extend(row.into_iter().map(f64::from));
        }
        self.truths.extend_from_slice(truths);
        Ok(())
    }

    /// Takes in rows of logits, [1] or [K], with the class of each.
    pub fn extend<'a>(&mut self, rows: impl Iterator<Item = (&'a [f64], usize)>) {
        for (row, truth) in rows {
            self.values.extend((row.len() == 1).then_some(0.0));
            self.values.extend_from_slice(row);
            self.truths.push(truth);
        }
    }

    /// The first `count` rows.
    pub fn first(&self, count: usize) -> Self {
        self.select(|row| row < count)
    }

    /// Mean log loss at a temperature, in nats; 0 without rows.
    pub fn log_loss(&self, temperature: f64) -> f64 {
        let loss = |(row, truth): (&[f64], usize)| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|logit| ((logit - largest) / temperature).exp()).sum();
            sum.ln() - (row[truth] - largest) / temperature
        };
        self.rows().map(loss).sum::<f64>() / self.truths.len().max(1) as f64
    }

    /// The classes.
    pub fn truths(&self) -> &[usize] {
        &self.truths
    }

    /// The rows for which `is_taken` has true, in order.
    pub fn select(&self, is_taken: impl Fn(usize) -> bool) -> Self {
        let mut selected = Self::default();
        for (_, (row, truth)) in self.rows().enumerate().filter(|(index, _)| is_taken(*index)) {
            selected.values.extend_from_slice(row);
            selected.truths.push(truth);
        }
        selected
    }

    /// The rows with the likeliest wrong class in the place of the true one.
    fn mistaken(&self) -> Self {
        let wrong = |(row, truth): (&[f64], usize)| {
            let others = row.iter().enumerate().filter(|(class, _)| *class != truth);
            others.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(truth, |(class, _)| class)
        };
        Self { values: self.values.clone(), truths: self.rows().map(wrong).collect() }
    }

    fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        let classes = self.values.len() / self.truths.len().max(1);
        self.values.chunks_exact(classes.max(1)).zip(self.truths.iter().copied())
    }

    /// Confidence of each row's likeliest class at a temperature, and whether it is the row's own.
    pub fn confidences(&self, temperature: f64) -> Vec<(f64, bool)> {
        let confidence = |(row, truth): (&[f64], usize)| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|logit| ((logit - largest) / temperature).exp()).sum();
            (1.0 / sum, row.iter().position(|&logit| logit == largest) == Some(truth))
        };
        self.rows().map(confidence).collect()
    }

    /// First and second derivative of the summed log loss by the inverse of the temperature, of which the
    /// loss is a convex function: Σ (E[z] − z_truth) and Σ Var[z] under the probabilities.
    fn derivatives(&self, inverse: f64) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for (row, truth) in self.rows() {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mut weight, mut first, mut second) = (0.0, 0.0, 0.0);
            // Relative to the largest logit, so that nothing overflows or cancels.
            for z in row.iter().map(|logit| logit - largest) {
                let p = (z * inverse).exp();
                (weight, first, second) = (weight + p, first + p * z, second + p * z * z);
            }
            let mean = first / weight;
            sums[0] += mean - (row[truth] - largest);
            sums[1] += second / weight - mean * mean;
        }
        sums
    }
}

/// The temperature at which the log loss of `logits` is least; 1 where every answer is right, for then the
/// loss only falls with the temperature and says nothing of it.
pub fn fit_temperature(logits: &Logits) -> f64 {
    let is_right = |(row, truth): (&[f64], usize)| row.iter().all(|logit| *logit <= row[truth]);
    if logits.rows().all(is_right) {
        return 1.0;
    }
    // Newton's steps within a bracket that shrinks: the derivative rises with the inverse temperature.
    let [mut low, mut high] = [1.0 / TEMPERATURES[1], 1.0 / TEMPERATURES[0]];
    let mut inverse = 1.0_f64;
    for _ in 0..STEPS {
        let [slope, curvature] = logits.derivatives(inverse);
        if slope > 0.0 {
            high = inverse;
        } else {
            low = inverse;
        }
        let newton = inverse - slope / curvature;
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        if (next - inverse).abs() <= 1e-12 * inverse {
            return 1.0 / next;
        }
        inverse = next;
    }
    1.0 / inverse
}

/// [`fit_temperature`] for few rows, each counting `weight`: where the rows are few or all right they say little of how
/// often the classifier errs. So [`UNSEEN_MISTAKES`] more than were seen are counted, spread over the rows, each for
/// the likeliest wrong class; and ln T is taken for normally distributed about ln [`EXPECTED`] with [`DEVIATION`].
pub fn steadied_temperature(logits: &Logits, weight: f64) -> f64 {
    let unseen = logits.mistaken();
    let share = UNSEEN_MISTAKES / logits.truths.len().max(1) as f64;
    // In u = −ln T, the derivative of the counted losses + (u − u₀)² / 2σ².
    let slope = |u: f64| {
        let inverse = u.exp();
        let losses = weight * logits.derivatives(inverse)[0] + share * unseen.derivatives(inverse)[0];
        inverse * losses + (u + EXPECTED.ln()) / (DEVIATION * DEVIATION)
    };
    let [mut high, mut low] = TEMPERATURES.map(|temperature| -temperature.ln());
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        if slope(middle) > 0.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    (-0.5 * (low + high)).exp()
}

#[cfg(test)]
mod tests;
