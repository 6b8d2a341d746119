//! Parts of the data for cross-validation: what is judged was never learnt from.

use rand::seq::SliceRandom;

use crate::train;

pub(super) const FOLDS: usize = 5;
const SEED: u64 = 0;

/// The fold of each row, of [`FOLDS`]. Each class is spread evenly; rows of one group stay together, for a copy of a
/// picture would speak for its label.
pub(super) fn folds(classes: &[usize], groups: &[usize]) -> Vec<usize> {
    let mut heads: Vec<usize> = (0..groups.len()).collect();
    heads.sort_by_key(|&row| groups[row]);
    heads.dedup_by_key(|row| groups[*row]);
    heads.shuffle(&mut train::random(SEED, "folds"));
    let count = classes.iter().max().map_or(0, |most| most + 1);
    let mut next: Vec<usize> = (0..count).collect(); // classes of a single picture go to different folds
    let mut of_group = std::collections::HashMap::new();
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
