//! Which folders of a data set are its splits: by their names ([`names`]) and by what lies beside them and in them.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::names::{self, Part, PartName};
use super::walk::Folder;
use super::{ClassLevel, Split};
use crate::terminal::printable;

/// A part of the data and the folder that holds its class folders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    pub split: Option<Split>,
    pub folder: &'a Folder,
    /// Whether its folders are no classes, whatever they are called.
    pub is_unlabelled: bool,
}

/// What the folders right in one are.
pub(super) enum Reading<'a> {
    Classes,
    /// Splits, and the others: of classes, if they are named as folders in the splits are.
    Splits {
        roots: Vec<Root<'a>>,
        others: Vec<&'a Folder>,
        has_classes_beside: bool,
    },
}

/// Folders of which most are a class's part in a split.
pub(super) struct InNames<'a> {
    /// Each with its split and its class.
    pub named: Vec<(Split, String, &'a Folder)>,
    pub others: Vec<&'a Folder>,
}

/// The folder below a chain of folders that hold little else, if it holds several or splits: an archive unpacks into a
/// folder of its name. Asked for the top folders, only one that holds splits.
pub(super) fn unwrapped(folder: &Folder, level: Option<ClassLevel>) -> &Folder {
    let is_split = |folder: &Folder| plain_part(folder).is_some();
    let mut inner = folder;
    let next = |folder| Folder::sole_folder(folder).or_else(|| only_data_set(folder)).filter(|next| !is_split(next));
    while let Some(folder) = next(inner) {
        inner = folder;
    }
    let folders = inner.picture_folders();
    match () {
        () if has_classes_in_splits(inner) => inner,
        () if are_splits(inner) || folders.len() < 2 || level == Some(ClassLevel::Top) => folder,
        () => inner,
    }
}

fn are_splits(data: &Folder) -> bool {
    let folders = data.picture_folders();
    !folders.is_empty() && parts(&folders).iter().all(Option::is_some)
}

fn has_classes_in_splits(data: &Folder) -> bool {
    are_splits(data) && data.picture_folders().iter().any(|folder| !folder.picture_folders().is_empty())
}

/// The one folder that holds several splits with classes in them, where the others hold but some pictures: those of
/// its documentation.
fn only_data_set(data: &Folder) -> Option<&Folder> {
    let is_data_set = |folder: &&Folder| has_classes_in_splits(folder) && folder.picture_folders().len() > 1;
    let (sets, others): (Vec<&Folder>, Vec<&Folder>) = data.picture_folders().into_iter().partition(is_data_set);
    let are_flat = others.iter().all(|other| other.picture_folders().is_empty() && plain_part(other).is_none());
    let [set] = sets[..] else { return None };
    let beside = data.pictures().len() - set.pictures().len();
    Some(set).filter(|set| are_flat && beside < set.pictures().len())
}

/// The folder in a split that holds all of it: `seg_train/seg_train`, `train/images`.
pub(super) fn undoubled(split: &Folder) -> &Folder {
    let mut inner = split;
    while let Some(sole) = inner.sole_folder() {
        let name = sole.name().to_string_lossy();
        let is_the_same = name.eq_ignore_ascii_case(&inner.name().to_string_lossy());
        let is_general = names::is_general_name(&name) && name.chars().any(char::is_alphabetic);
        let part = |folder| plain_part(folder).map(|name| name.part);
        let is_the_part = part(sole).is_some() && part(sole) == part(inner);
        if !(is_the_same || is_general || is_the_part) {
            break;
        }
        inner = sole;
    }
    inner
}

/// Goes into the one folder of every split, where each holds several.
pub(super) fn unwrap_all(roots: &mut [Root]) {
    fn inner<'a>(root: &Root<'a>) -> Option<&'a Folder> {
        root.folder.sole_folder().filter(|sole| sole.picture_folders().len() > 1)
    }
    if roots.len() > 1 && roots.iter().all(|root| inner(root).is_some()) {
        for root in roots {
            root.folder = inner(root).unwrap_or(root.folder);
        }
    }
}

pub(super) fn plain_part(folder: &Folder) -> Option<PartName> {
    names::part_of(&folder.name().to_string_lossy()).filter(|name| name.rest.is_empty())
}

