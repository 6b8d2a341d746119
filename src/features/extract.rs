//! From pictures to a features file, computing only what no earlier run has.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::journal::Journal;
use super::{Features, Format, Pipeline, Row};
use crate::dataset::{Dataset, Input};
use crate::network::FeatureExtractor;
use crate::weights::Digest;
use crate::{batches, image, interrupt};

/// What is to be extracted, and where it goes.
#[derive(Debug)]
pub struct Extraction<'a> {
    pub dataset: &'a Dataset,
    pub pipeline: Pipeline,
    pub output: &'a Path,
    pub batch_size: usize,
    /// Discards what an earlier run wrote to `output` for other pictures, weights or preprocessing.
    pub overwrite: bool,
}

/// What became of the inputs.
#[derive(Debug)]
pub struct Outcome {
    pub features: Features,
    pub computed: usize,
    pub reused: usize,
    /// Inputs without a row and why.
    pub unreadable: Vec<(String, String)>,
}

/// An input after reading.
enum Prepared {
    Known(Digest),
    Fresh(Digest, Vec<f32>),
    Unreadable(String),
}

/// Extracts features of every input that can be read and writes them, in order, to the output.
/// `done` hears of each batch by its number of inputs.
///
/// # Errors
/// If the output holds another run's features, nothing could be read, a file cannot be written,
/// or the user interrupted: then the next run goes on where this one stopped.
pub fn extract(extraction: &Extraction, extractor: &FeatureExtractor, done: &mut dyn FnMut(usize)) -> Result<Outcome> {
    let Extraction { dataset, pipeline, output, .. } = extraction;
    Format::of(output)?;
    // The journal first: its lock keeps other runs from the output.
    let (mut journal, mut known) = Journal::open(output, pipeline, extraction.overwrite)?;
    let unfinished = known.len();
    match earlier(extraction) {
        Ok(rows) => known.extend(rows),
        Err(error) if unfinished == 0 => {
            journal.remove()?;
            return Err(error);
        }
        Err(error) => return Err(error),
    }

    let mut fresh: HashMap<Digest, Vec<f32>> = HashMap::new();
    let mut outcomes = Vec::with_capacity(dataset.inputs.len());
    let mut computed = 0;
    let prepare = |input: &Input| prepare(input, &known, extractor);
    batches::for_each(&dataset.inputs, extraction.batch_size, prepare, |_, prepared| {
        let total = dataset.inputs.len();
        interrupt::check(|| {
            let (read, output) = (outcomes.len(), output.display());
            format!(
                "what was computed of the first {read} of {total} is kept in {output}.partial; the same command goes on from there"
            )
        })?;
        let (found, rows) = compute(prepared, extractor)?;
        journal.append(rows.iter().map(|(digest, values)| (digest, values.as_slice())))?;
        computed += rows.len();
        fresh.extend(rows);
        done(found.len());
        outcomes.extend(found);
        Ok(())
    })?;
    known.extend(fresh);

    // A picture that is there several times needs its row as often; the last one takes it.
    let mut uses: HashMap<Digest, usize> = HashMap::new();
    for digest in outcomes.iter().flatten() {
        *uses.entry(digest.clone()).or_default() += 1;
    }
    let (mut rows, mut unreadable) = (Vec::with_capacity(outcomes.len()), Vec::new());
    for (input, outcome) in dataset.inputs.iter().zip(outcomes) {
        match outcome {
            Ok(sha256) => {
                let uses = uses.entry(sha256.clone()).or_default();
                *uses = uses.saturating_sub(1);
                let values = if *uses == 0 { known.remove(&sha256) } else { known.get(&sha256).cloned() };
                let values = values.context("a row was neither known nor computed")?;
                rows.push(Row { path: input.name(), sha256, split: input.split, class: input.class, values });
            }
            Err(reason) => unreadable.push((input.name(), reason)),
        }
    }
    if rows.is_empty() {
        if unfinished == 0 {
            journal.remove()?;
        }
        let (path, reason) = unreadable.first().context("no pictures to read")?;
        bail!("none of {} pictures could be read; the first: {path}: {reason}", unreadable.len());
    }
    let reused = rows.len() - computed;
    let features = Features { pipeline: pipeline.clone(), class_names: dataset.class_names.clone(), rows };
    features.write(output)?;
    journal.remove()?;
    Ok(Outcome { features, computed, reused, unreadable })
}

