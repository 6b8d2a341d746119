//! From the architecture table and a checkpoint to the list of steps.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use anyhow::{Context, Result};

use crate::architecture::{self, ModuleKind, Operation, XCEPTION};
use crate::kernel::buffer::Buffer;
use crate::kernel::convolve::Inputs;
use crate::kernel::gather::{DepthwiseWeights, Image, Window};
use crate::kernel::isa::Isa;
use crate::kernel::panels::Panels;
use crate::kernel::{MaxPool, Nhwc};
use crate::weights::{Checkpoint, RawTensor, Values};

/// Activations rotate through this many buffers; the picture stays where it is.
pub const BUFFERS: usize = 3;

/// Where a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Picture,
    Buffer(usize),
}

/// What a step adds before its ReLU, and the buffer it takes it from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Nothing,
    Sum(usize),
    MaxPool(usize, MaxPool),
}

/// One convolution with all that is fused into it.
#[derive(Debug)]
pub struct Step {
    /// Keras' name of the convolution.
    pub name: String,
    /// The stage that is complete after this step, by Keras' name.
    pub stage: Option<String>,
    pub inputs: Inputs,
    pub panels: Panels,
    /// Where its packed weights lie among the plan's.
    pub weights: Range<usize>,
    pub relu: bool,
    pub added: Added,
    pub from: Place,
    /// The buffer that it writes.
    pub to: usize,
    pub in_shape: Image,
    pub out_shape: Image,
}

/// The steps for pictures of one size.
#[derive(Debug)]
pub struct Plan {
    pub isa: Isa,
    pub steps: Vec<Step>,
    /// All packed weights, in the order of the steps.
    pub weights: Buffer,
    pub input: Image,
    pub output: Image,
}

impl Step {
    /// Multiply-adds for one picture.
    pub fn multiply_adds(&self) -> usize {
        let depthwise = match self.inputs {
            Inputs::Depthwise { .. } => architecture::KERNEL * architecture::KERNEL * self.in_shape.elements(),
            Inputs::Picture { .. } | Inputs::Window(_) => 0,
        };
        depthwise + self.out_shape.pixels() * self.panels.channels() * self.panels.outputs()
    }
}

/// What the step does, in its order: `ReLU, depthwise, 1×1, + input, ReLU`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inputs {
            Inputs::Picture { stride } => write!(f, "3×3/{stride}")?,
            Inputs::Window(Window { kernel, stride: 1 }) => write!(f, "{kernel}×{kernel}")?,
            Inputs::Window(Window { kernel, stride }) => write!(f, "{kernel}×{kernel}/{stride}")?,
            Inputs::Depthwise { relu, .. } => write!(f, "{}depthwise, 1×1", if *relu { "ReLU, " } else { "" })?,
        }
        f.write_str(match self.added {
            Added::Nothing => "",
            Added::Sum(_) => ", + input",
            Added::MaxPool(..) => ", + max-pool",
        })?;
        f.write_str(if self.relu { ", ReLU" } else { "" })
    }
}

impl Plan {
    /// The blocks up to `last_block`, in Keras' numbers.
    ///
    /// # Errors
    /// Names a tensor that is missing from the checkpoint.
    pub fn new(checkpoint: &Checkpoint, height: usize, width: usize, isa: Isa, last_block: usize) -> Result<Self> {
        let input = Image { h: height, w: width, c: 3 };
        let mut compiler =
            Compiler { checkpoint, isa, steps: Vec::new(), unpacked: Vec::new(), shape: input, place: Place::Picture };
        for module in XCEPTION.iter().filter(|module| module.block <= last_block) {
            compiler.module(module)?;
        }
        let Compiler { steps, unpacked, shape: output, .. } = compiler;
        let mut weights = Buffer::zeros(steps.last().map_or(0, |step| step.weights.end));
        let mut rest = &mut weights[..];
        for (step, Unpacked { weight, scale }) in steps.iter().zip(&unpacked) {
            let packed;
            (packed, rest) = rest.split_at_mut(step.weights.len());
            step.panels.pack(|start, out| weight.read(start, out), scale, packed);
        }
        Ok(Self { isa, input, output, steps, weights })
    }

