//! The network's operations on Candle tensors: our kernels on a CPU, ordinary Candle elsewhere.
//!
//! Tensors are float32, NHWC. This is the only file that knows both Candle and [`crate::kernel`].
//! [`Backend::Candle`] is made of Candle's own operations alone, so it runs and differentiates on
//! any device; on a CPU it is the kernels' independent check.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};

use crate::architecture::KERNEL;
use crate::kernel::{self, MaxPool, Nhwc, Patches};

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
            Backend::Kernel => x.contiguous()?.apply_op2(&taps, Depthwise),
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
            Backend::Kernel => x.contiguous()?.apply_op3(scale, shift, Affine),
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

/// The float32 values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) =
        layout.contiguous_offsets().ok_or_else(|| candle_core::Error::RequiresContiguous { op: "xcept" }.bt())?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn shape_of(layout: &Layout) -> Result<Nhwc> {
    let (n, h, w, c) = layout.shape().dims4()?;
    Ok(Nhwc { n, h, w, c })
}

fn result(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

fn dims(shape: Nhwc) -> Shape {
    (shape.n, shape.h, shape.w, shape.c).into()
}

/// `x` [N,H,W,C] and `taps` [9,C].
struct Depthwise;

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, taps: &CpuStorage, taps_l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = kernel::depthwise(values(x, x_l)?, shape_of(x_l)?, values(taps, taps_l)?);
        result(y, x_l.shape())
    }

    fn bwd(&self, x: &Tensor, taps: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let turned: Vec<u32> = (0..(KERNEL * KERNEL) as u32).rev().collect();
        let turned = taps.index_select(&Tensor::new(turned, taps.device())?, 0)?;
        let dx = dy.apply_op2_no_bwd(&turned, &Depthwise)?;
        let dtaps = x.apply_op2_no_bwd(&dy, &DepthwiseBackwardWeight)?;
        Ok((Some(dx), Some(dtaps)))
    }
}

/// `x` and `dy` [N,H,W,C] to [9,C].
struct DepthwiseBackwardWeight;

impl CustomOp2 for DepthwiseBackwardWeight {
    fn name(&self) -> &'static str {
        "depthwise-backward-weight"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, dy: &CpuStorage, dy_l: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = shape_of(x_l)?;
        let dtaps = kernel::depthwise_backward_weight(values(x, x_l)?, values(dy, dy_l)?, shape);
        result(dtaps, (KERNEL * KERNEL, shape.c))
    }
}

struct MaxPoolOp(MaxPool);

impl CustomOp1 for MaxPoolOp {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        result(kernel::max_pool(values(x, layout)?, self.0), dims(self.0.output()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op3_no_bwd(y, &dy.contiguous()?, &MaxPoolBackward(self.0)).map(Some)
    }
}

struct MaxPoolBackward(MaxPool);

impl CustomOp3 for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max-pool-backward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        y: &CpuStorage,
        y_l: &Layout,
        dy: &CpuStorage,
        dy_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = kernel::max_pool_backward(values(x, x_l)?, values(y, y_l)?, values(dy, dy_l)?, self.0);
        result(dx, dims(self.0.input))
    }
}

struct PatchesOp(Patches);

impl CustomOp1 for PatchesOp {
    fn name(&self) -> &'static str {
        "patches"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        result(kernel::patches(values(x, layout)?, self.0), dims(self.0.output()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        dy.contiguous()?.apply_op1_no_bwd(&PatchesBackward(self.0)).map(Some)
    }
}

struct PatchesBackward(Patches);

impl CustomOp1 for PatchesBackward {
    fn name(&self) -> &'static str {
        "patches-backward"
    }

    fn cpu_fwd(&self, dy: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        result(kernel::patches_backward(values(dy, layout)?, self.0), dims(self.0.input))
    }
}

/// `x` [N,H,W,C], `scale` and `shift` [C].
struct Affine;

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        scale: &CpuStorage,
        scale_l: &Layout,
        shift: &CpuStorage,
        shift_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = kernel::affine(values(x, x_l)?, values(scale, scale_l)?, values(shift, shift_l)?);
        result(y, x_l.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dx = dy.apply_op3_no_bwd(scale, &scale.zeros_like()?, &Affine)?;
        let sums = x.apply_op2_no_bwd(&dy, &AffineBackward)?;
        Ok((Some(dx), Some(sums.get(0)?), Some(sums.get(1)?)))
    }
}

/// `x` and `dy` [N,H,W,C] to [2,C]: the gradients of scale and shift.
struct AffineBackward;

