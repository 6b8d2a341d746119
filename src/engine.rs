//! The network on a CPU, compiled to a list of fused convolutions.
//!
//! A [`Plan`] has one [`Step`] for each convolution of the table: batch normalisation is folded into
//! packed weights, and depthwise convolution, ReLU, residual sum and max-pool happen while the
//! convolution's own pixels are in the caches. Activations go round through three buffers that are
//! taken once. It must agree with the Candle modules of [`crate::xception`].

mod plan;
mod run;

pub use plan::{Plan, Step};
pub use run::{Activation, Engine, Workspace};
