//! The network's operations on Candle tensors: our kernels on a CPU, ordinary Candle elsewhere.
//!
//! Tensors are float32, NHWC. Only this module knows both Candle and [`crate::kernel`].
//! [`Backend::Candle`] is made of Candle's own operations alone, so it runs and differentiates on
//! any device; on a CPU it is the kernels' independent check.

mod custom;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Tensor, Var};

use crate::architecture::KERNEL;
use crate::kernel::{MaxPool, Nhwc, Patches, Sgd, Statistics};
use custom::{Accelerate, Advance, BatchNormOp, ConvolutionOp, Epilogue, MaxPoolOp, SeparableOp, SumOp};

/// Which implementation computes what Candle has no fast operation for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// [`crate::kernel`], on a CPU.
    Kernel,
    /// Candle's own operations, on any device.
    Candle,
}

/// A constant factor and summand for each channel, [C].
#[derive(Debug, Clone)]
pub struct Affine {
    pub scale: Tensor,
    pub shift: Tensor,
}

/// What stands before and after a convolution. With the kernels no gradient reaches the affine map.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Not for [`Backend::convolution`].
    pub relu_before: bool,
    pub affine: Option<&'a Affine>,
    /// Only behind an affine map.
    pub relu_after: bool,
}

impl Around<'_> {
    fn epilogue(&self) -> Result<Epilogue> {
        let affine = match self.affine {
            Some(Affine { scale, shift }) => Some((scale.to_vec1()?, shift.to_vec1()?)),
            None => None,
        };
        Ok(Epilogue { affine, relu: self.relu_after })
    }

    fn finish(&self, mut y: Tensor) -> Result<Tensor> {
        if let Some(Affine { scale, shift }) = self.affine {
            y = y.broadcast_mul(scale)?.broadcast_add(shift)?;
        }
        if self.relu_after { y.relu() } else { Ok(y) }
    }
}

impl Backend {
    pub fn for_device(device: &Device) -> Self {
        if device.is_cpu() { Backend::Kernel } else { Backend::Candle }
    }

