//! Classifier heads: dense layers on pooled features, as Candle modules.
//!
//! Hidden layers are `head.0`, `head.1`, … with a ReLU after each; the classifier is `fc`, so a
//! linear head has the same two tensors as timm's ImageNet model. A single output is a sigmoid
//! between two classes, more are a softmax.

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};

use crate::weights::{RawTensor, Tensors, is_head_tensor};
use crate::xception::ensure_finite;

#[derive(Debug)]
pub struct Head {
    layers: Vec<Dense>,
    /// What logits are divided by before they become probabilities.
    temperature: f64,
    /// Whether features are scaled to length 1 first.
    unit_length: bool,
}

/// `x · kernel + bias`.
#[derive(Debug, Clone)]
pub struct Dense {
    /// [in, out], Keras' layout: no product or gradient needs a transposed copy. Files have timm's,
    /// [out, in].
    pub kernel: Tensor,
    /// [out]
    pub bias: Tensor,
}

/// Names of the layers of the head among tensors of these names, in order.
pub fn layer_names<'a>(tensors: impl Iterator<Item = &'a String>) -> Vec<String> {
    let weights = tensors.filter(|name| is_head_tensor(name) && name.ends_with(".weight")).count();
    names(weights.saturating_sub(1)).collect()
}

/// Names of the layers of a head with `hidden` hidden layers, in order.
fn names(hidden: usize) -> impl Iterator<Item = String> {
    (0..hidden).map(|index| format!("head.{index}")).chain(["fc".to_owned()])
}

impl Head {
    /// The head among `tensors`, on `device`, at temperature 1.
    ///
    /// # Errors
    /// If there is none or a tensor of it is missing.
    pub fn new(tensors: &Tensors, device: &Device) -> Result<Self> {
        let tensor = |name: String| {
            let raw = tensors.get(&name).with_context(|| format!("tensor `{name}` of the head is missing"))?;
            anyhow::Ok(Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), device)?)
        };
        let dense = |name: String| {
            let kernel = tensor(format!("{name}.weight"))?.t()?.contiguous()?;
            anyhow::Ok(Dense { kernel, bias: tensor(format!("{name}.bias"))? })
        };
        Ok(Self {
            layers: layer_names(tensors.keys()).into_iter().map(dense).collect::<Result<_>>()?,
            temperature: 1.0,
            unit_length: false,
        })
    }

    /// A head over `layers`, whose tensors may be Candle variables.
    pub fn from_layers(layers: Vec<Dense>) -> Self {
        Self { layers, temperature: 1.0, unit_length: false }
    }

    /// The head for features that are scaled to length 1 before they reach the first layer, if `unit_length`.
    pub fn with_unit_length(self, unit_length: bool) -> Self {
        Self { unit_length, ..self }
    }

    /// The head with probabilities of this temperature; its logits stay.
    pub fn with_temperature(self, temperature: f64) -> Self {
        Self { temperature, ..self }
    }

    pub fn has_unit_length(&self) -> bool {
        self.unit_length
    }

    pub fn layers(&self) -> &[Dense] {
        &self.layers
    }

    /// The head as a file holds it.
    ///
    /// # Errors
    /// If a tensor can't be read from its device.
    pub fn tensors(&self) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, layer) in names(self.layers.len().saturating_sub(1)).zip(&self.layers) {
            tensors.insert(format!("{name}.weight"), raw(&layer.kernel.t()?)?);
            tensors.insert(format!("{name}.bias"), raw(&layer.bias)?);
        }
        Ok(tensors)
    }

    /// K, which is two for a single sigmoid output.
    ///
    /// # Errors
    /// If the head has no layers.
    pub fn classes(&self) -> Result<usize> {
        let classifier = self.layers.last().context("a head without layers")?;
        Ok(classifier.bias.dim(0)?.max(2))
    }

    /// Logits, with `dropout` applied behind each hidden layer's ReLU, or to the features of a head that
    /// has no hidden layer.
    ///
    /// Shapes: `features` [N,2048], result [N,K], or [N,1] for a sigmoid between two classes.
    ///
    /// # Errors
    /// If the features have another length than the head expects.
    pub fn forward(&self, features: &Tensor, mut dropout: impl FnMut(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let length = features.dim(1)?;
        let expected = self.layers[0].kernel.dim(0)?;
        ensure!(length == expected, "features of length {length}, the head expects {expected}");
        let features = if self.unit_length { unit_length(features)? } else { features.clone() };
        let mut x = if self.layers.len() == 1 { dropout(features)? } else { features };
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = dropout(x.relu()?)?;
            }
            x = x.matmul(&layer.kernel)?.broadcast_add(&layer.bias)?;
        }
        Ok(x)
    }

    /// Class probabilities of one picture.
    ///
    /// Shapes: `features` [2048], result [K].
    ///
    /// # Errors
    /// If the logits are not finite, or the features have another length than the head expects.
    pub fn answer(&self, features: &[f32]) -> Result<Vec<f32>> {
        let device = self.layers[0].kernel.device();
        let features = Tensor::from_slice(features, (1, features.len()), device)?;
        // The sigmoid of infinity is 1.
        ensure_finite("logits", &self.forward(&features, Ok)?.flatten_all()?.to_vec1::<f32>()?)?;
        let probabilities = self.probabilities(&features)?.flatten_all()?.to_vec1::<f32>()?;
        ensure_finite("probabilities", &probabilities)?;
        Ok(probabilities)
    }

    /// Class probabilities.
    ///
    /// Shapes: `features` [N,2048], result [N,K], where a single sigmoid output gives K = 2.
    ///
    /// # Errors
    /// If the features have another length than the head expects.
    pub fn probabilities(&self, features: &Tensor) -> Result<Tensor> {
        // Row by row: a product of several rows rounds otherwise than of one, and no picture's
        // answer may depend on the others'.
        let row = |index| {
            let logits = (self.forward(&features.narrow(0, index, 1)?, Ok)? / self.temperature)?;
            if logits.dim(1)? == 1 {
                let second = candle_nn::ops::sigmoid(&logits)?;
                return Ok(Tensor::cat(&[&(1.0 - &second)?, &second], 1)?);
            }
            anyhow::Ok(candle_nn::ops::softmax(&logits, 1)?)
        };
        let rows = (0..features.dim(0)?).map(row).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }
}

