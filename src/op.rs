//! The network's operations on Candle tensors: our kernels on a CPU, ordinary Candle elsewhere.
//!
//! Tensors are float32, NHWC. Only this module knows both Candle and [`crate::kernel`].
//! [`Backend::Candle`] is made of Candle's own operations alone, so it runs and differentiates on
//! any device; on a CPU it is the kernels' independent check.

mod custom;
#[cfg(test)]
mod tests;

use candle_core::{Device, Result, Tensor};

use crate::architecture::KERNEL;
use crate::kernel::{MaxPool, Nhwc, Patches};
use custom::{AffineOp, DepthwiseOp, MaxPoolOp, PatchesOp};

/// Which implementation computes what Candle has no fast operation for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// [`crate::kernel`], on a CPU.
    Kernel,
    /// Candle's own operations, on any device.
    Candle,
}

impl Backend {
    pub fn for_device(device: &Device) -> Self {
        if device.is_cpu() { Backend::Kernel } else { Backend::Candle }
    }

    /// Depthwise 3×3 convolution, stride 1, padding 1.
    ///
    /// Shapes: `x` [N,H,W,C], `weight` [C,1,3,3], result [N,H,W,C].
    pub fn depthwise(self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let taps = weight.flatten_from(1)?.t()?.contiguous()?;
        match self {
            Backend::Kernel => x.contiguous()?.apply_op2(&taps, DepthwiseOp),
            Backend::Candle => {
                let (_, h, w, _) = x.dims4()?;
                let padded = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
                let views = shifted_views(&padded, KERNEL, 1, (h, w))?;
                let mut sum = views[0].broadcast_mul(&taps.get(0)?)?;
                for (tap, view) in views.iter().enumerate().skip(1) {
                    sum = (sum + view.broadcast_mul(&taps.get(tap)?)?)?;
                }
                Ok(sum)
            }
        }
    }

    /// 3×3 max-pool with stride 2 and `padding` rows and columns before the first.
    ///
    /// Shapes: `x` [N,H,W,C], result [N, ⌈H/2⌉, ⌈W/2⌉, C].
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

    /// Ordinary convolution without padding: the pixels under the kernel, then a matrix product.
    ///
    /// Shapes: `x` [N,H,W,C], `weight` [O,C,K,K], result [N,H',W',O] with H' = (H − K) / stride + 1.
    pub fn convolution(self, x: &Tensor, weight: &Tensor, stride: usize) -> Result<Tensor> {
        let patches = Patches { input: nhwc(x)?, kernel: weight.dim(2)?, stride };
        let Nhwc { h, w, .. } = patches.output();
        let columns = match self {
            Backend::Kernel => x.contiguous()?.apply_op1(PatchesOp(patches))?,
            Backend::Candle => Tensor::cat(&shifted_views(x, patches.kernel, stride, (h, w))?, 3)?,
        };
        let weight = weight.permute((0, 2, 3, 1))?.flatten_from(1)?;
        pointwise(&columns, &weight)
    }

    /// `x · scale + shift` with a factor and a summand for each channel.
    ///
    /// Shapes: `x` [N,H,W,C], `scale` and `shift` [C], result [N,H,W,C].
    pub fn affine(self, x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
        match self {
            Backend::Kernel => x.contiguous()?.apply_op3(scale, shift, AffineOp),
            Backend::Candle => x.broadcast_mul(scale)?.broadcast_add(shift),
        }
    }
}

/// Pointwise (1×1) convolution: a matrix product over the channels.
///
/// Shapes: `x` [N,H,W,C], `weight` [O,C] (or [O,C,1,1]), result [N,H,W,O].
pub fn pointwise(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let weight = weight.flatten_from(1)?;
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
