//! Features as a zip of numpy arrays: `features` float32 [N,2048], `labels` int64 [N] (−1 for
//! none), `paths`, `splits` and `class_names` as text, and what a later run needs to reuse them.

use std::io::{Cursor, Read, Seek, Write};

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{Features, Index, Pipeline, labels, npy};
use crate::dataset::Split;
use crate::weights::Digest;

pub fn write(features: &Features, file: &mut dyn Write) -> Result<()> {
    let index = Index::of(features);
    let mut shape = index.pipeline.row_shape();
    shape.insert(0, features.rows.len());
    let values = features.rows.iter().flat_map(|row| &row.values);
    let splits: Vec<&str> = index.splits.iter().map(|split| split.map_or("", Split::name)).collect();
    let arrays = [
        ("features", npy::write_f32(values, &shape)),
        ("labels", npy::write_i64(&labels(features))),
        ("paths", npy::write_text(&index.paths)),
        ("splits", npy::write_text(&splits)),
        ("class_names", npy::write_text(&index.class_names)),
        ("sha256", npy::write_text(&index.sha256.iter().map(Digest::to_string).collect::<Vec<_>>())),
        ("pipeline", npy::write_text(&[serde_json::to_string(&index.pipeline)?])),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // numpy reads stored arrays without unpacking; large_file lets them pass 4 GiB.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for (name, array) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        archive.write_all(&array)?;
    }
    Ok(file.write_all(&archive.finish()?.into_inner())?)
}

pub fn read(bytes: &[u8]) -> Result<Features> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let values = entry(&mut archive, "features")?;
    let labels = npy::read_i64(&entry(&mut archive, "labels")?)?;
    let mut text = |name| npy::read_text(&entry(&mut archive, name)?).with_context(|| format!("`{name}`"));
    let pipeline = text("pipeline")?;
    let pipeline: Pipeline = serde_json::from_str(pipeline.first().context("`pipeline` is empty")?)?;
    // Digests and splits are written as JSON has them, but for the quotes and for "" as null.
    let splits = text("splits")?.into_iter().map(|split| match split.as_str() {
        "" => Ok(None),
        _ => serde_json::from_value(split.into()).map(Some),
    });
    let index = Index {
        pipeline,
        splits: splits.collect::<Result<_, _>>()?,
        class_names: text("class_names")?,
        paths: text("paths")?,
        sha256: text("sha256")?
            .into_iter()
            .map(|digest| serde_json::from_value(digest.into()))
            .collect::<Result<_, _>>()?,
    };
    index.with(npy::read_f32(&values)?, &labels)
}

fn entry(archive: &mut ZipArchive<impl Read + Seek>, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy"))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}
