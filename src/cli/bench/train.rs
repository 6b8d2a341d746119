//! One step of training, as `finetune` takes it.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::architecture::{self, FEATURES};
use crate::train::{self, Batch, BatchNormMode, Fit, Loss, Model, Phase, Position, Settings, Source, Totals, Unfreeze};
use crate::weights::{Checkpoint, Pool};

/// Two classes, a linear head, and the cats-vs-dogs recipe's optimiser.
pub fn settings(unfreeze: Unfreeze, batch_norm: BatchNormMode, batch_size: usize) -> Settings {
    Settings {
        hidden: Vec::new(),
        dropout: 0.0,
        momentum: 0.1,
        nesterov: true,
        unfreeze,
        batch_norm,
        batch_size,
        ..Settings::default()
    }
}

/// Activations of smooth waves in front of the first block that trains.
struct Waves {
    side: usize,
    channels: usize,
    device: Device,
}

impl Source for Waves {
    fn classes(&self) -> &[usize] {
        &[]
    }

    fn read(&self, index: usize, _: usize) -> Result<Vec<f32>> {
        let values = self.side * self.side * self.channels;
        Ok((0..values).map(|value| ((value + 977 * index) as f32 * 0.01).sin()).collect())
    }

    fn assemble(&self, examples: &[Vec<f32>]) -> Result<Tensor> {
        let shape = (examples.len(), self.side, self.side, self.channels);
        Ok(Tensor::from_vec(examples.concat(), shape, &self.device)?)
    }
}

/// A step over one batch, to be taken again and again.
pub fn step(
    backbone: &Checkpoint,
    settings: &Settings,
    size: usize,
    device: &Device,
) -> Result<impl FnMut() -> Result<()>> {
    let first = settings.first_block().unwrap_or(1);
    let mut random = train::random(settings.seed, "bench");
    let head = Model::head(&settings.hidden, FEATURES, 2, &mut random, device)?;
    let head = head.head_over(&head.detached());
    let model = Model::with_blocks(&head, backbone, first, Pool::Avg, settings, device)?;
    let mut fit = Fit::new(settings, Phase::Network, model, Position::default())?;
    let (side, channels) = architecture::boundary(first, size);
    let source = Waves { side, channels, device: device.clone() };
    let examples = (0..settings.batch_size).map(|index| source.read(index, 0)).collect::<Result<Vec<_>>>()?;
    let targets: Vec<usize> = (0..examples.len()).map(|index| index % 2).collect();
    let (loss, mut totals) = (Loss::plain(), Totals::default());
    Ok(move || {
        let batch = Batch { source: &source, examples: &examples, targets: &targets };
        fit.step(batch, &loss, fit.settings.finetune_learning_rate, &mut random, &mut totals)
    })
}
