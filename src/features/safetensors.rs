//! Features as safetensors: `features` F32 [N,2048], `labels` I64 [N], the rest as JSON in the
//! metadata entry `xcept`.

use std::collections::HashMap;
use std::io::Write;

use ::safetensors::{Dtype, SafeTensors, tensor::TensorView};
use anyhow::{Context, Result, ensure};

use super::{Features, Index, labels};
use crate::weights::METADATA_KEY;

pub fn write(features: &Features, file: &mut dyn Write) -> Result<()> {
    let mut shape = features.pipeline.row_shape();
    shape.insert(0, features.rows.len());
    let values: Vec<u8> = features.rows.iter().flat_map(|row| &row.values).flat_map(|v| v.to_le_bytes()).collect();
    let labels: Vec<u8> = labels(features).iter().flat_map(|label| label.to_le_bytes()).collect();
    let views = [
        ("features", TensorView::new(Dtype::F32, shape, &values)?),
        ("labels", TensorView::new(Dtype::I64, vec![features.rows.len()], &labels)?),
    ];
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&Index::of(features))?)]);
    Ok(file.write_all(&::safetensors::serialize(views, Some(metadata))?)?)
}

pub fn read(bytes: &[u8]) -> Result<Features> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
    let index: Index = serde_json::from_str(entry.context("it has no metadata entry `xcept`")?)?;
    let file = SafeTensors::deserialize(bytes)?;
    let (features, labels) = (file.tensor("features")?, file.tensor("labels")?);
    ensure!(features.dtype() == Dtype::F32, "`features` is {:?}, expected F32", features.dtype());
    ensure!(labels.dtype() == Dtype::I64, "`labels` is {:?}, expected I64", labels.dtype());
    let values: Vec<f32> = features.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let labels: Vec<i64> = labels.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    index.with(&values, &labels)
}
