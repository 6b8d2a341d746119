//! A picture on the terminal: by the protocols of Kitty and iTerm2 where the terminal names itself as one of theirs,
//! otherwise in half blocks.
//!
//! Sources: <https://sw.kovidgoyal.net/kitty/graphics-protocol/>, <https://iterm2.com/documentation-images.html>, and
//! xterm's `256colres.pl` for the palette. Nothing is asked of the terminal, for not every one answers.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::image::{self, Interpolation, Picture};
use crate::terminal::Stdout;

/// Of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// The longest piece of a picture that Kitty's protocol allows, in characters.
const PIECE: usize = 4096;

/// How a terminal is sent a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Kitty,
    Iterm,
    /// Cells of two pixels, one above the other.
    Blocks(Colors),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colors {
    All,
    /// Those of xterm's palette.
    Palette,
}

/// Draws a picture at the cursor.
///
/// # Errors
/// If the terminal cannot be written.
pub fn show(picture: &Picture) -> Result<()> {
    let size = terminal_size::terminal_size().map(|(columns, rows)| (columns.0.into(), rows.0.into()));
    let (width, height) = fitting(picture, size.unwrap_or((0, 0)));
    let text = match Protocol::of(|name| std::env::var(name).ok()) {
        Protocol::Kitty => kitty(&image::png(picture)?, width),
        Protocol::Iterm => iterm(&image::png(picture)?, width),
        Protocol::Blocks(colors) => blocks(&image::resize(picture, width, height, Interpolation::Bicubic), colors),
    };
    let mut stdout = Stdout::lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

impl Protocol {
    /// What the terminal says of itself in the environment. A multiplexer passes pictures on to no terminal.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let holds =
            |name, parts: &[&str]| variable(name).is_some_and(|value| parts.iter().any(|part| value.contains(part)));
        let is_multiplexed = holds("TMUX", &[""]) || holds("TERM", &["tmux", "screen"]);
        let is_kitty = holds("KITTY_WINDOW_ID", &[""])
            || holds("TERM", &["kitty", "ghostty"])
            || holds("TERM_PROGRAM", &["ghostty"]);
        let is_iterm = ["TERM_PROGRAM", "LC_TERMINAL"]
            .iter()
            .any(|name| holds(name, &["iTerm", "WezTerm", "mintty", "rio", "WarpTerminal"]))
            || holds("KONSOLE_VERSION", &[""]);
        match (is_multiplexed, is_kitty, is_iterm) {
            (false, true, _) => Protocol::Kitty,
            (false, false, true) => Protocol::Iterm,
            _ if holds("COLORTERM", &["truecolor", "24bit"]) => Protocol::Blocks(Colors::All),
            _ => Protocol::Blocks(Colors::Palette),
        }
    }
}

/// Width and height in columns and half rows, so that the picture is whole on a terminal of `columns` and `rows`, 0
/// being unknown, with a row for the prompt, and no larger than it is.
fn fitting(picture: &Picture, (columns, rows): (usize, usize)) -> (usize, usize) {
    let columns = if columns == 0 { COLUMNS } else { columns };
    let most = [(columns, picture.width), (2 * rows.saturating_sub(1), picture.height)];
    let scale = most.into_iter().filter(|(most, _)| *most > 0).map(|(most, side)| most as f64 / side as f64);
    let scale = scale.fold(1.0, f64::min);
    let scaled = |side: usize| ((side as f64 * scale).round() as usize).max(1);
    (scaled(picture.width), scaled(picture.height))
}

/// The bytes of a PNG, `columns` wide, for Kitty's protocol: pieces, of which each but the last says that more follows,
/// and none is to be answered.
fn kitty(png: &[u8], columns: usize) -> String {
    let encoded = STANDARD.encode(png);
    let mut text = String::new();
    let mut start = 0;
    while start < encoded.len() {
        let end = (start + PIECE).min(encoded.len());
        let keys = if start == 0 { format!("f=100,a=T,q=2,c={columns},") } else { String::new() };
        let more = u8::from(end < encoded.len());
        let _ = write!(text, "\x1b_G{keys}m={more};{}\x1b\\", &encoded[start..end]);
        start = end;
    }
    text + "\n"
}

