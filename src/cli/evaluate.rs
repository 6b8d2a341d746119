//! `xcept evaluate`: how good a classifier is on labelled pictures.

mod judge;
mod page;
mod report;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};

use self::judge::judge;
use self::report::{Report, Unreadable};
use super::data::{self, ClassesArgument};
use super::model::{ClassifierArguments, Tta};
use super::{Context, Status, WrongUsage};
use crate::classifier::{Classifier, Judgement};
use crate::dataset::{Dataset, Input, Split};
use crate::evaluate::{Answer, Evaluation, Rejection};
use crate::output::{self, Existing};
use crate::terminal;

/// Say how good a classifier is on labelled pictures
#[derive(Debug, Args)]
pub struct Evaluate {
    /// A folder of class folders: DATA/CLASS/*, or DATA/{train,val,test}/CLASS/*. Their names are those of the
    /// model's classes, or their WordNet ids
    data: PathBuf,
    #[command(flatten)]
    classes: ClassesArgument,
    #[command(flatten)]
    classifier: ClassifierArguments,
    /// Which pictures of the data [default: test, without those val, without those all]
    #[arg(long)]
    split: Option<Part>,
    /// Test-time augmentation: flip averages the probabilities of each picture and its mirror image, a little more
    /// often right, at twice the time
    #[arg(long, value_name = "VIEWS")]
    tta: Option<Tta>,
    /// table and json have the figures, csv has a row for each picture with the probability of every class [default:
    /// table on a terminal, as -o ends, json otherwise]
    #[arg(long, short)]
    format: Option<Format>,
    /// Write results to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
    /// End with exit status 4 if the accuracy is below this, even if some pictures could not be read; 0.95 is 95 %
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_accuracy: Option<f64>,
    /// Pictures of other things: say how well `classify --keep-known` tells them from those of the data
    #[arg(long, value_name = "FOLDER")]
    unknown: Option<PathBuf>,
    /// Write DIR/report.html: one file with figures, charts, the worst mistakes with what the classifier saw in them,
    /// and a table of all predictions
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Let the report have a section on what is wrong with the data, all splits of it: leaks, duplicates, doubtful labels,
    /// outliers, as `xcept audit` finds them
    #[arg(long, requires = "report")]
    audit: bool,
    /// Write the report's charts to DIR, as SVG and PNG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// How many mistakes the table and json list, the most confident first
    #[arg(long, value_name = "N", default_value = "10")]
    mistakes: usize,
}

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Test,
    Val,
    Train,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// What is evaluated on.
struct Selected {
    /// The whole data.
    dataset: Dataset,
    /// Its pictures of the part that have a class.
    inputs: Vec<Input>,
    part: Part,
    /// Paths of pictures that lie among them and have none.
    left_out: Vec<String>,
}

fn share(text: &str) -> Result<f64> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => bail!("expected 0 to 1; 0.95 is 95 %"),
    }
}

impl Part {
    /// The split that it is, or none for all.
    fn split(self) -> Option<Split> {
        match self {
            Part::Test => Some(Split::Test),
            Part::Val => Some(Split::Val),
            Part::Train => Some(Split::Train),
            Part::All => None,
        }
    }

    fn name(self) -> &'static str {
        self.split().map_or("all", Split::name)
    }

    fn holds(self, input: &Input) -> bool {
        self.split().is_none_or(|split| input.split == Some(split))
    }
}

impl Evaluate {
    pub fn run(self, context: &Context) -> Result<Status> {
        let existing = Existing::of(self.overwrite);
        self.output.iter().try_for_each(|output| output::refuse_unwritable(output, existing))?;
        let outputs: Vec<PathBuf> = self.output.iter().cloned().chain(page::outputs(&self, existing)?).collect();
        let Selected { dataset, inputs, part, left_out } = self.select(context)?;
        let others = self.others(context)?;
        let pictures = inputs.iter().chain(&others).map(|input| input.path.as_path());
        output::refuse_inputs(&outputs, pictures.chain(self.classifier.files()))?;
        let classifier = self.classifier.open(context)?.with_views(Tta::views(self.tta));
        if self.unknown.is_some() {
            classifier.known("--unknown")?;
        }
        let truths = self.truths(&inputs, &dataset.class_names, &classifier)?;
        context.terminal.note(format_args!(
            "{}: {} pictures ({}{}) for {}{}",
            self.data.display(),
            terminal::thousands(truths.len()),
            part.name(),
            if self.tta.is_some() { ", each with its mirror image" } else { "" },
            classifier.name(),
            if part == Part::All { "; those that it was trained on would flatter it" } else { "" }
        ));
        data::warn_of_strays(left_out.iter().map(String::as_str));
        let truth = |picture: usize| classifier.class_names()[truths[picture]].as_str();
        let mut cache = data::cache(std::slice::from_ref(&self.data), &classifier);
        let outcomes = judge(&inputs, truth, &classifier, cache.as_mut(), context)?;
        data::keep(cache, std::slice::from_ref(&self.data), self.classes);
        judge::ensure_any_readable(&outcomes)?;
        let strangers = judge(&others, |_| "unknown", &classifier, None, context)?;
        let rejection = match judge::ensure_any_readable(&strangers) {
            Ok(()) if strangers.is_empty() => None,
            Ok(()) => Some(rejection(&outcomes, &strangers, &classifier)?),
            // What is known of the others stands.
            Err(error) => {
                terminal::warn(format_args!("--unknown: {}", terminal::printable(&format!("{error:#}"))));
                None
            }
        };
        let answer = |(index, judgement): (usize, Result<Judgement, Unreadable>)| {
            let (path, truth) = (inputs[index].name(), truths[index]);
            judgement.map(|judgement| Answer { path, truth, probabilities: judgement.probabilities })
        };
        let outcomes: Vec<_> = outcomes.into_iter().enumerate().map(answer).collect();
        let evaluation = Evaluation::new(classifier.class_names(), outcomes.iter().flatten(), self.mistakes)?;
        let unreadable = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let report = Report {
            model: classifier.name(),
            data: self.data.to_string_lossy(),
            split: part.name(),
            tta: self.tta,
            evaluation: &evaluation,
            rejection,
            class_ids: classifier.class_ids(),
            left_out: &left_out,
            unreadable: unreadable.chain(strangers.iter().filter_map(|stranger| stranger.as_ref().err())).collect(),
        };
        output::write_results(self.output.as_deref(), existing, |file| match self.format() {
            Format::Table => table::write(&report, file),
            Format::Json => report.write_json(file),
            Format::Csv => report::write_csv(&outcomes, classifier.class_names(), file),
        })?;
        page::write(&self, &dataset, existing, &report, &outcomes, context)?;
        Ok(self.status(&report))
    }

