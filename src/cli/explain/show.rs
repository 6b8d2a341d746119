//! A picture on the terminal: by the protocols of iTerm and Kitty where the terminal has one, otherwise in half blocks.

use anyhow::{Context, Result};

use crate::image::Picture;

/// Of a terminal that does not say how many it has.
const COLUMNS: u32 = 80;

/// Draws a picture at the cursor.
///
/// # Errors
/// If the terminal cannot be written.
pub fn show(picture: &Picture) -> Result<()> {
    let (width, height) = (u32::try_from(picture.width)?, u32::try_from(picture.height)?);
    let buffer = ::image::RgbImage::from_raw(width, height, picture.pixels.clone()).context("a picture's pixels")?;
    let use_kitty = names_kitty(|name| std::env::var(name).ok());
    // A terminal that does not know its size says 0.
    let (columns, rows) = viuer::terminal_size();
    let width = (columns == 0 || rows < 2).then_some(COLUMNS);
    let config = viuer::Config { absolute_offset: false, use_kitty, width, ..viuer::Config::default() };
    viuer::print(&buffer.into(), &config).context("the terminal shows no pictures; pass -o DIR to write them")?;
    Ok(())
}

/// Whether the terminal says of itself that it speaks Kitty's protocol. Only such a one is asked for its version of
/// it: others might never answer, and viuer waits for an answer.
fn names_kitty(variable: impl Fn(&str) -> Option<String>) -> bool {
    let holds =
        |name, parts: &[&str]| variable(name).is_some_and(|value| parts.iter().any(|part| value.contains(part)));
    holds("KITTY_WINDOW_ID", &[""]) || holds("TERM", &["kitty", "ghostty"]) || holds("TERM_PROGRAM", &["ghostty"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_names_the_protocol_is_asked_for_it() {
        let of = |name, value: &str| names_kitty(|asked| (asked == name).then(|| value.to_owned()));
        assert!(of("TERM", "xterm-kitty") && of("TERM_PROGRAM", "ghostty") && of("KITTY_WINDOW_ID", "1"));
        assert!(!of("TERM", "xterm-256color") && !of("TERM_PROGRAM", "Apple_Terminal") && !of("COLORTERM", "kitty"));
    }
}
