//! Training a head on bottleneck features.
//!
//! Every random choice (split, initial weights, order, dropout) comes from one seed and every sum
//! is taken in one order, so the same seed gives the same bytes whatever the number of threads.

mod examples;
mod head;

pub use examples::{Examples, assign, split};
pub use head::{EpochReport, HeadPlan, TrainedHead, train_head};
