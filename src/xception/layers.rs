//! A convolution of the table with its batch normalisation, as Candle tensors.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

use super::{BatchStatistics, Norm, Pass};
use crate::architecture::{self, Operation};
use crate::convention::Convention;
use crate::op::{Affine, Around};

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

/// The ReLUs that a convolution stands between.
#[derive(Debug, Clone, Copy)]
pub struct Relus {
    pub before: bool,
    pub after: bool,
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
            name: table.timm_bn.clone(),
            weight: next()?,
            bias: next()?,
            running_mean: next()?,
            running_var: next()?,
            epsilon: convention.epsilon(),
        };
        Ok(Self { kernel, batch_norm })
    }

    /// Shapes: `x` [N,H,W,in], result [N,H',W',out].
    pub fn forward(&self, x: &Tensor, relus: Relus, pass: &mut Pass) -> Result<Tensor> {
        let Pass { norm, tape } = pass;
        let mut convolve = |around: Around| match &self.kernel {
            Kernel::Ordinary { weight, stride } => tape.convolution(x, weight, *stride, around),
            Kernel::Separable { depthwise, pointwise } => tape.separable(x, depthwise, pointwise, around),
        };
        let relu_before = relus.before;
        match norm {
            Norm::Running => {
                let affine = self.batch_norm.affine()?;
                Ok(convolve(Around { relu_before, affine: Some(&affine), relu_after: relus.after })?)
            }
            Norm::Batch(found) => {
                let y = convolve(Around { relu_before, affine: None, relu_after: false })?;
                let BatchNorm { name, weight, bias, epsilon, .. } = &self.batch_norm;
                let (y, statistics) = tape.batch_norm(&y, weight, bias, *epsilon, relus.after)?;
                let (n, h, w, _) = y.dims4()?;
                found.push(BatchStatistics { name: name.clone(), count: n * h * w, statistics });
                Ok(y)
            }
        }
    }
}

/// Every tensor is [C].
#[derive(Debug)]
struct BatchNorm {
    name: String,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    epsilon: f64,
}

impl BatchNorm {
    /// Batch normalisation with the running statistics.
    fn affine(&self) -> Result<Affine> {
        let scale = (&self.weight / (&self.running_var + self.epsilon)?.sqrt()?)?;
        let shift = (&self.bias - (&self.running_mean * &scale)?)?;
        Ok(Affine { scale, shift })
    }
}
