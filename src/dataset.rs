//! Which pictures the user means: files, folders, and folders of class folders.
//!
//! Folders are walked in byte order of their names, symbolic links are followed, hidden files are
//! passed over, and of the rest only files with a picture's extension are taken.

mod walk;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use walk::{Entries, pictures};

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
    /// Names of a split's folder.
    const FOLDERS: [(&'static str, Split); 5] = [
        ("train", Split::Train),
        ("val", Split::Val),
        ("valid", Split::Val),
        ("validation", Split::Val),
        ("test", Split::Test),
    ];

    /// The split whose pictures a folder of this name holds.
    pub fn of_folder(name: &OsStr) -> Option<Self> {
        Self::FOLDERS.iter().find(|(folder, _)| name == *folder).map(|(_, split)| *split)
    }

    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// A picture to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    pub path: PathBuf,
    pub split: Option<Split>,
    /// Index into [`Dataset::class_names`].
    pub class: Option<usize>,
}

impl Input {
    fn unlabelled(path: PathBuf) -> Self {
        Self { path, split: None, class: None }
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
}

impl Dataset {
    /// The pictures that `paths` name. A single folder of class folders (`CLASS/*`, or
    /// `{train,val,test}/CLASS/*`) labels its pictures; anything else leaves them unlabelled.
    /// A path that does not exist stays an input: reading it will tell.
    ///
    /// # Errors
    /// If a folder holds no picture or cannot be walked.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        if let [folder] = paths
            && folder.is_dir()
            && let Some(dataset) = Self::labelled(folder)?
        {
            return Ok(dataset);
        }
        Ok(Self { inputs: list(paths)?, class_names: Vec::new() })
    }

    /// The labelled pictures of `folder`, every one of them in a class folder, or none if it is no folder of class folders.
    fn labelled(folder: &Path) -> Result<Option<Self>> {
        let entries = Entries::read(folder)?;
        if entries.has_pictures || entries.folders.is_empty() {
            return Ok(None);
        }
        let split_of = |name: &OsString| Split::of_folder(name);
        let has_train = entries.folders.iter().any(|name| split_of(name) == Some(Split::Train));
        let has_only_splits = entries.folders.iter().all(|name| split_of(name).is_some());
        let splits: Vec<(Option<Split>, PathBuf)> = if has_train || has_only_splits {
            if let Some(other) = entries.folders.iter().find(|name| split_of(name).is_none()) {
                bail!(
                    "{}: has a folder `{}` beside train; expected train, val and test only, or class folders only",
                    folder.display(),
                    other.display()
                );
            }
            let mut splits: Vec<_> = entries.folders.iter().map(|name| (split_of(name), folder.join(name))).collect();
            splits.sort_by_key(|(split, _)| *split);
            splits
        } else {
            vec![(None, folder.to_owned())]
        };
        ensure!(
            splits.iter().filter(|(split, _)| *split == Some(Split::Val)).count() <= 1,
            "{}: has several folders of validation pictures; keep one of val, valid and validation",
            folder.display()
        );
        let (mut labelled, mut class_names) = (Vec::new(), Vec::new());
        for (split, folder) in splits {
            let entries = Entries::read(&folder)?;
            ensure!(
                !entries.has_pictures,
                "{}: has pictures beside its class folders; move each into the folder of its class",
                folder.display()
            );
            for class in entries.folders {
                let name = class.to_string_lossy().into_owned();
                for path in pictures(&folder.join(&class))? {
                    labelled.push((split, name.clone(), path));
                }
                class_names.push(name);
            }
        }
        ensure!(
            !labelled.is_empty(),
            "{}: no pictures in this folder; looked for {} by name and by content",
            folder.display(),
            Kind::all_read()
        );
        class_names.sort();
        class_names.dedup();
        let input = |(split, class, path)| Input { path, split, class: class_names.binary_search(&class).ok() };
        Ok(Some(Self { inputs: labelled.into_iter().map(input).collect(), class_names: class_names.clone() }))
    }
}

