//! Features as safetensors: `features` F32 [N,2048], `labels` I64 [N], the rest as JSON in the
//! metadata entry `xcept`.

use std::collections::HashMap;
use std::io::Write;

use ::safetensors::tensor::{Metadata, TensorInfo};
use ::safetensors::{Dtype, SafeTensors};
use anyhow::{Context, Result, ensure};

use super::{Features, Index, labels};
use crate::weights::METADATA_KEY;

/// The data begins at a multiple of this.
const ALIGNMENT: usize = 8;
/// The library reads no longer header.
const MAX_HEADER: usize = 100_000_000;

/// Row by row: of many pictures a second copy would not fit into memory beside the first.
pub fn write(features: &Features, file: &mut dyn Write) -> Result<()> {
    let count = features.rows.len();
    let mut shape = features.pipeline.row_shape();
    shape.insert(0, count);
    let labels_end = count * size_of::<i64>();
    let end = labels_end + shape.iter().product::<usize>() * size_of::<f32>();
    // The wider type first, so that both are aligned.
    let tensors = vec![
        tensor("labels", Dtype::I64, vec![count], (0, labels_end)),
        tensor("features", Dtype::F32, shape, (labels_end, end)),
    ];
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&Index::of(features))?)]);
    let mut header = serde_json::to_string(&Metadata::new(Some(metadata), tensors)?)?;
    ensure!(
        header.len() < MAX_HEADER,
        "the paths of {count} pictures are more than a safetensors file can hold; write to a name that ends in .npz"
    );
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(ALIGNMENT) - header.len()));
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for label in labels(features) {
        file.write_all(&label.to_le_bytes())?;
    }
    for row in &features.rows {
        file.write_all(&row.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn tensor(name: &str, dtype: Dtype, shape: Vec<usize>, data_offsets: (usize, usize)) -> (String, TensorInfo) {
    (name.to_owned(), TensorInfo { dtype, shape, data_offsets })
}

pub fn read(bytes: &[u8]) -> Result<Features> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
    let index: Index = serde_json::from_str(entry.context("it has no metadata entry `xcept`")?)?;
    let file = SafeTensors::deserialize(bytes)?;
    let (features, labels) = (file.tensor("features")?, file.tensor("labels")?);
    ensure!(features.dtype() == Dtype::F32, "`features` is {:?}, expected F32", features.dtype());
    ensure!(labels.dtype() == Dtype::I64, "`labels` is {:?}, expected I64", labels.dtype());
    let labels: Vec<i64> = labels.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    index.with(features.data(), &labels)
}
