//! A head as other programs build it, brought to dense layers with a ReLU between them.
//!
//! A batch norm is affine at inference, so it goes into a dense layer: the one before it if nothing lies between, else
//! the next one. In front of the first layer it may also stand on the feature map: a mean over positions, and a maximum
//! too if no factor is negative, give the same before and after it.

use anyhow::{Context, Result, bail, ensure};

use super::{Pool, RawTensor, Tensors};

/// One layer of a head.
#[derive(Debug)]
pub(super) enum Layer {
    /// [units, inputs] and [units].
    Dense {
        name: String,
        weight: RawTensor,
        bias: Vec<f32>,
    },
    /// `x * scale + shift`, for each feature, or for each channel of a map that is flattened later.
    Norm {
        name: String,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Relu,
    /// What stands before is on the feature map.
    Pool(Pool),
}

/// A batch norm's variables.
pub(super) struct Norm<'a> {
    pub gamma: Option<&'a [f32]>,
    pub beta: Option<&'a [f32]>,
    pub mean: &'a [f32],
    pub variance: &'a [f32],
}

impl Norm<'_> {
    /// Factor and summand for each channel.
    pub fn affine(&self, epsilon: f64) -> (Vec<f32>, Vec<f32>) {
        let gamma = |channel: usize| self.gamma.map_or(1.0, |gamma| f64::from(gamma[channel]));
        let beta = |channel: usize| self.beta.map_or(0.0, |beta| f64::from(beta[channel]));
        let scale = |(channel, variance): (usize, &f32)| gamma(channel) / (f64::from(*variance) + epsilon).sqrt();
        let scale: Vec<f64> = self.variance.iter().enumerate().map(scale).collect();
        let shift = |(channel, mean): (usize, &f32)| (beta(channel) - f64::from(*mean) * scale[channel]) as f32;
        let shift = self.mean.iter().enumerate().map(shift).collect();
        (scale.iter().map(|scale| *scale as f32).collect(), shift)
    }
}

/// What is folded so far.
#[derive(Default)]
struct Folded {
    layers: Vec<(String, RawTensor, Vec<f32>)>,
    /// Of the input of the next dense layer.
    pending: Option<(String, Vec<f32>, Vec<f32>)>,
    /// Whether an activation follows the last dense layer.
    is_active: bool,
}

/// Folds the layers into `head.0`, `head.1`, … and, the last of them, `fc`; none without a dense layer.
///
/// # Errors
/// Names a layer that does not fit in.
pub(super) fn insert(layers: Vec<Layer>, tensors: &mut Tensors) -> Result<()> {
    let mut folded = Folded::default();
    for layer in layers {
        folded.push(layer)?;
    }
    if let Some((name, ..)) = folded.pending {
        bail!("layer `{name}`: a batch norm behind the last dense layer's activation can't be represented");
    }
    let count = folded.layers.len();
    for (index, (_, weight, bias)) in folded.layers.into_iter().enumerate() {
        let ours = if index + 1 == count { "fc".to_owned() } else { format!("head.{index}") };
        tensors.insert(format!("{ours}.weight"), weight);
        tensors.insert(format!("{ours}.bias"), RawTensor { shape: vec![bias.len()], data: bias.into() });
    }
    Ok(())
}

impl Folded {
    fn push(&mut self, layer: Layer) -> Result<()> {
        match layer {
            Layer::Dense { name, weight, bias } => self.dense(name, weight, bias),
            Layer::Norm { name, scale, shift } => self.norm(name, scale, shift),
            Layer::Relu => {
                let last = self.layers.last().filter(|_| !self.is_active && self.pending.is_none());
                last.context("an activation that follows no dense layer")?;
                self.is_active = true;
                Ok(())
            }
            Layer::Pool(pool) => match &self.pending {
                Some((name, scale, _)) if pool == Pool::Max && scale.iter().any(|scale| *scale < 0.0) => bail!(
                    "layer `{name}` in front of a max-pooling has negative factors, so it can't stand behind the pooling"
                ),
                _ => Ok(()),
            },
        }
    }

    fn dense(&mut self, name: String, mut weight: RawTensor, mut bias: Vec<f32>) -> Result<()> {
        let &[units, inputs] = weight.shape.as_slice() else {
            bail!("layer `{name}`: its kernel is {:?}, expected two axes", weight.shape);
        };
        ensure!(units > 0 && bias.len() == units, "layer `{name}`: {units} units, but a bias of {}", bias.len());
        if let Some((last, before, _)) = self.layers.last() {
            ensure!(
                self.is_active,
                "between its dense layers `{last}` and `{name}` there is no activation; expected relu"
            );
            let width = before.shape[0];
            ensure!(inputs == width, "layer `{name}` takes {inputs} inputs, expected {width}");
        }
        if let Some((norm, scale, shift)) = self.pending.take() {
            // Channels come last in a map that is flattened.
            ensure!(
                inputs.is_multiple_of(scale.len()),
                "layer `{norm}` has {} channels, the dense layer behind it takes {inputs}",
                scale.len()
            );
            let mut values = weight.data.floats().into_owned();
            for (row, bias) in values.chunks_exact_mut(inputs).zip(&mut bias) {
                let mut sum = f64::from(*bias);
                for (index, value) in row.iter_mut().enumerate() {
                    let channel = index % scale.len();
                    sum += f64::from(*value) * f64::from(shift[channel]);
                    *value *= scale[channel];
                }
                *bias = sum as f32;
            }
            weight.data = values.into();
        }
        self.layers.push((name, weight, bias));
        self.is_active = false;
        Ok(())
    }

