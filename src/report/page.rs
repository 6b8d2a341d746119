//! The page, section by section.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, audit, figures};
use crate::classifier::Views;
use crate::evaluate::{Answer, Evaluation, Mistake, Rejection};
use crate::plot::Matrix;
use crate::terminal::{counted, percent, thousands};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

pub fn page(report: &Report) -> Markup {
    let content = html! {
        (headline(report.evaluation))
        (charts(report))
        (classes(report.evaluation))
        (matrix(report.evaluation))
        (mistakes(report))
        @if let Some(found) = report.rejection { (rejection(found)) }
        (unreadable(report.unreadable))
        @if let Some(found) = &report.audit { (audit::section(found)) }
        (predictions(report))
        script { (PreEscaped(SCRIPT)) }
    };
    frame(&format!("{} on {}", report.model, report.data), &about(report), &content)
}

/// The page around `content`.
pub(super) fn frame(title: &str, about: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is fetched, whatever a name in the tables contains.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.about { (about) }
                (content)
            }
        }
    }
}

fn about(report: &Report) -> String {
    let Report { split, evaluation, .. } = report;
    let views = match report.views {
        Views::Plain => "",
        Views::Flip => ", each with its mirror image,",
    };
    let (pictures, classes) = (thousands(evaluation.pictures), thousands(evaluation.class_names.len()));
    format!("{pictures} pictures ({split}){views} of {classes} classes; xcept {}", env!("CARGO_PKG_VERSION"))
}

fn headline(evaluation: &Evaluation) -> Markup {
    let [low, high] = evaluation.accuracy_interval.map(|end| format!("{:.2}", 100.0 * end));
    let right = format!("{} of {} right", thousands(evaluation.correct), thousands(evaluation.pictures));
    let guessing = (evaluation.classes.len() as f64).ln();
    let mut cards = vec![
        ("accuracy", percent(evaluation.accuracy), format!("{right}; {low} to {high} % with 95 % confidence")),
        ("balanced accuracy", percent(evaluation.balanced_accuracy), "mean recall of the classes".to_owned()),
        ("macro F1", percent(evaluation.macro_average.f1), averaged(evaluation)),
        ("log loss", format!("{:.4}", evaluation.log_loss), format!("nats; {guessing:.4} is no better than a guess")),
        (
            "calibration error",
            percent(evaluation.expected_calibration_error),
            "how far probabilities are from shares that are right".to_owned(),
        ),
    ];
    if let Some(top_5) = evaluation.top_5_accuracy {
        cards.insert(1, ("top-5 accuracy", percent(top_5), "the class is among the five likeliest".to_owned()));
    }
    self::cards(cards.into_iter())
}

fn averaged(evaluation: &Evaluation) -> String {
    let count = evaluation.classes.iter().filter(|class| class.is_in_average()).count();
    format!("mean of the {} with pictures or predictions", counted(count, "class", "classes"))
}

/// Figures, each with its name and a remark.
pub(super) fn cards(cards: impl Iterator<Item = (&'static str, String, String)>) -> Markup {
    html! {
        div.cards {
            @for (name, figure, remark) in cards {
                div.card { (name) b { (figure) } span { (remark) } }
            }
        }
    }
}

fn charts(report: &Report) -> Markup {
    let reliability = figures::reliability(report.evaluation).svg();
    html! {
        h2 { "Charts" }
        div.charts {
            (chart(&reliability, "Reliability diagram: share that is right by probability"))
            @if let Some(curves) = report.learning_curves {
                (chart(curves, "Learning curves: loss and accuracy by epoch"))
            }
        }
    }
}

fn chart(svg: &str, about: &str) -> Markup {
    html! { div.scroll { img src=(figures::svg_uri(svg)) alt=(about); } }
}

fn classes(evaluation: &Evaluation) -> Markup {
    let figures = evaluation.classes.iter().map(|class| {
        let scores = [class.scores.precision, class.scores.recall, class.scores.f1];
        // Zeros would look like a judgement of a class without pictures.
        let score = |score| if class.support == 0 { "–".to_owned() } else { percent(score) };
        (class.label.as_str(), scores.into_iter().map(score).chain([thousands(class.support)]).collect())
    });
    class_table(["precision", "recall", "F1", "pictures"], figures)
}

/// Figures of each class, by its label.
pub(super) fn class_table<'a>(names: [&str; 4], classes: impl Iterator<Item = (&'a str, Vec<String>)>) -> Markup {
    html! {
        h2 { "Classes" }
        div.scroll {
            table {
                thead { tr { th { "class" } @for name in names { th.number { (name) } } } }
                tbody {
                    @for (label, figures) in classes {
                        tr { td { (label) } @for figure in figures { td.number { (figure) } } }
                    }
                }
            }
        }
    }
}

