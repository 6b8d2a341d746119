//! A step of stochastic gradient descent, in place.

use rayon::prelude::*;

/// Values that one task handles.
const BLOCK: usize = 1 << 14;

/// What moves a variable beside its gradient.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    pub rate: f32,
    pub momentum: f32,
    pub nesterov: bool,
    pub weight_decay: f32,
}

impl Sgd {
    /// `velocity · momentum + gradient + weight_decay · weight`, into `velocity`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn accelerate(self, velocity: &mut [f32], gradient: &[f32], weight: &[f32]) {
        assert!(velocity.len() == gradient.len() && velocity.len() == weight.len(), "velocity");
        let blocks = velocity.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(weight.par_chunks(BLOCK));
        blocks.for_each(|((velocity, gradient), weight)| {
            for ((velocity, gradient), weight) in velocity.iter_mut().zip(gradient).zip(weight) {
                *velocity = *velocity * self.momentum + (gradient + self.weight_decay * weight);
            }
        });
    }

    /// Moves `weight` along `velocity`, with Nesterov's momentum along what the velocity will be; without
    /// momentum `velocity` is the gradient.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn advance(self, weight: &mut [f32], gradient: &[f32], velocity: &[f32]) {
        assert!(weight.len() == gradient.len() && weight.len() == velocity.len(), "weight");
        let has_momentum = self.momentum > 0.0;
        let blocks = weight.par_chunks_mut(BLOCK).zip(gradient.par_chunks(BLOCK)).zip(velocity.par_chunks(BLOCK));
        blocks.for_each(|((weight, gradient), velocity)| {
            for ((weight, gradient), velocity) in weight.iter_mut().zip(gradient).zip(velocity) {
                let decayed = gradient + self.weight_decay * *weight;
                let direction = match (has_momentum, self.nesterov) {
                    (false, _) => decayed,
                    (true, true) => decayed + self.momentum * velocity,
                    (true, false) => *velocity,
                };
                *weight -= self.rate * direction;
            }
        });
    }
}
