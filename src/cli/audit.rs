//! `xcept audit`: what is wrong with a data set.

mod lines;
mod page;
mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::data::DataArguments;
use super::{Context, Status};
use crate::audit::{self, NOTHING_KEPT};
use crate::dataset::Dataset;
use crate::features::Features;
use crate::output::{self, Existing};
use crate::{interrupt, terminal};

/// Find leaks between splits, duplicates, doubtful labels, outliers, shortcuts and odd files
///
/// Duplicates are looked for among features and told by the pictures themselves, mirrored ones too. A label is
/// doubted where heads that were trained without the picture say another class.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    data: DataArguments,
    /// table is for reading, jsonl has a line for each finding [default: table on a terminal, jsonl otherwise]
    #[arg(long, short)]
    format: Option<Format>,
    /// Write the findings to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write DIR/audit.html: one file with the findings and their pictures
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Replace the output file, the report, and features of other pictures, weights or preprocessing in --features
    #[arg(long)]
    overwrite: bool,
    /// End with exit status 4 if there are findings of these kinds: leak, duplicate, label
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    fail_on: Vec<Kind>,
    /// How many findings of each kind the table lists
    #[arg(long, value_name = "N", default_value = "10")]
    list: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A picture in several splits
    Leak,
    /// A picture that is there twice, in whatever splits
    Duplicate,
    /// A label that the other pictures contradict
    Label,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Leak => "leak",
            Kind::Duplicate => "duplicate",
            Kind::Label => "label",
        }
    }

    /// How many findings are of this kind, in words, if there are any.
    fn found(self, audit: &audit::Audit) -> Option<String> {
        let (count, one, many) = match self {
            Kind::Leak => (audit.leaks(), "leak", "leaks"),
            Kind::Duplicate => (audit.duplicates.len(), "duplicate", "duplicates"),
            Kind::Label => (audit.labels.len(), "doubtful label", "doubtful labels"),
        };
        (count > 0).then(|| terminal::counted(count, one, many))
    }

    /// Why there could be no finding of this kind.
    fn skipped(self, audit: &audit::Audit) -> Option<String> {
        match self {
            Kind::Leak => audit.leaks_skipped.as_ref().map(|reason| format!("leaks were not looked for: {reason}")),
            Kind::Duplicate => None,
            Kind::Label => audit.labels_skipped.as_ref().map(|reason| format!("labels were not judged: {reason}")),
        }
    }

    /// What the check does not cover, though it may hold.
    fn gap(self, audit: &audit::Audit) -> Option<String> {
        let unseen = terminal::counted(audit.unseen, "picture was", "pictures were");
        match self {
            Kind::Leak | Kind::Duplicate => (audit.unseen > 0).then(|| {
                format!(
                    "{unseen} compared by the features alone, for the files are gone, have changed or can't be read"
                )
            }),
            Kind::Label => (!audit.labels_left_out.is_empty())
                .then(|| format!("classes {}", audit::left_out_remark(&audit.labels_left_out))),
        }
    }
}

impl Audit {
    pub fn run(self, context: &Context) -> Result<Status> {
        self.data.check()?;
        let existing = Existing::of(self.overwrite);
        self.output.iter().try_for_each(|output| output::refuse_unwritable(output, existing))?;
        let page = self.report.as_ref().map(|folder| page::output(folder, existing, &self.data.data)).transpose()?;
        let outputs: Vec<&Path> = self.output.iter().chain(&page).map(PathBuf::as_path).collect();
        let kept = self.data.features.as_deref();
        output::refuse_inputs(&outputs, self.data.inputs())?;
        output::refuse_inputs(&outputs.iter().copied().chain(kept).collect::<Vec<_>>(), [])?;
        let (features, unreadable) = self.data.features(|_| Ok(()), self.overwrite, context)?;
        if let Some(output) = &self.output {
            output::refuse_input(output, features.rows.iter().map(|row| Path::new(&row.path)))?;
        }
        let audit = audit(&self.data.data, &features, &unreadable, context)?;
        if audit.files_found == 0 {
            context.terminal.note(format_args!(
                "{}: its pictures are not where it says ({}); run this in the folder that they were extracted from. \
                 Duplicates were told by the features alone, files were not looked at",
                self.data.data.display(),
                features.rows.first().map_or("", |row| &row.path)
            ));
        }
        output::write_results(self.output.as_deref(), existing, |file| match self.format() {
            Format::Table => table::write(&audit, &self.data.data.to_string_lossy(), self.list, file),
            Format::Jsonl => lines::write(&audit, file),
        })?;
        page::write(self.report.as_deref(), existing, &self.data.data.to_string_lossy(), &audit, context)?;
        Ok(self.status(&audit, !unreadable.is_empty()))
    }

    fn format(&self) -> Format {
        output::format(self.format, self.output.as_deref(), [Format::Table, Format::Jsonl, Format::Jsonl])
    }

    /// A check that does not hold counts for more than pictures that could not be read.
    fn status(&self, audit: &audit::Audit, has_unreadable: bool) -> Status {
        let mut holds = true;
        for kind in &self.fail_on {
            if let Some(reason) = kind.skipped(audit) {
                terminal::warn(format_args!("--fail-on {}: {}", kind.name(), terminal::printable(&reason)));
                holds = false;
            } else if let Some(gap) = kind.gap(audit) {
                terminal::warn(format_args!("--fail-on {}: {}", kind.name(), terminal::printable(&gap)));
            }
        }
        let found: Vec<String> = self.fail_on.iter().filter_map(|kind| kind.found(audit)).collect();
        if !found.is_empty() {
            terminal::warn(format_args!("{} where --fail-on asks for none", found.join(", ")));
            holds = false;
        }
        match (holds, has_unreadable) {
            (false, _) => Status::CheckFailed,
            (true, true) => Status::SomeUnreadable,
            (true, false) => Status::Done,
        }
    }
}

/// An audit of `data` with a bar.
fn audit(data: &Path, features: &Features, unreadable: &[(String, String)], context: &Context) -> Result<audit::Audit> {
    interrupt::install();
    let bar = context.terminal.progress(audit::Audit::steps(features), "steps");
    let audit = audit::Audit::of(features, unreadable, &mut |count| {
        bar.inc(count as u64);
        interrupt::check(|| NOTHING_KEPT.to_owned())
    });
    bar.finish_and_clear();
    audit.with_context(|| data.display().to_string())
}

/// An audit of a folder, read as `dataset`, with the bundled backbone, and the pictures of its findings, for another
/// command's report.
pub fn of_folder(data: &Path, dataset: &Dataset, context: &Context) -> Result<(audit::Audit, HashMap<String, String>)> {
    let (features, unreadable) = DataArguments::of(data).features_of(dataset, false, context)?;
    let audit = audit(data, &features, &unreadable, context)?;
    let thumbnails = page::thumbnails(&audit)?;
    Ok((audit, thumbnails))
}
