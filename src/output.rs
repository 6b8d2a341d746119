//! Files that the program writes appear whole or not at all; rows of results as far as they were written.

mod rows;
mod temporary;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

pub use rows::write_rows;
use temporary::Temporary;
pub use temporary::{TEMPORARY, settle_all};

use crate::terminal::Stdout;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Keep,
    Replace,
    /// It is replaced, being the program's own, but a symbolic link is refused: whoever knows the name could have put
    /// it there to have another file overwritten.
    Own,
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
    write_atomically_with(path, existing, |file| Ok(file.write_all(bytes)?))
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
    let temporary = begin(path, existing)?;
    let mut buffer = io::BufWriter::new(Named { file: temporary.file(), path });
    write(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    temporary.persist().with_context(|| cannot_write(path))
}

/// A temporary file for `path`, where that may be written.
fn begin(path: &Path, existing: Existing) -> Result<Temporary> {
    refuse_misplaced(path, existing)?;
    let target = match existing {
        Existing::Own => path.to_owned(),
        Existing::Keep | Existing::Replace => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    };
    // Without the temporary name, which means nothing to the user.
    Temporary::create(target, existing).map_err(|error| anyhow!("{}: {}", cannot_write(path), error.kind()))
}

fn cannot_write(path: &Path) -> String {
    format!("{}: cannot be written", path.display())
}

/// A file whose errors say its name.
struct Named<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Write for Named<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", cannot_write(self.path)));
        self.file.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a file of the program's own beside a user's, to read it and to append to it, making it if need be.
///
/// # Errors
/// If it cannot be written, or is no ordinary file: a symbolic link above all, which could lead to any other.
pub fn open_own(path: &Path) -> Result<File> {
    refuse_link(path)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    // Also for a link that was put there this very moment; and a pipe keeps nobody waiting.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).with_context(|| cannot_write(path))?;
    if !file.metadata().with_context(|| cannot_write(path))?.is_file() {
        bail!("{}: is no ordinary file; remove it, xcept makes its own there", path.display());
    }
    Ok(file)
}

/// Refuses a symbolic link in the place of a file of the program's own.
fn refuse_link(path: &Path) -> Result<()> {
    match path.read_link() {
        Ok(target) => bail!(
            "{}: is a symbolic link, to {}; remove it, xcept writes a file of its own there",
            path.display(),
            target.display()
        ),
        Err(_) => Ok(()),
    }
}

/// `path` with `ending` appended, whatever it ends in.
pub fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
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
            let mut stdout = std::io::BufWriter::new(Stdout::lock());
            unless_closed(write(&mut stdout).and_then(|()| Ok(stdout.flush()?)))
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
        .with_context(|| cannot_write(path))
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
    if existing == Existing::Own {
        refuse_link(path)?;
    }
    match path.metadata() {
        Err(_) if path.is_symlink() => {
            bail!("{name}: is a symbolic link to nothing; remove it, or choose another name")
        }
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

fn try_writing_in(folder: &Path) -> Result<()> {
    // Without the temporary name, which means nothing to the user.
    temporary::probe(folder).map_err(|error| anyhow!("{}: {}", folder.display(), error.kind()))
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