    /// Vectors of the largest activation.
    pub fn largest_activation(&self) -> usize {
        self.steps.iter().map(|step| step.out_shape.vectors()).max().unwrap_or(0)
    }

    /// Input channels of the widest product.
    pub fn most_channels(&self) -> usize {
        self.steps.iter().map(|step| step.panels.channels()).max().unwrap_or(0)
    }
}

/// A step's weights as they stand in the checkpoint, [N, K], and the factor of each output channel.
struct Unpacked<'a> {
    weight: Cow<'a, Values>,
    scale: Vec<f32>,
}

struct Compiler<'a> {
    checkpoint: &'a Checkpoint,
    isa: Isa,
    steps: Vec<Step>,
    /// For each step.
    unpacked: Vec<Unpacked<'a>>,
    /// Shape and place of the activation that the next module takes.
    shape: Image,
    place: Place,
}

impl<'a> Compiler<'a> {
    fn module(&mut self, module: &architecture::Module) -> Result<()> {
        let (shape, place) = (self.shape, self.place);
        let is_residual = matches!(module.kind, ModuleKind::Residual { .. });
        let is_stack = matches!(module.kind, ModuleKind::Ordinary | ModuleKind::Separable);
        let convolutions = module.convolutions();
        let last = convolutions.len() - 1;
        for (index, convolution) in convolutions.iter().enumerate() {
            // Inside a stack, what is stored has passed the ReLU that stands before the next
            // convolution; a module's input has not, for its shortcut takes it as it is.
            let relu_inputs = index == 0 && !is_stack && module.kind != ModuleKind::Residual { leading_relu: false };
            let (mut step, unpacked) = self.step(convolution, relu_inputs, &[place])?;
            step.relu = is_stack || index < last;
            if index == last
                && module.kind == ModuleKind::Identity
                && let Place::Buffer(input) = place
            {
                step.added = Added::Sum(input);
            }
            step.stage = match (is_stack, index == last && !is_residual) {
                (true, _) => Some(convolution.keras.clone()),
                (false, true) => Some(module.name()),
                (false, false) => None,
            };
            self.push(step, unpacked);
        }
        if let (Some(shortcut), Place::Buffer(pooled)) = (module.shortcut(), self.place) {
            let padding = |size| self.checkpoint.metadata.convention.max_pool_padding(size);
            let Image { h, w, c } = self.shape;
            let pool = MaxPool { input: Nhwc { n: 1, h, w, c }, padding: (padding(h), padding(w)) };
            (self.shape, self.place) = (shape, place);
            let (mut step, unpacked) = self.step(&shortcut, false, &[place, Place::Buffer(pooled)])?;
            step.added = Added::MaxPool(pooled, pool);
            step.stage = Some(module.name());
            self.push(step, unpacked);
        }
        Ok(())
    }

    fn push(&mut self, mut step: Step, unpacked: Unpacked<'a>) {
        let start = self.steps.last().map_or(0, |step| step.weights.end);
        step.weights = start..start + step.panels.vectors();
        self.unpacked.push(unpacked);
        (self.shape, self.place) = (step.out_shape, Place::Buffer(step.to));
        self.steps.push(step);
    }

