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

/// [`fitting`] for both texts together, of which only the first is cut while the second has room.
pub(super) fn fitting_before(cut: &str, kept: &str, size: u32, room: f64) -> String {
    let kept = fitting(kept, size, room);
    if cut.is_empty() {
        return kept;
    }
    let left = room - breadth(&kept, size);
    if left < breadth("…", size) { kept } else { fitting(cut, size, left) + &kept }
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
    fn the_text_that_is_to_be_kept_is_cut_last() {
        let fit = |room| fitting_before("a label of many words", "  99.98 %", 12, room);
        assert_eq!(fit(ROOM), "a label of many words  99.98 %");
        let cut = fit(120.0);
        assert!(cut.starts_with("a l") && cut.ends_with("…  99.98 %") && breadth(&cut, 12) <= 120.0, "{cut}");
        assert_eq!(fit(60.0).trim_start(), "99.98 %");
        assert!(fit(40.0).ends_with('…'));
    }

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(fitting("a\u{1b}\n\u{ffff}", 12, ROOM), "a\\u{1b}\\n\u{fffd}");
    }
}
