//! The operations as Candle's own, which run and differentiate on any device.

use candle_core::{Result, Tensor, Var};

use super::{Affine, Around};
use crate::architecture::KERNEL;
use crate::kernel::{MaxPool, Nhwc, Patches, Sgd, Statistics};

pub fn separable(x: &Tensor, depthwise: &Tensor, pointwise: &Tensor, around: Around) -> Result<Tensor> {
    let taps = depthwise.flatten_from(1)?.t()?.contiguous()?;
    let x = if around.relu_before { x.relu()? } else { x.clone() };
    let (_, h, w, _) = x.dims4()?;
    let padded = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let views = shifted_views(&padded, KERNEL, 1, (h, w))?;
    let mut sum = views[0].broadcast_mul(&taps.get(0)?)?;
    for (tap, view) in views.iter().enumerate().skip(1) {
        sum = (sum + view.broadcast_mul(&taps.get(tap)?)?)?;
    }
    finish(matrix_product(&sum, &pointwise.flatten_from(1)?)?, around)
}

pub fn convolution(x: &Tensor, weight: &Tensor, patches: Patches, around: Around) -> Result<Tensor> {
    let Nhwc { h, w, .. } = patches.output();
    let weight = weight.permute((0, 2, 3, 1))?.flatten_from(1)?.contiguous()?;
    let columns = Tensor::cat(&shifted_views(x, patches.kernel, patches.stride, (h, w))?, 3)?;
    finish(matrix_product(&columns, &weight)?, around)
}

fn finish(mut y: Tensor, around: Around) -> Result<Tensor> {
    if let Some(Affine { scale, shift }) = around.affine {
        y = y.broadcast_mul(scale)?.broadcast_add(shift)?;
    }
    if around.relu_after { y.relu() } else { Ok(y) }
}

pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64, relu: bool) -> Result<(Tensor, Statistics)> {
    let centred = x.broadcast_sub(&x.mean_keepdim((0, 1, 2))?)?;
    let variance = centred.sqr()?.mean_keepdim((0, 1, 2))?;
    let mean = x.detach().mean((0, 1, 2))?.to_vec1()?;
    let statistics = Statistics { mean, variance: variance.flatten_all()?.to_vec1()? };
    let y = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?;
    let y = y.broadcast_mul(gamma)?.broadcast_add(beta)?;
    Ok((if relu { y.relu()? } else { y }, statistics))
}

pub fn max_pool(x: &Tensor, pool: MaxPool) -> Result<Tensor> {
    let Nhwc { h, w, .. } = pool.output();
    let padded = pad_to(x, 1, pool.padding.0, 2 * h + 1)?;
    let padded = pad_to(&padded, 2, pool.padding.1, 2 * w + 1)?;
    let views = shifted_views(&padded, KERNEL, 2, (h, w))?;
    views[1..].iter().try_fold(views[0].clone(), |largest, view| largest.maximum(view))
}

pub fn sgd(variable: &Var, gradient: &Tensor, velocity: Option<&mut Tensor>, step: Sgd) -> Result<()> {
    let weight = variable.as_detached_tensor();
    let mut direction = (gradient + (&weight * f64::from(step.weight_decay))?)?;
    if let Some(velocity) = velocity {
        let momentum = f64::from(step.momentum);
        *velocity = ((&*velocity * momentum)? + &direction)?;
        direction = if step.nesterov { (direction + (&*velocity * momentum)?)? } else { velocity.clone() };
    }
    variable.set(&(weight - (direction * f64::from(step.rate))?)?)
}

/// Shapes: `x` [N,H,W,C], `weight` [O,C], result [N,H,W,O].
fn matrix_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let y = x.contiguous()?.reshape((n * h * w, c))?.matmul(&weight.t()?)?;
    y.reshape((n, h, w, weight.dim(0)?))
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
