//! A file of results that grows row by row and is kept as far as it got.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::temporary::Temporary;
use super::{Existing, Named, begin, cannot_write};

/// Lets `write` fill `path` with rows. What it has flushed is there in the end, however that comes: by an error or by
/// a signal. Nothing is written, and nothing replaced, before the first flush.
///
/// # Errors
/// As [`write_atomically_with`].
pub fn write_rows<T>(path: &Path, existing: Existing, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let temporary = begin(path, existing)?;
    let mut rows = Rows { temporary: &temporary, path, waiting: Vec::new(), kept: 0 };
    let written = write(&mut rows).and_then(|result| Ok(rows.flush().map(|()| result)?));
    let settled = if written.is_ok() { temporary.persist() } else { temporary.settle() };
    written.and_then(|result| settled.map(|()| result).with_context(|| cannot_write(path)))
}

/// Rows on their way into a file, each of which is in it whole.
struct Rows<'a> {
    temporary: &'a Temporary,
    path: &'a Path,
    /// Since the last flush.
    waiting: Vec<u8>,
    /// Bytes up to there.
    kept: u64,
}

impl Write for Rows<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        Named { file: self.temporary.file(), path: self.path }.write_all(&rows)?;
        self.kept += rows.len() as u64;
        self.temporary.keep(self.kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn write(path: &Path, existing: Existing, pieces: &[&str], ends_well: bool) -> Result<()> {
        write_rows(path, existing, |file| {
            for piece in pieces {
                file.write_all(piece.as_bytes())?;
                if piece.ends_with('\n') {
                    file.flush()?;
                }
            }
            if ends_well { Ok(()) } else { bail!("no more") }
        })
    }

    #[test]
    fn an_error_keeps_the_rows_before_it_and_no_part_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let error = write(&path, Existing::Keep, &["a\n", "b\n", "half"], false).unwrap_err();
        assert_eq!((error.to_string().as_str(), std::fs::read(&path).unwrap()), ("no more", b"a\nb\n".to_vec()));
        write(&path, Existing::Replace, &["c\n", "d"], true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"c\nd");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn without_a_row_nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        write(&path, Existing::Keep, &["a\n"], true).unwrap();
        write(&path, Existing::Replace, &["half"], false).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    }

    #[test]
    fn rows_are_kept_beside_a_file_that_somebody_made_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let error = write_rows(&path, Existing::Keep, |file| {
            std::fs::write(&path, "theirs")?;
            Ok(file.write_all(b"a\n")?)
        });
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.contains("rows: cannot be written: another program") && error.ends_with("rows.partial"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
        assert_eq!(std::fs::read(folder.path().join("rows.partial")).unwrap(), b"a\n");
    }
}