/// The same for iTerm2's.
fn iterm(png: &[u8], columns: usize) -> String {
    let (size, encoded) = (png.len(), STANDARD.encode(png));
    format!("\x1b]1337;File=inline=1;preserveAspectRatio=1;size={size};width={columns}:{encoded}\x07\n")
}

/// A cell for each pixel and the one below it: the lower half block, in the lower pixel's colour on the upper one's.
fn blocks(picture: &Picture, colors: Colors) -> String {
    const FOREGROUND: u8 = 38;
    const BACKGROUND: u8 = 48;
    let pixels = picture.pixels.as_chunks::<3>().0;
    let rows: Vec<&[[u8; 3]]> = pixels.chunks(picture.width).collect();
    let mut text = String::new();
    for pair in rows.chunks(2) {
        let mut last = None;
        for column in 0..picture.width {
            let (upper, lower) = (pair[0][column], pair.get(1).map(|lower| lower[column]));
            if last != Some((upper, lower)) {
                match lower {
                    Some(lower) => text += &(colors.code(BACKGROUND, upper) + &colors.code(FOREGROUND, lower)),
                    None => text += &colors.code(FOREGROUND, upper),
                }
                last = Some((upper, lower));
            }
            // A last row that has none below it leaves the terminal's own colour there.
            text.push(if lower.is_some() { '▄' } else { '▀' });
        }
        text += "\x1b[0m\n";
    }
    text
}

impl Colors {
    /// The sequence that sets a colour.
    fn code(self, ground: u8, color: [u8; 3]) -> String {
        let [r, g, b] = color;
        match self {
            Colors::All => format!("\x1b[{ground};2;{r};{g};{b}m"),
            Colors::Palette => format!("\x1b[{ground};5;{}m", nearest(color)),
        }
    }
}