    fn norm(&mut self, name: String, scale: Vec<f32>, shift: Vec<f32>) -> Result<()> {
        if let Some((_, weight, bias)) = self.layers.last_mut().filter(|_| !self.is_active) {
            let width = bias.len();
            ensure!(scale.len() == width, "layer `{name}` has {} channels, expected {width}", scale.len());
            let inputs = weight.shape[1];
            let mut values = weight.data.floats().into_owned();
            for (unit, row) in values.chunks_exact_mut(inputs).enumerate() {
                row.iter_mut().for_each(|value| *value *= scale[unit]);
                bias[unit] = bias[unit] * scale[unit] + shift[unit];
            }
            weight.data = values.into();
            return Ok(());
        }
        self.pending = Some(match self.pending.take() {
            None => (name, scale, shift),
            Some((_, first_scale, first_shift)) => {
                // One of them may be for each channel, the other for each value of the flattened map.
                let (width, narrow) = (scale.len().max(first_scale.len()), scale.len().min(first_scale.len()));
                ensure!(width.is_multiple_of(narrow), "layer `{name}` has {} channels, expected {narrow}", scale.len());
                let at = |values: &[f32], index: usize| values[index % values.len()];
                let both = |index| at(&first_scale, index) * at(&scale, index);
                let shifted = |index| at(&first_shift, index) * at(&scale, index) + at(&shift, index);
                (name, (0..width).map(both).collect(), (0..width).map(shifted).collect())
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dense(name: &str, shape: [usize; 2], values: &[f32], bias: &[f32]) -> Layer {
        let weight = RawTensor { shape: shape.to_vec(), data: values.to_vec().into() };
        Layer::Dense { name: name.to_owned(), weight, bias: bias.to_vec() }
    }

    fn norm(name: &str, scale: &[f32], shift: &[f32]) -> Layer {
        Layer::Norm { name: name.to_owned(), scale: scale.to_vec(), shift: shift.to_vec() }
    }

    fn folded(layers: Vec<Layer>) -> Result<Vec<(String, Vec<f32>)>> {
        let mut tensors = Tensors::new();
        insert(layers, &mut tensors)?;
        Ok(tensors.into_iter().map(|(name, tensor)| (name, tensor.data.floats().into_owned())).collect())
    }

    #[test]
    fn a_norm_goes_into_the_layer_before_it_or_the_next_one() {
        let layers = vec![
            norm("first", &[2., 3.], &[1., 10.]),
            dense("a", [1, 2], &[1., 1.], &[5.]),
            norm("second", &[10.], &[7.]),
            Layer::Relu,
            norm("third", &[4.], &[2.]),
            dense("b", [2, 1], &[1., -1.], &[0., 1.]),
        ];
        // a(x) = 2 x1 + 3 x2 + 16, times 10 plus 7; b(h) = ±(4 h + 2) + bias.
        let expected = [
            ("fc.bias", vec![2., -1.]),
            ("fc.weight", vec![4., -4.]),
            ("head.0.bias", vec![167.]),
            ("head.0.weight", vec![20., 30.]),
        ];
        assert_eq!(folded(layers).unwrap(), expected.map(|(name, values)| (name.to_owned(), values)));
    }

    #[test]
    fn a_norm_on_the_map_goes_through_flatten_with_the_channels_last() {
        let layers = vec![norm("map", &[2., 3.], &[1., 0.]), dense("a", [1, 4], &[1., 1., 5., 7.], &[0.])];
        let expected = [("fc.bias", vec![6.]), ("fc.weight", vec![2., 3., 10., 21.])];
        assert_eq!(folded(layers).unwrap(), expected.map(|(name, values)| (name.to_owned(), values)));
    }

    #[test]
    fn what_would_change_the_answer_is_an_error() {
        let one = || dense("a", [1, 1], &[1.], &[0.]);
        let error = |layers| folded(layers).unwrap_err().to_string();
        assert!(error(vec![one(), dense("b", [1, 1], &[1.], &[0.])]).contains("no activation"));
        assert!(error(vec![norm("n", &[-1.], &[0.]), Layer::Pool(Pool::Max), one()]).contains("negative factors"));
        assert!(folded(vec![norm("n", &[-1.], &[0.]), Layer::Pool(Pool::Avg), one()]).is_ok());
        assert!(error(vec![one(), Layer::Relu, norm("n", &[1.], &[0.])]).contains("behind the last dense layer"));
        assert!(error(vec![one(), norm("n", &[1., 1.], &[0., 0.])]).contains("2 channels, expected 1"));
    }
}