/// The rows that an earlier run left in the output.
fn earlier(extraction: &Extraction) -> Result<HashMap<Digest, Vec<f32>>> {
    let Extraction { dataset, pipeline, output, .. } = extraction;
    if !output.exists() {
        return Ok(HashMap::new());
    }
    let remedy = || format!("{}: pass --overwrite to make it anew, or another -o", output.display());
    let features = match Features::read(output) {
        Ok(features) => features,
        Err(_) if extraction.overwrite => return Ok(HashMap::new()),
        Err(error) => return Err(error).with_context(remedy),
    };
    if let Err(difference) = pipeline.ensure_same(&features.pipeline) {
        if extraction.overwrite {
            return Ok(HashMap::new());
        }
        return Err(difference).with_context(remedy);
    }
    let wanted: HashSet<String> = dataset.inputs.iter().map(Input::name).collect();
    let is_wanted = |row: &&Row| wanted.contains(&row.path);
    // Rows of pictures that are gone are dropped, but not all of them: then the pictures are
    // elsewhere, and nothing could bring their rows back.
    let all_are_gone = !features.rows.iter().any(|row| is_wanted(&row));
    let other = features.rows.iter().find(|row| !is_wanted(row) && (all_are_gone || Path::new(&row.path).exists()));
    if let Some(other) = other {
        ensure!(
            extraction.overwrite,
            "{}: holds features of other pictures ({}); pass --overwrite to drop them, or another -o",
            output.display(),
            other.path
        );
    }
    // An earlier version kept rows of NaN; those pictures are computed again, to say what is wrong with them.
    Ok(features.rows.into_iter().filter(Row::is_finite).map(|row| (row.sha256, row.values)).collect())
}

fn prepare(input: &Input, known: &HashMap<Digest, Vec<f32>>, extractor: &FeatureExtractor) -> Prepared {
    let bytes = match image::read(&input.path) {
        Ok(bytes) => bytes,
        Err(error) => return Prepared::Unreadable(format!("{error:#}")),
    };
    let digest = Digest::of_bytes(&bytes);
    if known.contains_key(&digest) {
        return Prepared::Known(digest);
    }
    match extractor.prepare(&bytes) {
        Ok(pixels) => Prepared::Fresh(digest, pixels),
        Err(error) => Prepared::Unreadable(format!("{error:#}")),
    }
}

/// What became of each input: the digest that its row is found by, or why it has none.
type Found = Vec<Result<Digest, String>>;
/// Features by the digest of their picture.
type Computed = Vec<(Digest, Vec<f32>)>;

/// What became of a batch, and the features of its fresh pictures, all through the network at once.
fn compute(prepared: Vec<Prepared>, extractor: &FeatureExtractor) -> Result<(Found, Computed)> {
    let (mut found, mut pixels, mut places) = (Found::new(), Vec::new(), Vec::new());
    for prepared in prepared {
        let outcome = match prepared {
            Prepared::Known(digest) => Ok(digest),
            Prepared::Unreadable(reason) => Err(reason),
            Prepared::Fresh(digest, input) => {
                pixels.push(Ok(input));
                places.push(found.len());
                Ok(digest)
            }
        };
        found.push(outcome);
    }
    let mut rows = Vec::with_capacity(places.len());
    for (place, features) in places.into_iter().zip(extractor.features(pixels)?) {
        match (features, &found[place]) {
            (Ok(features), Ok(digest)) => rows.push((digest.clone(), features)),
            (Err(error), _) => found[place] = Err(format!("{error:#}")),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok((found, rows))
}
