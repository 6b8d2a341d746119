//! What a person at the terminal sees: the one place that writes tables, notes and progress bars.
//!
//! Results go to stdout, everything else to stderr; a bar is drawn only where stderr is a terminal.

use std::io::{IsTerminal, StdoutLock, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Row, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How chatty the program is.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub quiet: bool,
}

impl Terminal {
    /// A remark on stderr, not with `--quiet`.
    pub fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            // Nobody is left to tell if stderr is full.
            let _ = writeln!(std::io::stderr(), "{}", escaped(&text.to_string(), is_control_within_line));
        }
    }

    /// A bar that counts `unit`s with rate and time left; none for work that is over at once.
    pub fn progress(&self, length: usize, unit: &'static str) -> ProgressBar {
        const WORTH_A_BAR: usize = 5;
        if length < WORTH_A_BAR {
            return ProgressBar::hidden();
        }
        let bar = self.bar(&format!("{{bar:30}} {{pos}}/{{len}} {unit}, {{rate}}, {{eta}} left"));
        bar.set_length(length as u64);
        bar.tick();
        bar
    }

    /// A bar that counts the bytes of a download; nothing is drawn before the first of them.
    pub fn download(&self, name: &str) -> ProgressBar {
        self.bar(&format!("{name} {{bar:30}} {{bytes}}/{{total_bytes}}, {{bytes_per_sec}}, {{eta}} left"))
    }

    fn bar(&self, template: &str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{:.1}/s", state.per_sec());
        };
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style.with_key("rate", rate).progress_chars("━╸ ")),
            Err(_) => bar,
        }
    }
}

/// Something that the user should know even with `--quiet`, on stderr.
pub fn warn(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "xcept: {}", escaped(&text.to_string(), is_control_within_line));
}

/// A name from outside, without characters that would move the cursor or break the line.
pub fn printable(name: &str) -> String {
    escaped(name, char::is_control)
}

/// A message may have several lines; what else would act on the terminal came from a name in it.
fn is_control_within_line(c: char) -> bool {
    c.is_control() && c != '\n'
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    text.chars().flat_map(|c| if is_escaped(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A line of results on stdout.
///
/// # Errors
/// If stdout cannot be written, a closed pipe among others.
pub fn result(line: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(Stdout::lock(), "{line}")
}

/// The results' stream, whose errors say its name.
pub struct Stdout(StdoutLock<'static>);

impl Stdout {
    pub fn lock() -> Self {
        Self(std::io::stdout().lock())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

fn of_stdout(error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("stdout cannot be written: {error}"))
}

/// A table without lines, fit for a terminal and for a pipe.
pub fn table(header: impl Into<Row>) -> Table {
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

/// A table below a blank line and its title, or nothing if it has no rows.
///
/// # Errors
/// If `file` cannot be written.
pub fn section(file: &mut dyn Write, title: &str, table: Table) -> std::io::Result<()> {
    if table.row_count() == 0 {
        return Ok(());
    }
    writeln!(file)?;
    if !title.is_empty() {
        writeln!(file, "{title}")?;
    }
    writeln!(file, "{}", table.trim_fmt())
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

/// `1 picture`, `2,000 pictures`.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `0.98765` as `98.77 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(printable("a\n\u{1b}[2Jä.jpg"), "a\\n\\u{1b}[2Jä.jpg");
    }

    #[test]
    fn messages_may_have_lines_and_nothing_else_that_acts() {
        assert_eq!(escaped("a\nb\u{1b}[2J\rc", is_control_within_line), "a\nb\\u{1b}[2J\\rc");
    }

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!([0, 1, 2000].map(|n| counted(n, "class", "classes")), ["0 classes", "1 class", "2,000 classes"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 12, 999, 1000, 22855952].map(thousands), ["0", "12", "999", "1,000", "22,855,952"]);
    }
}
