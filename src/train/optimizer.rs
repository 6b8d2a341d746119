//! Optimisers over Candle variables.
//!
//! Sources: PyTorch's `SGD` (momentum without dampening, Nesterov) and `AdamW`; Keras' `RMSprop`
//! (epsilon under the root, momentum behind it).

use anyhow::Result;
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::kernel::Sgd;
use crate::op::Backend;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent
    Sgd,
    /// Divides by a running root mean square (0.9), as the paper did on JFT
    Rmsprop,
    /// Adam (0.9, 0.999) with decoupled weight decay
    Adamw,
}

impl std::fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OptimizerKind::Sgd => "sgd",
            OptimizerKind::Rmsprop => "rmsprop",
            OptimizerKind::Adamw => "adamw",
        })
    }
}

/// Share that RMSprop's mean square keeps of itself.
const RHO: f64 = 0.9;
const RMSPROP_EPSILON: f64 = 1e-7;
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// An optimiser and what it remembers of each variable.
#[derive(Debug)]
pub struct Optimizer {
    kind: OptimizerKind,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    /// For each variable, tensors of its shape.
    slots: Vec<Vec<Tensor>>,
    /// Steps taken.
    steps: usize,
}

impl Optimizer {
    /// # Errors
    /// If there is no memory for the slots.
    pub fn new(settings: &Settings, variables: &[Var]) -> Result<Self> {
        let Settings { optimizer: kind, momentum, nesterov, weight_decay, .. } = *settings;
        let count = match kind {
            OptimizerKind::Sgd => usize::from(momentum > 0.0),
            OptimizerKind::Rmsprop => 1 + usize::from(momentum > 0.0),
            OptimizerKind::Adamw => 2,
        };
        let zeros = |variable: &Var| (0..count).map(|_| Ok(variable.zeros_like()?)).collect();
        let slots = variables.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { kind, momentum, nesterov, weight_decay, slots, steps: 0 })
    }

    /// What it remembers, for each variable.
    pub fn slots(&self) -> &[Vec<Tensor>] {
        &self.slots
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Takes up where another left off.
    pub fn restore(&mut self, slots: Vec<Vec<Tensor>>, steps: usize) {
        (self.slots, self.steps) = (slots, steps);
    }

    /// Moves each variable by its gradient at its rate; one without a gradient stays.
    ///
    /// # Errors
    /// If a gradient has another shape than its variable.
    pub fn step(&mut self, variables: &[Var], gradients: &[Option<Tensor>], rates: &[f64]) -> Result<()> {
        self.steps += 1;
        for (index, (variable, gradient)) in variables.iter().zip(gradients).enumerate() {
            let Some(gradient) = gradient else { continue };
            // Kernels shrink; biases and batch norms do not.
            let decay = if variable.rank() > 1 { self.weight_decay } else { 0.0 };
            let moved = match self.kind {
                OptimizerKind::Sgd => {
                    let backend = Backend::for_device(variable.device());
                    let sgd = self.sgd(rates[index], decay);
                    backend.sgd(variable, gradient, self.slots[index].first_mut(), sgd)?;
                    continue;
                }
                OptimizerKind::Rmsprop => self.rmsprop(index, variable, gradient, rates[index], decay)?,
                OptimizerKind::Adamw => self.adamw(index, variable, gradient, rates[index], decay)?,
            };
            variable.set(&moved)?;
        }
        Ok(())
    }

    fn sgd(&self, rate: f64, decay: f64) -> Sgd {
        Sgd { rate: rate as f32, momentum: self.momentum as f32, nesterov: self.nesterov, weight_decay: decay as f32 }
    }

    fn rmsprop(&mut self, index: usize, variable: &Var, gradient: &Tensor, rate: f64, decay: f64) -> Result<Tensor> {
        let gradient = with_decay(variable, gradient, decay)?;
        let slots = &mut self.slots[index];
        slots[0] = ((&slots[0] * RHO)? + (gradient.sqr()? * (1.0 - RHO))?)?;
        let mut step = ((gradient * rate)? / (&slots[0] + RMSPROP_EPSILON)?.sqrt()?)?;
        if let Some(velocity) = slots.get_mut(1) {
            *velocity = ((&*velocity * self.momentum)? + step)?;
            step = velocity.clone();
        }
        Ok((variable.as_detached_tensor() - step)?)
    }

    fn adamw(&mut self, index: usize, variable: &Var, gradient: &Tensor, rate: f64, decay: f64) -> Result<Tensor> {
        let slots = &mut self.slots[index];
        slots[0] = ((&slots[0] * BETA_1)? + (gradient * (1.0 - BETA_1))?)?;
        slots[1] = ((&slots[1] * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
        let corrected = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let root = ((&slots[1] / corrected(BETA_2))?.sqrt()? + ADAM_EPSILON)?;
        let step = ((&slots[0] * (rate / corrected(BETA_1)))? / root)?;
        Ok(((variable.as_detached_tensor() * (1.0 - rate * decay))? - step)?)
    }
}

fn with_decay(variable: &Var, gradient: &Tensor, decay: f64) -> Result<Tensor> {
    Ok(if decay > 0.0 { (gradient + (variable.as_detached_tensor() * decay)?)? } else { gradient.clone() })
}

/// Scales all gradients so that their norm together is at most `largest`.
///
/// # Errors
/// If a tensor operation fails.
pub fn clip(gradients: &mut [Option<Tensor>], largest: f64) -> Result<()> {
    let mut squares = 0.0;
    for gradient in gradients.iter().flatten() {
        squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let norm = squares.sqrt();
    if norm > largest {
        for gradient in gradients.iter_mut().flatten() {
            *gradient = (&*gradient * (largest / norm))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A kernel of two weights after three steps at rate 0.1 with gradients 0.5, 1.0, 1.5 and −0.25.
    fn after_three_steps(settings: &Settings) -> Vec<f32> {
        let variable = Var::new(&[[1.0_f32, -2.0]], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(settings, std::slice::from_ref(&variable)).unwrap();
        for step in 1..=3_u8 {
            let gradient = Tensor::new(&[[0.5 * f32::from(step), -0.25]], &Device::Cpu).unwrap();
            optimizer.step(std::slice::from_ref(&variable), &[Some(gradient)], &[0.1]).unwrap();
        }
        variable.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_near(found: &[f32], expected: [f32; 2]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?}, {expected:?}");
    }

    #[test]
    fn sgd_is_pytorchs() {
        let plain = Settings::default();
        assert_near(&after_three_steps(&plain), [0.7, -1.925]);
        let momentum = Settings { momentum: 0.9, ..plain };
        assert_near(&after_three_steps(&momentum), [0.5245, -1.85975]);
        // torch.optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), PyTorch 2.15
        let nesterov = Settings { nesterov: true, weight_decay: 0.01, ..momentum };
        assert_near(&after_three_steps(&nesterov), [0.264_890_5, -1.783_052_2]);
    }

    #[test]
    fn adamw_is_pytorchs() {
        // torch.optim.AdamW(lr=0.1, weight_decay=0.01), PyTorch 2.15
        let settings = Settings { optimizer: OptimizerKind::Adamw, weight_decay: 0.01, ..Settings::default() };
        assert_near(&after_three_steps(&settings), [0.704_981_1, -1.694_305_9]);
    }

    #[test]
    fn rmsprop_is_keras() {
        // keras.optimizers.RMSprop(learning_rate=0.1, rho=0.9, momentum=0.9), Keras 3.15
        let settings = Settings { optimizer: OptimizerKind::Rmsprop, momentum: 0.9, ..Settings::default() };
        assert_near(&after_three_steps(&settings), [-0.658_896_27, -0.515_047_43]);
    }

    #[test]
    fn gradients_are_clipped_together_and_only_if_they_are_too_long() {
        let gradient = |values: [f32; 2]| Some(Tensor::new(&values, &Device::Cpu).unwrap());
        let mut gradients = [gradient([3.0, 0.0]), None, gradient([0.0, 4.0])];
        clip(&mut gradients, 10.0).unwrap();
        assert_eq!(gradients[2].as_ref().unwrap().to_vec1::<f32>().unwrap(), [0.0, 4.0]);
        clip(&mut gradients, 1.0).unwrap();
        let clipped = gradients.map(|gradient| gradient.map(|gradient| gradient.to_vec1::<f32>().unwrap()));
        assert_near(clipped[0].as_ref().unwrap(), [0.6, 0.0]);
        assert_near(clipped[2].as_ref().unwrap(), [0.0, 0.8]);
    }

    #[test]
    fn biases_do_not_decay() {
        let bias = Var::new(&[1.0_f32], &Device::Cpu).unwrap();
        let settings = Settings { weight_decay: 0.5, ..Settings::default() };
        let mut optimizer = Optimizer::new(&settings, std::slice::from_ref(&bias)).unwrap();
        let zero = bias.zeros_like().unwrap();
        optimizer.step(std::slice::from_ref(&bias), &[Some(zero)], &[0.1]).unwrap();
        assert_eq!(bias.to_vec1::<f32>().unwrap(), [1.0]);
    }
}
