//! Cross-entropy, and the running figures of an epoch.

use anyhow::Result;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::settings::ClassWeight;

/// Weights and smoothing of the targets.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Weight of each class; none where all count the same.
    weights: Option<Vec<f32>>,
    smoothing: f32,
}

impl Loss {
    /// For training on pictures of these `classes`, each of which has some.
    pub fn new(class_weight: ClassWeight, smoothing: f64, classes: &[usize]) -> Self {
        let count = 1 + classes.iter().max().copied().unwrap_or(0);
        let weights = match class_weight {
            ClassWeight::None => None,
            ClassWeight::Balanced => {
                let of_class = |class| classes.iter().filter(|&&other| other == class).count().max(1);
                Some((0..count).map(|class| classes.len() as f32 / (count * of_class(class)) as f32).collect())
            }
        };
        Self { weights, smoothing: smoothing as f32 }
    }

    /// What each row of these classes counts.
    pub fn row_weights(&self, classes: &[usize]) -> Vec<f64> {
        let weight = |&class: &usize| self.weights.as_ref().map_or(1.0, |weights| f64::from(weights[class]));
        classes.iter().map(weight).collect()
    }

    /// The plain cross-entropy, for validation.
    pub fn plain() -> Self {
        Self { weights: None, smoothing: 0.0 }
    }

    /// Sum of the rows' cross-entropies: binary for a single sigmoid output, categorical otherwise.
    ///
    /// Shapes: `logits` [N,1] or [N,K], one target class for each row.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn sum(&self, logits: &Tensor, targets: &[usize]) -> Result<Tensor> {
        let (device, outputs) = (logits.device(), logits.dim(1)?);
        let weight = |class: usize| self.weights.as_ref().map_or(1.0, |weights| weights[class]);
        if outputs == 1 {
            let smoothed = |class: usize| class as f32 * (1.0 - self.smoothing) + 0.5 * self.smoothing;
            let column = |of: &dyn Fn(usize) -> f32| {
                Tensor::from_vec(targets.iter().map(|&class| of(class)).collect::<Vec<_>>(), logits.dims(), device)
            };
            // max(x, 0) − x·t + ln(1 + e^−|x|) neither overflows nor loses small probabilities.
            let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
            let rows = (logits.relu()? - (logits * column(&smoothed)?)? + softplus)?;
            return Ok((rows * column(&weight)?)?.sum_all()?);
        }
        let base = self.smoothing / outputs as f32;
        let row = |&class: &usize| {
            let share = move |k| if k == class { 1.0 - self.smoothing + base } else { base };
            (0..outputs).map(move |k| weight(class) * share(k))
        };
        let shares = Tensor::from_vec(targets.iter().flat_map(row).collect::<Vec<f32>>(), logits.dims(), device)?;
        Ok((candle_nn::ops::log_softmax(logits, 1)? * shares)?.sum_all()?.neg()?)
    }
}

/// Sums over the examples seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Totals {
    count: usize,
    correct: usize,
    loss: f64,
}

impl Totals {
    /// Takes in rows of `logits` and the sum of their losses.
    ///
    /// # Errors
    /// If the logits can't be read from their device.
    pub fn add(&mut self, loss: &Tensor, logits: &Tensor, targets: &[usize]) -> Result<()> {
        let predicted: Vec<usize> = if logits.dim(1)? == 1 {
            logits.flatten_all()?.to_vec1::<f32>()?.iter().map(|&logit| usize::from(logit > 0.0)).collect()
        } else {
            logits.argmax(1)?.to_vec1::<u32>()?.iter().map(|&class| class as usize).collect()
        };
        self.count += targets.len();
        self.correct += predicted.iter().zip(targets).filter(|(p, t)| p == t).count();
        self.loss += f64::from(loss.to_scalar::<f32>()?);
        Ok(())
    }

    /// Mean loss.
    pub fn loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn sum<const N: usize, const K: usize>(loss: &Loss, logits: &[[f32; K]; N], targets: &[usize]) -> f32 {
        loss.sum(&Tensor::new(logits, &Device::Cpu).unwrap(), targets).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_loss_is_the_cross_entropy_of_the_probabilities() {
        // −ln(1 − σ(2)) = 2.126928, −ln σ(−40) = 40
        assert!((sum(&Loss::plain(), &[[2.0], [-40.0]], &[0, 1]) - 42.126_93).abs() < 1e-4);
        assert!((sum(&Loss::plain(), &[[0.0, f32::ln(3.0), 0.0]], &[1]) - f32::ln(5.0 / 3.0)).abs() < 1e-6);
    }

    #[test]
    fn smoothing_shares_a_part_of_the_target_among_all_classes() {
        let loss = Loss { weights: None, smoothing: 0.3 };
        // Probabilities 1/5, 3/5, 1/5: 0.8 · ln(5/3) + 2 · 0.1 · ln 5
        let expected = 0.8 * f32::ln(5.0 / 3.0) + 0.2 * f32::ln(5.0);
        assert!((sum(&loss, &[[0.0, f32::ln(3.0), 0.0]], &[1]) - expected).abs() < 1e-6);
        // σ(ln 3) = 3/4, target 0.85
        let expected = -0.85 * f32::ln(0.75) - 0.15 * f32::ln(0.25);
        assert!((sum(&loss, &[[f32::ln(3.0)]], &[1]) - expected).abs() < 1e-6);
    }

    #[test]
    fn balanced_classes_weigh_the_same_together() {
        let loss = Loss::new(ClassWeight::Balanced, 0.0, &[0, 0, 0, 1]);
        assert_eq!(loss.weights, Some(vec![4.0 / 6.0, 2.0]));
        // Every logit at zero: each row is ln 2 times its weight, four in all.
        assert!((sum(&loss, &[[0.0], [0.0], [0.0], [0.0]], &[0, 0, 0, 1]) - 4.0 * f32::ln(2.0)).abs() < 1e-6);
    }
}