/// The colour of xterm's palette that is nearest: of the cube from 16 on or of the greys from 232 on.
fn nearest(color: [u8; 3]) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let distance = |other: [u8; 3]| -> u32 {
        color.iter().zip(other).map(|(&value, other)| u32::from(value.abs_diff(other)).pow(2)).sum()
    };
    let level = |value: u8| (0..6_u8).min_by_key(|&at| LEVELS[usize::from(at)].abs_diff(value)).unwrap_or(0);
    let [r, g, b] = color.map(level);
    let cube = [r, g, b].map(|at| LEVELS[usize::from(at)]);
    let greys = (0..24_u8).map(|at| (distance([8 + 10 * at; 3]), 232 + at));
    let best = greys.chain([(distance(cube), 16 + 36 * r + 6 * g + b)]).min();
    best.map_or(16, |(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of pixels that differ.
    fn picture(width: usize, height: usize) -> Picture {
        let pixels = (0..3 * width * height).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as u8).collect();
        Picture { width, height, pixels }
    }

    fn protocol(variables: &[(&str, &str)]) -> Protocol {
        let find =
            |asked: &str| variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
        Protocol::of(find)
    }

    #[test]
    fn only_a_terminal_that_names_itself_is_sent_a_protocol_of_its_own() {
        for kitty in [("TERM", "xterm-kitty"), ("TERM_PROGRAM", "ghostty"), ("KITTY_WINDOW_ID", "1")] {
            assert_eq!(protocol(&[kitty]), Protocol::Kitty);
            assert_eq!(protocol(&[kitty, ("TMUX", "/tmp/tmux-0/default,1,0")]), Protocol::Blocks(Colors::Palette));
        }
        for iterm in [("TERM_PROGRAM", "iTerm.app"), ("LC_TERMINAL", "iTerm2"), ("KONSOLE_VERSION", "220401")] {
            assert_eq!(protocol(&[iterm]), Protocol::Iterm);
        }
        for other in [("TERM", "xterm-256color"), ("TERM_PROGRAM", "Apple_Terminal"), ("COLORTERM", "kitty")] {
            assert_eq!(protocol(&[other]), Protocol::Blocks(Colors::Palette));
            assert_eq!(protocol(&[other, ("COLORTERM", "24bit")]).is_all(), other.0 != "COLORTERM");
        }
    }

    impl Protocol {
        fn is_all(self) -> bool {
            self == Protocol::Blocks(Colors::All)
        }
    }

    #[test]
    fn a_picture_fits_the_terminal_and_is_not_enlarged() {
        assert_eq!(fitting(&picture(320, 240), (100, 60)), (100, 75));
        assert_eq!(fitting(&picture(320, 240), (100, 25)), (64, 48));
        assert_eq!(fitting(&picture(30, 20), (100, 60)), (30, 20));
        assert_eq!(fitting(&picture(320, 240), (0, 0)), (80, 60));
        assert_eq!(fitting(&picture(1000, 1), (10, 1)), (10, 1));
    }

    #[test]
    fn two_pixels_are_a_cell_and_equal_cells_share_their_colours() {
        let pixels = [[1, 2, 3], [1, 2, 3], [7, 8, 9], [7, 8, 9], [4, 5, 6], [0, 0, 0]].concat();
        let text = blocks(&Picture { width: 2, height: 3, pixels }, Colors::All);
        let upper = "\x1b[48;2;1;2;3m\x1b[38;2;7;8;9m▄▄\x1b[0m\n";
        assert_eq!(text, format!("{upper}\x1b[38;2;4;5;6m▀\x1b[38;2;0;0;0m▀\x1b[0m\n"));
    }

    #[test]
    fn colours_of_the_palette_are_themselves_and_others_their_neighbours() {
        for (color, index) in [([0, 0, 0], 16), ([255, 255, 255], 231), ([255, 0, 0], 196), ([0, 95, 215], 26)] {
            assert_eq!(nearest(color), index, "{color:?}");
        }
        // Greys that the cube has not, and what lies between.
        for (color, index) in [([8, 8, 8], 232), ([238, 238, 238], 255), ([120, 121, 119], 243), ([250, 3, 2], 196)] {
            assert_eq!(nearest(color), index, "{color:?}");
        }
    }

    #[test]
    fn kittys_pieces_are_short_and_together_the_picture() {
        for (png, pieces) in [(image::png(&picture(100, 80)).unwrap(), 8), (vec![7; 3 * PIECE / 4], 1)] {
            let text = kitty(&png, 40);
            let found: Vec<&str> = text.strip_suffix("\x1b\\\n").unwrap().split("\x1b\\").collect();
            assert_eq!(found.len(), pieces);
            let mut encoded = String::new();
            for (index, piece) in found.iter().enumerate() {
                let (keys, data) = piece.strip_prefix("\x1b_G").unwrap().split_once(';').unwrap();
                let more = if index + 1 < pieces { "m=1" } else { "m=0" };
                assert_eq!(keys, if index == 0 { format!("f=100,a=T,q=2,c=40,{more}") } else { more.to_owned() });
                assert!(data.len() == PIECE || (index + 1 == pieces && data.len() < PIECE + 1));
                encoded += data;
            }
            assert!(STANDARD.decode(encoded).unwrap() == png);
        }
    }

    #[test]
    fn iterms_picture_is_the_file_with_its_size() {
        let png = image::png(&picture(20, 10)).unwrap();
        let text = iterm(&png, 20);
        let (keys, data) = text.strip_suffix("\x07\n").unwrap().split_once(':').unwrap();
        let size = png.len();
        assert_eq!(keys, format!("\x1b]1337;File=inline=1;preserveAspectRatio=1;size={size};width=20"));
        assert!(STANDARD.decode(data).unwrap() == png);
    }
}