    /// A step that reads the current activation and writes a buffer that is neither its own nor kept.
    fn step(
        &self,
        convolution: &architecture::Convolution,
        relu_inputs: bool,
        kept: &[Place],
    ) -> Result<(Step, Unpacked<'a>)> {
        let mut tensors = Vec::new();
        for spec in convolution.tensors() {
            tensors.push(self.checkpoint.tensor(&spec.name)?);
        }
        let norm = tensors.split_off(tensors.len() - 4);
        let (scale, bias) = self.folded(&norm);
        let (inputs, weight) = match (convolution.operation, tensors.as_slice()) {
            (Operation::Ordinary { kernel, stride }, &[weight]) => {
                let is_picture = self.place == Place::Picture;
                let window = Inputs::Window(Window { kernel, stride });
                // With one tap both orders are the same.
                let weight = if kernel == 1 { Cow::Borrowed(&weight.data) } else { Cow::Owned(pixels_first(weight)) };
                (if is_picture { Inputs::Picture { stride } } else { window }, weight)
            }
            (Operation::Separable, &[depthwise, pointwise]) => {
                let weights = DepthwiseWeights::new(&depthwise.data.floats());
                (Inputs::Depthwise { weights, relu: relu_inputs }, Cow::Borrowed(&pointwise.data))
            }
            _ => anyhow::bail!("convolution `{}` has {} tensors", convolution.keras, tensors.len()),
        };
        let size = |size| convolution.output_size(size);
        let is_free = |buffer: &usize| {
            let buffer = Place::Buffer(*buffer);
            buffer != self.place && !kept.contains(&buffer)
        };
        let step = Step {
            name: convolution.keras.clone(),
            stage: None,
            inputs,
            panels: Panels::new(self.isa, weight.len() / bias.len(), &bias),
            weights: 0..0,
            relu: false,
            added: Added::Nothing,
            from: self.place,
            to: (0..BUFFERS).find(is_free).context("no free buffer")?,
            in_shape: self.shape,
            out_shape: Image { h: size(self.shape.h), w: size(self.shape.w), c: convolution.out_channels },
        };
        Ok((step, Unpacked { weight, scale }))
    }

    /// Factor and summand of a batch normalisation: weight, bias, running mean and variance.
    fn folded(&self, norm: &[&RawTensor]) -> (Vec<f32>, Vec<f32>) {
        let epsilon = self.checkpoint.metadata.convention.epsilon();
        let norm: Vec<_> = norm.iter().map(|tensor| tensor.data.floats()).collect();
        let column = |tensor: usize, channel: usize| f64::from(norm[tensor][channel]);
        let scale = |channel| column(0, channel) / (column(3, channel) + epsilon).sqrt();
        let channels = 0..norm[0].len();
        let shift = |channel| column(1, channel) - column(2, channel) * scale(channel);
        (channels.clone().map(|c| scale(c) as f32).collect(), channels.map(|c| shift(c) as f32).collect())
    }
}

/// [out, in, kernel, kernel] as [out, kernel, kernel, in], the order in which a window is packed.
fn pixels_first(weight: &RawTensor) -> Values {
    let (channels, taps) = (weight.shape[1], weight.shape[2] * weight.shape[3]);
    let row = |row: &[f32]| (0..taps * channels).map(|k| row[k % channels * taps + k / channels]).collect::<Vec<_>>();
    weight.data.floats().chunks_exact(channels * taps).flat_map(row).collect::<Vec<_>>().into()
}

#[cfg(all(test, feature = "bundled"))]
mod tests {
    use super::*;
    use crate::weights::BUNDLED;

    #[test]
    fn a_plan_reads_as_a_list_of_what_is_done() {
        let plan = Plan::new(&BUNDLED[0].load().unwrap(), 299, 299, Isa::Scalar, XCEPTION.len()).unwrap();
        assert_eq!(plan.steps.len(), 40);
        let work = |name: &str| plan.steps.iter().find(|step| step.name == name).unwrap().to_string();
        assert_eq!(work("block1_conv1"), "3×3/2, ReLU");
        assert_eq!(work("block1_conv2"), "3×3, ReLU");
        assert_eq!(work("block2_sepconv1"), "depthwise, 1×1, ReLU");
        assert_eq!(work("block2_sepconv2"), "depthwise, 1×1");
        assert_eq!(work("conv2d"), "1×1/2, + max-pool");
        assert_eq!(work("block5_sepconv1"), "ReLU, depthwise, 1×1, ReLU");
        assert_eq!(work("block5_sepconv3"), "depthwise, 1×1, + input");
    }
}
