//! The operations by the kernels, each with its derivative.
//!
//! Where an input takes part in no gradient, its gradient is not computed.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::{Deref, Range};

use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, Error, Layout, Result, Shape, Storage, Tensor};

use super::nhwc;
use crate::kernel::{self, AffineMap, Matrix, MaxPool, Nhwc, Normalisation, Patches, Statistics};

/// An operation on `N` contiguous tensors.
pub trait Differentiable<const N: usize>: Debug {
    /// # Errors
    /// If a tensor has another shape than the operation's, or is not in the memory of the CPU.
    fn forward(&self, inputs: [&Tensor; N]) -> Result<Values>;

    /// The gradients of the inputs, given that of the output; none for an input that asks for none.
    ///
    /// # Errors
    /// As above.
    fn backward(&self, inputs: [&Tensor; N], output: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; N]>;
}

/// A tensor to be.
pub struct Values {
    values: Vec<f32>,
    shape: Shape,
}

impl Values {
    fn new(values: Vec<f32>, shape: impl Into<Shape>) -> Self {
        Self { values, shape: shape.into() }
    }
}

/// A tensor without a history; if it is tracked, Candle's `backward` finds its gradient.
pub fn leaf(Values { values, shape }: Values, is_tracked: bool) -> Tensor {
    Tensor::from_storage(Storage::Cpu(CpuStorage::F32(values)), shape, BackpropOp::none(), is_tracked)
}

/// The float32 values of a contiguous tensor.
pub fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    Ok(&storage.as_slice::<f32>()?[range(layout)?])
}

/// Where a contiguous tensor lies in its storage.
pub fn range(layout: &Layout) -> Result<Range<usize>> {
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

/// A gradient in the shape of the tensor that it belongs to.
fn gradient(values: Vec<f32>, of: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, of.dims(), of.device())
}

/// Computes a gradient if `of` asks for one.
fn wanted(of: &Tensor, compute: impl FnOnce() -> Result<Vec<f32>>) -> Result<Option<Tensor>> {
    of.track_op().then(|| gradient(compute()?, of)).transpose()
}

fn dims(shape: Nhwc) -> Shape {
    (shape.n, shape.h, shape.w, shape.c).into()
}

/// `a + b`: Candle's own sum takes one thread.
pub fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let held = [a, b].map(hold);
    gradient(kernel::add(held[0].values()?, held[1].values()?), a)
}

/// Statistics over the pixels of `x` [N,H,W,C].
pub fn statistics(x: &Tensor) -> Result<Statistics> {
    let x = x.contiguous()?;
    let statistics = kernel::statistics(hold(&x).values()?, x.dim(3)?);
    Ok(statistics)
}

/// What follows a product: a constant factor and summand for each output channel, and the ReLU.
#[derive(Debug)]
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
        let map = self.affine.as_ref().map(|(scale, shift)| AffineMap { scale, shift, relu: self.relu });
        kernel::product_then(x, Matrix::new(weight, outputs, channels).t(), map)
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

/// A separable convolution: `x` [N,H,W,C], depthwise [C,1,3,3], pointwise [O,C,1,1]. The depthwise result
/// is computed again on the way back: that takes a fiftieth of the time and saves half the memory.
#[derive(Debug)]
pub struct Separable {
    pub relu_before: bool,
    pub epilogue: Epilogue,
}

/// The kernels' layout of a depthwise weight, [9,C].
fn taps(depthwise: &Tensor) -> Result<Tensor> {
    depthwise.detach().flatten_from(1)?.t()?.contiguous()
}

impl Differentiable<3> for Separable {
    fn forward(&self, [x, depthwise, weight]: [&Tensor; 3]) -> Result<Values> {
        let (shape, outputs, taps) = (nhwc(x)?, weight.dim(0)?, taps(depthwise)?);
        let held = [x, &taps, weight].map(hold);
        let [x, taps, weight] = &held;
        let depthwise = kernel::depthwise(x.values()?, shape, taps.values()?, self.relu_before);
        let y = self.epilogue.forward(&depthwise, weight.values()?, outputs);
        Ok(Values::new(y, dims(Nhwc { c: outputs, ..shape })))
    }

    fn backward(&self, [x, depthwise, weight]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let (shape, outputs, taps, relu) = (nhwc(x)?, weight.dim(0)?, taps(depthwise)?, self.relu_before);
        let held = [x, &taps, weight, y, dy].map(hold);
        let [hx, htaps, hweight, hy, hdy] = &held;
        let (x_values, taps_values) = (hx.values()?, htaps.values()?);
        let dproduct = self.epilogue.backward(hy.values()?, hdy.values()?);
        let dweight = wanted(weight, || {
            let product_input = kernel::depthwise(x_values, shape, taps_values, relu);
            Ok(backward_weight(&product_input, &dproduct, outputs))
        })?;
        let ddepthwise = backward_input(hweight.values()?, &dproduct, outputs);
        let (dx, dtaps) = kernel::depthwise_backward(x_values, shape, taps_values, relu, &ddepthwise);
        let dtaps =
            wanted(depthwise, || Tensor::from_vec(dtaps, taps.dims(), taps.device())?.t()?.flatten_all()?.to_vec1())?;
        let dx = wanted(x, || Ok(dx))?;
        Ok([dx, dtaps, dweight])
    }
}

