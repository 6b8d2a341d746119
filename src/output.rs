//! Files that the program writes appear whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes `bytes` beside `path` under a temporary name, then renames.
///
/// # Errors
/// Names the file if its folder is missing or cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |file| Ok(file.write_all(bytes)?))
}

/// Lets `write` fill a temporary file beside `path`, then renames it.
///
/// # Errors
/// Names the file if its folder is missing or cannot be written, and passes on `write`'s.
pub fn write_atomically_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = folder_of(path);
    let cannot = || format!("{}: cannot be written", path.display());
    if path.is_dir() {
        bail!("{}: is a folder, expected the name of a file to write", path.display());
    }
    refuse_missing_folder(path)?;
    let temporary = tempfile::Builder::new().prefix(".xcept-").tempfile_in(folder).with_context(cannot)?;
    let mut buffer = std::io::BufWriter::new(temporary.as_file());
    write(&mut buffer).with_context(cannot)?;
    buffer.flush().with_context(cannot)?;
    drop(buffer);
    set_usual_permissions(temporary.as_file()).with_context(cannot)?;
    temporary.persist(path).with_context(cannot)?;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// # Errors
/// If there is no folder to write `path` into.
pub fn refuse_missing_folder(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!("{}: no such folder as {}; make it first", path.display(), folder.display());
    }
    Ok(())
}

/// Temporary files are private to their owner; results are as readable as any new file.
#[cfg(unix)]
fn set_usual_permissions(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_usual_permissions(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

/// Refuses, before any work, a file that could not be written later: in a folder that does not
/// exist, or over an earlier run's file without being told to.
///
/// # Errors
/// Names the file and the remedy.
pub fn refuse_unwritable(path: &Path, overwrite: bool) -> Result<()> {
    refuse_missing_folder(path)?;
    if path.exists() && !overwrite {
        bail!("{}: exists already; pass --overwrite to replace it, or another -o", path.display());
    }
    Ok(())
}

/// The user's folder for files that can be made again: `$XDG_CACHE_HOME/xcept`, or the system's
/// usual place.
///
/// # Errors
/// If the user has no home folder.
pub fn cache_folder() -> Result<PathBuf> {
    let folder = dirs::cache_dir().context("no cache folder; set XDG_CACHE_HOME or HOME, or pass --features FILE")?;
    Ok(folder.join("xcept"))
}
