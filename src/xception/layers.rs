//! A convolution of the table with its batch normalisation, as Candle tensors.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

use crate::architecture::{self, Operation};
use crate::convention::Convention;
use crate::op::{Backend, pointwise};

/// An ordinary or separable convolution, then batch normalisation.
#[derive(Debug)]
pub struct Convolution {
    kernel: Kernel,
    batch_norm: BatchNorm,
}

#[derive(Debug)]
enum Kernel {
    Ordinary { weight: Tensor, stride: usize },
    Separable { depthwise: Tensor, pointwise: Tensor },
}

impl Convolution {
    /// Takes the tensors that `table` names out of `tensors`.
    pub fn new(
        table: &architecture::Convolution,
        tensors: &HashMap<String, Tensor>,
        convention: Convention,
    ) -> Result<Self> {
        let mut specs = table.tensors().into_iter();
        let mut next = || {
            let spec = specs.next().context("the table names too few tensors")?;
            let tensor = tensors.get(&spec.name).with_context(|| format!("tensor `{}` is missing", spec.name))?;
            let shape = tensor.dims();
            ensure!(shape == spec.shape, "tensor `{}` is {shape:?}, expected {:?}", spec.name, spec.shape);
            Ok(tensor.clone())
        };
        let kernel = match table.operation {
            Operation::Ordinary { stride, .. } => Kernel::Ordinary { weight: next()?, stride },
            Operation::Separable => Kernel::Separable { depthwise: next()?, pointwise: next()? },
        };
        let batch_norm = BatchNorm {
            weight: next()?,
            bias: next()?,
            running_mean: next()?,
            running_var: next()?,
            epsilon: convention.epsilon(),
        };
        Ok(Self { kernel, batch_norm })
    }

    /// Shapes: `x` [N,H,W,in], result [N,H',W',out].
    pub fn forward(&self, x: &Tensor, backend: Backend) -> Result<Tensor> {
        let y = match &self.kernel {
            Kernel::Ordinary { weight, stride } => backend.convolution(x, weight, *stride)?,
            Kernel::Separable { depthwise, pointwise: weight } => pointwise(&backend.depthwise(x, depthwise)?, weight)?,
        };
        self.batch_norm.forward(&y, backend)
    }
}

/// Batch normalisation with the statistics of pretraining; every tensor is [C].
#[derive(Debug)]
struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    epsilon: f64,
}

impl BatchNorm {
    fn forward(&self, x: &Tensor, backend: Backend) -> Result<Tensor> {
        let scale = (&self.weight / (&self.running_var + self.epsilon)?.sqrt()?)?;
        let shift = (&self.bias - (&self.running_mean * &scale)?)?;
        Ok(backend.affine(x, &scale, &shift)?)
    }
}
