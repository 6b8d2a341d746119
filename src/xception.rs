//! Xception as differentiable Candle modules, built from the architecture table.
//!
//! Activations are NHWC. The modules run on any Candle device and are what the fast inference
//! engine is compiled from and compared with.

mod layers;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};

use crate::architecture::{self, BLOCKS, MIN_INPUT_SIZE, Module, ModuleKind, XCEPTION};
use crate::convention::Convention;
use crate::kernel::Statistics;
use crate::op::{Backend, Tape};
use crate::weights::{Checkpoint, Pool};
use layers::{Convolution, Relus};

/// Passes if all that was computed for a picture is finite; `what` it is stands in the message.
///
/// # Errors
/// Says what is not, without the path: the picture's result names it.
pub fn ensure_finite(what: &str, values: &[f32]) -> Result<()> {
    let is_finite = values.iter().all(|value| value.is_finite());
    ensure!(is_finite, "its {what} hold NaN or infinity; check the model with `xcept weights verify`");
    Ok(())
}

/// The network without its classifier, or a run of its blocks.
#[derive(Debug)]
pub struct Xception {
    modules: Vec<XceptionModule>,
    device: Device,
    convention: Convention,
}

/// Where batch normalisation takes its statistics from.
#[derive(Debug)]
pub enum Norm {
    /// The running averages that are part of the weights.
    Running,
    /// The batch in hand; what was found is kept here, layer by layer.
    Batch(Vec<BatchStatistics>),
}

/// One way through the network and, where something trains, back.
#[derive(Debug)]
pub struct Pass {
    norm: Norm,
    tape: Tape,
}

impl Pass {
    pub fn new(norm: Norm, backend: Backend) -> Self {
        Self { norm, tape: Tape::new(backend) }
    }

    /// Completes the gradients that Candle's `backward` found of what was made of the network's result, with
    /// those of the network's variables. Returns the statistics of the batch, where batch norms took them.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn backward(self, gradients: &mut GradStore) -> Result<Vec<BatchStatistics>> {
        self.tape.backward(gradients)?;
        Ok(match self.norm {
            Norm::Running => Vec::new(),
            Norm::Batch(found) => found,
        })
    }
}

/// Statistics of a batch in front of one batch norm.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// timm's name of the batch norm.
    pub name: String,
    /// Values of each channel.
    pub count: usize,
    pub statistics: Statistics,
}

impl BatchStatistics {
    /// Takes these statistics into the running averages, [C] each.
    pub fn average_into(&self, mean: &mut [f32], variance: &mut [f32], convention: Convention) {
        let kept = convention.batch_norm_momentum();
        let average = |running: &mut [f32], batch: &[f32], factor: f64| {
            for (running, batch) in running.iter_mut().zip(batch) {
                *running = (f64::from(*running) * kept + f64::from(*batch) * factor * (1.0 - kept)) as f32;
            }
        };
        average(mean, &self.statistics.mean, 1.0);
        average(variance, &self.statistics.variance, convention.running_variance_factor(self.count));
    }
}

/// A row of the table with its weights.
#[derive(Debug)]
struct XceptionModule {
    table: Module,
    convolutions: Vec<Convolution>,
    shortcut: Option<Convolution>,
}

impl Xception {
    /// The backbone of `checkpoint` on `device`.
    ///
    /// # Errors
    /// Names the tensor that is missing or misshapen.
    pub fn new(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        Self::of_blocks(checkpoint, BLOCKS, device)
    }