    /// The pictures of other things.
    fn others(&self, context: &Context) -> Result<Vec<Input>> {
        let Some(folder) = &self.unknown else { return Ok(Vec::new()) };
        if self.format() == Format::Csv {
            let text = "--unknown: csv has a row for each picture and no place for its figures; pass -f json";
            return Err(WrongUsage(text.to_owned()).into());
        }
        ensure!(folder.is_dir(), "--unknown {}: no such folder; expected one of pictures", folder.display());
        data::list(std::slice::from_ref(folder), context)
    }

    /// The pictures to evaluate on.
    fn select(&self, context: &Context) -> Result<Selected> {
        let data = self.data.display();
        let expected = "expected a folder with a folder for each class, DATA/CLASS/*";
        ensure!(!self.data.is_file(), "{data}: is a file, {expected}");
        ensure!(self.data.is_dir(), "{data}: no such folder; {expected}");
        let dataset = data::open(std::slice::from_ref(&self.data), self.classes, context)?;
        ensure!(
            !dataset.class_names.is_empty(),
            "{data}: has pictures but no class folders; move the pictures of each class into a folder of its name, \
             or see what is in them with `xcept classify`"
        );
        let has = |part: &Part| dataset.inputs.iter().any(|input| input.class.is_some() && part.holds(input));
        let part = self.split.or_else(|| [Part::Test, Part::Val].into_iter().find(has)).unwrap_or(Part::All);
        // Those that lie in no split could be of any.
        let is_left_out = |input: &&Input| input.is_stray && (input.split.is_none() || part.holds(input));
        let left_out = dataset.inputs.iter().filter(is_left_out).map(Input::name).collect();
        let is_judged = |input: &&Input| input.class.is_some() && part.holds(input);
        let inputs: Vec<Input> = dataset.inputs.iter().filter(is_judged).cloned().collect();
        let name = part.name();
        ensure!(!inputs.is_empty(), "{data}: no pictures in {name}/CLASS/*; leave --split {name} out");
        Ok(Selected { dataset, inputs, part, left_out })
    }

    /// The model's class of each picture.
    fn truths(&self, inputs: &[Input], folders: &[String], classifier: &Classifier) -> Result<Vec<usize>> {
        let classes: Vec<_> = folders.iter().map(|folder| classifier.find_class(folder)).collect();
        let mut truths = Vec::with_capacity(inputs.len());
        for folder in inputs.iter().filter_map(|input| input.class) {
            match classes[folder] {
                Some(class) => truths.push(class),
                None => bail!(self.no_class(&folders[folder], classifier)),
            }
        }
        Ok(truths)
    }

    fn no_class(&self, folder: &str, classifier: &Classifier) -> String {
        const SHOWN: usize = 10;
        let (data, names) = (self.data.display(), classifier.class_names());
        let mut classes = names[..names.len().min(SHOWN)].join(", ");
        if names.len() > SHOWN {
            classes += &format!(", … {} in all", terminal::thousands(names.len()));
        }
        let remedy = match Split::of_folder(folder) {
            Some(_) => format!("pass {} to evaluate on its class folders", self.data.join(folder).display()),
            None => "rename it, or pass the model that was trained on it as -m".to_owned(),
        };
        format!("{data}: its folder `{folder}` is no class of {} ({classes}); {remedy}", classifier.name())
    }

    fn format(&self) -> Format {
        output::format(self.format, self.output.as_deref(), [Format::Table, Format::Csv, Format::Json])
    }

    /// A check that does not hold counts for more than pictures that could not be read.
    fn status(&self, report: &Report) -> Status {
        let &Evaluation { accuracy, correct, pictures, .. } = report.evaluation;
        match self.min_accuracy {
            Some(least) if accuracy < least => {
                let accuracy = terminal::percent(accuracy);
                terminal::warn(format_args!(
                    "accuracy {accuracy} ({correct} of {pictures} pictures) is below --min-accuracy {least}"
                ));
                Status::CheckFailed
            }
            _ if !report.unreadable.is_empty() || !report.left_out.is_empty() => Status::SomeUnreadable,
            _ => Status::Done,
        }
    }
}

/// How far the pictures of the model's classes and the others are told apart.
fn rejection(
    outcomes: &[Result<Judgement, Unreadable>],
    strangers: &[Result<Judgement, Unreadable>],
    classifier: &Classifier,
) -> Result<Rejection> {
    let distances = |outcomes: &[Result<Judgement, Unreadable>]| {
        outcomes.iter().flatten().filter_map(|judgement| judgement.distance).collect::<Vec<_>>()
    };
    Ok(Rejection::new(classifier.known("--unknown")?, &distances(outcomes), &distances(strangers)))
}
