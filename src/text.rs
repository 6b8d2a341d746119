//! Text that people and other programs wrote: lists of paths, names of classes.
//!
//! The one place that takes in UTF-8, UTF-16 and UTF-32, with or without a byte-order mark, and lines that end as on
//! Unix, Windows or an old Mac, or with NUL as `find -print0` ends them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The lines of a text without what ends them; empty ones are left out. They are bytes, for a path need not be UTF-8,
/// but UTF-16 and UTF-32 come out as UTF-8.
///
/// # Errors
/// If the text is damaged UTF-16 or UTF-32.
pub fn lines(text: Vec<u8>) -> Result<Vec<Vec<u8>>> {
    let text = utf8(text)?;
    let (has_nul, has_newline) = (text.contains(&0), text.contains(&b'\n'));
    let end = match (has_nul, has_newline) {
        (true, _) => 0,
        (false, true) => b'\n',
        (false, false) => b'\r',
    };
    let line = |line: &[u8]| {
        // A list that others were appended to has a mark where each begins.
        let line = line.strip_prefix(MARK).unwrap_or(line);
        // Between NULs a line may hold anything.
        if has_nul { line.to_vec() } else { line.strip_suffix(b"\r").unwrap_or(line).to_vec() }
    };
    // DOS ends a text with Ctrl-Z.
    let is_blank = |line: &Vec<u8>| line.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0x1a);
    Ok(text.split(|byte| *byte == end).map(line).filter(|line| !is_blank(line)).collect())
}

/// A text without its byte-order mark; UTF-16 and UTF-32 become UTF-8, other bytes stay.
///
/// # Errors
/// If the text is damaged UTF-16 or UTF-32.
pub fn utf8(text: Vec<u8>) -> Result<Vec<u8>> {
    match Encoding::of(&text) {
        Encoding::Bytes { mark } => Ok(text[mark..].to_vec()),
        Encoding::Utf16 { mark, is_big_endian } => from_utf16(&text[mark..], is_big_endian),
        Encoding::Utf32 { is_big_endian } => from_utf32(&text[4..], is_big_endian),
    }
}

/// The lines of a text as paths.
///
/// # Errors
/// As [`lines`].
pub fn paths(text: Vec<u8>) -> Result<Vec<PathBuf>> {
    Ok(lines(text)?.into_iter().map(path_of).collect())
}

/// Names from a file with one on each line, without the blanks around them.
///
/// # Errors
/// Names the file if it can't be read or holds no text.
pub fn names(file: &Path) -> Result<Vec<String>> {
    let read = || {
        let lines = lines(std::fs::read(file).context("cannot be read")?)?;
        let names = lines.into_iter().map(|line| Ok(String::from_utf8(line)?.trim().to_owned()));
        names.collect::<Result<Vec<_>>>().context("holds text that is not UTF-8 or UTF-16; save it as UTF-8")
    };
    read().with_context(|| file.display().to_string())
}

/// Paths are bytes, not always text.
#[cfg(unix)]
fn path_of(line: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(line).into()
}

#[cfg(not(unix))]
fn path_of(line: Vec<u8>) -> PathBuf {
    String::from_utf8_lossy(&line).into_owned().into()
}

/// How a text is stored; `mark` is the length of its byte-order mark.
#[derive(Debug, PartialEq, Eq)]
enum Encoding {
    /// UTF-8, or whatever else the system's paths are in.
    Bytes {
        mark: usize,
    },
    Utf16 {
        mark: usize,
        is_big_endian: bool,
    },
    /// With a mark, which takes four bytes.
    Utf32 {
        is_big_endian: bool,
    },
}

/// The byte-order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl Encoding {
    fn of(text: &[u8]) -> Self {
        match text {
            [0xef, 0xbb, 0xbf, ..] => Encoding::Bytes { mark: 3 },
            [0xff, 0xfe, 0, 0, _, ..] => Encoding::Utf32 { is_big_endian: false },
            [0, 0, 0xfe, 0xff, ..] => Encoding::Utf32 { is_big_endian: true },
            [0xff, 0xfe, ..] => Encoding::Utf16 { mark: 2, is_big_endian: false },
            [0xfe, 0xff, ..] => Encoding::Utf16 { mark: 2, is_big_endian: true },
            _ => match unmarked_utf16(text) {
                Some(is_big_endian) => Encoding::Utf16 { mark: 0, is_big_endian },
                None => Encoding::Bytes { mark: 0 },
            },
        }
    }
}

