//! Xception, end to end: photographs in, labels or features out, classifiers trained.
//!
//! ```text
//! path ──image──▶ [H,W,3] ──xception──▶ feature map [H/32,W/32,2048] ──pool──▶ features [2048]
//!      ──head──▶ logits [K] ──softmax──▶ label, probability
//! ```
//!
//! Letters of shapes, everywhere: N batch, H height, W width, C channels, K classes. Activations
//! are NHWC, float32. A module uses only modules that stand below it:
//!
//! [`cli`] → [`report`] → [`audit`] → [`train`], [`evaluate`], [`explain`] → [`features`], [`classifier`], [`reference`] →
//! [`network`], [`head`], [`rejection`], [`dataset`], [`similarity`] → [`engine`], [`xception`] → [`weights`] →
//! [`image`], [`labels`] → [`op`] → [`kernel`] → [`architecture`], [`convention`]
//!
//! Beside them stand [`batches`], [`calibration`], [`interrupt`], [`output`], [`plot`], [`terminal`] and [`text`],
//! which know no network.

pub mod architecture;
pub mod audit;
pub mod batches;
pub mod calibration;
pub mod classifier;
pub mod cli;
pub mod convention;
pub mod dataset;
pub mod engine;
pub mod evaluate;
pub mod explain;
pub mod features;
pub mod head;
pub mod image;
pub mod interrupt;
pub mod kernel;
pub mod labels;
pub mod network;
pub mod op;
pub mod output;
pub mod plot;
pub mod reference;
pub mod rejection;
pub mod report;
pub mod similarity;
pub mod terminal;
pub mod text;
pub mod train;
pub mod weights;
pub mod xception;