/// An ordinary convolution: `x` [N,H,W,C], `weight` [O,C,K,K].
#[derive(Debug)]
pub struct Convolution {
    pub patches: Patches,
    pub epilogue: Epilogue,
}

/// A weight in the order of the patches, [O,K,K,C].
fn in_patch_order(weight: &Tensor) -> Result<Tensor> {
    weight.detach().permute((0, 2, 3, 1))?.contiguous()
}

impl Differentiable<2> for Convolution {
    fn forward(&self, [x, weight]: [&Tensor; 2]) -> Result<Values> {
        let (outputs, weight) = (weight.dim(0)?, in_patch_order(weight)?);
        let patches = kernel::patches(hold(x).values()?, self.patches);
        let y = self.epilogue.forward(&patches, hold(&weight).values()?, outputs);
        Ok(Values::new(y, dims(Nhwc { c: outputs, ..self.patches.output() })))
    }

    fn backward(&self, [x, weight]: [&Tensor; 2], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let (outputs, ordered) = (weight.dim(0)?, in_patch_order(weight)?);
        let held = [x, &ordered, y, dy].map(hold);
        let [hx, hweight, hy, hdy] = &held;
        let dproduct = self.epilogue.backward(hy.values()?, hdy.values()?);
        let dweight = wanted(weight, || {
            let patches = kernel::patches(hx.values()?, self.patches);
            let dweight = backward_weight(&patches, &dproduct, outputs);
            let dweight = Tensor::from_vec(dweight, ordered.dims(), ordered.device())?;
            dweight.permute((0, 3, 1, 2))?.flatten_all()?.to_vec1()
        })?;
        let dx = wanted(x, || {
            let dpatches = backward_input(hweight.values()?, &dproduct, outputs);
            Ok(kernel::patches_backward(&dpatches, self.patches))
        })?;
        Ok([dx, dweight])
    }
}

/// Batch normalisation by the batch's own statistics: `x` [N,H,W,C], `gamma` and `beta` [C].
#[derive(Debug)]
pub struct Normalise {
    pub statistics: Statistics,
    pub epsilon: f32,
    pub relu: bool,
}

impl Normalise {
    fn by<'a>(&'a self, gamma: &'a [f32]) -> Normalisation<'a> {
        Normalisation { statistics: &self.statistics, gamma, epsilon: self.epsilon }
    }
}

impl Differentiable<3> for Normalise {
    fn forward(&self, [x, gamma, beta]: [&Tensor; 3]) -> Result<Values> {
        let held = [x, gamma, beta].map(hold);
        let y = kernel::batch_norm(held[0].values()?, self.by(held[1].values()?), held[2].values()?, self.relu);
        Ok(Values::new(y, x.dims()))
    }

    fn backward(&self, [x, gamma, beta]: [&Tensor; 3], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let held = [x, gamma, y, dy].map(hold);
        let [hx, hgamma, hy, hdy] = &held;
        let dy = hdy.values()?;
        let dy = if self.relu { Cow::Owned(kernel::relu_backward(dy, hy.values()?)) } else { Cow::Borrowed(dy) };
        let (dx, dgamma, dbeta) = kernel::batch_norm_backward(hx.values()?, self.by(hgamma.values()?), &dy);
        Ok([Some(gradient(dx, x)?), Some(gradient(dgamma, gamma)?), Some(gradient(dbeta, beta)?)])
    }
}

/// The sum of two tensors of one shape.
#[derive(Debug)]
pub struct Sum;

impl Differentiable<2> for Sum {
    fn forward(&self, [a, b]: [&Tensor; 2]) -> Result<Values> {
        let held = [a, b].map(hold);
        Ok(Values::new(kernel::add(held[0].values()?, held[1].values()?), a.dims()))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok([a, b].map(|input| input.track_op().then(|| dy.clone())))
    }
}

/// A max-pool of one input.
#[derive(Debug)]
pub struct Pool(pub MaxPool);

impl Differentiable<1> for Pool {
    fn forward(&self, [x]: [&Tensor; 1]) -> Result<Values> {
        Ok(Values::new(kernel::max_pool(hold(x).values()?, self.0), dims(self.0.output())))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let held = [x, y, dy].map(hold);
        let [hx, hy, hdy] = &held;
        let dx = kernel::max_pool_backward(hx.values()?, hy.values()?, hdy.values()?, self.0);
        Ok([Some(gradient(dx, x)?)])
    }
}
