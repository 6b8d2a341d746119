//! `xcept classify`: what is in the pictures.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::model::ClassifierArguments;
use super::{Context, Status};
use crate::classifier::{self, Classifier, Prediction};
use crate::dataset::{self, Input};
use crate::interrupt::{self, Interrupted};
use crate::output::{self, Existing};
use crate::terminal;

/// Say what is in pictures
#[derive(Debug, Args)]
pub struct Classify {
    /// Pictures, folders (with all below them), or - for a list of paths on stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    classifier: ClassifierArguments,
    /// How many classes to name for each picture
    #[arg(long, short = 'k', default_value = "5", value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// How results are written [default: table on a terminal, as -o ends, jsonl otherwise]
    #[arg(long, short)]
    format: Option<Format>,
    /// Write results to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Jsonl,
    Csv,
}

impl Classify {
    pub fn run(self, context: &Context) -> Result<Status> {
        let to_terminal = self.output.is_none() && std::io::stdout().is_terminal();
        let is_csv = self.output.as_ref().is_some_and(|output| output.extension().is_some_and(|e| e == "csv"));
        let format = self.format.unwrap_or(match (to_terminal, is_csv) {
            (true, _) => Format::Table,
            (false, true) => Format::Csv,
            (false, false) => Format::Jsonl,
        });
        let existing = Existing::of(self.overwrite);
        let inputs = dataset::list(&read_list(&self.paths)?)?;
        if let Some(output) = &self.output {
            output::refuse_unwritable(output, existing)?;
            output::refuse_input(output, inputs.iter().map(|input| input.path.as_path()))?;
        }
        let classifier = self.classifier.open(context)?;

        let classify = |file: &mut dyn Write| self.classify(&inputs, &classifier, Results::new(format, file), context);
        let unreadable = match &self.output {
            None => classify(&mut std::io::stdout().lock())?,
            Some(output) => {
                // An interrupted run keeps its results: the file is complete up to there.
                let mut result = Ok(0);
                output::write_atomically_with(output, existing, |file| {
                    result = classify(file);
                    match &mut result {
                        Err(error) if !error.is::<Interrupted>() => Err(std::mem::replace(error, anyhow!("failed"))),
                        _ => Ok(()),
                    }
                })?;
                result?
            }
        };
        Ok(if unreadable > 0 { Status::SomeUnreadable } else { Status::Done })
    }

    /// Writes a result for each input, in order; returns how many could not be read.
    fn classify(
        &self,
        inputs: &[Input],
        classifier: &Classifier,
        mut results: Results,
        context: &Context,
    ) -> Result<usize> {
        let bar = context.terminal.progress(inputs.len(), "pictures");
        interrupt::install()?;
        let mut unreadable = 0;
        classifier.classify(inputs, |batch, probabilities| {
            interrupt::check(|| "the results so far have been written".to_owned())?;
            // A bar and results may share a terminal.
            bar.suspend(|| {
                for (input, probabilities) in batch.iter().zip(probabilities) {
                    match probabilities {
                        Ok(probabilities) => {
                            let predictions = classifier::likeliest(&probabilities, self.top.into());
                            results.write(&input.name(), classifier, &predictions)?;
                        }
                        Err(error) => {
                            unreadable += 1;
                            results.write_error(&input.name(), &format!("{error:#}"))?;
                        }
                    }
                }
                results.flush()
            })?;
            bar.inc(batch.len() as u64);
            Ok(())
        })?;
        bar.finish_and_clear();
        if unreadable > 0 {
            let total = inputs.len();
            context.terminal.note(format_args!("{unreadable} of {total} inputs could not be read"));
        }
        Ok(unreadable)
    }
}

/// The paths, with those listed on stdin in place of `-`.
fn read_list(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line.context("the list on stdin cannot be read")?;
                if !line.is_empty() {
                    all.push(path_of(line));
                }
            }
        } else {
            all.push(path.clone());
        }
    }
    Ok(all)
}

/// Paths are bytes, not always text.
#[cfg(unix)]
fn path_of(line: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(line).into()
}

#[cfg(not(unix))]
fn path_of(line: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&line).trim_end_matches('\r').into()
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    model: &'a str,
    predictions: Vec<LinePrediction<'a>>,
}

#[derive(Serialize)]
struct LinePrediction<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    label: &'a str,
    probability: f32,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    path: &'a str,
    error: &'a str,
}

/// Results in the format that was asked for.
struct Results<'a> {
    format: Format,
    file: &'a mut dyn Write,
    is_first: bool,
}

impl<'a> Results<'a> {
    fn new(format: Format, file: &'a mut dyn Write) -> Self {
        Self { format, file, is_first: true }
    }

    fn write(&mut self, path: &str, classifier: &Classifier, predictions: &[Prediction]) -> Result<()> {
        let model = classifier.name();
        let predictions: Vec<LinePrediction> = predictions
            .iter()
            .map(|&Prediction { class, probability }| LinePrediction {
                index: class,
                id: classifier.class_ids().map(|ids| ids[class].as_str()),
                label: &classifier.class_names()[class],
                probability,
            })
            .collect();
        match self.format {
            Format::Jsonl => self.write_json(&Line { path, model, predictions }),
            Format::Csv => {
                let rows = predictions.iter().enumerate().map(|(rank, p)| {
                    let (rank, index) = ((rank + 1).to_string(), p.index.to_string());
                    let probability = p.probability.to_string();
                    [path, model, &rank, &index, p.id.unwrap_or_default(), p.label, &probability, ""].map(str::to_owned)
                });
                self.write_csv(rows)
            }
            Format::Table => {
                writeln!(self.file, "{}  ({model})", terminal::printable(path))?;
                for p in &predictions {
                    writeln!(self.file, "  {:>9}  {}", terminal::percent(p.probability.into()), p.label)?;
                }
                Ok(())
            }
        }
    }

    /// An input that could not be read: a row of its own, and for a table a line on stderr.
    fn write_error(&mut self, path: &str, error: &str) -> Result<()> {
        match self.format {
            Format::Jsonl => self.write_json(&ErrorLine { path, error }),
            Format::Csv => self.write_csv(std::iter::once([path, "", "", "", "", "", "", error].map(str::to_owned))),
            Format::Table => {
                self.flush()?;
                terminal::warn(format_args!("{}: {error}", terminal::printable(path)));
                Ok(())
            }
        }
    }

    fn write_json(&mut self, line: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(line)?;
        line.push('\n');
        Ok(self.file.write_all(line.as_bytes())?)
    }

    fn write_csv(&mut self, rows: impl Iterator<Item = [String; 8]>) -> Result<()> {
        const HEADER: [&str; 8] = ["path", "model", "rank", "index", "id", "label", "probability", "error"];
        let mut writer = csv::Writer::from_writer(Vec::new());
        if std::mem::take(&mut self.is_first) {
            writer.write_record(HEADER)?;
        }
        for row in rows {
            writer.write_record(row)?;
        }
        Ok(self.file.write_all(&writer.into_inner()?)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}
