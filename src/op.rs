//! The network's operations on Candle tensors: our kernels on a CPU, ordinary Candle elsewhere.
//!
//! Tensors are float32, NHWC. Only this module knows both Candle and [`crate::kernel`].
//! [`Backend::Candle`] is made of Candle's own operations alone, so it runs and differentiates on
//! any device; on a CPU it is the kernels' independent check.

mod fallback;
mod kernels;
mod sgd;
#[cfg(test)]
mod tests;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};

use crate::kernel::{MaxPool, Nhwc, Patches, Sgd, Statistics};
use kernels::{Convolution, Differentiable, Epilogue, Normalise, Pool, Separable, Sum};

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
    /// Not for [`Tape::convolution`].
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
}

impl Backend {
    pub fn for_device(device: &Device) -> Self {
        if device.is_cpu() { Backend::Kernel } else { Backend::Candle }
    }

    /// A step of stochastic gradient descent: `variable` moves, and with momentum its `velocity`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn sgd(self, variable: &Var, gradient: &Tensor, velocity: Option<&mut Tensor>, step: Sgd) -> Result<()> {
        let gradient = gradient.contiguous()?;
        match self {
            Backend::Kernel => sgd::step(variable, &gradient, velocity, step),
            Backend::Candle => fallback::sgd(variable, &gradient, velocity, step),
        }
    }
}

/// The operations of one pass, and what they leave for the way back.
///
/// Candle's own way back takes the gradients of the kernels' results one by one into sums that it clears
/// first, on one thread, and keeps every activation until its end: on a CPU a fifth of a step's time. So the
/// kernels' results are leaves to Candle, whose gradients [`Tape::backward`] carries on to the variables. An
/// operation of Candle's on such a result is differentiated only if no operation of the tape follows it.
#[derive(Debug)]
pub struct Tape {
    backend: Backend,
    steps: Vec<Box<dyn Step>>,
}

/// A step of the way back.
trait Step: std::fmt::Debug {
    /// Exchanges the gradient of an operation's output for those of its inputs.
    fn carry(&self, gradients: &mut GradStore) -> Result<()>;
}

/// What an operation of the kernels was given, and what it made of it.
#[derive(Debug)]
struct Record<Operation, const N: usize> {
    operation: Operation,
    inputs: [Tensor; N],
    output: Tensor,
}

impl<Operation: Differentiable<N>, const N: usize> Step for Record<Operation, N> {
    fn carry(&self, gradients: &mut GradStore) -> Result<()> {
        let Some(gradient) = gradients.remove(&self.output) else { return Ok(()) };
        let found = self.operation.backward(self.inputs.each_ref(), &self.output, &gradient.contiguous()?)?;
        for (input, gradient) in self.inputs.iter().zip(found) {
            let Some(gradient) = gradient else { continue };
            let sum = match gradients.remove(input) {
                Some(other) => kernels::sum(&other, &gradient)?,
                None => gradient,
            };
            gradients.insert(input, sum);
        }
        Ok(())
    }
}

impl Tape {
    pub fn new(backend: Backend) -> Self {
        Self { backend, steps: Vec::new() }
    }

    /// Depthwise 3×3 convolution with padding 1, then a pointwise one.
    ///
    /// Shapes: `x` [N,H,W,C], `depthwise` [C,1,3,3], `pointwise` [O,C,1,1], result [N,H,W,O].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn separable(&mut self, x: &Tensor, depthwise: &Tensor, pointwise: &Tensor, around: Around) -> Result<Tensor> {
        match self.backend {
            Backend::Kernel => {
                let operation = Separable { relu_before: around.relu_before, epilogue: around.epilogue()? };
                self.record(operation, [x, depthwise, pointwise])
            }
            Backend::Candle => fallback::separable(x, depthwise, pointwise, around),
        }
    }

    /// Ordinary convolution without padding: the pixels under the kernel, then a matrix product.
    ///
    /// Shapes: `x` [N,H,W,C], `weight` [O,C,K,K], result [N,H',W',O] with H' = (H − K) / stride + 1.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn convolution(&mut self, x: &Tensor, weight: &Tensor, stride: usize, around: Around) -> Result<Tensor> {
        let patches = Patches { input: nhwc(x)?, kernel: weight.dim(2)?, stride };
        match self.backend {
            Backend::Kernel => self.record(Convolution { patches, epilogue: around.epilogue()? }, [x, weight]),
            Backend::Candle => fallback::convolution(x, weight, patches, around),
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
        &mut self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        epsilon: f64,
        relu: bool,
    ) -> Result<(Tensor, Statistics)> {
        match self.backend {
            Backend::Kernel => {
                let operation = Normalise { statistics: kernels::statistics(x)?, epsilon: epsilon as f32, relu };
                let statistics = operation.statistics.clone();
                Ok((self.record(operation, [x, gamma, beta])?, statistics))
            }
            Backend::Candle => fallback::batch_norm(x, gamma, beta, epsilon, relu),
        }
    }

    /// 3×3 max-pool with stride 2 and `padding` rows and columns before the first.
    ///
    /// Shapes: `x` [N,H,W,C], result [N, ⌈H/2⌉, ⌈W/2⌉, C].
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn max_pool(&mut self, x: &Tensor, padding: (usize, usize)) -> Result<Tensor> {
        let pool = MaxPool { input: nhwc(x)?, padding };
        match self.backend {
            Backend::Kernel => self.record(Pool(pool), [x]),
            Backend::Candle => fallback::max_pool(x, pool),
        }
    }

    /// `a + b`, of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn sum(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self.backend {
            Backend::Kernel if a.dims() == b.dims() => self.record(Sum, [a, b]),
            _ => a + b,
        }
    }

    /// Does an operation, and remembers it if a gradient will ask for it.
    fn record<const N: usize>(
        &mut self,
        operation: impl Differentiable<N> + 'static,
        inputs: [&Tensor; N],
    ) -> Result<Tensor> {
        let is_tracked = inputs.iter().any(|input| input.track_op());
        let output = kernels::leaf(operation.forward(inputs)?, is_tracked);
        if is_tracked {
            self.steps.push(Box::new(Record { operation, inputs: inputs.map(Tensor::clone), output: output.clone() }));
        }
        Ok(output)
    }

    /// Carries the gradients of the tape's results, which Candle's `backward` found, on to what the tape was
    /// given: the variables and, where they take part in gradients, the inputs. Activations are freed on
    /// the way.
    ///
    /// # Errors
    /// If a gradient does not have its tensor's shape.
    pub fn backward(mut self, gradients: &mut GradStore) -> Result<()> {
        while let Some(step) = self.steps.pop() {
            step.carry(gradients)?;
        }
        Ok(())
    }
}

fn nhwc(x: &Tensor) -> Result<Nhwc> {
    let (n, h, w, c) = x.dims4()?;
    Ok(Nhwc { n, h, w, c })
}
