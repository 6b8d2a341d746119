//! Findings for a person: how many of each kind, then the worst of each.

use std::io::Write;

use anyhow::Result;
use comfy_table::Table;

use crate::audit::{Audit, Duplicate, Place, Shortcut};
use crate::dataset::Split;
use crate::terminal::{align_right, counted, percent, printable, section, table, thousands};

pub fn write(audit: &Audit, data: &str, most: usize, file: &mut dyn Write) -> Result<()> {
    let pictures = counted(audit.pictures, "picture", "pictures");
    let classes = counted(audit.classes.len(), "class", "classes");
    writeln!(file, "{}: {pictures}, {classes}", printable(data))?;
    headline(audit, file)?;
    section(file, "", classes_table(audit))?;
    let title = |name: &str, all: usize| match all.min(most) {
        shown if shown < all => format!("{name} ({shown} of {})", thousands(all)),
        _ => name.to_owned(),
    };
    let (leaks, others) = audit.duplicates.split_at(audit.leaks());
    section(file, &title("leaks: one picture in two splits", leaks.len()), duplicates(leaks, most))?;
    section(file, &title("duplicates within a split", others.len()), duplicates(others, most))?;
    section(file, &title("doubtful labels, the surest doubts first", audit.labels.len()), labels(audit, most))?;
    section(file, &title("outliers, the furthest first", audit.outliers.len()), outliers(audit, most))?;
    section(file, "what tells the class without a look at the picture", shortcuts(audit))?;
    section(file, &title("odd files", audit.files.len()), files(audit, most))?;
    Ok(())
}

fn headline(audit: &Audit, file: &mut dyn Write) -> Result<()> {
    for (name, count, remark) in audit.headline() {
        let line = format!(" {name:<16}  {:>6}  {}", thousands(count), printable(&remark));
        writeln!(file, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Columns of splits that have no pictures are left out.
fn classes_table(audit: &Audit) -> Table {
    let columns = [
        ("train", audit.classes.iter().map(|class| class.train).collect::<Vec<_>>()),
        ("val", audit.classes.iter().map(|class| class.val).collect()),
        ("test", audit.classes.iter().map(|class| class.test).collect()),
        ("pictures", audit.classes.iter().map(|class| class.pictures()).collect()),
    ];
    let columns = || columns.iter().filter(|(_, counts)| counts.iter().any(|count| *count > 0));
    let header = std::iter::once("class").chain(columns().map(|(name, _)| *name)).chain(["share"]);
    let mut lines = table(header.collect::<Vec<_>>());
    align_right(&mut lines, 1..6);
    let all: usize = audit.classes.iter().map(|class| class.pictures()).sum();
    for (index, class) in audit.classes.iter().enumerate() {
        let share = percent(class.pictures() as f64 / all.max(1) as f64);
        let counts = columns().map(|(_, counts)| thousands(counts[index]));
        lines.add_row(std::iter::once(printable(&class.label)).chain(counts).chain([share]));
    }
    lines
}

fn duplicates(duplicates: &[Duplicate], most: usize) -> Table {
    let mut lines = table(["kind", "cosine", "pixels", "picture", "and"]);
    align_right(&mut lines, [1, 2]);
    for duplicate in duplicates.iter().take(most) {
        let correlation = duplicate.correlation.map_or("–".to_owned(), |correlation| format!("{correlation:.4}"));
        let remark = if duplicate.labels_differ { " (another class)" } else { "" };
        lines.add_row([
            duplicate.kind.name().to_owned(),
            format!("{:.4}", duplicate.cosine),
            correlation,
            printable(&duplicate.first.path),
            printable(&duplicate.second.path) + remark,
        ]);
    }
    lines
}

fn labels(audit: &Audit, most: usize) -> Table {
    let mut lines = table(["label", "with", "rather", "with", "split", "picture"]);
    align_right(&mut lines, [1, 3]);
    for fault in audit.labels.iter().take(most) {
        lines.add_row([
            label(&fault.place),
            percent(fault.label_probability.into()),
            printable(&fault.suggestion),
            percent(fault.suggestion_probability.into()),
            fault.place.split.map_or("–", Split::name).to_owned(),
            printable(&fault.place.path),
        ]);
    }
    lines
}

fn label(place: &Place) -> String {
    place.label.as_deref().map_or("–".to_owned(), printable)
}

fn outliers(audit: &Audit, most: usize) -> Table {
    let mut lines = table(["distance", "deviations", "label", "picture"]);
    align_right(&mut lines, [0, 1]);
    for outlier in audit.outliers.iter().take(most) {
        let (distance, deviations) = (format!("{:.3}", outlier.distance), format!("{:.1}", outlier.deviations));
        lines.add_row([distance, deviations, label(&outlier.place), printable(&outlier.place.path)]);
    }
    lines
}

fn shortcuts(audit: &Audit) -> Table {
    let mut lines = table(["attribute", "balanced accuracy", "a guess", ""]);
    align_right(&mut lines, [1, 2]);
    for &Shortcut { attribute, balanced_accuracy, chance, is_suspicious } in &audit.shortcuts {
        let remark = if is_suspicious { "a network may learn this instead" } else { "" };
        lines.add_row([attribute, &percent(balanced_accuracy), &percent(chance), remark]);
    }
    lines
}

fn files(audit: &Audit, most: usize) -> Table {
    let mut lines = table(["kind", "picture", "what"]);
    for fault in audit.files.iter().take(most) {
        lines.add_row([fault.kind.name(), &printable(&fault.path), &printable(&fault.detail)]);
    }
    lines
}