/// Letters that a name above a column may have before it is turned upright.
const LONG: usize = 8;

fn matrix(evaluation: &Evaluation) -> Markup {
    let Some(Matrix { title, subtitle, names, counts }) = figures::confusion_matrix(evaluation) else {
        return html! {};
    };
    let rows = counts.iter().zip(names).enumerate();
    html! {
        h2 { (title) }
        p.about { (subtitle) }
        div.scroll {
            table.matrix.long[names.iter().any(|name| name.chars().count() > LONG)] {
                thead { tr { th {} @for name in names { th.number { span { (name) } } } } }
                tbody {
                    @for (truth, (row, name)) in rows {
                        tr {
                            th { (name) }
                            @for (class, count) in row.iter().enumerate() {
                                (cell(*count, row.iter().sum(), truth != class))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(count: usize, of: usize, is_wrong: bool) -> Markup {
    let share = format!("--share:{:.3}", count as f64 / of.max(1) as f64);
    html! { td.number.wrong[is_wrong] style=(share) { (thousands(count)) } }
}

fn mistakes(report: &Report) -> Markup {
    let shown: Vec<&Mistake> = report.evaluation.mistakes.iter().take(report.thumbnails.len()).collect();
    html! {
        h2 { "Worst mistakes" }
        @if shown.is_empty() { p { "none" } }
        div.mistakes {
            @for (mistake, thumbnail) in shown.into_iter().zip(report.thumbnails) {
                figure {
                    @if let Some(thumbnail) = thumbnail {
                        div {
                            img src=(thumbnail.photograph) alt="the picture" loading="lazy";
                            img src=(thumbnail.heat) alt="what spoke for the prediction" loading="lazy";
                        }
                    }
                    figcaption {
                        b { (mistake.prediction) " " (percent(mistake.probability.into())) }
                        ", is " b { (mistake.truth) } br; (mistake.path)
                    }
                }
            }
        }
    }
}

fn unreadable(unreadable: &[(&str, &str)]) -> Markup {
    if unreadable.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Not read" }
        div.scroll {
            table {
                tbody { @for (path, error) in unreadable { tr { td.path { (path) } td { (error) } } } }
            }
        }
    }
}

/// How well pictures of other things are told apart.
fn rejection(rejection: &Rejection) -> Markup {
    let unknown = thousands(rejection.unknown_pictures);
    html! {
        h2 { "Pictures of other things" }
        p.about {
            (unknown) " unknown pictures are told apart with an AUROC of " b { (format!("{:.4}", rejection.auroc)) }
            "; 0.5 is no better than a guess"
        }
        div.scroll {
            table {
                thead {
                    tr {
                        th.number { "classify --keep-known" } th.number { "distance" }
                        th.number { "known accepted" } th.number { "unknown rejected" }
                    }
                }
                tbody {
                    @for limit in &rejection.thresholds {
                        tr {
                            td.number { (limit.reject) } td.number { (format!("{:.3}", limit.distance)) }
                            td.number { (percent(limit.known_accepted)) }
                            td.number { (percent(limit.unknown_rejected)) }
                        }
                    }
                }
            }
        }
    }
}

fn predictions(report: &Report) -> Markup {
    html! {
        h2 { "All predictions" }
        div.tools {
            input #search type="search" placeholder="search paths and classes" aria-label="search";
            label { input #wrong type="checkbox"; " mistakes only" }
            span #shown {}
        }
        div.scroll {
            table #predictions {
                thead { tr {
                    th data-sort="text" { "picture" }
                    th data-sort="text" { "truth" }
                    th data-sort="text" { "prediction" }
                    th.number data-sort="number" { "probability" }
                } }
                tbody { @for answer in report.answers { (prediction(answer, &report.evaluation.class_names)) } }
            }
        }
    }
}

fn prediction(answer: &Answer, names: &[String]) -> Markup {
    let prediction = answer.prediction();
    let is_wrong = prediction.class != answer.truth;
    html! {
        tr data-wrong=[is_wrong.then_some("1")] {
            td.path { (answer.path) }
            td { (names[answer.truth]) }
            td.bad[is_wrong] { (names[prediction.class]) }
            td.number data-value=(prediction.probability) { (percent(prediction.probability.into())) }
        }
    }
}
