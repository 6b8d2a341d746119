//! Xception's architecture as one table, read top to bottom like Figure 5 of the paper.
//!
//! Everything that depends on the shape of the network is derived from [`XCEPTION`]: the Candle
//! modules, `xcept info`, the list of tensors a weights file must hold and the maps between the
//! names of Keras and timm.
//!
//! Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2017.
//! Layer names: Keras Applications (`keras`) and timm's `legacy_xception` (`timm`).

/// Side of the square input that the ImageNet weights were trained at, in pixels.
pub const INPUT_SIZE: usize = 299;
/// Smallest side that leaves at least one pixel to every layer (Keras Applications' limit).
pub const MIN_INPUT_SIZE: usize = 71;
/// Largest side that is accepted: a larger picture's activations take gigabytes.
pub const MAX_INPUT_SIZE: usize = 2048;
/// Length of the bottleneck features, channels of the last feature map.
pub const FEATURES: usize = 2048;
/// Classes of the ImageNet head.
pub const IMAGENET_CLASSES: usize = 1000;
/// Side of every kernel but the shortcuts', which are 1×1.
pub const KERNEL: usize = 3;

/// The 14 modules of Figure 5.
pub const XCEPTION: [Module; 14] = [
    // Entry flow
    ordinary(1, 3, &[32, 64]),
    residual(2, 64, &[128, 128]).without_leading_relu(),
    residual(3, 128, &[256, 256]),
    residual(4, 256, &[728, 728]),
    // Middle flow
    identity(5, 728, &[728, 728, 728]),
    identity(6, 728, &[728, 728, 728]),
    identity(7, 728, &[728, 728, 728]),
    identity(8, 728, &[728, 728, 728]),
    identity(9, 728, &[728, 728, 728]),
    identity(10, 728, &[728, 728, 728]),
    identity(11, 728, &[728, 728, 728]),
    identity(12, 728, &[728, 728, 728]),
    // Exit flow
    residual(13, 728, &[728, 1024]),
    separable(14, 1024, &[1536, 2048]),
];

/// Keras' numbers of the blocks.
pub const BLOCKS: std::ops::RangeInclusive<usize> = 1..=XCEPTION.len();

/// One module: a stack of convolutions and what surrounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Keras' number of the block, from 1.
    pub block: usize,
    pub in_channels: usize,
    /// Output channels of each convolution, in order.
    pub channels: &'static [usize],
    pub kind: ModuleKind,
}

/// How a module joins its convolutions, each followed by batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// Ordinary 3×3 convolutions without padding, the first with stride 2, a ReLU after each.
    Ordinary,
    /// Separable convolutions, each behind a ReLU (the first only with `leading_relu`), then a
    /// 3×3/2 max-pool, added to a 1×1/2 convolution of the module's input.
    Residual { leading_relu: bool },
    /// Separable convolutions, each behind a ReLU, added to the module's input.
    Identity,
    /// Separable convolutions with a ReLU after each.
    Separable,
}

/// A convolution and the batch normalisation that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// Keras' layer name, `block2_sepconv1`; a shortcut's is Keras' default, `conv2d`, `conv2d_1`, …
    pub keras: String,
    pub keras_bn: String,
    /// timm's module name, `block1.rep.0`.
    pub timm: String,
    pub timm_bn: String,
    pub operation: Operation,
    pub in_channels: usize,
    pub out_channels: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An ordinary convolution without padding, `kernel`×`kernel`, no bias.
    Ordinary { kernel: usize, stride: usize },
    /// A 3×3 depthwise convolution with padding 1, then a pointwise one; no biases.
    Separable,
}

/// A tensor that the network needs: what it is called in either world, and its shape in timm's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// timm's name, the name in our own files.
    pub name: String,
    /// Keras' layer and its variable, (`block1_conv1_bn`, `moving_mean`).
    pub keras: (String, &'static str),
    /// Convolutions are [out, in, kernel, kernel], depthwise ones [channels, 1, kernel, kernel].
    pub shape: Vec<usize>,
    /// False for the statistics of batch normalisation.
    pub trainable: bool,
}