/// Whether a text without a mark is UTF-16, and of which order: of two bytes one and the same is nearly always zero, for
/// most of a path is ASCII.
fn unmarked_utf16(text: &[u8]) -> Option<bool> {
    /// Of a hundred pairs; lists with NUL between paths have a zero in one pair of many, and in either byte.
    const LEAST: usize = 80;
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let zeros = |byte: usize| pairs.iter().filter(|pair| pair[byte] == 0 && pair[1 - byte] != 0).count();
    let [first, second] = [zeros(0), zeros(1)];
    match pairs.len() {
        0 => None,
        all if 100 * second >= LEAST * all && first == 0 => Some(false),
        all if 100 * first >= LEAST * all && second == 0 => Some(true),
        _ => None,
    }
}

fn from_utf16(text: &[u8], is_big_endian: bool) -> Result<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let unit = |pair: &[u8; 2]| if is_big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
    let units: Vec<u16> = pairs.iter().map(unit).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    Ok(text.context("the text is damaged UTF-16; save it as UTF-8")?.into_bytes())
}

fn from_utf32(text: &[u8], is_big_endian: bool) -> Result<Vec<u8>> {
    let (quads, rest) = text.as_chunks::<4>();
    let of = |quad: &[u8; 4]| if is_big_endian { u32::from_be_bytes(*quad) } else { u32::from_le_bytes(*quad) };
    let text: Option<String> = quads.iter().map(|quad| char::from_u32(of(quad))).collect();
    let text = text.filter(|_| rest.is_empty());
    Ok(text.context("the text is damaged UTF-32; save it as UTF-8")?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 2] = ["pool/cat 00.jpg", "pool/dög00.jpg"];

    fn utf16(text: &str, of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(of).collect()
    }

    #[test]
    fn a_list_means_the_same_however_it_is_stored() {
        for end in ["\n", "\r\n", "\r", "\0", "\n\n", "\r\n\r\n"] {
            for last in ["", end] {
                let text = PATHS.join(end) + last;
                let marked = format!("\u{feff}{text}");
                for stored in [
                    text.clone().into_bytes(),
                    marked.clone().into_bytes(),
                    utf16(&marked, u16::to_le_bytes),
                    utf16(&marked, u16::to_be_bytes),
                    utf16(&text, u16::to_le_bytes),
                    utf16(&text, u16::to_be_bytes),
                    marked.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect(),
                    marked.chars().flat_map(|letter| u32::from(letter).to_be_bytes()).collect(),
                ] {
                    assert_eq!(paths(stored.clone()).unwrap(), PATHS.map(PathBuf::from), "{stored:?}");
                }
            }
        }
    }

    #[test]
    fn lists_that_were_joined_and_the_end_of_dos_leave_no_trace() {
        let joined = "\u{feff}a.jpg\r\n\u{feff}b.jpg\r\n\u{1a}";
        assert_eq!(paths(joined.into()).unwrap(), ["a.jpg", "b.jpg"].map(PathBuf::from));
    }

    #[test]
    fn what_belongs_to_a_name_stays() {
        assert_eq!(lines(b" b.jpg \nc.jpg.\n".to_vec()).unwrap(), [b" b.jpg ".to_vec(), b"c.jpg.".to_vec()]);
        assert_eq!(lines(b"a\nb\r\0c\xff\0".to_vec()).unwrap(), [b"a\nb\r".to_vec(), b"c\xff".to_vec()]);
    }

    #[test]
    fn a_list_of_nothing_is_empty() {
        for text in [&b""[..], b"\n\r\n", b"  \n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0\0"] {
            assert!(lines(text.to_vec()).unwrap().is_empty(), "{text:?}");
        }
    }

    #[test]
    fn damaged_utf16_is_an_error() {
        for text in [&b"\xff\xfea\0b"[..], b"\xff\xfe\x00\xd8a\0"] {
            assert!(lines(text.to_vec()).unwrap_err().to_string().contains("UTF-16"), "{text:?}");
        }
    }

    #[test]
    fn names_have_no_blanks_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.txt");
        std::fs::write(&file, utf16("\u{feff}tabby cat \r\n  dög\r\n", u16::to_le_bytes)).unwrap();
        assert_eq!(names(&file).unwrap(), ["tabby cat", "dög"]);
        std::fs::write(&file, b"caf\xe9\n").unwrap();
        assert!(format!("{:#}", names(&file).unwrap_err()).contains("names.txt: holds text that is not UTF-8"));
    }
}
