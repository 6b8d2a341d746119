//! Results for a person: headline, classes, confusions and the worst mistakes.

use std::io::Write;

use anyhow::Result;
use comfy_table::Table;

use super::report::Report;
use crate::evaluate::{ClassScores, Evaluation, Rejection, Scores};
use crate::terminal::{align_right, percent, printable, section, table, thousands};

/// Classes that a table still shows in full.
const MOST_CLASSES: usize = 20;
/// Lines of confusions where there are too many classes for a matrix.
const MOST_CONFUSIONS: usize = 10;
/// Columns of a terminal.
const WIDTH: usize = 100;

pub fn write(report: &Report, file: &mut dyn Write) -> Result<()> {
    let evaluation = report.evaluation;
    let classes = thousands(evaluation.classes.len());
    let pictures = thousands(evaluation.pictures);
    let (model, data) = (printable(report.model), printable(&report.data));
    writeln!(file, "{model} on {data} ({}): {pictures} pictures, {classes} classes", report.split)?;
    headline(evaluation, file)?;
    let is_long = evaluation.classes.len() > MOST_CLASSES;
    section(file, if is_long { "the classes with the lowest F1" } else { "" }, class_table(evaluation))?;
    if is_long {
        section(file, "the most frequent confusions", confusions(evaluation))?;
    } else {
        section(
            file,
            "confusion matrix: a row for each class, a column for what it was taken for",
            matrix(evaluation),
        )?;
    }
    let (shown, all) = (evaluation.mistakes.len(), evaluation.pictures - evaluation.correct);
    let title = format!("mistakes, the most confident first ({shown} of {})", thousands(all));
    section(file, &title, mistakes(evaluation))?;
    match &report.rejection {
        Some(rejection) => write_rejection(rejection, file),
        None => Ok(()),
    }
}

fn headline(evaluation: &Evaluation, file: &mut dyn Write) -> Result<()> {
    let mut line = |name: &str, value: String, remark: String| {
        let line = format!(" {name:<14}  {value:>8}  {remark}");
        writeln!(file, "{}", line.trim_end())
    };
    let [low, high] = evaluation.accuracy_interval.map(|end| format!("{:.2}", 100.0 * end));
    let (correct, pictures) = (thousands(evaluation.correct), thousands(evaluation.pictures));
    let remark = format!("{correct} of {pictures} right; {low} to {high} % with 95 % confidence");
    line("accuracy", percent(evaluation.accuracy), remark)?;
    if let Some(top_5_accuracy) = evaluation.top_5_accuracy {
        line("top-5 accuracy", percent(top_5_accuracy), String::new())?;
    }
    let guessing = (evaluation.classes.len() as f64).ln();
    let remark = format!("nats; {guessing:.4} is no better than a guess");
    line("log loss", format!("{:.4}", evaluation.log_loss), remark)?;
    let remark = "expected calibration error; 0 is best".to_owned();
    Ok(line("calibration", format!("{:.4}", evaluation.expected_calibration_error), remark)?)
}

fn write_rejection(rejection: &Rejection, file: &mut dyn Write) -> Result<()> {
    let mut lines = table(["classify --keep-known", "distance", "known accepted", "unknown rejected"]);
    align_right(&mut lines, 0..4);
    for limit in &rejection.thresholds {
        lines.add_row([
            limit.reject.to_string(),
            format!("{:.3}", limit.distance),
            percent(limit.known_accepted),
            percent(limit.unknown_rejected),
        ]);
    }
    let title = format!(
        "told apart from {} unknown pictures: AUROC {:.4}; 0.5 is no better than a guess",
        thousands(rejection.unknown_pictures),
        rejection.auroc
    );
    Ok(section(file, &title, lines)?)
}

