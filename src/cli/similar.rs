//! `xcept similar`: which pictures of a features file look most like others.

mod sheet;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use sheet::Tile;

use super::model::PipelineArguments;
use super::{Context, Status, WrongUsage, data, ending};
use crate::batches;
use crate::dataset::{Input, Split};
use crate::features::{Features, Row};
use crate::network::{self, FeatureExtractor};
use crate::output::{self, Existing};
use crate::similarity::{self, Neighbour};
use crate::weights::Pool;
use crate::{image, interrupt, terminal};

/// Find the pictures of a features file that look most like others
#[derive(Debug, Args)]
pub struct Similar {
    /// Pictures and folders to find the like of
    #[arg(required = true, value_name = "QUERY")]
    queries: Vec<PathBuf>,
    /// The features of the pictures to find, made by `xcept extract-features`
    #[arg(long = "in", value_name = "FILE", default_value = "features.safetensors")]
    features: PathBuf,
    /// Weights to compute the queries' features with, where those that the file names are elsewhere now
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// How many pictures to find for each query
    #[arg(long, short = 'k', default_value = "10", value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// How results are written [default: table on a terminal, jsonl otherwise]
    #[arg(long, short)]
    format: Option<Format>,
    /// Write results to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw a PNG with a row for each query: the query, then what was found
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Replace output files if they exist
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

/// What became of a query: the rows nearest to it, or why it could not be read.
type Answer = Result<Vec<Neighbour>, String>;

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    similar: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<&'static str>,
    cosine: f32,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    path: &'a str,
    error: &'a str,
}

impl Similar {
    pub fn run(self, context: &Context) -> Result<Status> {
        let existing = Existing::of(self.overwrite);
        let inputs = data::list(&self.queries, context)?;
        self.sheet.iter().try_for_each(|sheet| ending::of(sheet, &["png"]).map(drop))?;
        let outputs: Vec<&PathBuf> = self.output.iter().chain(&self.sheet).collect();
        outputs.iter().try_for_each(|output| output::refuse_unwritable(output, existing))?;
        let queries = inputs.iter().map(|input| input.path.as_path());
        let model = self.model.as_deref().map(Path::new);
        output::refuse_inputs(&outputs, queries.chain([self.features.as_path()]).chain(model))?;
        let (features, unusable) = self.read()?;
        self.check_size_of_sheet(inputs.len(), features.rows.len())?;
        let extractor = self.extractor(&features, context)?;
        let answers = self.answer(&inputs, &features, &extractor, context)?;
        output::write_results(self.output.as_deref(), existing, |file| match self.format() {
            Format::Table => write_table(&inputs, &answers, &features, file),
            Format::Jsonl => write_lines(&inputs, &answers, &features, file),
        })?;
        if let Some(path) = &self.sheet {
            draw(path, existing, &inputs, &answers, &features, context)?;
        }
        let unreadable = answers.iter().filter(|answer| answer.is_err()).count();
        if unreadable > 0 {
            context.terminal.note(format_args!("{unreadable} of {} queries could not be read", inputs.len()));
        }
        Ok(if unreadable + unusable > 0 { Status::SomeUnreadable } else { Status::Done })
    }

    /// Refuses a sheet that no viewer would open, of as many pictures as there are to be found.
    fn check_size_of_sheet(&self, queries: usize, rows: usize) -> Result<(), WrongUsage> {
        let (pictures, most) = (queries * (1 + rows.min(self.top.into())), sheet::MOST_PICTURES);
        if self.sheet.is_none() || pictures <= most {
            return Ok(());
        }
        let (pictures, most) = (terminal::thousands(pictures), terminal::thousands(most));
        Err(WrongUsage(format!("--sheet holds {most} pictures, not {pictures}; pass fewer queries or a smaller -k")))
    }

    /// The features to find pictures by, and the number of rows that can't be used.
    fn read(&self) -> Result<(Features, usize)> {
        let name = self.features.display();
        ensure!(
            self.features.is_file(),
            "{name}: no such file; make it with `xcept extract-features FOLDER -o {name}`"
        );
        let (features, unusable) = data::read(&self.features)?;
        ensure!(features.pipeline.pool != Pool::None, "{name}: holds maps, not vectors; extract with --pool avg");
        Ok((features, unusable.len()))
    }

    /// What computes the queries' features as those of the file were.
    fn extractor(&self, features: &Features, context: &Context) -> Result<FeatureExtractor> {
        let (_, pipeline, extractor) =
            PipelineArguments::of(&features.pipeline, &self.features).with_model(&self.model).open(context)?;
        pipeline
            .ensure_same(&features.pipeline)
            .with_context(|| format!("{}: pass the weights that they were made with as -m", self.features.display()))?;
        Ok(extractor)
    }

