//! Phases on made-up features that are easy to tell apart.

use candle_core::Device;

use super::*;
use crate::train::Monitor;
use crate::train::source::Rows;

/// Rows of twelve features in which the class's own are about one and the others about zero.
fn rows(classes: usize, count: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let class = |row: usize| row % classes;
    let mut value = |row: usize, column: usize| {
        f32::from(u8::from(column % classes == class(row))) + random.random_range(-0.3..0.3)
    };
    let values = (0..count).map(|row| (0..12).map(|column| value(row, column)).collect()).collect();
    (values, (0..count).map(class).collect())
}

fn source((rows, classes): &(Vec<Vec<f32>>, Vec<usize>)) -> Rows<'_> {
    Rows { rows: rows.iter().map(Vec::as_slice).collect(), classes: classes.clone(), device: Device::Cpu }
}

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: usize) {}

    fn epoch(&mut self, _: &EpochReport, _: &Position, _: &Model, _: &[Tensor], _: bool) -> Result<()> {
        Ok(())
    }

    fn checkpoint(&mut self, _: &Fit, _: bool) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> String {
        String::new()
    }
}

fn settings(hidden: &[usize]) -> Settings {
    Settings {
        hidden: hidden.to_vec(),
        dropout: 0.2,
        epochs: 40,
        batch_size: 10,
        learning_rate: 0.1,
        seed: 7,
        ..Settings::default()
    }
}

/// The position and the weights in the end.
fn train(settings: &Settings, classes: usize) -> (Position, Vec<Vec<f32>>) {
    let model = Model::head(&settings.hidden, 12, classes, &mut random(settings.seed, "head"), &Device::Cpu);
    let mut fit = Fit::new(settings, Phase::Head, model.unwrap(), Position::default()).unwrap();
    let (train, val) = (rows(classes, 95, 1), rows(classes, 40, 2));
    fit.run(&source(&train), &source(&val), &mut Silent).unwrap();
    let values = fit.evaluated();
    (fit.position, values.iter().map(|v| v.flatten_all().unwrap().to_vec1().unwrap()).collect())
}

#[test]
fn dense_and_linear_heads_learn_two_and_more_classes() {
    for classes in [2, 3] {
        for hidden in [&[16, 8][..], &[]] {
            let (position, weights) = train(&settings(hidden), classes);
            assert_eq!(position.best.unwrap().val_accuracy, 1.0, "{classes} classes, {hidden:?}");
            let outputs = if classes == 2 { 1 } else { classes };
            assert_eq!(weights.last().unwrap().len(), outputs);
        }
    }
}

#[test]
fn every_optimizer_schedule_and_average_learns() {
    use crate::train::OptimizerKind;
    for (optimizer, learning_rate) in [(OptimizerKind::Rmsprop, 0.003), (OptimizerKind::Adamw, 0.01)] {
        let settings = Settings {
            optimizer,
            learning_rate,
            schedule: crate::train::Schedule::Cosine,
            warm_up: 2.0,
            ema: Some(0.9),
            clip_norm: Some(1.0),
            ..settings(&[16])
        };
        assert_eq!(train(&settings, 3).0.best.unwrap().val_accuracy, 1.0, "{optimizer}");
    }
}

#[test]
fn the_same_seed_gives_the_same_weights_and_another_seed_others() {
    let (one, again) = (train(&settings(&[16]), 2), train(&settings(&[16]), 2));
    assert_eq!(one.1, again.1);
    assert_eq!(one.0.history, again.0.history);
    assert_ne!(one.1, train(&Settings { seed: 8, ..settings(&[16]) }, 2).1);
}

#[test]
fn the_best_epoch_is_what_is_monitored() {
    for monitor in [Monitor::ValAccuracy, Monitor::ValLoss] {
        let position = train(&Settings { monitor, ..settings(&[16]) }, 2).0;
        let best = position.best.unwrap();
        assert!(position.history.iter().all(|other| !other.is_better(&best, monitor)));
    }
}

#[test]
fn patience_counts_the_epochs_since_the_best_of_a_phase() {
    let settings = Settings { patience: Some(3), epochs: 500, learning_rate: 2.0, ..settings(&[]) };
    let position = train(&settings, 2).0;
    let (last, best) = (position.history.len(), position.best.unwrap().epoch);
    assert_eq!(last, best + 3);
}