/// The pictures that `paths` name, without labels: files as they are, folders with all below them.
/// A path that does not exist, and one of several folders without pictures, stay inputs: reading
/// them will tell.
///
/// # Errors
/// If the only path is a folder without pictures, or a folder cannot be walked.
pub fn list(paths: &[PathBuf]) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        let found = if path.is_dir() { pictures(path)? } else { vec![path.clone()] };
        if found.is_empty() {
            ensure!(
                paths.len() > 1,
                "{}: no pictures in this folder; looked for {} by name and by content",
                path.display(),
                Kind::all_read()
            );
            inputs.push(Input::unlabelled(path.clone()));
        }
        inputs.extend(found.into_iter().map(Input::unlabelled));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn open(folder: &tempfile::TempDir) -> Dataset {
        Dataset::open(&[folder.path().to_owned()]).unwrap()
    }

    fn rows(folder: &tempfile::TempDir) -> Vec<(String, Option<Split>, Option<usize>)> {
        let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
        open(folder).inputs.iter().map(|input| (name(&input.path), input.split, input.class)).collect()
    }

    #[test]
    fn class_folders_label_their_pictures_in_byte_order() {
        let folder = tree(&["b/1.jpg", "a/2.PNG", "B/3.webp", "a/notes.txt", ".hidden/4.jpg", "a/.5.jpg"]);
        assert_eq!(open(&folder).class_names, ["B", "a", "b"]);
        let expected = [("B/3.webp", 0), ("a/2.PNG", 1), ("b/1.jpg", 2)];
        assert_eq!(rows(&folder), expected.map(|(name, class)| (name.to_owned(), None, Some(class))));
    }

    #[test]
    fn split_folders_are_told_apart_from_class_folders() {
        let folder = tree(&["train/cat/1.jpg", "valid/cat/2.jpg", "test/dog/deep/3.jpg"]);
        assert_eq!(open(&folder).class_names, ["cat", "dog"]);
        let splits: Vec<_> = rows(&folder).into_iter().map(|(_, split, class)| (split, class)).collect();
        use Split::*;
        assert_eq!(splits, [(Some(Train), Some(0)), (Some(Val), Some(0)), (Some(Test), Some(1))]);
    }

    #[test]
    fn a_folder_with_pictures_of_its_own_has_no_classes() {
        let folder = tree(&["1.jpg", "sub/2.jpg"]);
        assert_eq!(rows(&folder), [("1.jpg".to_owned(), None, None), ("sub/2.jpg".to_owned(), None, None)]);
    }

    #[test]
    fn a_class_folder_without_pictures_is_still_a_class() {
        let folder = tree(&["cat/1.jpg", "dog/notes.txt", "eel/2.jpg"]);
        assert_eq!(open(&folder).class_names, ["cat", "dog", "eel"]);
    }

    #[test]
    fn pictures_outside_class_folders_are_not_lost_silently() {
        for files in [&["train/cat/1.jpg", "train/2.jpg"][..], &["train/cat/1.jpg", "holiday/2.jpg"]] {
            let folder = tree(files);
            assert!(Dataset::open(&[folder.path().to_owned()]).is_err(), "{files:?}");
            assert_eq!(list(&[folder.path().to_owned()]).unwrap().len(), 2, "{files:?}");
        }
    }

    #[test]
    fn an_empty_folder_is_an_error_that_names_it() {
        let folder = tree(&["notes.txt"]);
        let error = Dataset::open(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()) && error.contains("JPEG"), "{error}");
    }

    #[test]
    fn a_path_that_does_not_exist_stays_an_input() {
        let dataset = Dataset::open(&["no/such.jpg".into()]).unwrap();
        assert_eq!(dataset.inputs, [Input::unlabelled("no/such.jpg".into())]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_dangling_ones_stay_inputs() {
        let (target, folder) = (tree(&["x/1.jpg"]), tree(&["2.jpg"]));
        std::os::unix::fs::symlink(".", folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink(target.path().join("x"), folder.path().join("linked")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("gone.jpg")).unwrap();
        let names: Vec<_> = rows(&folder).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["2.jpg", "gone.jpg", "linked/1.jpg"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_above_a_class_adds_nothing_to_it() {
        let folder = tree(&["cat/1.jpg", "dog/2.jpg"]);
        std::os::unix::fs::symlink("..", folder.path().join("cat/up")).unwrap();
        std::os::unix::fs::symlink("../dog", folder.path().join("cat/beside")).unwrap();
        let names: Vec<_> = rows(&folder).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["cat/1.jpg", "cat/beside/2.jpg", "dog/2.jpg"]);
    }
}