/// The folder in `data` that repeats the classes beside it, `cell_images` beside the two folders that it holds as well.
pub(super) fn repetition(data: &Folder) -> Option<&Folder> {
    let folders = data.picture_folders();
    let is_repetition = |folder: &&&Folder| {
        let held = tops(&[folder]);
        let beside = || folders.iter().filter(|other| other.path != folder.path).map(|other| other.class_name());
        // Of many classes the first already differs.
        held.len() > 1 && beside().all(|name| held.contains(&name)) && beside().collect::<BTreeSet<_>>() == held
    };
    folders.iter().find(is_repetition).copied()
}

/// What the folders right in `data` are.
pub(super) fn reading(data: &Folder, level: Option<ClassLevel>) -> Result<Reading<'_>> {
    let folders = data.picture_folders();
    let (mut roots, mut others) = (Vec::new(), Vec::new());
    for (folder, name) in folders.iter().zip(parts(&folders)) {
        match name {
            Some(name) => roots.push(Root::of(folder, name.part)),
            None => others.push(*folder),
        }
    }
    let has_classes = |root: &Root| !is_flat(root.folder, None);
    if roots.is_empty() || others.is_empty() && level == Some(ClassLevel::Top) && !roots.iter().any(has_classes) {
        return Ok(Reading::Classes);
    }
    if others.is_empty() {
        return Ok(Reading::Splits { roots, others, has_classes_beside: false });
    }
    // Splits that lie beside the very classes that they hold.
    let beside: BTreeSet<String> = others.iter().map(|folder| folder.class_name()).collect();
    if roots.iter().all(|root| has_classes(root) && tops(&[root.folder]).is_subset(&beside)) {
        return Ok(Reading::Splits { roots, others, has_classes_beside: true });
    }
    let trains = |root: &&Root| root.split == Some(Split::Train) && has_classes(root);
    let is_another = |root: &Root| root.split != Some(Split::Train) && !root.is_unlabelled;
    if roots.iter().any(|root| trains(&root)) && roots.iter().any(is_another) {
        return Ok(Reading::Splits { roots, others, has_classes_beside: false });
    }
    // Classes of one kind are built alike.
    let is_alike = |root: &Root| others.iter().any(|other| !tops(&[root.folder]).is_disjoint(&tops(&[other])));
    match roots.iter().filter(trains).find(|root| !is_alike(root)) {
        Some(root) if level.is_none() => bail!(
            "{}: can't tell whether `{train}` is a class, beside `{other}`, or the part to train on, for it holds folders; \
             if it is a class, rename it or pass --classes top, otherwise move `{other}` elsewhere",
            data.path.display(),
            train = printable(&root.folder.class_name()),
            other = printable(&others[0].class_name())
        ),
        _ => Ok(Reading::Classes),
    }
}

/// The folders' names as parts, where they are: those with nothing but the word for one, those that differ in it alone,
/// `intel_train` and `intel_test`, and those that hold the same classes, `train_augmented` and `test`.
fn parts(folders: &[&Folder]) -> Vec<Option<PartName>> {
    let names: Vec<_> = folders.iter().map(|folder| part_in(folder)).collect();
    let is_paired = |name: &PartName| {
        let is_split = |other: &&PartName| !other.rest.is_empty() && other.part != Part::Unlabelled;
        let others = || names.iter().flatten().filter(is_split);
        others().any(|other| other.rest == name.rest && other.part != name.part)
            // Several are of classes.
            && others().all(|other| other.rest == name.rest)
    };
    let has_plain = names.iter().flatten().any(|name| name.rest.is_empty()) || names.iter().all(Option::is_some);
    let holds_the_same = |index: usize, name: &PartName| {
        let is_another = |other: &Option<PartName>| other.as_ref().is_some_and(|other| other.part != name.part);
        let mut others = folders.iter().zip(&names).filter(|(_, other)| is_another(other));
        has_plain && others.any(|(other, _)| hold_the_same(folders[index], other))
    };
    let of_folder = |(index, name): (usize, &Option<PartName>)| match name {
        Some(name) if name.rest.is_empty() || is_paired(name) || holds_the_same(index, name) => Some(name.clone()),
        Some(_) => None,
        None => unmarked_train(folders[index], folders, &names),
    };
    names.iter().enumerate().map(of_folder).collect()
}

fn part_in(folder: &Folder) -> Option<PartName> {
    names::part_of(&folder.name().to_string_lossy())
}

