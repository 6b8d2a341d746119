//! Features as JSON Lines: one object for each row, for DuckDB, pandas and polars.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Features, Pipeline, Row};
use crate::dataset::Split;
use crate::weights::Digest;

/// A line. `pipeline` and `class_names` are the same in every line of a file.
#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    label: Option<String>,
    split: Option<Split>,
    features: Vec<f32>,
    sha256: Digest,
    pipeline: Pipeline,
    class_names: Vec<String>,
}

pub fn write(features: &Features, file: &mut dyn Write) -> Result<()> {
    for row in &features.rows {
        let line = Line {
            path: row.path.clone(),
            label: row.class.map(|class| features.class_names[class].clone()),
            split: row.split,
            features: row.values.clone(),
            sha256: row.sha256.clone(),
            pipeline: features.pipeline.clone(),
            class_names: features.class_names.clone(),
        };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

pub fn read(bytes: &[u8]) -> Result<Features> {
    let mut features: Option<Features> = None;
    for (number, line) in std::str::from_utf8(bytes)?.lines().enumerate() {
        let line: Line = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        let features = features.get_or_insert_with(|| Features {
            pipeline: line.pipeline.clone(),
            class_names: line.class_names.clone(),
            rows: Vec::new(),
        });
        ensure!(features.pipeline == line.pipeline, "line {} comes from another pipeline", number + 1);
        let class = |name: &String| {
            let class = features.class_names.iter().position(|class| class == name);
            class.with_context(|| format!("line {}: `{name}` is none of its classes", number + 1))
        };
        let class = line.label.as_ref().map(class).transpose()?;
        features.rows.push(Row {
            path: line.path,
            sha256: line.sha256,
            split: line.split,
            class,
            values: line.features,
        });
    }
    features.context("it has no lines")
}
