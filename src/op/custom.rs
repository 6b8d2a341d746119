//! The kernels as Candle's custom operations, each with its backward.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use crate::architecture::KERNEL;
use crate::kernel::{self, MaxPool, Nhwc, Patches};

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
pub struct DepthwiseOp;

impl CustomOp2 for DepthwiseOp {
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
        let dx = dy.apply_op2_no_bwd(&turned, &DepthwiseOp)?;
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

pub struct MaxPoolOp(pub MaxPool);

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

pub struct PatchesOp(pub Patches);

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
pub struct AffineOp;

impl CustomOp3 for AffineOp {
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
        let dx = dy.apply_op3_no_bwd(scale, &scale.zeros_like()?, &AffineOp)?;
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
