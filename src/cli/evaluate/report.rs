//! Results for programs: the figures as one JSON object, the pictures as rows of CSV.

use std::borrow::Cow;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::cli::model::Tta;
use crate::evaluate::{Answer, Evaluation, Rejection};

/// Everything that an evaluation tells.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub model: &'a str,
    pub data: Cow<'a, str>,
    pub split: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tta: Option<Tta>,
    #[serde(flatten)]
    pub evaluation: &'a Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_ids: Option<&'a [String]>,
    /// Pictures that lie in no class folder.
    pub left_out: &'a [String],
    pub unreadable: Vec<&'a Unreadable>,
}

/// A picture that is in none of the figures.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub path: String,
    pub truth: String,
    pub error: String,
}

impl Report<'_> {
    pub fn write_json(&self, file: &mut dyn Write) -> Result<()> {
        serde_json::to_writer(&mut *file, self).map_err(std::io::Error::from)?;
        Ok(writeln!(file)?)
    }
}

/// A row for each picture, in order. Figures of classes would need a table of another shape; from
/// these rows every figure can be computed.
pub fn write_csv(outcomes: &[Result<Answer, Unreadable>], class_names: &[String], file: &mut dyn Write) -> Result<()> {
    let mut writer = csv::Writer::from_writer(file);
    let header = ["path", "truth", "prediction", "probability", "correct", "error"].map(str::to_owned);
    // The prefix keeps a class that is called `path` from being taken for one.
    writer.write_record(header.into_iter().chain(class_names.iter().map(|name| format!("probability_{name}"))))?;
    for outcome in outcomes {
        let (first, probabilities) = match outcome {
            Ok(answer) => {
                let prediction = answer.prediction();
                let (truth, predicted) = (&class_names[answer.truth], &class_names[prediction.class]);
                let probability = prediction.probability.to_string();
                let is_correct = prediction.class == answer.truth;
                let first =
                    [&answer.path, truth, predicted, &probability, &is_correct.to_string(), ""].map(str::to_owned);
                (first, answer.probabilities.iter().map(f32::to_string).collect())
            }
            Err(Unreadable { path, truth, error }) => {
                ([path, truth, "", "", "", error].map(str::to_owned), vec![String::new(); class_names.len()])
            }
        };
        writer.write_record(first.into_iter().chain(probabilities))?;
    }
    Ok(writer.flush()?)
}
