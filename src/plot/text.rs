//! Names from outside, as a chart can bear them.

/// What a panel's title, and so any text, may take up.
pub(super) const ROOM: f64 = 430.0;

/// A name without characters that XML does not know, cut where it would leave its `room`.
pub(super) fn fitting(name: &str, size: u32, room: f64) -> String {
    let name = crate::terminal::printable(name).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    if breadth(&name, size) <= room {
        return name;
    }
    let mut taken = breadth("…", size);
    let kept = name.chars().take_while(|&letter| {
        taken += f64::from(size) * width(letter);
        taken <= room
    });
    kept.chain(['…']).collect()
}

/// About the breadth of a text in DejaVu Sans, rather too much than too little.
pub(super) fn breadth(text: &str, size: u32) -> f64 {
    f64::from(size) * text.chars().map(width).sum::<f64>()
}

/// Of one letter, in units of its size.
fn width(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | 'I' | '\'' | '.' | ',' | ':' | ';' | '|' | ' ' => 0.33,
        'f' | 'r' | 't' | '-' | '(' | ')' | '"' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
        ' '..='~' => 0.65,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_to_the_panel() {
        assert_eq!(fitting("fine-tuning begins", 12, ROOM), "fine-tuning begins");
        for letter in ["x", "W", "i", "ä", "漢"] {
            let cut = fitting(&letter.repeat(500), 18, ROOM);
            assert!(cut.ends_with('…') && breadth(&cut, 18) <= ROOM && breadth(&cut, 18) > ROOM - 40.0);
        }
    }

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(fitting("a\u{1b}\n\u{ffff}", 12, ROOM), "a\\u{1b}\\n\u{fffd}");
    }
}
