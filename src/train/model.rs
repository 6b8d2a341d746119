//! What trains: the head, and the network's blocks above the boundary, as Candle variables.

use std::collections::HashMap;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Settings;
use super::logistic::outputs;
use super::settings::BatchNormMode;
use crate::architecture::{self, BLOCKS};
use crate::convention::Convention;
use crate::head::{Dense, Head, raw};
use crate::weights::{Checkpoint, Pool, Tensors};
use crate::xception::{self, BatchStatistics, Pass, Xception};

/// The variables of a run and what they are made into.
#[derive(Debug)]
pub struct Model {
    /// Names of the variables: those of the head, then timm's of the network.
    names: Vec<String>,
    variables: Vec<Var>,
    /// Dense layers of the head; the first variables are theirs, kernel and bias by turns.
    layers: usize,
    /// Whether the head sees features scaled to length 1.
    unit_length: bool,
    blocks: Option<Blocks>,
}

/// The blocks that train with the head.
#[derive(Debug)]
struct Blocks {
    first: usize,
    convention: Convention,
    pool: Pool,
    /// What does not train: frozen batch norms, or the running averages.
    constants: HashMap<String, Tensor>,
    /// Names of the running averages, where batch norms train.
    running: HashMap<String, Var>,
}

/// A forward function over one set of the model's tensors.
#[derive(Debug)]
pub struct Network {
    head: Head,
    blocks: Option<(Xception, Pool)>,
}

impl Network {
    /// Shapes: `x` [N,2048] for a head alone, otherwise the input of the first block; result [N,K] or
    /// [N,1].
    ///
    /// # Errors
    /// If `x` has another shape.
    pub fn logits(&self, x: &Tensor, pass: &mut Pass, dropout: impl FnMut(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        self.head.forward(&self.features(x, pass)?, dropout)
    }

    /// What the head sees of `x`.
    ///
    /// Shapes: those of [`Self::logits`], result [N,2048].
    ///
    /// # Errors
    /// If `x` has another shape.
    pub fn features(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        match &self.blocks {
            None => Ok(x.clone()),
            Some((blocks, pool)) => xception::pool(&blocks.forward(x, pass)?, *pool),
        }
    }
}

impl Model {
    /// A new head: Glorot uniform kernels and zero biases, Keras' defaults for a dense layer.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn head(
        hidden: &[usize],
        inputs: usize,
        classes: usize,
        random: &mut ChaCha8Rng,
        device: &Device,
    ) -> Result<Self> {
        let mut model = Self::empty(hidden.len() + 1, false);
        let mut fan_in = inputs;
        for (index, fan_out) in hidden.iter().copied().chain([outputs(classes)]).enumerate() {
            let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
            let kernel: Vec<f32> = (0..fan_in * fan_out).map(|_| random.random_range(-limit..limit)).collect();
            model.push(format!("layer {index} kernel"), Var::from_vec(kernel, (fan_in, fan_out), device)?);
            model.push(format!("layer {index} bias"), Var::zeros(fan_out, DType::F32, device)?);
            fan_in = fan_out;
        }
        Ok(model)
    }

    fn empty(layers: usize, unit_length: bool) -> Self {
        Self { names: Vec::new(), variables: Vec::new(), layers, unit_length, blocks: None }
    }

