//! What lies in folders: pictures in byte order of their names, and how many files are none.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::image;
use crate::labels;
use crate::terminal::{counted, printable};

/// A folder with all below it. Hidden names are left out, and the folders that systems make for themselves.
#[derive(Debug)]
pub(super) struct Folder {
    pub path: PathBuf,
    /// In byte order of their names.
    pub entries: Vec<Entry>,
    /// Files right in it that are no pictures.
    others: Others,
}

#[derive(Debug)]
pub(super) enum Entry {
    /// A picture by its name or its content; or a folder that can't be read, which reading will tell.
    Picture(PathBuf),
    Folder(Folder),
}

/// Folders that macOS, Synology, Windows and Linux make: copies, small pictures, rubbish.
const OF_SYSTEMS: [&str; 5] = ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"];

impl Folder {
    /// # Errors
    /// If `path` cannot be read; one below it that can't be stays an input.
    pub fn read(path: &Path) -> io::Result<Self> {
        read(path, &mut vec![path.canonicalize().unwrap_or_else(|_| path.to_owned())])
    }

    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// The name as a class has it.
    pub fn class_name(&self) -> String {
        labels::composed(&self.name().to_string_lossy())
    }

    /// The folders right in this one.
    pub fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Folder(folder) => Some(folder),
            Entry::Picture(_) => None,
        })
    }

    /// Those of the folders right in this one that hold pictures, at whatever depth.
    pub fn picture_folders(&self) -> Vec<&Folder> {
        self.folders().filter(|folder| folder.has_pictures()).collect()
    }

    /// The pictures right in this folder.
    pub fn own_pictures(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Picture(path) => Some(path.as_path()),
            Entry::Folder(_) => None,
        })
    }

    /// Every picture in it, each with the folder that it lies in.
    pub fn pictures(&self) -> Vec<(&Path, &Folder)> {
        let mut pictures = Vec::new();
        self.collect(&mut pictures);
        pictures
    }

    fn collect<'a>(&'a self, pictures: &mut Vec<(&'a Path, &'a Folder)>) {
        for entry in &self.entries {
            match entry {
                Entry::Picture(path) => pictures.push((path, self)),
                Entry::Folder(folder) => folder.collect(pictures),
            }
        }
    }

    pub fn has_pictures(&self) -> bool {
        self.own_pictures().next().is_some() || self.folders().any(Folder::has_pictures)
    }

    /// The one folder that holds the pictures, but for fewer that lie beside it.
    pub fn sole_folder(&self) -> Option<&Folder> {
        match self.picture_folders()[..] {
            [folder] if self.own_pictures().count() < folder.pictures().len() => Some(folder),
            _ => None,
        }
    }

    /// The pictures in it that do not lie in `inner`.
    pub fn pictures_outside(&self, inner: &Folder) -> impl Iterator<Item = &Path> {
        self.pictures().into_iter().map(|(path, _)| path).filter(|path| !path.starts_with(&inner.path))
    }

    /// The files at whatever depth that are no pictures.
    pub fn others(&self) -> Others {
        let mut all = self.others.clone();
        self.folders().for_each(|folder| all.add(folder.others()));
        all
    }
}

/// `above` are the folders that lead there, without links.
fn read(path: &Path, above: &mut Vec<PathBuf>) -> io::Result<Folder> {
    let mut found = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    found.retain(|entry| !is_passed_over(&entry.file_name()));
    found.sort_by_key(std::fs::DirEntry::file_name);
    let mut folder = Folder { path: path.to_owned(), entries: Vec::new(), others: Others::default() };
    for entry in found {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let is_link = kind.is_symlink();
        if !(kind.is_dir() || is_link && path.is_dir()) {
            match () {
                () if image::is_picture(&path) => folder.entries.push(Entry::Picture(path)),
                // It may have led to a class.
                () if is_link && !path.exists() && image::extension(&path).is_none() => {
                    folder.entries.push(Entry::Folder(unreadable(path)));
                }
                () => folder.others.count(&path),
            }
            continue;
        }
        let here = match is_link {
            true => path.canonicalize()?,
            false => above.last().map_or_else(|| path.clone(), |above| above.join(entry.file_name())),
        };
        // A link to a folder that leads here shows nothing new, and never ends.
        if is_link && above.iter().any(|above| above.starts_with(&here)) {
            continue;
        }
        above.push(here);
        folder.entries.push(Entry::Folder(read(&path, above).unwrap_or_else(|_| unreadable(path))));
        above.pop();
    }
    Ok(folder)
}

/// Stands for what may be in it.
fn unreadable(path: PathBuf) -> Folder {
    Folder { entries: vec![Entry::Picture(path.clone())], path, others: Others::default() }
}

fn is_passed_over(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with('.') || OF_SYSTEMS.iter().any(|of_system| name == *of_system)
}

/// Files that are no pictures, counted by their extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Others(BTreeMap<Option<String>, usize>);

impl Others {
    fn count(&mut self, path: &Path) {
        *self.0.entry(image::extension(path)).or_default() += 1;
    }

    pub fn add(&mut self, others: Others) {
        others.0.into_iter().for_each(|(extension, count)| *self.0.entry(extension).or_default() += count);
    }

    /// How many they are, and of what kinds the most; nothing where there are none.
    pub fn note(&self) -> Option<String> {
        const NAMED: usize = 4;
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let name = |(extension, count): &(&Option<String>, &usize)| match extension {
            Some(extension) => format!("{count} .{}", printable(extension)),
            None => format!("{count} without an extension"),
        };
        let mut named: Vec<String> = kinds.iter().take(NAMED).map(name).collect();
        let rest: usize = kinds.iter().skip(NAMED).map(|(_, count)| **count).sum();
        if rest > 0 {
            named.push(format!("{rest} others"));
        }
        let all: usize = self.0.values().sum();
        let files = counted(all, "file that is no picture", "files that are no pictures");
        (all > 0).then(|| format!("passed over: {files} ({})", named.join(", ")))
    }
}
