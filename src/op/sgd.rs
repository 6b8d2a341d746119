//! A step of stochastic gradient descent by the kernels, in place.

use candle_core::{CpuStorage, Error, InplaceOp3, Layout, Result, Tensor, Var};

use super::kernels::{range, values};
use crate::kernel::Sgd;

pub fn step(variable: &Var, gradient: &Tensor, velocity: Option<&mut Tensor>, step: Sgd) -> Result<()> {
    let weight = variable.as_detached_tensor();
    if let Some(velocity) = &velocity {
        velocity.inplace_op3(gradient, &weight, &Accelerate(step))?;
    }
    weight.inplace_op3(gradient, velocity.as_deref().unwrap_or(gradient), &Advance(step))
}

/// [`Sgd::accelerate`] on velocity, gradient and weight.
struct Accelerate(Sgd);

/// [`Sgd::advance`] on weight, gradient and velocity.
struct Advance(Sgd);

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
