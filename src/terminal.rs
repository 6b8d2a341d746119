//! What a person at the terminal sees: the one place that writes tables, notes and progress bars.
//!
//! Results go to stdout, everything else to stderr; a bar is drawn only where stderr is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How chatty the program is.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub quiet: bool,
}

impl Terminal {
    /// A remark on stderr, not with `--quiet`.
    pub fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Something that the user should know even with `--quiet`, on stderr.
    pub fn warn(&self, text: impl std::fmt::Display) {
        eprintln!("xcept: {text}");
    }

    /// A bar that counts `unit`s with rate and time left.
    pub fn progress(&self, length: usize, unit: &'static str) -> ProgressBar {
        let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left{{msg}}");
        self.bar(length as u64, &template)
    }

    /// A bar that counts the bytes of a download.
    pub fn download(&self, name: &str) -> ProgressBar {
        let template = format!("{name} {{bar:30}} {{bytes}}/{{total_bytes}}, {{bytes_per_sec}}, {{eta}} left");
        self.bar(0, &template)
    }

    fn bar(&self, length: u64, template: &str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        bar.enable_steady_tick(Duration::from_millis(200));
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.progress_chars("━╸ ")),
            Err(_) => bar,
        }
    }
}

/// A table without lines, fit for a terminal and for a pipe.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// Numbers stand right.
pub fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// `22855952` as `22,855,952`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(String::from_utf8_lossy);
    let mut text = digits[..first].to_owned();
    for group in groups {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&group);
    }
    text
}

/// `0.98765` as `98.77 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 12, 999, 1000, 22855952].map(thousands), ["0", "12", "999", "1,000", "22,855,952"]);
    }
}
