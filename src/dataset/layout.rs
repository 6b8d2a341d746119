//! What the folders of a data set mean: which are splits, which are classes, and which pictures are neither's.
//!
//! Splits are found first ([`splits`](super::splits)); what is left of a path to a picture names its class.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, ensure};

use super::splits::{
    InNames, Reading, Root, has_splits_below, in_names, is_flat, likely_parts, plain_part, reading, repetition, tops,
    undoubled, unwrap_all, unwrapped,
};
use super::walk::{Entry, Folder};
use super::{ClassLevel, Input, Split};
use crate::labels;
use crate::terminal::{counted, printable};

/// A folder's pictures in order, and what there is to say of how they were read.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub pictures: Vec<Placed>,
    /// Also those without pictures.
    pub classes: BTreeSet<String>,
    pub notes: Vec<String>,
    /// Folders of classes that are not text, by what is made of their names.
    not_utf8: BTreeMap<String, OsString>,
}

/// A picture with what its folders say.
#[derive(Debug)]
pub(super) struct Placed {
    pub input: Input,
    pub class: Option<String>,
}

/// Reads `folder`; the classes are the folders of this `level`, or where none is given those that the names and the
/// other folders suggest.
///
/// # Errors
/// If it can't be told whether a folder is a class or a split, with the remedy.
pub(super) fn read(folder: &Folder, level: Option<ClassLevel>) -> Result<Layout> {
    let mut layout = Layout::default();
    let data = unwrapped(folder, level);
    if let (None, Some(folders)) = (level, in_names(data)) {
        folder.pictures_outside(data).for_each(|path| layout.add(path, None, None, true));
        layout.take_named(data, folders);
        return Ok(layout);
    }
    match reading(data, level)? {
        Reading::Splits { mut roots, others, has_classes_beside } => {
            layout.note_merged(&roots)?;
            roots.sort_by_key(|root| root.split);
            let outer = roots.clone();
            roots.iter_mut().for_each(|root| root.folder = undoubled(root.folder));
            if level != Some(ClassLevel::Top) {
                unwrap_all(&mut roots);
            }
            let is_flat = |root: &Root| root.is_unlabelled || is_flat(root.folder, level);
            let any_labelled = has_classes_beside || roots.iter().any(|root| !is_flat(root));
            // What lies beside the splits belongs to none of them.
            folder.pictures_outside(data).for_each(|path| layout.add(path, None, None, any_labelled));
            for (outer, root) in outer.iter().zip(&roots) {
                let outside = outer.folder.pictures_outside(root.folder);
                outside.for_each(|path| layout.add(path, root.split, None, any_labelled && !is_flat(root)));
            }
            data.own_pictures().for_each(|path| layout.add(path, None, None, any_labelled));
            for folder in others {
                match has_classes_beside {
                    true => layout.take_class(folder, None, level)?,
                    false => layout.take_unlabelled(folder, None, any_labelled),
                }
            }
            for root in &roots {
                match is_flat(root) {
                    true => layout.take_flat(root, any_labelled),
                    false => layout.take_classes(root, level)?,
                }
            }
            let labelled: Vec<&Folder> = roots.iter().filter(|root| !is_flat(root)).map(|root| root.folder).collect();
            layout.note_level(folder, &labelled, level);
        }
        Reading::Classes => {
            if is_flat(data, level) {
                layout.note_majority(data);
                layout.take_unlabelled(data, None, false);
                return Ok(layout);
            }
            folder.pictures_outside(data).for_each(|path| layout.add(path, None, None, true));
            layout.note_part_names(data, level);
            if level.is_none() && data.path != folder.path {
                layout.notes.push(format!(
                    "{}: its classes are the folders of {} ({}); --classes top takes `{}` for one class",
                    folder.path.display(),
                    data.path.display(),
                    named(&tops(&[data])),
                    printable(&folder.sole_folder().unwrap_or(data).class_name())
                ));
            } else if has_splits_below(data) {
                layout.note_level_of_splits(folder, data, level);
            } else {
                layout.note_level(folder, &[data], level);
            }
            layout.take_classes(&Root { split: None, folder: data, is_unlabelled: false }, level)?;
        }
    }
    Ok(layout)
}

