//! What lies in folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::WalkDir;

use crate::image;

/// What lies directly in a folder, hidden names left out, folders in byte order.
pub(super) struct Entries {
    pub folders: Vec<OsString>,
    pub has_pictures: bool,
}

impl Entries {
    pub fn read(folder: &Path) -> Result<Self> {
        let cannot = || format!("{}: cannot be read", folder.display());
        let mut entries = Self { folders: Vec::new(), has_pictures: false };
        for entry in std::fs::read_dir(folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.path().is_dir() {
                entries.folders.push(name);
            } else {
                entries.has_pictures |= image::is_picture(&entry.path());
            }
        }
        entries.folders.sort();
        Ok(entries)
    }
}

/// Every picture below `folder`.
pub(super) fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let root = folder.canonicalize().ok();
    // The walk itself tells of links back to a folder in it, not to one above all of it.
    let leads_up = |entry: &walkdir::DirEntry| {
        let target = || Some(root.as_ref()?.starts_with(entry.path().canonicalize().ok()?));
        entry.path_is_symlink() && entry.file_type().is_dir() && target() == Some(true)
    };
    let is_taken = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !(entry.file_name().to_string_lossy().starts_with('.') || leads_up(entry))
    };
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(is_taken);
    let mut pictures = Vec::new();
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_file() && image::is_picture(entry.path()) => {
                pictures.push(entry.into_path())
            }
            Ok(_) => {}
            // A link back to a folder above shows nothing new.
            Err(error) if error.loop_ancestor().is_some() => {}
            // A dangling link named like a picture is an input that can't be read, not a reason to stop.
            Err(error) => match error.path() {
                Some(path) if path.is_symlink() && !path.exists() => {
                    if image::is_picture(path) {
                        pictures.push(path.to_owned());
                    }
                }
                path => {
                    let path = path.unwrap_or(folder).display().to_string();
                    let reason = error.io_error().map_or("cannot be walked".to_owned(), |io| io.kind().to_string());
                    bail!("{path}: {reason}; mend that, or leave it out")
                }
            },
        }
    }
    Ok(pictures)
}
