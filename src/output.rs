//! Files that the program writes appear whole or not at all.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Keep,
    Replace,
}

impl Existing {
    /// As the option `--overwrite` says.
    pub fn of(overwrite: bool) -> Self {
        if overwrite { Existing::Replace } else { Existing::Keep }
    }
}

/// Writes `bytes` beside `path` under a temporary name, then renames.
///
/// # Errors
/// Names the file if its folder is missing or cannot be written.
pub fn write_atomically(path: &Path, existing: Existing, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("{}: cannot be written", path.display());
    write_atomically_with(path, existing, |file| file.write_all(bytes).with_context(cannot))
}

/// Lets `write` fill a temporary file beside `path` (or what it links to), then renames it.
///
/// # Errors
/// Names the file if its folder is missing or cannot be written, and passes on `write`'s.
pub fn write_atomically_with(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    refuse_unwritable(path, existing)?;
    let cannot = || format!("{}: cannot be written", path.display());
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = folder_of(&target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".xcept-");
    // As readable as any new file: the user's umask takes away what it should.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Without the temporary name, which means nothing to the user.
    let temporary = builder.tempfile_in(folder).map_err(|error| anyhow!("{}: {}", cannot(), error.kind()))?;
    let mut buffer = std::io::BufWriter::new(temporary.as_file());
    write(&mut buffer)?;
    buffer.flush().with_context(cannot)?;
    drop(buffer);
    temporary.as_file().sync_all().with_context(cannot)?;
    match existing {
        Existing::Replace => temporary.persist(&target).map(drop).with_context(cannot),
        Existing::Keep => temporary.persist_noclobber(&target).map(drop).with_context(cannot),
    }
}

/// Lets `write` fill the file that was asked for, whole or not at all, or else stdout.
///
/// # Errors
/// Those of [`write_atomically_with`] and of `write`, a closed pipe among others.
pub fn write_results(
    path: Option<&Path>,
    existing: Existing,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    match path {
        Some(path) => write_atomically_with(path, existing, write),
        None => {
            let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
            write(&mut stdout)?;
            Ok(stdout.flush()?)
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Refuses, before any work, a file that could not be written later: in a folder that does not
/// exist, in the place of a device, or over an earlier run's file without being told to.
///
/// # Errors
/// Names the file and the remedy.
pub fn refuse_unwritable(path: &Path, existing: Existing) -> Result<()> {
    let name = path.display();
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!("{name}: no such folder as {}; make it first", folder.display());
    }
    match path.metadata() {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => bail!("{name}: is a folder, expected the name of a file to write"),
        Ok(found) if !found.is_file() => bail!("{name}: is no ordinary file; leave -o out to write to stdout"),
        Ok(_) if existing == Existing::Keep => {
            bail!("{name}: exists already; pass --overwrite to replace it, or choose another name")
        }
        Ok(_) => Ok(()),
    }
}

/// Refuses an output that is one of the command's own inputs, whatever the options say.
///
/// # Errors
/// Names the file.
pub fn refuse_input<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    refuse_inputs(&[output], inputs)
}

/// [`refuse_input`] for many outputs.
///
/// # Errors
/// Names the file.
pub fn refuse_inputs<'a>(outputs: &[impl AsRef<Path>], inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    if !outputs.iter().any(|output| output.as_ref().exists()) {
        return Ok(());
    }
    let inputs: HashSet<PathBuf> = inputs.into_iter().filter_map(|input| input.canonicalize().ok()).collect();
    for output in outputs.iter().map(AsRef::as_ref) {
        if output.canonicalize().is_ok_and(|output| inputs.contains(&output)) {
            bail!("{}: is an input of this very command; choose another name to write to", output.display());
        }
    }
    Ok(())
}

/// The user's folder for files of this kind that can be made again, in `$XDG_CACHE_HOME/xcept` or the
/// system's usual place. It is there afterwards.
///
/// # Errors
/// If the user has no home folder, or the folder can't be made.
pub fn cache_folder(kind: &str) -> Result<PathBuf> {
    let folder = dirs::cache_dir().context("no cache folder; set XDG_CACHE_HOME or HOME, or pass --features FILE")?;
    let folder = folder.join("xcept").join(kind);
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    Ok(folder)
}
