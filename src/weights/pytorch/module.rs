//! Whole modules in the format of `torch.save` before PyTorch 1.6, as files of plain pickles.
//!
//! Such a file has, where a module's class first occurs, a persistent id `("module", class, file, source)` in the place
//! of the class, so that `torch.load` can warn of changed source code. `pytorch_reader` knows the persistent ids of
//! tensors only, so these are taken out: the class stays where the id stood. Nothing of the pickle is executed.
//! Source: `_legacy_save` in PyTorch's `torch/serialization.py`; opcodes in Python's `pickletools`.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use tempfile::NamedTempFile;

/// The pickle of PyTorch's magic number, with which such a file begins.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Pickles in front of the saved object: the magic number, the protocol and the machine's sizes.
const HEADERS: usize = 3;
const POP: u8 = b'0';
const EMPTY_TUPLE: u8 = b')';

/// The file at `path` without the ids of classes; none where it has none or is of another format.
///
/// # Errors
/// If it can't be read or the copy not be written.
pub(super) fn without_classes(path: &Path) -> Result<Option<NamedTempFile>> {
    let bytes = std::fs::read(path)?;
    let Some((start, end, patched)) = patched(&bytes) else { return Ok(None) };
    let mut file = NamedTempFile::new()?;
    for part in [&bytes[..start], &patched, &bytes[end..]] {
        file.write_all(part)?;
    }
    Ok(Some(file))
}

/// Where the saved object's pickle begins and ends, and what to put there.
fn patched(bytes: &[u8]) -> Option<(usize, usize, Vec<u8>)> {
    let mut start = 0;
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    for _ in 0..HEADERS {
        while bytes.get(start)? != &b'.' {
            start = after(bytes, start)?;
        }
        start += 1;
    }
    let (mut at, mut out, mut memo, mut count) = (start, Vec::new(), Vec::new(), 0);
    while bytes.get(at)? != &b'.' {
        let end = after(bytes, at)?;
        let id = class_id(bytes, at, &memo);
        // The word stands behind the mark that begins the first id, or was kept by something before.
        let word = if id.is_some() { end } else { at };
        let end_of_word = after(bytes, word)?;
        if is_module(&bytes[word..end_of_word], &[]) {
            memo.extend(put(bytes, end_of_word).map(|end| bytes[end_of_word + 1..end].to_vec()));
        }
        match id {
            Some((end, class)) => {
                out.extend(class);
                (at, count) = (end, count + 1);
            }
            None => {
                out.extend(&bytes[at..end]);
                at = end;
            }
        }
    }
    (count > 0).then_some((start, at, out))
}

/// Where the persistent id of a class ends that begins at `at`, and a pickle of the class alone that leaves the same
/// things in the memo. `memo` has the numbers under which the word `module` is kept.
fn class_id(bytes: &[u8], at: usize, memo: &[Vec<u8>]) -> Option<(usize, Vec<u8>)> {
    if bytes[at] != b'(' {
        return None;
    }
    let mut out = Vec::new();
    let mut from = at + 1;
    for item in ["word", "class", "file", "source"] {
        let end = after(bytes, from)?;
        match item {
            "word" if !is_module(&bytes[from..end], memo) => return None,
            "class" if !matches!(bytes[from], b'c' | b'h' | b'j' | 0x93) => return None,
            "file" | "source" if !matches!(bytes[from], b'X' | b'N' | b'h' | b'j' | 0x8c | b'U' | b'T') => return None,
            _ => {}
        }
        let end = put(bytes, end).unwrap_or(end);
        out.extend(&bytes[from..end]);
        if item != "class" {
            out.push(POP);
        }
        from = end;
    }
    if bytes.get(from) != Some(&b't') {
        return None;
    }
    let tuple = from + 1;
    let end = put(bytes, tuple).unwrap_or(tuple);
    if bytes.get(end) != Some(&b'Q') {
        return None;
    }
    if end > tuple {
        // Later entries of the memo keep their numbers.
        out.push(EMPTY_TUPLE);
        out.extend(&bytes[tuple..end]);
        out.push(POP);
    }
    Some((end + 1, out))
}

/// Whether an opcode pushes the word `module`, itself or out of the memo.
fn is_module(opcode: &[u8], memo: &[Vec<u8>]) -> bool {
    const WORD: &[u8] = b"module";
    match opcode {
        [b'X', _, _, _, _, word @ ..] | [b'U' | 0x8c, _, word @ ..] => word == WORD,
        [b'h' | b'j', number @ ..] => memo.iter().any(|kept| kept == number),
        _ => false,
    }
}

/// The end of an opcode at `at` that keeps the topmost thing in the memo, if it is one.
fn put(bytes: &[u8], at: usize) -> Option<usize> {
    matches!(bytes.get(at)?, b'q' | b'r' | 0x94).then(|| after(bytes, at)).flatten()
}

/// The end of the opcode at `at`.
fn after(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at + 1..)?;
    let line = |rest: &[u8]| rest.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
    let length = match bytes[at] {
        b'K' | b'q' | b'h' | 0x80 | 0x82 => 1,
        b'M' | 0x83 => 2,
        b'J' | b'r' | b'j' | 0x84 => 4,
        b'G' | 0x95 => 8,
        b'U' | b'C' | 0x8a | 0x8c => 1 + usize::from(*rest.first()?),
        b'X' | b'B' | b'T' | 0x8b => (u32::from_le_bytes(*rest.first_chunk()?) as usize).checked_add(4)?,
        0x8d | 0x8e => usize::try_from(u64::from_le_bytes(*rest.first_chunk()?)).ok()?.checked_add(8)?,
        b'F' | b'I' | b'L' | b'S' | b'V' | b'P' | b'g' | b'p' => line(rest)?,
        b'c' | b'i' => {
            let first = line(rest)?;
            first + line(&rest[first..])?
        }
        b'('
        | b'0'..=b'2'
        | b'N'
        | b'R'
        | b'b'
        | b'd'
        | b'}'
        | b'e'
        | b']'
        | b'l'
        | b'o'
        | b'a'
        | b's'
        | b't'
        | b'u'
        | b')'
        | b'Q'
        | 0x81
        | 0x85..=0x89
        | 0x8f..=0x94 => 0,
        _ => return None,
    };
    (length <= rest.len()).then_some(at + 1 + length)
}
