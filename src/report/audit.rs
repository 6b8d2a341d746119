//! The page of an audit: what should be looked at, with the pictures.

use maud::{Markup, html};

use super::AuditReport;
use super::page::{cards, class_table, frame};
use crate::audit::{Audit, Duplicate, Place};
use crate::dataset::Split;
use crate::terminal::{counted, percent, thousands};

pub fn page(report: &AuditReport) -> Markup {
    frame(&format!("Audit of {}", report.data), &about(report.audit), &sections(report))
}

/// For a page that says more.
pub fn section(report: &AuditReport) -> Markup {
    html! {
        h2.part { "Audit of the whole data" }
        p.about { (about(report.audit)) }
        (sections(report))
    }
}

fn about(audit: &Audit) -> String {
    let pictures = counted(audit.pictures, "picture", "pictures");
    let classes = counted(audit.classes.len(), "class", "classes");
    format!("{pictures} of {classes}; xcept {}", env!("CARGO_PKG_VERSION"))
}

fn sections(report: &AuditReport) -> Markup {
    let audit = report.audit;
    let (leaks, others) = audit.duplicates.split_at(audit.leaks());
    html! {
        (headline(audit))
        (duplicates(report, "Leaks: one picture in two splits", leaks))
        (duplicates(report, "Duplicates within a split", others))
        (labels(report))
        (outliers(report))
        (classes(audit))
        (shortcuts(audit))
        (files(audit))
    }
}

fn headline(audit: &Audit) -> Markup {
    cards(audit.headline().into_iter().map(|(name, count, remark)| (name, thousands(count), remark)))
}

/// `title` above as many figures as are shown, and how many there are in all.
fn gallery(title: &str, all: usize, figures: impl Iterator<Item = Markup>) -> Markup {
    if all == 0 {
        return html! {};
    }
    html! {
        h2 { (title) @if all > AuditReport::SHOWN { " (" (AuditReport::SHOWN) " of " (thousands(all)) ")" } }
        div.mistakes { @for figure in figures { (figure) } }
    }
}

fn duplicates(report: &AuditReport, title: &str, pairs: &[Duplicate]) -> Markup {
    let figure = |pair: &Duplicate| {
        html! {
            figure {
                div { (picture(report, &pair.first)) (picture(report, &pair.second)) }
                figcaption {
                    b { (pair.kind.name()) } ", cosine " (format!("{:.3}", pair.cosine))
                    @if pair.labels_differ { " " span.bad { "of two classes" } }
                    br; (name(&pair.first)) br; (name(&pair.second))
                }
            }
        }
    };
    gallery(title, pairs.len(), pairs.iter().take(AuditReport::SHOWN).map(figure))
}

fn labels(report: &AuditReport) -> Markup {
    let faults = &report.audit.labels;
    let figures = faults.iter().take(AuditReport::SHOWN).map(|fault| html! {
        figure {
            div { (picture(report, &fault.place)) }
            figcaption {
                "rather " b { (fault.suggestion) } " " (percent(fault.suggestion_probability.into()))
                " than " b { (fault.place.label.as_deref().unwrap_or("–")) } " " (percent(fault.label_probability.into()))
                br; (name(&fault.place))
            }
        }
    });
    gallery("Doubtful labels, the surest doubts first", faults.len(), figures)
}

fn outliers(report: &AuditReport) -> Markup {
    let outliers = &report.audit.outliers;
    let figures = outliers.iter().take(AuditReport::SHOWN).map(|outlier| {
        html! {
            figure {
                div { (picture(report, &outlier.place)) }
                figcaption {
                    b { (outlier.place.label.as_deref().unwrap_or("–")) } ", "
                    (format!("{:.1}", outlier.deviations)) " deviations from the others" br; (name(&outlier.place))
                }
            }
        }
    });
    gallery("Outliers, the furthest first", outliers.len(), figures)
}

fn picture(report: &AuditReport, place: &Place) -> Markup {
    html! {
        @if let Some(uri) = report.thumbnails.get(&place.path) { img src=(uri) alt=(place.path) loading="lazy"; }
    }
}

fn name(place: &Place) -> String {
    let split = place.split.map_or(String::new(), |split| format!("{}: ", Split::name(split)));
    format!("{split}{}", place.path)
}

fn classes(audit: &Audit) -> Markup {
    let figures = audit.classes.iter().map(|class| {
        let counts = [class.train, class.val, class.test, class.pictures()];
        (class.label.as_str(), counts.map(thousands).to_vec())
    });
    class_table(["train", "val", "test", "pictures"], figures)
}

fn shortcuts(audit: &Audit) -> Markup {
    if audit.shortcuts.is_empty() {
        return html! {};
    }
    html! {
        h2 { "What tells the class without a look at the picture" }
        div.scroll {
            table {
                thead { tr { th { "attribute" } th.number { "balanced accuracy" } th.number { "a guess" } th {} } }
                tbody {
                    @for shortcut in &audit.shortcuts {
                        tr {
                            td { (shortcut.attribute) }
                            td.number { (percent(shortcut.balanced_accuracy)) }
                            td.number { (percent(shortcut.chance)) }
                            td.bad { @if shortcut.is_suspicious { "a network may learn this instead" } }
                        }
                    }
                }
            }
        }
    }
}

fn files(audit: &Audit) -> Markup {
    if audit.files.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Odd files" }
        div.scroll {
            table {
                tbody {
                    @for fault in &audit.files {
                        tr { td { (fault.kind.name()) } td.path { (fault.path) } td { (fault.detail) } }
                    }
                }
            }
        }
    }
}