fn class_table(evaluation: &Evaluation) -> Table {
    let mut lines = table(["class", "precision", "recall", "F1", "pictures"]);
    align_right(&mut lines, 1..5);
    let mut classes: Vec<&ClassScores> = evaluation.classes.iter().collect();
    if classes.len() > MOST_CLASSES {
        classes.retain(|class| class.is_in_average());
        classes.sort_by(|a, b| a.scores.f1.total_cmp(&b.scores.f1));
        classes.truncate(MOST_CLASSES);
    }
    let row = |name: String, Scores { precision, recall, f1 }: Scores, pictures: usize| {
        [name, percent(precision), percent(recall), percent(f1), thousands(pictures)]
    };
    for class in classes {
        let name = printable(&class.label);
        lines.add_row(match class.is_in_average() {
            true => row(name, class.scores, class.support),
            // Zeros would look like a judgement.
            false => [&name, "–", "–", "–", "0"].map(str::to_owned),
        });
    }
    let average = match evaluation.classes.iter().filter(|class| class.is_in_average()).count() {
        counted if counted == evaluation.classes.len() => "macro average".to_owned(),
        counted => format!("macro average of {}", thousands(counted)),
    };
    lines.add_row(row(average, evaluation.macro_average, evaluation.pictures));
    lines
}

/// The matrix under the classes' names, or under their numbers where the names are too wide.
fn matrix(evaluation: &Evaluation) -> Table {
    let names: Vec<String> = evaluation.class_names.iter().map(|name| printable(name)).collect();
    let named = matrix_under(names.clone(), names.clone(), evaluation);
    if named.lines().all(|line| line.chars().count() <= WIDTH) {
        return named;
    }
    let numbers = 1..=names.len();
    let rows = numbers.clone().zip(&names).map(|(number, name)| format!("{number:>2} {name}")).collect();
    matrix_under(numbers.map(|number| number.to_string()).collect(), rows, evaluation)
}

fn matrix_under(columns: Vec<String>, rows: Vec<String>, evaluation: &Evaluation) -> Table {
    let mut lines = table(std::iter::once(String::new()).chain(columns).collect::<Vec<_>>());
    align_right(&mut lines, 1..=rows.len());
    for (name, counts) in rows.into_iter().zip(&evaluation.confusion_matrix) {
        lines.add_row(std::iter::once(name).chain(counts.iter().map(|&count| thousands(count))));
    }
    lines
}

fn confusions(evaluation: &Evaluation) -> Table {
    let mut lines = table(["pictures", "of", "taken for"]);
    align_right(&mut lines, [0]);
    let cells =
        evaluation.confusion_matrix.iter().enumerate().flat_map(|(truth, row)| {
            row.iter().enumerate().map(move |(prediction, &count)| (count, truth, prediction))
        });
    let mut cells: Vec<_> = cells.filter(|(count, truth, prediction)| *count > 0 && truth != prediction).collect();
    cells.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    for (count, truth, prediction) in cells.into_iter().take(MOST_CONFUSIONS) {
        let [truth, prediction] = [truth, prediction].map(|class| printable(&evaluation.class_names[class]));
        lines.add_row([thousands(count), truth, prediction]);
    }
    lines
}

fn mistakes(evaluation: &Evaluation) -> Table {
    let mut lines = table(["taken for", "with", "is", "with", "picture"]);
    align_right(&mut lines, [1, 3]);
    for mistake in &evaluation.mistakes {
        lines.add_row([
            printable(&mistake.prediction),
            percent(mistake.probability.into()),
            printable(&mistake.truth),
            percent(mistake.truth_probability.into()),
            printable(&mistake.path),
        ]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Answer;

    #[test]
    fn a_matrix_under_wide_names_has_numbers_and_fits_a_terminal() {
        let matrix = |width: usize| {
            let names: Vec<String> = (0..9).map(|class| format!("{class:->width$}")).collect();
            let answer = Answer { path: String::new(), truth: 8, probabilities: vec![1.0 / 9.0; 9] };
            matrix(&Evaluation::new(&names, [&answer], 0).unwrap()).trim_fmt()
        };
        let last_words =
            |text: &str| text.lines().last().map(|line| line.split_whitespace().take(2).collect::<String>());
        assert_eq!(last_words(&matrix(4)), Some("---81".to_owned()));
        let numbered = matrix(30);
        assert_eq!(last_words(&numbered), Some(format!("9{:->30}", 8)));
        assert!(numbered.lines().all(|line| line.chars().count() <= WIDTH), "{numbered}");
    }
}
