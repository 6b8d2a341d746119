//! Files that the program writes appear whole or not at all.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
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
    refuse_misplaced(path, existing)?;
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

/// Lets `write` fill the file that was asked for, whole or not at all, or else stdout, where a reader that has had
/// enough is no failure: what remains to be done is done without it.
///
/// # Errors
/// Those of [`write_atomically_with`] and of `write`.
pub fn write_results(
    path: Option<&Path>,
    existing: Existing,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    match path {
        Some(path) => write_atomically_with(path, existing, write),
        None => {
            let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
            unless_closed(write(&mut stdout).and_then(|()| Ok(stdout.flush()?))).context("stdout")
        }
    }
}

/// Takes a pipe that its reader closed for a success.
///
/// # Errors
/// All others.
pub fn unless_closed(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        result => result,
    }
}

/// Whether the reader of a pipe had enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let is = |io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is))
}

/// The format that was asked for, or that suits where the results go: a table for a person at a terminal, CSV for a
/// file of that name, JSON otherwise.
pub fn format<F>(asked: Option<F>, path: Option<&Path>, [table, csv, json]: [F; 3]) -> F {
    let is_csv = path.and_then(Path::extension).is_some_and(|extension| extension == "csv");
    asked.unwrap_or(match path {
        None if std::io::stdout().is_terminal() => table,
        _ if is_csv => csv,
        _ => json,
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().map_or(Path::new("."), named_or_here)
}

fn named_or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Refuses, before any work, a file that could not be written later: in a folder that does not
/// exist, in the place of a device, or over an earlier run's file without being told to.
///
/// # Errors
/// Names the file and the remedy.
pub fn refuse_unwritable(path: &Path, existing: Existing) -> Result<()> {
    refuse_misplaced(path, existing)?;
    try_writing_in(folder_of(&path.canonicalize().unwrap_or_else(|_| path.to_owned())))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

/// The part of [`refuse_unwritable`] that writes nothing.
fn refuse_misplaced(path: &Path, existing: Existing) -> Result<()> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!("{}: no such folder as {}; make it first", path.display(), folder.display());
    }
    refuse_existing(path, existing)
}

/// The part of [`refuse_unwritable`] that looks at the file itself.
fn refuse_existing(path: &Path, existing: Existing) -> Result<()> {
    let name = path.display();
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

/// [`refuse_unwritable`] for files of these names in a folder that [`make_folder`] will make; it must not lie in
/// `classes`, a folder of class folders.
///
/// # Errors
/// Names the folder or the file, and the remedy.
pub fn refuse_unwritable_in(
    folder: &Path,
    names: impl IntoIterator<Item: AsRef<Path>>,
    existing: Existing,
    classes: Option<&Path>,
) -> Result<()> {
    let name = folder.display();
    let Some(nearest) = folder.ancestors().map(named_or_here).find(|folder| folder.exists()) else {
        bail!("{name}: no folder above it exists; check the path");
    };
    if !nearest.is_dir() {
        bail!("{name}: {} is a file, expected a folder", nearest.display());
    }
    if let (Some(classes), Ok(nearest_place)) = (classes.filter(|data| data.is_dir()), nearest.canonicalize()) {
        let place = nearest_place.join(folder.strip_prefix(nearest).unwrap_or(folder));
        if classes.canonicalize().is_ok_and(|classes| place != classes && place.starts_with(&classes)) {
            bail!("{name}: lies in {}, where it would be taken for a class; choose another", classes.display());
        }
    }
    try_writing_in(nearest).with_context(|| format!("{name}: cannot be made"))?;
    names.into_iter().try_for_each(|name| refuse_existing(&folder.join(name), existing))
}

/// Makes a folder with all above it, if it is not there.
///
/// # Errors
/// Names the folder.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| anyhow!("{}: cannot be made: {}", folder.display(), error.kind()))
}

/// Only the system knows for sure what it permits.
fn try_writing_in(folder: &Path) -> Result<()> {
    // Without the temporary name, which means nothing to the user.
    tempfile::tempfile_in(folder).map(drop).map_err(|error| anyhow!("{}: {}", folder.display(), error.kind()))
}

/// Refuses an output that is one of the command's own inputs, or named twice, whatever the options say.
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
    let mut seen = HashSet::new();
    for output in outputs.iter().map(AsRef::as_ref) {
        if !seen.insert(place_of(output)) {
            bail!("{}: two results would have this one name; choose another for one of them", output.display());
        }
    }
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

/// Where a file lies or will lie, however it is named.
fn place_of(path: &Path) -> PathBuf {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    let in_folder = || Some(absolute(folder_of(path)).ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

/// The user's folder for files of this kind that can be made again, in `$XDG_CACHE_HOME/xcept` or the
/// system's usual place. It is there afterwards.
///
/// # Errors
/// If the user has no home folder, or the folder can't be made.
pub fn cache_folder(kind: &str) -> Result<PathBuf> {
    let folder = dirs::cache_dir().context("no cache folder; set XDG_CACHE_HOME or HOME, or pass --features FILE")?;
    let folder = folder.join("xcept").join(kind);
    make_folder(&folder).context("the cache folder; set XDG_CACHE_HOME to one that can be written")?;
    Ok(folder)
}