/// Rows scaled to length 1; a row of zeros stays.
///
/// Shapes: [N,D], result the same.
fn unit_length(features: &Tensor) -> Result<Tensor> {
    let length = features.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(f32::MIN_POSITIVE)?;
    Ok(features.broadcast_div(&length)?)
}

/// A tensor as a file holds it.
///
/// # Errors
/// If it can't be read from its device.
pub fn raw(tensor: &Tensor) -> Result<RawTensor> {
    Ok(RawTensor { shape: tensor.dims().to_vec(), data: tensor.flatten_all()?.to_vec1()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(layers: &[(&str, &[usize], &[f32])]) -> Tensors {
        let raw = |(name, shape, data): &(&str, &[usize], &[f32])| {
            ((*name).to_owned(), RawTensor { shape: shape.to_vec(), data: data.to_vec().into() })
        };
        layers.iter().map(raw).collect()
    }

    fn probabilities(tensors: &Tensors, features: &[f32]) -> Vec<f32> {
        let features = Tensor::from_slice(features, (1, features.len()), &Device::Cpu).unwrap();
        let head = Head::new(tensors, &Device::Cpu).unwrap();
        head.probabilities(&features).unwrap().get(0).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_single_output_is_the_probability_of_the_second_class() {
        let head = tensors(&[("fc.weight", &[1, 2], &[1., 0.]), ("fc.bias", &[1], &[0.])]);
        let p = probabilities(&head, &[f32::ln(3.0), 7.0]);
        assert!((p[0] - 0.25).abs() < 1e-6 && (p[1] - 0.75).abs() < 1e-6, "{p:?}");
    }

    #[test]
    fn a_head_is_written_as_it_was_read() {
        let head = tensors(&[
            ("head.0.weight", &[2, 3], &[1., 2., 3., 4., 5., 6.]),
            ("head.0.bias", &[2], &[7., 8.]),
            ("fc.weight", &[1, 2], &[9., 10.]),
            ("fc.bias", &[1], &[11.]),
        ]);
        assert_eq!(Head::new(&head, &Device::Cpu).unwrap().tensors().unwrap(), head);
    }

    #[test]
    fn the_answer_for_a_row_is_the_same_in_any_company() {
        use crate::kernel::testing::values;
        let weight = (values(1, 128 * 2048), values(2, 128));
        let head = tensors(&[
            ("head.0.weight", &[128, 2048], &weight.0),
            ("head.0.bias", &[128], &weight.1),
            ("fc.weight", &[1, 128], &weight.1),
            ("fc.bias", &[1], &[0.1]),
        ]);
        let head = Head::new(&head, &Device::Cpu).unwrap();
        let features = Tensor::from_vec(values(3, 9 * 2048), (9, 2048), &Device::Cpu).unwrap();
        let of = |features: &Tensor| head.probabilities(features).unwrap().to_vec2::<f32>().unwrap();
        let together = of(&features);
        for (index, row) in together.iter().enumerate() {
            assert_eq!(of(&features.narrow(0, index, 1).unwrap())[0], *row);
        }
    }

    #[test]
    fn a_head_for_rows_of_length_one_takes_no_notice_of_their_length() {
        let head = tensors(&[("fc.weight", &[1, 2], &[5., 0.]), ("fc.bias", &[1], &[0.5])]);
        let head = Head::new(&head, &Device::Cpu).unwrap().with_unit_length(true);
        let rows = Tensor::new(&[[3.0_f32, 4.0], [0.3, 0.4], [0.0, 0.0]], &Device::Cpu).unwrap();
        let logits = head.forward(&rows, Ok).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(logits.iter().zip([3.5, 3.5, 0.5]).all(|(a, b)| (a - b).abs() < 1e-6), "{logits:?}");
    }

    #[test]
    fn hidden_layers_are_rectified() {
        let head = tensors(&[
            ("head.0.weight", &[2, 1], &[1., -1.]),
            ("head.0.bias", &[2], &[0., 0.]),
            ("fc.weight", &[3, 2], &[0., 0., 0., 1., 0., 0.]),
            ("fc.bias", &[3], &[0., 0., 0.]),
        ]);
        // The second unit would be −ln 2 without a ReLU and make the second class likelier.
        let p = probabilities(&head, &[-f32::ln(2.0)]);
        let q = probabilities(&head, &[f32::ln(2.0)]);
        assert!((p[1] - 0.5).abs() < 1e-6, "{p:?}");
        assert!((q[1] - 1.0 / 3.0).abs() < 1e-6, "{q:?}");
    }
}
