//! What `classify` writes for each picture, in the format that was asked for.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::Format;
use crate::classifier::{Classifier, Prediction};
use crate::terminal;

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    model: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    strangeness: Option<Strangeness>,
    predictions: Vec<LinePrediction<'a>>,
}

/// How unlike the training pictures a picture is.
#[derive(Clone, Copy, Serialize)]
struct Strangeness {
    unknown: bool,
    distance: f64,
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
pub struct Results<'a> {
    format: Format,
    /// Pictures that are farther are unknown.
    limit: Option<f64>,
    file: &'a mut dyn Write,
    is_first: bool,
}

impl<'a> Results<'a> {
    pub fn new(format: Format, limit: Option<f64>, file: &'a mut dyn Write) -> Self {
        Self { format, limit, file, is_first: true }
    }

    pub fn write(
        &mut self,
        path: &str,
        classifier: &Classifier,
        predictions: &[Prediction],
        distance: Option<f64>,
    ) -> Result<()> {
        let compare = |(limit, distance)| Strangeness { unknown: distance > limit, distance };
        let strangeness = self.limit.zip(distance).map(compare);
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
            Format::Jsonl => self.write_json(&Line { path, model, strangeness, predictions }),
            Format::Csv => {
                let rows = predictions.iter().enumerate().map(|(rank, p)| {
                    let (rank, index) = ((rank + 1).to_string(), p.index.to_string());
                    let probability = p.probability.to_string();
                    let row = [path, model, &rank, &index, p.id.unwrap_or_default(), p.label, &probability];
                    (row.map(str::to_owned), strangeness)
                });
                self.write_csv(rows, "")
            }
            Format::Table => {
                writeln!(self.file, "{}  ({})", terminal::printable(path), terminal::printable(model))?;
                if let Some(Strangeness { unknown: true, distance }) = strangeness {
                    let limit = self.limit.unwrap_or_default();
                    return Ok(writeln!(self.file, "    unknown  distance {distance:.2}, known up to {limit:.2}")?);
                }
                for p in &predictions {
                    let (share, label) = (terminal::percent(p.probability.into()), terminal::printable(p.label));
                    writeln!(self.file, "  {share:>9}  {label}")?;
                }
                Ok(())
            }
        }
    }

    /// An input that could not be read: a row of its own, and for a table a line on stderr.
    pub fn write_error(&mut self, path: &str, error: &str) -> Result<()> {
        match self.format {
            Format::Jsonl => self.write_json(&ErrorLine { path, error }),
            Format::Csv => {
                let row = [path, "", "", "", "", "", ""].map(str::to_owned);
                self.write_csv(std::iter::once((row, None)), error)
            }
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

    fn write_csv(&mut self, rows: impl Iterator<Item = ([String; 7], Option<Strangeness>)>, error: &str) -> Result<()> {
        const HEADER: [&str; 7] = ["path", "model", "rank", "index", "id", "label", "probability"];
        /// There where pictures may be unknown.
        const STRANGENESS: [&str; 2] = ["unknown", "distance"];
        let mut writer = csv::Writer::from_writer(Vec::new());
        let strange = |cells: [String; 2]| self.limit.is_some().then_some(cells).into_iter().flatten();
        if std::mem::take(&mut self.is_first) {
            let header = HEADER.map(str::to_owned).into_iter().chain(strange(STRANGENESS.map(str::to_owned)));
            writer.write_record(header.chain(["error".to_owned()]))?;
        }
        for (row, strangeness) in rows {
            let cells = strangeness.map(|found| [found.unknown.to_string(), found.distance.to_string()]);
            let row = row.into_iter().chain(strange(cells.unwrap_or_default()));
            writer.write_record(row.chain([error.to_owned()]))?;
        }
        Ok(self.file.write_all(&writer.into_inner()?)?)
    }

    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}
