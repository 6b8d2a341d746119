//! Training: the head on bottleneck features first, then head and network together.
//!
//! [`Data`] shares out the pictures, [`Below`] brings them to the first block that trains, [`Fit`] trains a
//! [`Model`] on either, phase by phase, and [`Run`] is the folder where all of it ends up. Every random
//! choice comes from the seed and the place where it is made, and every sum is taken in one order: the
//! same seed gives the same bytes whatever the number of threads, interrupted or not.

mod boundary;
mod checkpoint;
mod cross_validation;
mod data;
mod dense;
mod fit;
mod history;
mod logistic;
mod loss;
mod model;
mod optimizer;
mod range_test;
mod recipe;
mod run;
mod schedule;
mod settings;
mod solved;
mod source;
mod span;
mod split;
mod validate;

pub use checkpoint::{Checkpoint, write as write_checkpoint};
pub use cross_validation::{Candidate, Shape};
pub use data::{Below, Data};
pub use fit::{Batch, Fit, Observer, random};
pub use history::{EpochReport, Phase, Position};
pub use loss::{Loss, Totals};
pub use model::Model;
pub use optimizer::OptimizerKind;
pub use range_test::{Probe, Range, range_test, suggestion};
pub use recipe::Recipe;
pub use run::{Arguments, CURVES, RUNS, Run};
pub use schedule::Schedule;
pub use settings::{BatchNormMode, ClassWeight, HeadTraining, Monitor, Settings, Unfreeze};
pub use solved::SolvedHead;
pub use source::Source;
pub use split::assign;
pub use validate::{LEAST_PICTURES, features};
