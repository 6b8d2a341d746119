//! `xcept classify`: what is in the pictures.

mod results;

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use self::results::Results;
use super::data::ClassesArgument;
use super::model::{ClassifierArguments, KeepKnown, Tta};
use super::{Context, Status, WrongUsage, data};
use crate::classifier::{self, Classifier, Judgement};
use crate::dataset::Input;
use crate::interrupt::{self, Interrupted};
use crate::output::{self, Existing};
use crate::terminal::{self, Stdout};
use crate::text;

/// Say what is in pictures
#[derive(Debug, Args)]
pub struct Classify {
    /// Pictures, folders (with all below them), or - for a list of paths on stdin, one on each line or with NUL between
    /// them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    classifier: ClassifierArguments,
    /// How many classes to name for each picture
    #[arg(long, short = 'k', default_value = "5", value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Call a picture `unknown` if it is less like the training pictures than this share of the validation pictures.
    /// 0.99 keeps 99 of 100 pictures of the model's classes; a lower share finds more unknown ones; all keeps every
    /// picture [default: what the model file says, otherwise all]
    #[arg(long, value_name = "SHARE", alias = "reject")]
    keep_known: Option<KeepKnown>,
    /// Test-time augmentation: flip averages the probabilities of each picture and its mirror image, a little more
    /// often right, at twice the time
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Tta>,
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
        let format = output::format(self.format, self.output.as_deref(), [Format::Table, Format::Csv, Format::Jsonl]);
        let existing = Existing::of(self.overwrite);
        let inputs = data::list(&read_list(&self.paths)?, context)?;
        if let Some(output) = &self.output {
            output::refuse_unwritable(output, existing)?;
            let pictures = inputs.iter().map(|input| input.path.as_path());
            output::refuse_input(output, pictures.chain(self.classifier.files()))?;
        }
        let classifier = self.classifier.open(context)?.with_views(Tta::views(self.tta));

        let limit = |share| anyhow::Ok(classifier.known("--keep-known")?.threshold(share));
        let share = self.keep_known.map_or(classifier.keep_known(), KeepKnown::share);
        let limit = share.map(limit).transpose()?;
        let classify =
            |file: &mut dyn Write| self.classify(&inputs, &classifier, Results::new(format, limit, file), context);
        let unreadable = match &self.output {
            None => classify(&mut Stdout::lock())?,
            Some(output) => output::write_rows(output, existing, classify)?,
        };
        Ok(if unreadable > 0 { Status::SomeUnreadable } else { Status::Done })
    }

    /// Writes a result for each input, in order; returns how many could not be read. An error says what was written.
    fn classify(
        &self,
        inputs: &[Input],
        classifier: &Classifier,
        mut results: Results,
        context: &Context,
    ) -> Result<usize> {
        let bar = context.terminal.progress(inputs.len(), "pictures");
        interrupt::install();
        let (mut done, mut unreadable) = (0, 0);
        let mut cache = data::cache(&self.paths, classifier);
        let result = classifier.classify(inputs, cache.as_mut(), |batch, judgements| {
            // A bar and results may share a terminal.
            bar.suspend(|| {
                for (input, judgement) in batch.iter().zip(judgements) {
                    match judgement {
                        Ok(Judgement { probabilities, distance }) => {
                            let predictions = classifier::likeliest(&probabilities, self.top.into());
                            results.write(&input.name(), classifier, &predictions, distance)?;
                        }
                        Err(error) => {
                            unreadable += 1;
                            results.write_error(&input.name(), &format!("{error:#}"))?;
                        }
                    }
                }
                results.flush()
            })?;
            done += batch.len();
            bar.inc(batch.len() as u64);
            if done == inputs.len() { Ok(()) } else { interrupt::check(|| self.kept(done, inputs.len())) }
        });
        bar.finish_and_clear();
        match result {
            Err(error) if self.output.is_some() && !error.is::<Interrupted>() => {
                return Err(error.context(self.kept(done, inputs.len())));
            }
            result => result?,
        }
        data::keep(cache, &self.paths, ClassesArgument::default());
        if unreadable > 0 {
            let total = inputs.len();
            context.terminal.note(format_args!("{unreadable} of {total} inputs could not be read"));
        }
        Ok(unreadable)
    }

    /// What becomes of the work if it ends after `done` of `total` pictures.
    fn kept(&self, done: usize, total: usize) -> String {
        let total = terminal::counted(total, "picture", "pictures");
        match &self.output {
            None => format!("the results of {done} of {total} have been written"),
            Some(_) if done == 0 => "nothing has been written".to_owned(),
            Some(output) => format!("the results of the first {done} of {total} are in {}", output.display()),
        }
    }
}

/// The paths, with those listed on stdin in place of `-`.
fn read_list(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut list = Vec::new();
            std::io::stdin().lock().read_to_end(&mut list).context("the list on stdin cannot be read")?;
            all.extend(text::paths(list).context("the list on stdin")?);
        } else {
            all.push(path.clone());
        }
    }
    if all.is_empty() {
        let text = "the list on stdin is empty; expected paths of pictures, one on each line or with NUL between them";
        return Err(WrongUsage(text.to_owned()).into());
    }
    Ok(all)
}
