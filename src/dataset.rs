//! Which pictures the user means: files, folders, and folders of class folders.
//!
//! Folders are walked in byte order of their names, symbolic links are followed, hidden files are passed over, and of
//! the rest those files are taken that are pictures by their names or by their contents, whether they can be read or
//! not.

mod layout;
mod names;
mod splits;
mod walk;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use walk::{Folder, Others};

use crate::image::Kind;

/// The part of a data set that a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Val,
    /// Never used for training or for choosing.
    Test,
}

impl Split {
    /// The split that a folder of this name may be.
    pub fn of_folder(name: &str) -> Option<Self> {
        match names::part_of(name).filter(|name| name.rest.is_empty())?.part {
            names::Part::Split(split) => Some(split),
            names::Part::Unlabelled => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// Which folders on the way to a picture name its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClassLevel {
    /// Those right in the data, or right in its splits
    Top,
    /// Those that hold the pictures
    Leaf,
}

/// A picture to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub path: PathBuf,
    pub split: Option<Split>,
    /// Index into [`Dataset::class_names`].
    pub class: Option<usize>,
    /// Whether it has no class although it lies among pictures that have one.
    pub is_stray: bool,
}

impl Input {
    fn unlabelled(path: PathBuf) -> Self {
        Self { path, split: None, class: None, is_stray: false }
    }

    /// The path as results name it.
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

/// Pictures in order, with the classes that their folders give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub inputs: Vec<Input>,
    /// Names of class folders in byte order; empty where folders give none.
    pub class_names: Vec<String>,
    /// What the user should know of how the folders were read.
    pub notes: Vec<String>,
}

impl Dataset {
    /// The pictures that `paths` name. A single folder of class folders (`CLASS/*`, or
    /// `{train,val,test}/CLASS/*`) labels its pictures; anything else leaves them unlabelled.
    /// What does not exist or can't be read stays an input: reading it will tell.
    ///
    /// # Errors
    /// If the only path is a folder that holds no picture or can't be read, or if it can't be told which folders are
    /// classes.
    pub fn open(paths: &[PathBuf], level: Option<ClassLevel>) -> Result<Self> {
        match paths {
            [folder] if folder.is_dir() => Self::labelled(folder, level),
            _ => list(paths),
        }
    }

    fn labelled(path: &Path, level: Option<ClassLevel>) -> Result<Self> {
        let folder = read(path)?;
        let layout::Layout { pictures, classes, mut notes, .. } = layout::read(&folder, level)?;
        ensure_any(path, pictures.len())?;
        // Folders of pictures without labels are no classes, nor are those that are empty beside them.
        let is_labelled = pictures.iter().any(|picture| picture.class.is_some());
        let class_names: Vec<String> = classes.into_iter().filter(|_| is_labelled).collect();
        let class = |name: Option<String>| name.and_then(|name| class_names.binary_search(&name).ok());
        let inputs =
            pictures.into_iter().map(|layout::Placed { input, class: name }| Input { class: class(name), ..input });
        let inputs = inputs.collect();
        notes.extend(folder.others().note());
        Ok(Self { inputs, class_names, notes })
    }
}

/// The pictures that `paths` name, without labels: files as they are, folders with all below them.
/// What does not exist or can't be read, and one of several folders without pictures, stay inputs: reading
/// them will tell.
///
/// # Errors
/// If the only path is a folder that holds no picture or can't be read.
pub fn list(paths: &[PathBuf]) -> Result<Dataset> {
    let (mut inputs, mut others) = (Vec::new(), Others::default());
    for path in paths {
        let mut found = Vec::new();
        if path.is_dir() {
            match read(path) {
                Ok(folder) => {
                    others.add(folder.others());
                    found.extend(folder.pictures().into_iter().map(|(path, _)| Input::unlabelled(path.to_owned())));
                }
                Err(error) if paths.len() == 1 => return Err(error),
                Err(_) => {}
            }
            if paths.len() == 1 {
                ensure_any(path, found.len())?;
            }
        }
        match found.is_empty() {
            true => inputs.push(Input::unlabelled(path.clone())),
            false => inputs.append(&mut found),
        }
    }
    Ok(Dataset { inputs, class_names: Vec::new(), notes: others.note().into_iter().collect() })
}

/// The classes that pictures of the split `test` have and no others.
pub fn classes_of_tests(labels: impl Iterator<Item = (Option<Split>, Option<usize>)>) -> BTreeSet<usize> {
    let (mut of_tests, mut of_others) = (BTreeSet::new(), BTreeSet::new());
    for (split, class) in labels {
        let classes = if split == Some(Split::Test) { &mut of_tests } else { &mut of_others };
        classes.extend(class);
    }
    &of_tests - &of_others
}

fn read(path: &Path) -> Result<Folder> {
    Folder::read(path).with_context(|| format!("{}: cannot be read", path.display()))
}

fn ensure_any(folder: &Path, pictures: usize) -> Result<()> {
    ensure!(
        pictures > 0,
        "{}: no pictures in this folder; looked for {} by name and by content",
        folder.display(),
        Kind::all_read()
    );
    Ok(())
}

#[cfg(test)]
mod tests;