    /// A head of these layers, for features scaled to length 1 if `unit_length`.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn of_layers(layers: &[Dense], unit_length: bool) -> Result<Self> {
        let mut model = Self::empty(layers.len(), unit_length);
        for (index, Dense { kernel, bias }) in layers.iter().enumerate() {
            model.push(format!("layer {index} kernel"), Var::from_tensor(kernel)?);
            model.push(format!("layer {index} bias"), Var::from_tensor(bias)?);
        }
        Ok(model)
    }

    /// A trained head, with the backbone's blocks from `first` on.
    ///
    /// # Errors
    /// If the head or a tensor of the backbone is missing.
    pub fn with_blocks(
        head: &Head,
        backbone: &Checkpoint,
        first: usize,
        pool: Pool,
        settings: &Settings,
        device: &Device,
    ) -> Result<Self> {
        let mut model = Self::of_layers(head.layers(), head.has_unit_length())?;
        let (mut constants, mut running) = (HashMap::new(), HashMap::new());
        let trains_norms = settings.batch_norm == BatchNormMode::Train;
        for spec in architecture::tensors_of(first..=*BLOCKS.end()) {
            let raw = backbone.tensor(&spec.name)?;
            let tensor = Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), device)?;
            let is_of_norm = spec.shape.len() == 1;
            if spec.trainable && (trains_norms || !is_of_norm) {
                model.push(spec.name, Var::from_tensor(&tensor)?);
            } else if trains_norms {
                let average = Var::from_tensor(&tensor)?;
                constants.insert(spec.name.clone(), average.as_detached_tensor());
                running.insert(spec.name, average);
            } else {
                constants.insert(spec.name, tensor);
            }
        }
        let convention = backbone.metadata.convention;
        model.blocks = Some(Blocks { first, convention, pool, constants, running });
        Ok(model)
    }

    fn push(&mut self, name: String, variable: Var) {
        self.names.push(name);
        self.variables.push(variable);
    }

    /// Whether the head sees features scaled to length 1.
    pub fn has_unit_length(&self) -> bool {
        self.unit_length
    }

    /// Hidden layers of the head.
    pub fn hidden_layers(&self) -> usize {
        self.layers - 1
    }

    pub fn variables(&self) -> &[Var] {
        &self.variables
    }

    /// Every tensor that training changes, by name: the variables, then the running averages in the order
    /// of their names.
    pub fn state(&self) -> Vec<(&str, &Var)> {
        let variables = self.names.iter().map(String::as_str).zip(&self.variables);
        let mut running: Vec<(&str, &Var)> =
            self.blocks.iter().flat_map(|blocks| &blocks.running).map(|(name, var)| (name.as_str(), var)).collect();
        running.sort_by_key(|(name, _)| *name);
        variables.chain(running).collect()
    }

    /// Values that one example of `length` makes on its way, about.
    pub fn values_of_example(&self, length: usize) -> usize {
        let Some(Blocks { first, .. }) = &self.blocks else { return length };
        let (_, channels) = architecture::boundary(*first, architecture::INPUT_SIZE);
        architecture::convolution_values(*first, (length / channels).isqrt())
    }

    /// The learning rates of the variables for a head that trains at `rate`.
    pub fn rates(&self, rate: f64, backbone_scale: f64) -> Vec<f64> {
        let is_head = |index: usize| index < 2 * self.layers;
        (0..self.variables.len()).map(|index| if is_head(index) { rate } else { rate * backbone_scale }).collect()
    }

    /// The variables as constants, sharing their memory.
    pub fn detached(&self) -> Vec<Tensor> {
        self.variables.iter().map(Var::as_detached_tensor).collect()
    }

    /// The forward function over the variables themselves, for training.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn training(&self) -> Result<Network> {
        self.network(&self.variables.iter().map(|variable| variable.as_tensor().clone()).collect::<Vec<_>>())
    }

    /// The head alone, over tensors in the place of the variables.
    pub fn head_over(&self, tensors: &[Tensor]) -> Head {
        let layer = |pair: &[Tensor]| Dense { kernel: pair[0].clone(), bias: pair[1].clone() };
        let layers = tensors[..2 * self.layers].chunks_exact(2).map(layer).collect();
        Head::from_layers(layers).with_unit_length(self.unit_length)
    }

    /// The forward function over tensors in the place of the variables.
    ///
    /// # Errors
    /// If a tensor is missing.
    pub fn network(&self, tensors: &[Tensor]) -> Result<Network> {
        let (head, rest) = (self.head_over(tensors), &tensors[2 * self.layers..]);
        let Some(Blocks { first, convention, pool, constants, .. }) = &self.blocks else {
            return Ok(Network { head, blocks: None });
        };
        let mut all = constants.clone();
        all.extend(self.names[2 * self.layers..].iter().cloned().zip(rest.iter().cloned()));
        let blocks = Xception::from_tensors(&all, *first..=*BLOCKS.end(), *convention)?;
        Ok(Network { head, blocks: Some((blocks, *pool)) })
    }

    /// Batch norms take a batch's statistics into their running averages.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn average_in(&self, found: &[BatchStatistics]) -> Result<()> {
        let Some(Blocks { convention, running, .. }) = &self.blocks else { return Ok(()) };
        for statistics in found {
            let average = |part: &str| {
                let name = format!("{}.{part}", statistics.name);
                running.get(&name).with_context(|| format!("no running average `{name}`"))
            };
            let (mean, variance) = (average("running_mean")?, average("running_var")?);
            let (mut means, mut variances) = (mean.to_vec1()?, variance.to_vec1()?);
            statistics.average_into(&mut means, &mut variances, *convention);
            mean.set(&Tensor::from_vec(means, mean.dims(), mean.device())?)?;
            variance.set(&Tensor::from_vec(variances, variance.dims(), variance.device())?)?;
        }
        Ok(())
    }

    /// What a model file holds of the head, and of the blocks that train, for tensors in the place of
    /// the variables.
    ///
    /// # Errors
    /// If a tensor can't be read from its device.
    pub fn tensors(&self, values: &[Tensor]) -> Result<Tensors> {
        let mut tensors = self.network(values)?.head.tensors()?;
        for (name, tensor) in self.names.iter().zip(values).skip(2 * self.layers) {
            tensors.insert(name.clone(), raw(tensor)?);
        }
        for (name, average) in self.blocks.iter().flat_map(|blocks| &blocks.running) {
            tensors.insert(name.clone(), raw(average.as_tensor())?);
        }
        Ok(tensors)
    }
}
