//! The kernels as Candle's custom operations, each with its backward.
//!
//! Where an input takes part in no gradient, its gradient is not computed.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Error, InplaceOp3, Layout, Result, Shape, Storage, Tensor,
};

use crate::kernel::{self, Matrix, MaxPool, Nhwc, Normalisation, Patches, Sgd, Statistics};

/// The float32 values of a contiguous tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    Ok(&storage.as_slice::<f32>()?[range(layout)?])
}

/// Where a contiguous tensor lies in its storage.
fn range(layout: &Layout) -> Result<Range<usize>> {
    let offsets = layout.contiguous_offsets();
    let (start, end) = offsets.ok_or_else(|| Error::RequiresContiguous { op: "xcept" }.bt())?;
    Ok(start..end)
}

/// A tensor held for reading.
struct Held<'a, Guard> {
    storage: Guard,
    layout: &'a Layout,
}

fn hold(tensor: &Tensor) -> Held<'_, impl Deref<Target = Storage>> {
    let (storage, layout) = tensor.storage_and_layout();
    Held { storage, layout }
}

impl<Guard: Deref<Target = Storage>> Held<'_, Guard> {
    fn values(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(storage) => values(storage, self.layout),
            _ => Err(Error::Msg("the kernels compute on a CPU only".to_owned()).bt()),
        }
    }
}

fn nhwc(layout: &Layout) -> Result<Nhwc> {
    let (n, h, w, c) = layout.shape().dims4()?;
    Ok(Nhwc { n, h, w, c })
}

fn dims(shape: Nhwc) -> Shape {
    (shape.n, shape.h, shape.w, shape.c).into()
}

fn result(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}

/// A gradient in the shape of the tensor that it belongs to.
fn gradient(values: Vec<f32>, of: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, of.dims(), of.device())
}

/// What follows a product: a constant factor and summand for each output channel, and the ReLU.
pub struct Epilogue {
    /// [O] each; none for the product as it is.
    pub affine: Option<(Vec<f32>, Vec<f32>)>,
    /// Only with an affine map.
    pub relu: bool,
}

impl Epilogue {
    /// `x · weightᵀ` and what follows.
    ///
    /// Shapes: `x` [P,C], `weight` [O,C], result [P,O].
    fn forward(&self, x: &[f32], weight: &[f32], outputs: usize) -> Vec<f32> {
        let channels = weight.len() / outputs;
        let x = Matrix::new(x, x.len() / channels, channels);
        let mut y = kernel::product(x, Matrix::new(weight, outputs, channels).t());
        if let Some((scale, shift)) = &self.affine {
            kernel::affine(&mut y, scale, shift, self.relu);
        }
        y
    }

    /// The gradient of the product, given that of the result.
    fn backward<'a>(&self, y: &[f32], dy: &'a [f32]) -> Cow<'a, [f32]> {
        match &self.affine {
            Some((scale, _)) => Cow::Owned(kernel::affine_backward(dy, y, scale, self.relu)),
            None => Cow::Borrowed(dy),
        }
    }
}

/// The gradient of a product's left factor.
///
/// Shapes: `weight` [O,C], `dproduct` [P,O], result [P,C].
fn backward_input(weight: &[f32], dproduct: &[f32], outputs: usize) -> Vec<f32> {
    let weight = Matrix::new(weight, outputs, weight.len() / outputs);
    kernel::product(Matrix::new(dproduct, dproduct.len() / outputs, outputs), weight)
}

/// The gradient of a product's weight.
///
/// Shapes: `x` [P,C], `dproduct` [P,O], result [O,C].
fn backward_weight(x: &[f32], dproduct: &[f32], outputs: usize) -> Vec<f32> {
    let pixels = dproduct.len() / outputs;
    kernel::product(Matrix::new(dproduct, pixels, outputs).t(), Matrix::new(x, pixels, x.len() / pixels))
}

/// A separable convolution: `x` [N,H,W,C], `taps` [9,C], `weight` [O,C,1,1]. The depthwise result is
/// computed again in the backward pass: that takes a fiftieth of the time and saves half the memory.
pub struct SeparableOp {
    pub relu_before: bool,
    pub epilogue: Epilogue,
}

impl CustomOp3 for SeparableOp {
    fn name(&self) -> &'static str {
        "separable-convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        taps: &CpuStorage,
        taps_l: &Layout,
        weight: &CpuStorage,
        weight_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (shape, outputs) = (nhwc(x_l)?, weight_l.dims()[0]);
        let depthwise = kernel::depthwise(values(x, x_l)?, shape, values(taps, taps_l)?, self.relu_before);
        let y = self.epilogue.forward(&depthwise, values(weight, weight_l)?, outputs);
        result(y, dims(Nhwc { c: outputs, ..shape }))
    }

    fn bwd(
        &self,
        x: &Tensor,
        taps: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (shape, outputs, dy) = (nhwc(x.layout())?, weight.dim(0)?, dy.contiguous()?);
        let held = [x, taps, weight, y, &dy].map(hold);
        let [hx, htaps, hweight, hy, hdy] = &held;
        let (x_values, taps_values) = (hx.values()?, htaps.values()?);
        let dproduct = self.epilogue.backward(hy.values()?, hdy.values()?);
        let dweight = if weight.track_op() {
            let depthwise = kernel::depthwise(x_values, shape, taps_values, self.relu_before);
            Some(gradient(backward_weight(&depthwise, &dproduct, outputs), weight)?)
        } else {
            None
        };
        let ddepthwise = backward_input(hweight.values()?, &dproduct, outputs);
        let dtaps = || kernel::depthwise_backward_taps(x_values, shape, self.relu_before, &ddepthwise);
        let dx = || kernel::depthwise_backward_input(x_values, shape, taps_values, self.relu_before, &ddepthwise);
        let dtaps = taps.track_op().then(|| gradient(dtaps(), taps)).transpose()?;
        Ok((x.track_op().then(|| gradient(dx(), x)).transpose()?, dtaps, dweight))
    }
}