/// Whether two folders have several classes in common.
fn hold_the_same(one: &Folder, other: &Folder) -> bool {
    tops(&[undoubled(one)]).intersection(&tops(&[undoubled(other)])).count() > 1
}

/// The part to train on that has the name of the data alone: `rps` beside `rps-test-set`.
fn unmarked_train(folder: &Folder, folders: &[&Folder], names: &[Option<PartName>]) -> Option<PartName> {
    let own = names::words_of_data(&folder.name().to_string_lossy());
    let trains = names.iter().flatten().any(|name| name.part == Part::Split(Split::Train));
    let is_of_the_same = |(other, name): (&&Folder, &Option<PartName>)| {
        name.as_ref().is_some_and(|name| name.rest == own) && hold_the_same(folder, other)
    };
    let is_beside = !own.is_empty() && !trains && folders.iter().zip(names).any(is_of_the_same);
    is_beside.then(|| PartName { part: Part::Split(Split::Train), word: "train".to_owned(), rest: own })
}

/// Folders right in `data` that are called like parts of one and the same.
pub(super) fn likely_parts(data: &Folder) -> BTreeSet<String> {
    let folders = data.picture_folders();
    let names: Vec<_> = folders.iter().map(|folder| part_in(folder)).collect();
    let is_likely = |name: &PartName| {
        let is_other = |other: &&PartName| other.rest == name.rest && other.part != name.part;
        name.part != Part::Unlabelled && (name.rest.is_empty() || names.iter().flatten().any(|other| is_other(&other)))
    };
    let named = folders.iter().zip(&names);
    named.filter(|(_, name)| name.as_ref().is_some_and(is_likely)).map(|(folder, _)| folder.class_name()).collect()
}

/// The split and the class of each folder right in `data`, where their names tell both of most: `cat_train`, `cat_test`,
/// `dog_train`, `dog_test`; and the others.
pub(super) fn in_names(data: &Folder) -> Option<InNames<'_>> {
    let of = |folder: &'_ Folder| match names::part_of(&folder.name().to_string_lossy())? {
        PartName { part: Part::Split(split), rest, .. } if !rest.is_empty() => Some((split, rest.join("_"))),
        _ => None,
    };
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for folder in data.picture_folders() {
        match of(folder) {
            Some((split, class)) => named.push((split, class, folder)),
            None => others.push(folder),
        }
    }
    let has = |class: &str, is: fn(Split) -> bool| named.iter().any(|(split, other, _)| other == class && is(*split));
    let is_complete =
        |class: &str| has(class, |split| split == Split::Train) && has(class, |split| split != Split::Train);
    let classes: BTreeSet<&str> = named.iter().map(|(_, class, _)| class.as_str()).collect();
    let complete = classes.iter().filter(|class| is_complete(class)).count();
    let are_classes = complete > 1 && 2 * complete > classes.len() && 2 * others.len() < named.len();
    are_classes.then_some(InNames { named, others })
}

impl<'a> Root<'a> {
    pub fn of(folder: &'a Folder, part: Part) -> Self {
        match part {
            Part::Split(split) => Self { split: Some(split), folder, is_unlabelled: false },
            // Never trained on.
            Part::Unlabelled => Self { split: Some(Split::Test), folder, is_unlabelled: true },
        }
    }
}

/// Whether a folder has no class folders: no folders, or as many pictures beside them as in them.
pub(super) fn is_flat(folder: &Folder, level: Option<ClassLevel>) -> bool {
    let (own, all) = (folder.own_pictures().count(), folder.pictures().len());
    own == all || (level.is_none() && own >= all - own)
}

/// Names of the folders right in these, of those that hold pictures.
pub(super) fn tops(folders: &[&Folder]) -> BTreeSet<String> {
    folders.iter().flat_map(|folder| folder.picture_folders()).map(Folder::class_name).collect()
}

/// Whether the folders are classes with splits in them, `cat/train`, `cat/test`.
pub(super) fn has_splits_below(data: &Folder) -> bool {
    let folders = data.picture_folders();
    let below: Vec<_> = folders.iter().flat_map(|folder| folder.picture_folders()).map(plain_part).collect();
    let has = |is: fn(Part) -> bool| below.iter().flatten().any(|name| is(name.part));
    below.iter().all(Option::is_some)
        && has(|part| part == Part::Split(Split::Train))
        && has(|part| matches!(part, Part::Split(Split::Val | Split::Test)))
}
