//! Whether answers given with 80 % confidence are right 80 times in a hundred.

use serde::Serialize;

/// Bins of equal width, as Guo et al. draw them.
const BINS: usize = 15;

/// Answers of about the same confidence: those above `lower` and up to `upper`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    pub lower: f64,
    pub upper: f64,
    /// Answers in the bin.
    pub count: usize,
    /// Their mean confidence; 0 without any.
    pub confidence: f64,
    /// Share of them that is right; 0 without any.
    pub accuracy: f64,
}

/// Answers by the confidence of their likeliest class, each with whether it is right.
pub fn reliability(answers: &[(f64, bool)]) -> Vec<ReliabilityBin> {
    let mut bins = [(0, 0.0, 0); BINS];
    for &(confidence, is_right) in answers {
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (count, sum, right) = bins[bin];
        bins[bin] = (count + 1, sum + confidence, right + usize::from(is_right));
    }
    let bin = |(index, &(count, sum, right)): (usize, &(usize, f64, usize))| {
        let (end, of) = (|index: usize| index as f64 / BINS as f64, count.max(1) as f64);
        ReliabilityBin {
            lower: end(index),
            upper: end(index + 1),
            count,
            confidence: sum / of,
            accuracy: right as f64 / of,
        }
    };
    bins.iter().enumerate().map(bin).collect()
}

/// Mean distance between confidence and accuracy over the bins, each weighed by its answers.
///
/// Source: M. P. Naeini, G. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
/// binning", 2015; equation 3 of Guo et al.
pub fn expected_calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let answers: usize = bins.iter().map(|bin| bin.count).sum();
    let gap = |bin: &ReliabilityBin| bin.count as f64 * (bin.accuracy - bin.confidence).abs();
    bins.iter().map(gap).sum::<f64>() / answers.max(1) as f64
}