impl TensorSpec {
    fn new(name: String, keras: (&str, &'static str), shape: &[usize]) -> Self {
        let trainable = !keras.1.starts_with("moving_");
        let keras = (keras.0.to_owned(), keras.1);
        Self { name, keras, shape: shape.to_vec(), trainable }
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

const fn ordinary(block: usize, in_channels: usize, channels: &'static [usize]) -> Module {
    Module { block, in_channels, channels, kind: ModuleKind::Ordinary }
}

const fn residual(block: usize, in_channels: usize, channels: &'static [usize]) -> Module {
    Module { block, in_channels, channels, kind: ModuleKind::Residual { leading_relu: true } }
}

const fn identity(block: usize, in_channels: usize, channels: &'static [usize]) -> Module {
    Module { block, in_channels, channels, kind: ModuleKind::Identity }
}

const fn separable(block: usize, in_channels: usize, channels: &'static [usize]) -> Module {
    Module { block, in_channels, channels, kind: ModuleKind::Separable }
}

impl Module {
    /// Block 1 ends in a ReLU, so block 2 needs none of its own.
    const fn without_leading_relu(mut self) -> Self {
        self.kind = ModuleKind::Residual { leading_relu: false };
        self
    }

    pub fn name(&self) -> String {
        format!("block{}", self.block)
    }

    pub fn out_channels(&self) -> usize {
        self.channels[self.channels.len() - 1]
    }

    /// Height or width of the output for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        match self.kind {
            ModuleKind::Residual { .. } => size.div_ceil(2),
            _ => self.convolutions().iter().fold(size, |size, convolution| convolution.output_size(size)),
        }
    }

    /// The stacked convolutions in order, without the shortcut's.
    pub fn convolutions(&self) -> Vec<Convolution> {
        let inputs = std::iter::once(self.in_channels).chain(self.channels.iter().copied());
        let channels = inputs.zip(self.channels.iter().copied());
        channels.enumerate().map(|(index, (i, o))| self.convolution(index, i, o)).collect()
    }

    /// The stacked convolutions, then the shortcut's.
    fn all_convolutions(&self) -> Vec<Convolution> {
        self.convolutions().into_iter().chain(self.shortcut()).collect()
    }

    fn convolution(&self, index: usize, in_channels: usize, out_channels: usize) -> Convolution {
        let position = index + 1;
        let operation = match self.kind {
            ModuleKind::Ordinary => {
                let stride = if index == 0 { 2 } else { 1 };
                Operation::Ordinary { kernel: KERNEL, stride }
            }
            _ => Operation::Separable,
        };
        let keras = match operation {
            Operation::Ordinary { .. } => format!("block{}_conv{position}", self.block),
            Operation::Separable => format!("block{}_sepconv{position}", self.block),
        };
        let (timm, timm_bn) = match self.kind {
            ModuleKind::Ordinary => (format!("conv{position}"), format!("bn{position}")),
            ModuleKind::Separable => (format!("conv{}", position + 2), format!("bn{}", position + 2)),
            // timm counts blocks from the first residual one, and its `rep` counts ReLUs too.
            ModuleKind::Residual { leading_relu: false } => self.timm_rep(3 * index),
            ModuleKind::Residual { leading_relu: true } | ModuleKind::Identity => self.timm_rep(3 * index + 1),
        };
        Convolution { keras_bn: format!("{keras}_bn"), keras, timm, timm_bn, operation, in_channels, out_channels }
    }

    fn timm_rep(&self, index: usize) -> (String, String) {
        let block = self.block - 1;
        (format!("block{block}.rep.{index}"), format!("block{block}.rep.{}", index + 1))
    }

    /// The 1×1/2 convolution beside the stack of a [`ModuleKind::Residual`].
    pub fn shortcut(&self) -> Option<Convolution> {
        if !matches!(self.kind, ModuleKind::Residual { .. }) {
            return None;
        }
        let is_residual = |m: &&Module| matches!(m.kind, ModuleKind::Residual { .. });
        let before = XCEPTION.iter().filter(is_residual).filter(|m| m.block < self.block).count();
        let suffix = if before == 0 { String::new() } else { format!("_{before}") };
        let timm_block = self.block - 1;
        Some(Convolution {
            keras: format!("conv2d{suffix}"),
            keras_bn: format!("batch_normalization{suffix}"),
            timm: format!("block{timm_block}.skip"),
            timm_bn: format!("block{timm_block}.skipbn"),
            operation: Operation::Ordinary { kernel: 1, stride: 2 },
            in_channels: self.in_channels,
            out_channels: self.out_channels(),
        })
    }
}

impl Convolution {
    /// Tensors of the convolution and of its batch normalisation.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (i, o) = (self.in_channels, self.out_channels);
        let (timm, keras) = (&self.timm, self.keras.as_str());
        let mut tensors = match self.operation {
            Operation::Ordinary { kernel, .. } => {
                vec![TensorSpec::new(format!("{timm}.weight"), (keras, "kernel"), &[o, i, kernel, kernel])]
            }
            Operation::Separable => vec![
                TensorSpec::new(format!("{timm}.conv1.weight"), (keras, "depthwise_kernel"), &[i, 1, KERNEL, KERNEL]),
                TensorSpec::new(format!("{timm}.pointwise.weight"), (keras, "pointwise_kernel"), &[o, i, 1, 1]),
            ],
        };
        let variables = [
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ];
        for (name, variable) in variables {
            let name = format!("{}.{name}", self.timm_bn);
            tensors.push(TensorSpec::new(name, (&self.keras_bn, variable), &[o]));
        }
        tensors
    }

