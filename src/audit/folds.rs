//! Parts of the data for cross-validation: what is judged was never learnt from.

use std::collections::{HashMap, HashSet};

use rand::seq::SliceRandom;

use crate::train;

pub(super) const FOLDS: usize = 5;
const SEED: u64 = 0;

/// What cross-validation found, and what it could not look at.
#[derive(Debug, PartialEq)]
pub(super) struct Judged<T> {
    pub found: Vec<T>,
    /// Why nothing was judged.
    pub skipped: Option<String>,
    /// Classes that were not.
    pub left_out: Vec<String>,
}

impl<T> Judged<T> {
    pub fn skipped(reason: String) -> Self {
        Self { found: Vec::new(), skipped: Some(reason), left_out: Vec::new() }
    }
}

/// Which classes have enough pictures for each fold to hold one and leave others to learn from.
pub(super) struct Fit {
    is_fit: Vec<bool>,
    pub left_out: Vec<String>,
    /// Why there is nothing to tell apart.
    pub reason: Option<String>,
}

impl Fit {
    /// Of pictures by class and group; copies of one picture count once, for they are held out together. `what` the
    /// pictures are, in words.
    pub fn of(names: &[String], pictures: impl Iterator<Item = (usize, usize)>, what: &str) -> Self {
        let mut groups = vec![HashSet::new(); names.len()];
        pictures.for_each(|(class, group)| _ = groups[class].insert(group));
        let is_fit: Vec<bool> = groups.iter().map(|groups| groups.len() >= FOLDS).collect();
        let named = |wanted: bool| names.iter().zip(&is_fit).filter(move |(_, is_fit)| **is_fit == wanted);
        let fit: Vec<&String> = named(true).map(|(name, _)| name).collect();
        let reason = match (names, fit.as_slice()) {
            ([], _) => Some("no picture has a label".to_owned()),
            ([name], _) => Some(format!("`{name}` is the only class")),
            (_, []) => Some(format!("no class has {FOLDS} {what}")),
            (_, [name]) => Some(format!("only class `{name}` has {FOLDS} {what}")),
            _ => None,
        };
        Self { left_out: named(false).map(|(name, _)| name.clone()).collect(), is_fit, reason }
    }

    pub fn holds(&self, class: usize) -> bool {
        self.is_fit[class]
    }
}

/// The fold of each row, of [`FOLDS`]. Each class is spread evenly; rows of one group stay together, for a copy of a
/// picture would speak for its label.
pub(super) fn folds(classes: &[usize], groups: &[usize]) -> Vec<usize> {
    let mut heads: Vec<usize> = (0..groups.len()).collect();
    heads.sort_by_key(|&row| groups[row]);
    heads.dedup_by_key(|row| groups[*row]);
    heads.shuffle(&mut train::random(SEED, "folds"));
    let count = classes.iter().max().map_or(0, |most| most + 1);
    let mut next: Vec<usize> = (0..count).collect(); // classes of a single picture go to different folds
    let mut of_group = HashMap::new();
    for row in heads {
        let next = &mut next[classes[row]];
        of_group.insert(groups[row], *next % FOLDS);
        *next += 1;
    }
    groups.iter().map(|group| of_group[group]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_too_few_different_pictures_are_left_out() {
        let names = ["a", "b", "c"].map(String::from);
        // Six pictures of `b` are two; `a` and `c` have five and six.
        let pictures = |rows: usize| (0..rows).map(|row| (row % 3, if row % 3 == 1 { row % 2 } else { 2 + row }));
        let fit = Fit::of(&names, pictures(18), "pictures");
        assert_eq!((fit.left_out, fit.reason), (vec!["b".to_owned()], None));
        let only = Fit::of(&names, pictures(13), "pictures");
        assert_eq!(only.reason.as_deref(), Some("only class `a` has 5 pictures"));
        assert_eq!(Fit::of(&names, pictures(12), "pictures").reason.as_deref(), Some("no class has 5 pictures"));
        assert_eq!(Fit::of(&names[..1], [].into_iter(), "").reason.as_deref(), Some("`a` is the only class"));
    }

    #[test]
    fn classes_are_spread_evenly_and_groups_stay_together() {
        let classes: Vec<usize> = (0..103).map(|row| usize::from(row % 4 == 0)).collect();
        let groups: Vec<usize> = (0..103).map(|row| if row == 50 || row == 90 { 3 } else { row }).collect();
        let folds = folds(&classes, &groups);
        assert!(folds[3] == folds[50] && folds[3] == folds[90]);
        for class in 0..2 {
            let count = |fold| (0..103).filter(|&row| classes[row] == class && folds[row] == fold).count();
            let counts: Vec<usize> = (0..FOLDS).map(count).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 3, "{counts:?}");
        }
        assert_ne!(folds, (0..103).map(|row| row % FOLDS).collect::<Vec<_>>());
    }
}