    /// An answer to each query, in order.
    fn answer(
        &self,
        inputs: &[Input],
        features: &Features,
        extractor: &FeatureExtractor,
        context: &Context,
    ) -> Result<Vec<Answer>> {
        let rows: Vec<&[f32]> = features.rows.iter().map(|row| row.values.as_slice()).collect();
        let queries = compute(inputs, extractor, context)?;
        let readable: Vec<&[f32]> = queries.iter().flatten().map(Vec::as_slice).collect();
        let mut found = similarity::nearest(&readable, &rows, self.top.into()).into_iter();
        let answer = |query: Result<Vec<f32>, String>| -> Result<Answer> {
            match query {
                Ok(_) => Ok(Ok(found.next().context("a query without an answer")?)),
                Err(error) => Ok(Err(error)),
            }
        };
        queries.into_iter().map(answer).collect()
    }

    fn format(&self) -> Format {
        output::format(self.format, self.output.as_deref(), [Format::Table, Format::Jsonl, Format::Jsonl])
    }
}

/// Draws the sheet, with a note on pictures that are no longer there.
fn draw(
    path: &Path,
    existing: Existing,
    inputs: &[Input],
    answers: &[Answer],
    features: &Features,
    context: &Context,
) -> Result<()> {
    let found = |neighbour: &Neighbour| {
        let row = &features.rows[neighbour.row];
        let label = label(row, features).map_or(String::new(), |label| format!("  {label}"));
        Tile { path: Path::new(&row.path), found: Some(format!("{:.4}{label}", neighbour.cosine)) }
    };
    let answered = inputs.iter().zip(answers).filter_map(|(input, answer)| Some((input, answer.as_ref().ok()?)));
    let rows: Vec<Vec<Tile>> = answered
        .map(|(input, neighbours)| {
            let query = Tile { path: &input.path, found: None };
            std::iter::once(query).chain(neighbours.iter().map(found)).collect()
        })
        .collect();
    match sheet::write(path, existing, &rows)? {
        0 => {}
        1 => context.terminal.note("1 picture is not where the features say; its place on the sheet is grey"),
        missing => context.terminal.note(format_args!(
            "{} pictures are not where the features say; their places on the sheet are grey",
            terminal::thousands(missing)
        )),
    }
    Ok(())
}

/// Features of each query, in order, or why it could not be read.
fn compute(inputs: &[Input], extractor: &FeatureExtractor, context: &Context) -> Result<Vec<Result<Vec<f32>, String>>> {
    interrupt::install();
    let bar = context.terminal.progress(inputs.len(), "queries");
    let prepare = |input: &Input| extractor.prepare(&image::read(&input.path)?);
    let mut queries: Vec<Result<Vec<f32>, String>> = Vec::with_capacity(inputs.len());
    batches::for_each(inputs, network::batch_size(), prepare, |batch, prepared| {
        interrupt::check(|| "nothing has been written".to_owned())?;
        let features = extractor.features(prepared)?.into_iter();
        queries.extend(features.map(|features| features.map_err(|error| format!("{error:#}"))));
        bar.inc(batch.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(queries)
}

/// The class that a row's folder gives it.
fn label<'a>(row: &Row, features: &'a Features) -> Option<&'a str> {
    row.class.map(|class| features.class_names[class].as_str())
}

fn write_lines(inputs: &[Input], answers: &[Answer], features: &Features, file: &mut dyn Write) -> Result<()> {
    for (input, answer) in inputs.iter().zip(answers) {
        let path = &input.name();
        let found = |neighbour: &Neighbour| {
            let row = &features.rows[neighbour.row];
            let split = row.split.map(Split::name);
            Found { path: &row.path, label: label(row, features), split, cosine: neighbour.cosine }
        };
        let line = match answer {
            Ok(neighbours) => serde_json::to_string(&Line { path, similar: neighbours.iter().map(found).collect() })?,
            Err(error) => serde_json::to_string(&ErrorLine { path, error })?,
        };
        writeln!(file, "{line}")?;
    }
    Ok(())
}

fn write_table(inputs: &[Input], answers: &[Answer], features: &Features, file: &mut dyn Write) -> Result<()> {
    for (input, answer) in inputs.iter().zip(answers) {
        let path = terminal::printable(&input.name());
        match answer {
            Ok(neighbours) => {
                writeln!(file, "{path}")?;
                for Neighbour { row, cosine } in neighbours {
                    let row = &features.rows[*row];
                    let label = label(row, features).map_or(String::new(), |label| format!("  ({label})"));
                    writeln!(file, "  {cosine:.4}  {}{}", terminal::printable(&row.path), terminal::printable(&label))?;
                }
            }
            Err(error) => {
                file.flush()?;
                terminal::warn(format_args!("{path}: {error}"));
            }
        }
    }
    Ok(())
}