    /// Height or width of the output for an input of `size`.
    pub fn output_size(&self, size: usize) -> usize {
        match self.operation {
            Operation::Ordinary { kernel, stride } => (size - kernel) / stride + 1,
            Operation::Separable => size,
        }
    }

    /// Multiply-adds for an output of `height`×`width`.
    pub fn multiply_adds(&self, height: usize, width: usize) -> usize {
        let (i, o) = (self.in_channels, self.out_channels);
        let per_pixel = match self.operation {
            Operation::Ordinary { kernel, .. } => kernel * kernel * i * o,
            Operation::Separable => KERNEL * KERNEL * i + i * o,
        };
        per_pixel * height * width
    }
}

/// Every convolution of the base in the order of the table, a module's shortcut after its stack.
pub fn convolutions() -> Vec<Convolution> {
    XCEPTION.iter().flat_map(Module::all_convolutions).collect()
}

/// Side of the last feature map for a square input of `size`.
pub fn feature_map_size(size: usize) -> usize {
    XCEPTION.iter().fold(size, |size, module| module.output_size(size))
}

/// Height or width, and channels, of the activation that block `first_block` takes, for a square input of
/// `size`.
pub fn boundary(first_block: usize, size: usize) -> (usize, usize) {
    let below = XCEPTION.iter().filter(|module| module.block < first_block);
    below.fold((size, XCEPTION[0].in_channels), |(size, _), module| (module.output_size(size), module.out_channels()))
}

/// Values that the convolutions from block `first_block` on make, for an input of that block of `side`×`side`.
pub fn convolution_values(first_block: usize, side: usize) -> usize {
    let mut side = side;
    let mut values = 0;
    for module in XCEPTION.iter().filter(|module| module.block >= first_block) {
        let mut inner = side;
        for convolution in module.convolutions() {
            inner = convolution.output_size(inner);
            values += inner * inner * convolution.out_channels;
        }
        side = module.output_size(side);
    }
    values
}

/// Every tensor of the base, in the order of the table.
pub fn tensors() -> Vec<TensorSpec> {
    tensors_of(BLOCKS)
}

/// The tensors of some blocks, in the order of the table.
pub fn tensors_of(blocks: std::ops::RangeInclusive<usize>) -> Vec<TensorSpec> {
    let modules = XCEPTION.iter().filter(|module| blocks.contains(&module.block));
    modules.flat_map(Module::all_convolutions).flat_map(|convolution| convolution.tensors()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_papers_36_convolutions_and_4_shortcuts() {
        let stacked: usize = XCEPTION.iter().map(|m| m.convolutions().len()).sum();
        let shortcuts = XCEPTION.iter().filter_map(Module::shortcut).count();
        assert_eq!((stacked, shortcuts), (36, 4));
    }

    #[test]
    fn parameters_add_up_to_the_papers_table_3_and_to_keras_totals() {
        let fc = FEATURES * IMAGENET_CLASSES + IMAGENET_CLASSES;
        let total: usize = tensors().iter().map(TensorSpec::elements).sum();
        let trainable: usize = tensors().iter().filter(|t| t.trainable).map(TensorSpec::elements).sum();
        assert_eq!(trainable + fc, 22_855_952);
        assert_eq!(total + fc, 22_910_480);
        assert_eq!(total, 20_861_480);
    }

    #[test]
    fn the_last_feature_map_is_as_large_as_keras_makes_it() {
        // keras.applications.Xception(include_top=False, input_shape=(size, size, 3)).output_shape
        assert_eq!([71, 72, 150, 299, 300, 512].map(feature_map_size), [3, 3, 5, 10, 10, 16]);
    }

    #[test]
    fn names_are_those_of_timm_and_keras() {
        let names: Vec<_> = tensors().into_iter().map(|t| (t.name, t.keras)).collect();
        let pairs = [
            ("conv1.weight", "block1_conv1", "kernel"),
            ("bn2.running_mean", "block1_conv2_bn", "moving_mean"),
            ("block1.rep.0.conv1.weight", "block2_sepconv1", "depthwise_kernel"),
            ("block1.rep.3.pointwise.weight", "block2_sepconv2", "pointwise_kernel"),
            ("block1.skip.weight", "conv2d", "kernel"),
            ("block3.skipbn.bias", "batch_normalization_2", "beta"),
            ("block4.rep.8.weight", "block5_sepconv3_bn", "gamma"),
            ("block12.rep.4.conv1.weight", "block13_sepconv2", "depthwise_kernel"),
            ("conv4.pointwise.weight", "block14_sepconv2", "pointwise_kernel"),
            ("bn4.running_var", "block14_sepconv2_bn", "moving_variance"),
        ];
        for (timm, layer, variable) in pairs {
            assert!(names.contains(&(timm.to_owned(), (layer.to_owned(), variable))), "{timm}");
        }
    }
}
