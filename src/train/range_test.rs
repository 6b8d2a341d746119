//! The learning-rate range test: the rate rises from step to step, and the loss tells how far it may go.
//!
//! Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", 2017; the smoothing and the
//! end are fastai's.

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;

use super::fit::{Batch, Fit};
use super::loss::{Loss, Totals};
use super::source::Source;
use crate::{batches, interrupt};

/// Share that the smoothed loss keeps of itself at each step.
const SMOOTHING: f64 = 0.9;
/// The test ends where the smoothed loss is so many times the lowest.
const EXPLODED: f64 = 4.0;

/// One step of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    pub rate: f64,
    /// Of the batch.
    pub loss: f64,
    pub smoothed: f64,
}

/// From `lowest` to `highest` in equal ratios.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub lowest: f64,
    pub highest: f64,
    pub steps: usize,
}

/// Trains `fit` at rising rates until the loss explodes. The model is spoiled by it.
///
/// # Errors
/// If an example can't be read, or the user interrupts.
pub fn range_test(fit: &mut Fit, train: &dyn Source, range: Range, done: &mut dyn FnMut()) -> Result<Vec<Probe>> {
    let settings = fit.settings;
    let loss = Loss::new(settings.class_weight, settings.label_smoothing, train.classes());
    let mut order: Vec<usize> = Vec::new();
    let mut random = fit.random("range test", 0, 0);
    while order.len() < range.steps * settings.batch_size {
        let mut epoch: Vec<usize> = (0..train.classes().len()).collect();
        epoch.shuffle(&mut random);
        order.extend(epoch);
    }
    order.truncate(range.steps * settings.batch_size);
    let mut probes: Vec<Probe> = Vec::new();
    let mut average = 0.0;
    let result = batches::for_each(
        &order,
        settings.batch_size,
        |&index| train.read(index, 0),
        |batch, examples| {
            interrupt::check(|| "nothing was written".to_owned())?;
            let examples = examples.into_iter().collect::<Result<Vec<_>>>()?;
            let targets: Vec<usize> = batch.iter().map(|&index| train.classes()[index]).collect();
            let step = probes.len();
            let share = step as f64 / (range.steps - 1).max(1) as f64;
            let rate = range.lowest * (range.highest / range.lowest).powf(share);
            let mut totals = Totals::default();
            let batch = Batch { source: train, examples: &examples, targets: &targets };
            fit.step(batch, &loss, rate, &mut random, &mut totals)?;
            average = SMOOTHING * average + (1.0 - SMOOTHING) * totals.loss();
            // Without the correction the average would start from zero.
            let smoothed = average / (1.0 - SMOOTHING.powi(step as i32 + 1));
            probes.push(Probe { rate, loss: totals.loss(), smoothed });
            done();
            let lowest = probes.iter().map(|probe| probe.smoothed).fold(f64::INFINITY, f64::min);
            ensure!(smoothed.is_finite() && smoothed <= EXPLODED * lowest, Exploded);
            Ok(())
        },
    );
    match result {
        Err(error) if error.is::<Exploded>() => Ok(probes),
        result => result.map(|()| probes),
    }
}

/// Ends the test early.
#[derive(Debug, thiserror::Error)]
#[error("the loss exploded")]
struct Exploded;

/// The rate at which the smoothed loss falls most steeply over the logarithm of the rate, before its lowest
/// point; none where it never falls.
pub fn suggestion(probes: &[Probe]) -> Option<f64> {
    /// Steps that a slope is taken over: single ones are noise.
    const SPAN: usize = 8;
    let finite: Vec<&Probe> = probes.iter().filter(|probe| probe.smoothed.is_finite()).collect();
    let lowest = finite.iter().enumerate().min_by(|(_, a), (_, b)| a.smoothed.total_cmp(&b.smoothed))?.0;
    let slopes = finite[..=lowest].windows(SPAN.min(lowest + 1)).map(|window| {
        let (first, last) = (window[0], window[window.len() - 1]);
        let slope = (last.smoothed - first.smoothed) / (last.rate / first.rate).ln();
        (slope, (first.rate * last.rate).sqrt())
    });
    let steepest = slopes.filter(|(slope, _)| *slope < 0.0).min_by(|(a, _), (b, _)| a.total_cmp(b));
    steepest.map(|(_, rate)| rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(loss: impl Fn(f64) -> f64) -> Vec<Probe> {
        let rate = |step: usize| 1e-6 * 10f64.powf(step as f64 * 0.06);
        (0..100).map(rate).map(|rate| Probe { rate, loss: loss(rate), smoothed: loss(rate) }).collect()
    }

    #[test]
    fn the_steepest_descent_is_suggested() {
        // A logistic fall around 1e-3, then an explosion.
        let curve = |rate: f64| 1.0 / (1.0 + (3.0 * (rate.log10() + 3.0)).exp()) + (rate / 0.3).powi(2);
        let suggested = suggestion(&probes(curve)).unwrap();
        assert!((suggested.log10() + 3.0).abs() < 0.15, "{suggested}");
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        assert_eq!(suggestion(&probes(|rate| 1.0 + rate)), None);
        assert_eq!(suggestion(&[]), None);
    }
}
