//! The report as a page, and its charts as files.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::report::{Report, Unreadable};
use super::{Context, Evaluate, Tta};
use crate::architecture::BLOCKS;
use crate::cli::audit;
use crate::dataset::Dataset;
use crate::evaluate::{Answer, Evaluation, Mistake};
use crate::explain::Explainer;
use crate::output::{self, Existing};
use crate::report::{self, AuditReport, Thumbnail};
use crate::terminal::Terminal;
use crate::train::{CURVES, Run};
use crate::{image, interrupt, terminal};

const PAGE: &str = "report.html";
const RELIABILITY: [&str; 2] = ["reliability.svg", "reliability.png"];
const CONFUSION_MATRIX: [&str; 2] = ["confusion_matrix.svg", "confusion_matrix.png"];

/// Mistakes that the page shows, and the longest side of their pictures in pixels.
const MISTAKES: usize = 24;
const THUMBNAIL_SIDE: usize = 320;

/// The files that [`write`] will write, all of which can be written as far as can be told before.
pub fn outputs(evaluate: &Evaluate, existing: Existing) -> Result<Vec<PathBuf>> {
    let curves = curves(evaluate).map(|(name, _)| name);
    let charts: Vec<&str> = RELIABILITY.into_iter().chain(CONFUSION_MATRIX).chain(curves).collect();
    let mut outputs = Vec::new();
    for (folder, names) in [(&evaluate.report, &[PAGE][..]), (&evaluate.plots, &charts)] {
        let Some(folder) = folder else { continue };
        output::refuse_unwritable_in(folder, names, existing, Some(&evaluate.data))?;
        outputs.extend(names.iter().map(|name| folder.join(name)));
    }
    Ok(outputs)
}

/// The learning curves that a run has left beside its model: names and paths.
fn curves(evaluate: &Evaluate) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let model = evaluate.classifier.file();
    let folder = model.is_file().then(|| model.with_file_name(""));
    let run = folder.filter(|folder| Run::is_at(folder));
    let place = move |name: &'static str| Some((name, run.as_ref()?.join(name)));
    CURVES.into_iter().filter_map(place).filter(|(_, path)| path.is_file())
}

/// Writes the page and the charts, those that were asked for.
pub fn write(
    evaluate: &Evaluate,
    dataset: &Dataset,
    existing: Existing,
    report: &Report,
    outcomes: &[Result<Answer, Unreadable>],
    context: &Context,
) -> Result<()> {
    if let Some(folder) = &evaluate.plots {
        output::make_folder(folder)?;
        write_charts(folder, existing, report.evaluation, context)?;
        for (name, path) in curves(evaluate) {
            let Ok(bytes) = std::fs::read(path) else { continue };
            output::write_atomically(&folder.join(name), existing, &bytes)?;
        }
        context.terminal.note(format_args!("{}: the charts are in there", folder.display()));
    }
    let Some(folder) = &evaluate.report else { return Ok(()) };
    let answers: Vec<&Answer> = outcomes.iter().flatten().collect();
    let evaluation = Evaluation::new(&report.evaluation.class_names, answers.iter().copied(), MISTAKES)?;
    let thumbnails = thumbnails(evaluate, &evaluation, context)?;
    let unreadable: Vec<(&str, &str)> = report.unreadable.iter().map(|row| (&*row.path, &*row.error)).collect();
    let curves = curves(evaluate).next().and_then(|(_, svg)| std::fs::read_to_string(svg).ok());
    let audit = evaluate.audit.then(|| audit::of_folder(&evaluate.data, dataset, context)).transpose()?;
    let page = report::Report {
        model: report.model,
        data: &report.data,
        split: report.split,
        views: Tta::views(report.tta),
        evaluation: &evaluation,
        answers: &answers,
        unreadable: &unreadable,
        thumbnails: &thumbnails,
        learning_curves: curves.as_deref(),
        rejection: report.rejection.as_ref(),
        audit: audit.as_ref().map(|(audit, thumbnails)| AuditReport { data: &report.data, audit, thumbnails }),
    };
    context.write_page(folder, PAGE, existing, &page.html())
}

fn write_charts(folder: &Path, existing: Existing, evaluation: &Evaluation, context: &Context) -> Result<()> {
    let write = |names: [&str; 2], svg: &str, png: &[u8]| {
        let [svg_path, png_path] = names.map(|name| folder.join(name));
        output::write_atomically(&svg_path, existing, svg.as_bytes())?;
        output::write_atomically(&png_path, existing, png)
    };
    let reliability = report::reliability(evaluation);
    write(RELIABILITY, &reliability.svg(), &reliability.png()?)?;
    match report::confusion_matrix(evaluation) {
        Some(matrix) => write(CONFUSION_MATRIX, &matrix.svg(), &matrix.png()?),
        None => {
            let classes = terminal::thousands(evaluation.class_names.len());
            context.terminal.note(format_args!(
                "no picture of the confusion matrix: one of {classes} classes could not be read; -f json has its numbers"
            ));
            Ok(())
        }
    }
}

/// The pictures of the mistakes, with what spoke for the wrong class; none for one that cannot be read any more.
fn thumbnails(evaluate: &Evaluate, evaluation: &Evaluation, context: &Context) -> Result<Vec<Option<Thumbnail>>> {
    if evaluation.mistakes.is_empty() {
        return Ok(Vec::new());
    }
    // What there was to say of the model was said when it was loaded to classify.
    let quiet = Context { terminal: Terminal { quiet: true }, ..context.clone() };
    let explainer = Explainer::new(evaluate.classifier.open_parts(&quiet)?, *BLOCKS.end(), &context.device)?;
    let thumbnail = |mistake: &Mistake| {
        let class = evaluation.class_names.iter().position(|name| *name == mistake.prediction);
        let explained = explainer.overlay(&image::read(Path::new(&mistake.path))?, THUMBNAIL_SIDE, class)?;
        let uri = |picture| report::jpeg_uri(picture, THUMBNAIL_SIDE);
        anyhow::Ok(Thumbnail { photograph: uri(&explained.photograph)?, heat: uri(&explained.overlaid)? })
    };
    let or_none = |mistake: &Mistake| {
        interrupt::check(|| "the report has not been written".to_owned())?;
        Ok(thumbnail(mistake).ok())
    };
    evaluation.mistakes.iter().map(or_none).collect()
}