/// An ordinary convolution: `x` [N,H,W,C], `weight` [O, K·K·C] in the order of the patches.
pub struct ConvolutionOp {
    pub patches: Patches,
    pub epilogue: Epilogue,
}

impl CustomOp2 for ConvolutionOp {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        weight: &CpuStorage,
        weight_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let outputs = weight_l.dims()[0];
        let patches = kernel::patches(values(x, x_l)?, self.patches);
        let y = self.epilogue.forward(&patches, values(weight, weight_l)?, outputs);
        result(y, dims(Nhwc { c: outputs, ..self.patches.output() }))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (outputs, dy) = (weight.dim(0)?, dy.contiguous()?);
        let held = [x, weight, y, &dy].map(hold);
        let [hx, hweight, hy, hdy] = &held;
        let dproduct = self.epilogue.backward(hy.values()?, hdy.values()?);
        let dweight = if weight.track_op() {
            let patches = kernel::patches(hx.values()?, self.patches);
            Some(gradient(backward_weight(&patches, &dproduct, outputs), weight)?)
        } else {
            None
        };
        let dx = if x.track_op() {
            let dpatches = backward_input(hweight.values()?, &dproduct, outputs);
            Some(gradient(kernel::patches_backward(&dpatches, self.patches), x)?)
        } else {
            None
        };
        Ok((dx, dweight))
    }
}

/// Batch normalisation by the batch's own statistics: `x` [N,H,W,C], `gamma` and `beta` [C].
pub struct BatchNormOp {
    pub epsilon: f32,
    pub relu: bool,
    /// What the forward pass found.
    pub statistics: Arc<OnceLock<Statistics>>,
}

impl BatchNormOp {
    fn statistics(&self, x: &[f32], c: usize) -> &Statistics {
        self.statistics.get_or_init(|| kernel::statistics(x, c))
    }
}

impl CustomOp3 for BatchNormOp {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_l: &Layout,
        gamma: &CpuStorage,
        gamma_l: &Layout,
        beta: &CpuStorage,
        beta_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gamma) = (values(x, x_l)?, values(gamma, gamma_l)?);
        let statistics = self.statistics(x, gamma.len());
        let norm = Normalisation { statistics, gamma, epsilon: self.epsilon };
        result(kernel::batch_norm(x, norm, values(beta, beta_l)?, self.relu), x_l.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let held = [x, gamma, y, &dy].map(hold);
        let [hx, hgamma, hy, hdy] = &held;
        let (x_values, gamma_values, dy) = (hx.values()?, hgamma.values()?, hdy.values()?);
        let dy = if self.relu { Cow::Owned(kernel::relu_backward(dy, hy.values()?)) } else { Cow::Borrowed(dy) };
        let statistics = self.statistics(x_values, gamma_values.len());
        let norm = Normalisation { statistics, gamma: gamma_values, epsilon: self.epsilon };
        let (dx, dgamma, dbeta) = kernel::batch_norm_backward(x_values, norm, &dy);
        Ok((Some(gradient(dx, x)?), Some(gradient(dgamma, gamma)?), Some(gradient(dbeta, beta)?)))
    }
}

/// The sum of two tensors of one shape: Candle's own takes one thread.
pub struct SumOp;

impl CustomOp2 for SumOp {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_l: &Layout, b: &CpuStorage, b_l: &Layout) -> Result<(CpuStorage, Shape)> {
        result(kernel::add(values(a, a_l)?, values(b, b_l)?), a_l.shape())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(dy.clone()), Some(dy.clone())))
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
        let dy = dy.contiguous()?;
        let held = [x, y, &dy].map(hold);
        let [hx, hy, hdy] = &held;
        gradient(kernel::max_pool_backward(hx.values()?, hy.values()?, hdy.values()?, self.0), x).map(Some)
    }
}

/// [`Sgd::accelerate`] on velocity, gradient and weight.
pub struct Accelerate(pub Sgd);

/// [`Sgd::advance`] on weight, gradient and velocity.
pub struct Advance(pub Sgd);

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[range(layout)?]),
        _ => Err(Error::Msg("the kernels compute in float32 only".to_owned()).bt()),
    }
}

impl InplaceOp3 for Accelerate {
    fn name(&self) -> &'static str {
        "sgd-velocity"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        velocity_l: &Layout,
        gradient: &CpuStorage,
        gradient_l: &Layout,
        weight: &CpuStorage,
        weight_l: &Layout,
    ) -> Result<()> {
        let velocity = values_mut(velocity, velocity_l)?;
        self.0.accelerate(velocity, values(gradient, gradient_l)?, values(weight, weight_l)?);
        Ok(())
    }
}

impl InplaceOp3 for Advance {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_l: &Layout,
        gradient: &CpuStorage,
        gradient_l: &Layout,
        velocity: &CpuStorage,
        velocity_l: &Layout,
    ) -> Result<()> {
        let weight = values_mut(weight, weight_l)?;
        self.0.advance(weight, values(gradient, gradient_l)?, values(velocity, velocity_l)?);
        Ok(())
    }
}
