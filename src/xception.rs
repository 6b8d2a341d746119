//! Xception as differentiable Candle modules, built from the architecture table.
//!
//! Activations are NHWC. The modules run on any Candle device and are what the fast inference
//! engine is compiled from and compared with.

mod layers;

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

use crate::architecture::{self, FEATURES, MIN_INPUT_SIZE, Module, ModuleKind, XCEPTION};
use crate::convention::Convention;
use crate::op::Backend;
use crate::weights::{Checkpoint, Pool};
use layers::Convolution;

/// The network without its classifier.
#[derive(Debug)]
pub struct Xception {
    modules: Vec<XceptionModule>,
    device: Device,
    convention: Convention,
    backend: Backend,
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
        let mut tensors = HashMap::new();
        for spec in architecture::tensors() {
            let raw = checkpoint
                .tensors
                .get(&spec.name)
                .with_context(|| format!("{}: tensor `{}` is missing", checkpoint.origin, spec.name))?;
            let tensor = Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), device)?;
            tensors.insert(spec.name, tensor);
        }
        let convention = checkpoint.metadata.convention;
        Self::from_tensors(&tensors, convention, Backend::for_device(device))
    }

    /// The network over `tensors` (timm's names and layout), which may be Candle variables.
    ///
    /// # Errors
    /// Names the tensor that is missing or misshapen.
    pub fn from_tensors(tensors: &HashMap<String, Tensor>, convention: Convention, backend: Backend) -> Result<Self> {
        let build = |convolution| Convolution::new(&convolution, tensors, convention);
        let module = |table: &Module| {
            Ok(XceptionModule {
                table: *table,
                convolutions: table.convolutions().into_iter().map(build).collect::<Result<_>>()?,
                shortcut: table.shortcut().map(build).transpose()?,
            })
        };
        let modules = XCEPTION.iter().map(module).collect::<Result<_>>()?;
        let device = tensors.values().next().context("no tensors")?.device().clone();
        Ok(Self { modules, device, convention, backend })
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
        self.forward_stages(x, &mut |_, _| Ok(()))
    }

    /// [`Self::forward_features`], showing `visit` the activation after each stage by Keras' name:
    /// each convolution of the first and last module after its ReLU, and each residual module
    /// after its sum.
    ///
    /// # Errors
    /// Those of `visit`, and if `x` is too small or has another shape.
    pub fn forward_stages(&self, x: &Tensor, visit: &mut dyn FnMut(&str, &Tensor) -> Result<()>) -> Result<Tensor> {
        let (_, h, w, c) = x.dims4()?;
        ensure!(
            h >= MIN_INPUT_SIZE && w >= MIN_INPUT_SIZE && c == 3,
            "input of {h}×{w} pixels with {c} channels, expected at least {MIN_INPUT_SIZE}×{MIN_INPUT_SIZE} with 3"
        );
        let mut x = x.clone();
        for module in &self.modules {
            x = self.forward_module(module, x, visit)?;
        }
        Ok(x)
    }

    fn forward_module(
        &self,
        module: &XceptionModule,
        x: Tensor,
        visit: &mut dyn FnMut(&str, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        match module.table.kind {
            ModuleKind::Ordinary | ModuleKind::Separable => {
                module.convolutions.iter().zip(module.table.convolutions()).try_fold(x, |x, (convolution, table)| {
                    let x = convolution.forward(&x, self.backend)?.relu()?;
                    visit(&table.keras, &x)?;
                    Ok(x)
                })
            }
            ModuleKind::Residual { .. } | ModuleKind::Identity => {
                let y = self.forward_residual(module, &x)?;
                visit(&module.table.name(), &y)?;
                Ok(y)
            }
        }
    }

    fn forward_residual(&self, module: &XceptionModule, x: &Tensor) -> Result<Tensor> {
        let leading_relu = module.table.kind != ModuleKind::Residual { leading_relu: false };
        let mut y = x.clone();
        for (index, convolution) in module.convolutions.iter().enumerate() {
            if index > 0 || leading_relu {
                y = y.relu()?;
            }
            y = convolution.forward(&y, self.backend)?;
        }
        let Some(shortcut) = &module.shortcut else {
            return Ok((y + x)?);
        };
        let (_, h, w, _) = y.dims4()?;
        let padding = (self.convention.max_pool_padding(h), self.convention.max_pool_padding(w));
        let y = self.backend.max_pool(&y, padding)?;
        Ok((y + shortcut.forward(x, self.backend)?)?)
    }
}

/// Feature vectors from feature maps.
///
/// Shapes: `maps` [N,h,w,2048], result [N,2048], or the maps unchanged for [`Pool::None`].
pub fn pool(maps: &Tensor, pool: Pool) -> Result<Tensor> {
    let (n, h, w, c) = maps.dims4()?;
    ensure!(c == FEATURES, "feature maps of {c} channels, expected {FEATURES}");
    let positions = maps.reshape((n, h * w, c))?;
    Ok(match pool {
        Pool::Avg => positions.mean(1)?,
        Pool::Max => positions.max(1)?,
        Pool::None => maps.clone(),
    })
}