    /// Depthwise 3×3 convolution with padding 1, then a pointwise one.
    ///
    /// Shapes: `x` [N,H,W,C], `depthwise` [C,1,3,3], `pointwise` [O,C,1,1], result [N,H,W,O].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn separable(self, x: &Tensor, depthwise: &Tensor, pointwise: &Tensor, around: Around) -> Result<Tensor> {
        let taps = depthwise.flatten_from(1)?.t()?.contiguous()?;
        match self {
            Backend::Kernel => {
                let op = SeparableOp { relu_before: around.relu_before, epilogue: around.epilogue()? };
                x.contiguous()?.apply_op3(&taps, &pointwise.contiguous()?, op)
            }
            Backend::Candle => {
                let x = if around.relu_before { x.relu()? } else { x.clone() };
                let (_, h, w, _) = x.dims4()?;
                let padded = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
                let views = shifted_views(&padded, KERNEL, 1, (h, w))?;
                let mut sum = views[0].broadcast_mul(&taps.get(0)?)?;
                for (tap, view) in views.iter().enumerate().skip(1) {
                    sum = (sum + view.broadcast_mul(&taps.get(tap)?)?)?;
                }
                around.finish(matrix_product(&sum, &pointwise.flatten_from(1)?)?)
            }
        }
    }

    /// Ordinary convolution without padding: the pixels under the kernel, then a matrix product.
    ///
    /// Shapes: `x` [N,H,W,C], `weight` [O,C,K,K], result [N,H',W',O] with H' = (H − K) / stride + 1.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn convolution(self, x: &Tensor, weight: &Tensor, stride: usize, around: Around) -> Result<Tensor> {
        let patches = Patches { input: nhwc(x)?, kernel: weight.dim(2)?, stride };
        let Nhwc { h, w, .. } = patches.output();
        let weight = weight.permute((0, 2, 3, 1))?.flatten_from(1)?.contiguous()?;
        match self {
            Backend::Kernel => {
                x.contiguous()?.apply_op2(&weight, ConvolutionOp { patches, epilogue: around.epilogue()? })
            }
            Backend::Candle => {
                let columns = Tensor::cat(&shifted_views(x, patches.kernel, stride, (h, w))?, 3)?;
                around.finish(matrix_product(&columns, &weight)?)
            }
        }
    }

    /// Batch normalisation by the batch's own statistics, then a ReLU if asked for. The statistics are
    /// mean and biased variance.
    ///
    /// Shapes: `x` and the result [N,H,W,C], `gamma` and `beta` [C].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn batch_norm(
        self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        epsilon: f64,
        relu: bool,
    ) -> Result<(Tensor, Statistics)> {
        match self {
            Backend::Kernel => {
                let statistics = Arc::new(OnceLock::new());
                let op = BatchNormOp { epsilon: epsilon as f32, relu, statistics: Arc::clone(&statistics) };
                let y = x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?;
                let found = statistics.get().cloned();
                Ok((y, found.ok_or_else(|| candle_core::Error::Msg("a batch without statistics".into()))?))
            }
            Backend::Candle => {
                let centred = x.broadcast_sub(&x.mean_keepdim((0, 1, 2))?)?;
                let variance = centred.sqr()?.mean_keepdim((0, 1, 2))?;
                let mean = x.detach().mean((0, 1, 2))?.to_vec1()?;
                let statistics = Statistics { mean, variance: variance.flatten_all()?.to_vec1()? };
                let y = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
                let y = y.broadcast_mul(gamma)?.broadcast_add(beta)?;
                Ok((if relu { y.relu()? } else { y }, statistics))
            }
        }
    }

    /// A step of stochastic gradient descent: `variable` moves, and with momentum its `velocity`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn sgd(self, variable: &Var, gradient: &Tensor, velocity: Option<&mut Tensor>, sgd: Sgd) -> Result<()> {
        let gradient = gradient.contiguous()?;
        match self {
            Backend::Kernel => {
                let weight = variable.as_detached_tensor();
                if let Some(velocity) = &velocity {
                    velocity.inplace_op3(&gradient, &weight, &Accelerate(sgd))?;
                }
                weight.inplace_op3(&gradient, velocity.as_deref().unwrap_or(&gradient), &Advance(sgd))
            }
            Backend::Candle => {
                let weight = variable.as_detached_tensor();
                let mut direction = (&gradient + (&weight * f64::from(sgd.weight_decay))?)?;
                if let Some(velocity) = velocity {
                    let momentum = f64::from(sgd.momentum);
                    *velocity = ((&*velocity * momentum)? + &direction)?;
                    direction = if sgd.nesterov { (direction + (&*velocity * momentum)?)? } else { velocity.clone() };
                }
                variable.set(&(weight - (direction * f64::from(sgd.rate))?)?)
            }
        }
    }

    /// `a + b`, of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn sum(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Backend::Kernel if a.dims() == b.dims() => a.contiguous()?.apply_op2(&b.contiguous()?, SumOp),
            _ => a + b,
        }
    }

    /// 3×3 max-pool with stride 2 and `padding` rows and columns before the first.
    ///
    /// Shapes: `x` [N,H,W,C], result [N, ⌈H/2⌉, ⌈W/2⌉, C].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn max_pool(self, x: &Tensor, padding: (usize, usize)) -> Result<Tensor> {
        let pool = MaxPool { input: nhwc(x)?, padding };
        let Nhwc { h, w, .. } = pool.output();
        match self {
            Backend::Kernel => x.contiguous()?.apply_op1(MaxPoolOp(pool)),
            Backend::Candle => {
                let padded = pad_to(x, 1, padding.0, 2 * h + 1)?;
                let padded = pad_to(&padded, 2, padding.1, 2 * w + 1)?;
                let views = shifted_views(&padded, KERNEL, 2, (h, w))?;
                views[1..].iter().try_fold(views[0].clone(), |largest, view| largest.maximum(view))
            }
        }
    }
}

/// Shapes: `x` [N,H,W,C], `weight` [O,C], result [N,H,W,O].
fn matrix_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let y = x.contiguous()?.reshape((n * h * w, c))?.matmul(&weight.t()?)?;
    y.reshape((n, h, w, weight.dim(0)?))
}

fn nhwc(x: &Tensor) -> Result<Nhwc> {
    let (n, h, w, c) = x.dims4()?;
    Ok(Nhwc { n, h, w, c })
}

/// The `kernel`² strided views of `x` that one position of a window after the other sees, in row
/// order, each [N, size.0, size.1, C].
fn shifted_views(x: &Tensor, kernel: usize, stride: usize, size: (usize, usize)) -> Result<Vec<Tensor>> {
    let view = |x: &Tensor, dim: usize, start: usize, size: usize| {
        if stride == 1 {
            return x.narrow(dim, start, size);
        }
        let index: Vec<u32> = (0..size).map(|i| (start + i * stride) as u32).collect();
        x.index_select(&Tensor::new(index, x.device())?, dim)
    };
    let mut views = Vec::with_capacity(kernel * kernel);
    for i in 0..kernel {
        let rows = view(x, 1, i, size.0)?;
        for j in 0..kernel {
            views.push(view(&rows, 2, j, size.1)?);
        }
    }
    Ok(views)
}

/// Pads `dim` with values below any activation, `before` in front and behind up to `size`.
fn pad_to(x: &Tensor, dim: usize, before: usize, size: usize) -> Result<Tensor> {
    let lowest = |count: usize| {
        let mut dims = x.dims().to_vec();
        dims[dim] = count;
        Tensor::full(f32::MIN, dims, x.device())
    };
    let x = if before > 0 { Tensor::cat(&[&lowest(before)?, x], dim)? } else { x.clone() };
    let after = size.saturating_sub(x.dim(dim)?);
    if after > 0 { Tensor::cat(&[&x, &lowest(after)?], dim) } else { Ok(x) }
}
