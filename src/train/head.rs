//! Stochastic gradient descent on the dense layers of a head, by Candle's gradients.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, SGD};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::Examples;
use crate::head::{Dense, Head};
use crate::interrupt;
use crate::weights::Tensors;

/// What to train and how.
#[derive(Debug, Clone, Serialize)]
pub struct HeadPlan {
    /// Units of the hidden layers; none for a linear head.
    pub hidden: Vec<usize>,
    /// Share of each hidden layer's outputs that is dropped while training.
    pub dropout: f32,
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub seed: u64,
}

/// Loss and accuracy of one epoch. Training figures are the running means of its batches, with
/// dropout, as Keras prints them; validation figures are taken after it, without.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    pub loss: f64,
    pub accuracy: f64,
    pub val_loss: f64,
    pub val_accuracy: f64,
}

/// The head of the best epoch.
#[derive(Debug)]
pub struct TrainedHead {
    pub tensors: Tensors,
    /// Every epoch in order.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose weights these are: the highest validation accuracy, at equal accuracy the
    /// lowest validation loss.
    pub best: EpochReport,
}

/// Trains a head and shows `report` every epoch. The user's interruption ends the training after
/// the epoch in hand, with the best so far.
///
/// # Errors
/// If a tensor operation fails, or the interruption came before the first epoch ended.
pub fn train_head(
    plan: &HeadPlan,
    train: &Examples,
    val: &Examples,
    classes: usize,
    report: &mut dyn FnMut(&EpochReport),
) -> Result<TrainedHead> {
    let device = train.features.device().clone();
    let outputs = if classes == 2 { 1 } else { classes };
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let variables = initial(plan, train.features.dim(1)?, outputs, &mut random, &device)?;
    let tensor = |var: &Var| var.as_tensor().clone();
    let layers = variables.iter().map(|(kernel, bias)| Dense { kernel: tensor(kernel), bias: tensor(bias) });
    let head = Head::from_layers(layers.collect());
    let all = variables.iter().flat_map(|(kernel, bias)| [kernel.clone(), bias.clone()]);
    let mut optimiser = SGD::new(all.collect(), plan.learning_rate)?;

    let mut order: Vec<u32> = (0..train.len() as u32).collect();
    let mut epochs: Vec<EpochReport> = Vec::new();
    let mut best: Option<(EpochReport, Tensors)> = None;
    for epoch in 1..=plan.epochs {
        order.shuffle(&mut random);
        let mut totals = Totals::default();
        for batch in order.chunks(plan.batch_size.max(1)) {
            let features = train.features.index_select(&Tensor::new(batch, &device)?, 0)?;
            let targets: Vec<usize> = batch.iter().map(|&row| train.classes[row as usize]).collect();
            let logits = head.forward(&features, |x| dropout(&x, plan.dropout, &mut random))?;
            let loss = cross_entropy(&logits, &targets)?;
            optimiser.backward_step(&loss)?;
            totals.add(&loss, &logits, &targets)?;
        }
        let logits = head.forward(&val.features, Ok)?;
        let mut val_totals = Totals::default();
        val_totals.add(&cross_entropy(&logits, &val.classes)?, &logits, &val.classes)?;
        let epoch = EpochReport {
            epoch,
            loss: totals.loss(),
            accuracy: totals.accuracy(),
            val_loss: val_totals.loss(),
            val_accuracy: val_totals.accuracy(),
        };
        report(&epoch);
        ensure!(
            epoch.loss.is_finite() && epoch.val_loss.is_finite(),
            "the training diverged in epoch {}: its loss is {}; pass a lower --learning-rate",
            epoch.epoch,
            epoch.loss
        );
        epochs.push(epoch.clone());
        if best.as_ref().is_none_or(|(best, _)| is_better(&epoch, best)) {
            best = Some((epoch, head.tensors()?));
        }
        if interrupt::check(String::new).is_err() {
            break;
        }
    }
    match best {
        Some((best, tensors)) => Ok(TrainedHead { tensors, epochs, best }),
        None => anyhow::bail!("no epochs to train; pass --epochs 1 or more"),
    }
}

fn is_better(a: &EpochReport, b: &EpochReport) -> bool {
    a.val_accuracy > b.val_accuracy || (a.val_accuracy == b.val_accuracy && a.val_loss < b.val_loss)
}

/// Kernel and bias of each layer: Glorot uniform and zero, Keras' defaults for a dense layer.
fn initial(
    plan: &HeadPlan,
    inputs: usize,
    outputs: usize,
    random: &mut ChaCha8Rng,
    device: &Device,
) -> Result<Vec<(Var, Var)>> {
    let mut fan_in = inputs;
    let units = plan.hidden.iter().copied().chain([outputs]);
    let layer = |fan_out| {
        let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
        let kernel: Vec<f32> = (0..fan_in * fan_out).map(|_| random.random_range(-limit..limit)).collect();
        let kernel = Var::from_vec(kernel, (fan_in, fan_out), device)?;
        fan_in = fan_out;
        Ok((kernel, Var::zeros(fan_out, DType::F32, device)?))
    };
    units.map(layer).collect()
}