/// The first few of some names, for a sentence.
fn named(names: &BTreeSet<String>) -> String {
    const NAMED: usize = 3;
    let first: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{}`", printable(name))).collect();
    let further = if names.len() > NAMED { format!(", … {} in all", names.len()) } else { String::new() };
    first.join(", ") + &further
}

impl Layout {
    fn add(&mut self, path: &Path, split: Option<Split>, class: Option<String>, is_stray: bool) {
        let input = Input { path: path.to_owned(), split, class: None, is_stray };
        self.pictures.push(Placed { input, class });
    }

    fn take_unlabelled(&mut self, folder: &Folder, split: Option<Split>, is_stray: bool) {
        folder.pictures().into_iter().for_each(|(path, _)| self.add(path, split, None, is_stray));
    }

    /// A part without class folders. Of one for tests nobody expects labels; of another they are missing where there
    /// are any.
    fn take_flat(&mut self, root: &Root, any_labelled: bool) {
        let pictures = root.folder.pictures().len();
        if any_labelled && pictures > 0 {
            let count = counted(pictures, "picture", "pictures");
            self.notes
                .push(format!("{}: {count} without class folders, so without labels", root.folder.path.display()));
        }
        self.take_unlabelled(root.folder, root.split, any_labelled && root.split != Some(Split::Test));
    }

    fn take_classes(&mut self, root: &Root, level: Option<ClassLevel>) -> Result<()> {
        let has_splits_below = root.split.is_none() && has_splits_below(root.folder);
        let repetition = repetition(root.folder).filter(|_| level.is_none());
        for entry in &root.folder.entries {
            match entry {
                Entry::Picture(path) => self.add(path, root.split, None, true),
                Entry::Folder(folder) if repetition.is_some_and(|repetition| repetition.path == folder.path) => {
                    self.notes.push(format!(
                        "{}: left out, for it repeats the classes beside it; --classes top takes it for a class",
                        folder.path.display()
                    ));
                    self.take_unlabelled(folder, root.split, true);
                }
                Entry::Folder(class) if has_splits_below => self.take_splits_of(class, level)?,
                Entry::Folder(class) => self.take_class(class, root.split, level)?,
            }
        }
        Ok(())
    }

    fn take_class(&mut self, folder: &Folder, split: Option<Split>, level: Option<ClassLevel>) -> Result<()> {
        let pictures = folder.pictures();
        if level != Some(ClassLevel::Leaf) || pictures.is_empty() {
            self.name_class(folder)?;
        }
        for (path, holder) in pictures {
            let class = self.name_class(if level == Some(ClassLevel::Leaf) { holder } else { folder })?;
            self.add(path, split, Some(class), false);
        }
        Ok(())
    }

    /// Folders of which each is a class's part in a split.
    fn take_named(&mut self, data: &Folder, InNames { named: parts, others }: InNames) {
        data.own_pictures().for_each(|path| self.add(path, None, None, true));
        others.into_iter().for_each(|folder| self.take_unlabelled(folder, None, true));
        for (split, class, folder) in parts {
            let class = labels::composed(&class);
            for (path, _) in folder.pictures() {
                self.add(path, Some(split), Some(class.clone()), false);
            }
            self.classes.insert(class);
        }
        let classes = named(&self.classes);
        self.notes.push(format!("{}: its folders are read as splits of the classes {classes}", data.path.display()));
    }

    /// A folder with splits in it: a class, or where the leaves are asked for, a holder of classes in splits.
    fn take_splits_of(&mut self, class: &Folder, level: Option<ClassLevel>) -> Result<()> {
        if level != Some(ClassLevel::Leaf) || !class.has_pictures() {
            self.name_class(class)?;
        }
        for path in class.own_pictures() {
            let name = self.name_class(class)?;
            self.add(path, None, Some(name), false);
        }
        for part in class.folders() {
            let split = plain_part(part).map(|name| Root::of(part, name.part)).and_then(|root| root.split);
            for (path, holder) in part.pictures() {
                let is_leaf = level == Some(ClassLevel::Leaf) && holder.path != part.path;
                let name = self.name_class(if is_leaf { holder } else { class })?;
                self.add(path, split, Some(name), false);
            }
        }
        Ok(())
    }

    /// The name of a folder's class, which is one from here on.
    fn name_class(&mut self, folder: &Folder) -> Result<String> {
        let name = folder.class_name();
        if name.contains(char::REPLACEMENT_CHARACTER) {
            let first = self.not_utf8.entry(name.clone()).or_insert_with(|| folder.name().to_owned());
            ensure!(
                first == folder.name(),
                "{}: its name is not UTF-8, nor is that of another class, and they can't be told apart; rename them",
                folder.path.display()
            );
        }
        self.classes.insert(name.clone());
        Ok(name)
    }

    /// Says which folders are read as one split.
    fn note_merged(&mut self, roots: &[Root]) -> Result<()> {
        for split in [Split::Train, Split::Val, Split::Test] {
            let of_split = || roots.iter().filter(|root| root.split == Some(split) && !root.is_unlabelled);
            let names: BTreeSet<String> = of_split().map(|root| root.folder.class_name()).collect();
            let words: BTreeSet<_> = of_split().filter_map(|root| Some(plain_part(root.folder)?.word)).collect();
            ensure!(
                split != Split::Val || words.len() < 2,
                "{}: has several folders of validation pictures ({}); keep one, or rename the one that tests `test`",
                of_split().next().and_then(|root| root.folder.path.parent()).unwrap_or(Path::new("")).display(),
                named(&names)
            );
            if names.len() > 1 {
                self.notes.push(format!("{} are all read as {}", named(&names), split.name()));
            }
        }
        Ok(())
    }

    /// Says that folders are taken for classes although their names are those of splits.
    fn note_part_names(&mut self, data: &Folder, level: Option<ClassLevel>) {
        let called = likely_parts(data);
        if level.is_none() && !called.is_empty() {
            let data = data.path.display();
            let is = if called.len() == 1 { "is taken for a class" } else { "are taken for classes" };
            self.notes.push(format!("{data}: {} {is}, not for a split, by what lies beside", named(&called)));
        }
    }

    /// Says that there are as many pictures beside the folders as in them.
    fn note_majority(&mut self, data: &Folder) {
        let (own, all) = (data.own_pictures().count(), data.pictures().len());
        if own < all {
            self.notes.push(format!(
                "{}: {} beside its folders and {} in them, so the folders are not taken for classes; --classes top takes \
                 them",
                data.path.display(),
                counted(own, "picture lies", "pictures lie"),
                all - own
            ));
        }
    }

    /// Says so where the folders of the splits in the classes could as well be these.
    fn note_level_of_splits(&mut self, folder: &Folder, data: &Folder, level: Option<ClassLevel>) {
        let parts: Vec<&Folder> = data.picture_folders().into_iter().flat_map(Folder::picture_folders).collect();
        let leaves = tops(&parts);
        if level.is_none() && leaves.len() > 1 && parts.iter().all(|part| part.own_pictures().next().is_none()) {
            self.note_levels(folder, &tops(&[data]), &leaves);
        }
    }

    /// Says so where other folders could as well be the classes.
    fn note_level(&mut self, folder: &Folder, roots: &[&Folder], level: Option<ClassLevel>) {
        let classes: Vec<&Folder> = roots.iter().flat_map(|root| root.picture_folders()).collect();
        if level.is_some() || classes.iter().any(|class| class.own_pictures().next().is_some()) {
            return;
        }
        let mut tops_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for class in &classes {
            for (_, holder) in class.pictures() {
                tops_of.entry(holder.class_name()).or_default().insert(class.class_name());
            }
        }
        let (tops, all) = (tops(roots), tops_of.keys().cloned().collect::<BTreeSet<_>>());
        let is_any_shared = tops_of.values().any(|tops| tops.len() > 1);
        if all.len() > 1 && (tops.len() == 1 || is_any_shared) {
            self.note_levels(folder, &tops, &all);
        }
    }

    fn note_levels(&mut self, folder: &Folder, tops: &BTreeSet<String>, leaves: &BTreeSet<String>) {
        self.notes.push(format!(
            "{}: its classes are taken to be {}; --classes leaf takes the folders in them, {}",
            folder.path.display(),
            named(tops),
            named(leaves)
        ));
    }
}