    /// Some blocks of the backbone of `checkpoint`, in Keras' numbers.
    ///
    /// # Errors
    /// Names the tensor that is missing or misshapen.
    pub fn of_blocks(checkpoint: &Checkpoint, blocks: RangeInclusive<usize>, device: &Device) -> Result<Self> {
        let mut tensors = HashMap::new();
        for spec in architecture::tensors_of(blocks.clone()) {
            let raw = checkpoint.tensor(&spec.name)?;
            let tensor = Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), device)?;
            tensors.insert(spec.name, tensor);
        }
        Self::from_tensors(&tensors, blocks, checkpoint.metadata.convention)
    }

    /// Some blocks over `tensors` (timm's names and layout), which may be Candle variables.
    ///
    /// # Errors
    /// Names the tensor that is missing or misshapen.
    pub fn from_tensors(
        tensors: &HashMap<String, Tensor>,
        blocks: RangeInclusive<usize>,
        convention: Convention,
    ) -> Result<Self> {
        let build = |convolution| Convolution::new(&convolution, tensors, convention);
        let module = |table: &Module| {
            Ok(XceptionModule {
                table: *table,
                convolutions: table.convolutions().into_iter().map(build).collect::<Result<_>>()?,
                shortcut: table.shortcut().map(build).transpose()?,
            })
        };
        let modules = XCEPTION.iter().filter(|table| blocks.contains(&table.block));
        let modules = modules.map(module).collect::<Result<_>>()?;
        let device = tensors.values().next().context("no tensors")?.device().clone();
        Ok(Self { modules, device, convention })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The last feature map.
    ///
    /// Shapes: `x` [N,H,W,3] in [−1, 1], H and W at least 71; result [N, ⌈H/32⌉, ⌈W/32⌉, 2048].
    ///
    /// # Errors
    /// If `x` is too small or has another shape.
    pub fn forward_features(&self, x: &Tensor) -> Result<Tensor> {
        self.forward(x, &mut Pass::new(Norm::Running, Backend::for_device(&self.device)))
    }

    /// The output of the last of these blocks.
    ///
    /// Shapes: `x` [N,H,W,C], C being the input channels of the first of these blocks.
    ///
    /// # Errors
    /// If `x` is too small or has another shape.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.forward_stages(x, pass, &mut |_, _| Ok(()))
    }

    /// [`Self::forward`], showing `visit` the activation after each stage by Keras' name: each convolution of
    /// the first and last module after its ReLU, and each residual module after its sum.
    ///
    /// # Errors
    /// Those of `visit`, and if `x` is too small or has another shape.
    pub fn forward_stages(
        &self,
        x: &Tensor,
        pass: &mut Pass,
        visit: &mut dyn FnMut(&str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        let first = self.modules.first().context("no blocks")?.table;
        let smallest = if first.block == 1 { MIN_INPUT_SIZE } else { 1 };
        ensure!(
            h >= smallest && w >= smallest && c == first.in_channels,
            "input of {h}×{w} pixels with {c} channels, expected at least {smallest}×{smallest} with {}",
            first.in_channels
        );
        let mut x = x.clone();
        for module in &self.modules {
            x = self.forward_module(module, x, pass, visit)?;
        }
        Ok(x)
    }

    fn forward_module(
        &self,
        module: &XceptionModule,
        x: Tensor,
        pass: &mut Pass,
        visit: &mut dyn FnMut(&str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        match module.table.kind {
            ModuleKind::Ordinary | ModuleKind::Separable => {
                let relus = Relus { before: false, after: true };
                module.convolutions.iter().zip(module.table.convolutions()).try_fold(x, |x, (convolution, table)| {
                    let x = convolution.forward(&x, relus, pass)?;
                    visit(&table.keras, &x)?;
                    Ok(x)
                })
            }
            ModuleKind::Residual { .. } | ModuleKind::Identity => {
                let y = self.forward_residual(module, &x, pass)?;
                visit(&module.table.name(), &y)?;
                Ok(y)
            }
        }
    }

    fn forward_residual(&self, module: &XceptionModule, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let leading_relu = module.table.kind != ModuleKind::Residual { leading_relu: false };
        let mut y = x.clone();
        for (index, convolution) in module.convolutions.iter().enumerate() {
            let relus = Relus { before: index > 0 || leading_relu, after: false };
            y = convolution.forward(&y, relus, pass)?;
        }
        let Some(shortcut) = &module.shortcut else {
            return Ok(pass.tape.sum(&y, x)?);
        };
        let (_, h, w, _) = y.dims4()?;
        let padding = (self.convention.max_pool_padding(h), self.convention.max_pool_padding(w));
        let y = pass.tape.max_pool(&y, padding)?;
        let shortcut = shortcut.forward(x, Relus { before: false, after: false }, pass)?;
        Ok(pass.tape.sum(&y, &shortcut)?)
    }
}

/// Feature vectors from feature maps.
///
/// Shapes: `maps` [N,h,w,C], result [N,C], or the maps unchanged for [`Pool::None`].
///
/// # Errors
/// If `maps` has another shape.
pub fn pool(maps: &Tensor, pool: Pool) -> Result<Tensor> {
    let (n, h, w, c) = maps.dims4()?;
    let positions = maps.reshape((n, h * w, c))?;
    Ok(match pool {
        Pool::Avg => positions.mean(1)?,
        Pool::Max => positions.max(1)?,
        Pool::None => maps.clone(),
    })
}