/// Drops a share of the values and scales the rest, so that the mean stays.
fn dropout(x: &Tensor, rate: f32, random: &mut ChaCha8Rng) -> Result<Tensor> {
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let kept = 1.0 / (1.0 - rate);
    let mask: Vec<f32> = (0..x.elem_count()).map(|_| if random.random::<f32>() < rate { 0.0 } else { kept }).collect();
    Ok((x * Tensor::from_vec(mask, x.dims(), x.device())?)?)
}

/// Mean cross-entropy: binary for a single sigmoid output, categorical otherwise.
///
/// Shapes: `logits` [N,1] or [N,K], one target class for each row.
fn cross_entropy(logits: &Tensor, targets: &[usize]) -> Result<Tensor> {
    let device = logits.device();
    if logits.dim(1)? == 1 {
        let targets: Vec<f32> = targets.iter().map(|&class| class as f32).collect();
        let targets = Tensor::from_vec(targets, logits.dims(), device)?;
        // max(x, 0) − x·y + ln(1 + e^−|x|) neither overflows nor loses small probabilities.
        let softplus = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
        return Ok((logits.relu()? - (logits * targets)? + softplus)?.mean_all()?);
    }
    let targets: Vec<u32> = targets.iter().map(|&class| class as u32).collect();
    Ok(candle_nn::loss::cross_entropy(logits, &Tensor::new(targets, device)?)?)
}

/// Sums over the examples seen.
#[derive(Default)]
struct Totals {
    count: usize,
    correct: usize,
    loss: f64,
}

impl Totals {
    fn add(&mut self, mean_loss: &Tensor, logits: &Tensor, targets: &[usize]) -> Result<()> {
        let predicted: Vec<usize> = if logits.dim(1)? == 1 {
            logits.flatten_all()?.to_vec1::<f32>()?.iter().map(|&logit| usize::from(logit > 0.0)).collect()
        } else {
            logits.argmax(1)?.to_vec1::<u32>()?.iter().map(|&class| class as usize).collect()
        };
        self.count += targets.len();
        self.correct += predicted.iter().zip(targets).filter(|(p, t)| p == t).count();
        self.loss += f64::from(mean_loss.to_scalar::<f32>()?) * targets.len() as f64;
        Ok(())
    }

    fn loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes at separate corners, each example a little off its corner.
    fn examples(classes: usize, count: usize, seed: u64) -> Examples {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let class = |row: usize| row % classes;
        let value = |row: usize, column: usize, random: &mut ChaCha8Rng| {
            f32::from(u8::from(column % classes == class(row))) + random.random_range(-0.3..0.3)
        };
        let values: Vec<f32> =
            (0..count).flat_map(|row| (0..12).map(|c| value(row, c, &mut random)).collect::<Vec<_>>()).collect();
        let features = Tensor::from_vec(values, (count, 12), &Device::Cpu).unwrap();
        Examples { features, classes: (0..count).map(class).collect() }
    }

    fn plan(hidden: &[usize]) -> HeadPlan {
        HeadPlan { hidden: hidden.to_vec(), dropout: 0.2, epochs: 40, batch_size: 10, learning_rate: 0.1, seed: 7 }
    }

    fn train(plan: &HeadPlan, classes: usize) -> TrainedHead {
        let (train, val) = (examples(classes, 95, 1), examples(classes, 40, 2));
        train_head(plan, &train, &val, classes, &mut |_| {}).unwrap()
    }

    #[test]
    fn dense_and_linear_heads_learn_two_and_more_classes() {
        for classes in [2, 3] {
            for hidden in [&[16, 8][..], &[]] {
                let trained = train(&plan(hidden), classes);
                assert_eq!(trained.best.val_accuracy, 1.0, "{classes} classes, {hidden:?}");
                let outputs = if classes == 2 { 1 } else { classes };
                assert_eq!(trained.tensors["fc.weight"].shape[0], outputs);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
        let (one, again) = (train(&plan(&[16]), 2), train(&plan(&[16]), 2));
        assert_eq!(one.tensors, again.tensors);
        assert_eq!(one.epochs, again.epochs);
        let other = train(&HeadPlan { seed: 8, ..plan(&[16]) }, 2);
        assert_ne!(one.tensors, other.tensors);
    }

    #[test]
    fn the_best_epoch_is_kept() {
        let trained = train(&plan(&[16]), 2);
        let best = trained.epochs.iter().map(|epoch| epoch.val_accuracy).fold(0.0, f64::max);
        assert_eq!(trained.best.val_accuracy, best);
    }

    #[test]
    fn the_loss_is_the_cross_entropy_of_the_probabilities() {
        let logits = Tensor::new(&[[2.0f32], [-40.0]], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &[0, 1]).unwrap().to_scalar::<f32>().unwrap();
        // −ln(1 − σ(2)) = 2.126928, −ln σ(−40) = 40
        assert!((loss - (2.126928 + 40.0) / 2.0).abs() < 1e-5, "{loss}");
        let logits = Tensor::new(&[[0.0f32, f32::ln(3.0), 0.0]], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &[1]).unwrap().to_scalar::<f32>().unwrap();
        assert!((loss - f32::ln(5.0 / 3.0)).abs() < 1e-6, "{loss}");
    }
}