impl CustomOp2 for AffineBackward {
    fn name(&self) -> &'static str {
        "affine-backward"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, dy: &CpuStorage, dy_l: &Layout) -> Result<(CpuStorage, Shape)> {
        let c = shape_of(x_l)?.c;
        let (mut dscale, dshift) = kernel::affine_backward(values(x, x_l)?, values(dy, dy_l)?, c);
        dscale.extend(dshift);
        result(dscale, (2, c))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    type Operation = fn(Backend, &[Var]) -> Result<Tensor>;

    /// Name, shapes of the inputs, the operation.
    const OPERATIONS: [(&str, &[&[usize]], Operation); 5] = [
        ("depthwise", &[&[2, 5, 4, 19], &[19, 1, 3, 3]], |b, v| b.depthwise(&v[0], &v[1])),
        ("max-pool, padding 1", &[&[2, 6, 7, 5]], |b, v| b.max_pool(&v[0], (1, 1))),
        ("max-pool, SAME", &[&[1, 6, 7, 5]], |b, v| b.max_pool(&v[0], (0, 1))),
        ("convolution", &[&[2, 7, 8, 3], &[4, 3, 3, 3]], |b, v| b.convolution(&v[0], &v[1], 2)),
        ("affine", &[&[2, 3, 3, 7], &[7], &[7]], |b, v| b.affine(&v[0], &v[1], &v[2])),
    ];

    fn inputs(shapes: &[&[usize]]) -> Vec<Var> {
        let var = |(seed, shape): (usize, &&[usize])| {
            let count = shape.iter().product();
            let values = crate::kernel::testing::values(seed as u64, count);
            Var::from_vec(values, *shape, &Device::Cpu).unwrap()
        };
        shapes.iter().enumerate().map(var).collect()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_scalar().unwrap()
    }

    /// A loss whose gradient differs for every output element.
    fn loss(y: &Tensor) -> Tensor {
        let weights = crate::kernel::testing::values(99, y.elem_count());
        let weights = Tensor::from_vec(weights, y.dims(), &Device::Cpu).unwrap();
        (y * weights).unwrap().sum_all().unwrap()
    }

    #[test]
    fn kernels_and_candle_operations_agree_on_values() {
        for (name, shapes, operation) in OPERATIONS {
            let inputs = inputs(shapes);
            let kernel = operation(Backend::Kernel, &inputs).unwrap();
            let candle = operation(Backend::Candle, &inputs).unwrap();
            assert_eq!(kernel.dims(), candle.dims(), "{name}");
            // Sums of at most 27 products of values below 1.
            assert!(largest_difference(&kernel, &candle) < 1e-5, "{name}");
        }
    }

    #[test]
    fn kernels_and_candle_operations_agree_on_gradients() {
        for (name, shapes, operation) in OPERATIONS {
            let inputs = inputs(shapes);
            let gradients = [Backend::Kernel, Backend::Candle]
                .map(|backend| loss(&operation(backend, &inputs).unwrap()).backward().unwrap());
            for (index, input) in inputs.iter().enumerate() {
                let [kernel, candle] = [0, 1].map(|i: usize| gradients[i].get(input).unwrap());
                assert!(largest_difference(kernel, candle) < 2e-5, "{name}, input {index}");
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes_that_finite_differences_show() {
        for (name, shapes, operation) in OPERATIONS {
            let inputs = inputs(shapes);
            let loss_of = |inputs: &[Var]| {
                let y = operation(Backend::Kernel, inputs).unwrap();
                loss(&y).to_scalar::<f32>().unwrap()
            };
            let gradients = loss(&operation(Backend::Kernel, &inputs).unwrap()).backward().unwrap();
            for (index, input) in inputs.iter().enumerate() {
                let gradient = gradients.get(input).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let values = input.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                for element in [0, values.len() / 2, values.len() - 1] {
                    // Every operation is linear in each element (max-pool piecewise): a small
                    // step keeps the maxima, float32 sums of some hundred terms set the tolerance.
                    let step = 1e-2;
                    let moved = |by: f32| {
                        let mut values = values.clone();
                        values[element] += by;
                        input.set(&Tensor::from_vec(values, input.dims(), &Device::Cpu).unwrap()).unwrap();
                        loss_of(&inputs)
                    };
                    let slope = (moved(step) - moved(-step)) / (2.0 * step);
                    moved(0.0);
                    let expected = gradient[element];
                    assert!((slope - expected).abs() < 5e-3, "{name}, input {index}: {slope}, {expected}");
                }
            }
        }
    }
}
