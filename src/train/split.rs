//! Which pictures train and which validate.

use anyhow::{Result, bail, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::dataset::{self, Split};

/// Indices of the rows to train on and to validate with, in order: by the data set's own folders
/// where it has a `val`, otherwise `val_fraction` of each class drawn by `seed`; without a fraction, all train.
/// Rows of `test` and rows without a class are left out; a class that only rows of `test` have is none of theirs.
///
/// # Errors
/// If there are fewer than two classes or a class is missing from a part.
pub fn assign(
    class_names: &[String],
    labels: impl Iterator<Item = (Option<Split>, Option<usize>)>,
    val_fraction: Option<f64>,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>)> {
    let labels: Vec<_> = labels.collect();
    let is_test = |(split, _): &(Option<Split>, Option<usize>)| *split == Some(Split::Test);
    let rows: Vec<Labelled> = labels
        .iter()
        .enumerate()
        .filter(|(_, label)| !is_test(label))
        .filter_map(|(index, (split, class))| Some(Labelled { index, split: *split, class: (*class)? }))
        .collect();
    if rows.is_empty() && !labels.is_empty() && labels.iter().all(is_test) {
        bail!("every picture is in `test`, which is never trained on; expected some in DATA/train/CLASS/*");
    }
    if rows.is_empty() && labels.iter().any(|(split, _)| *split == Some(Split::Train)) {
        bail!("the pictures in `train` lie in no class folders; move those of each class into DATA/train/CLASS/");
    }
    if rows.is_empty() {
        bail!("no picture has a class; expected a folder for each class, DATA/CLASS/*.jpg or DATA/train/CLASS/*.jpg");
    }
    let of_tests = dataset::classes_of_tests(labels.iter().copied());
    let classes: Vec<usize> = (0..class_names.len()).filter(|class| !of_tests.contains(class)).collect();
    ensure!(classes.len() >= 2, "one class only (`{}`), expected at least two class folders", class_names[classes[0]]);
    let has_val = rows.iter().any(|row| row.split == Some(Split::Val));
    let (train, val): (Vec<_>, Vec<_>) = if has_val {
        rows.into_iter().partition(|row| row.split != Some(Split::Val))
    } else if let Some(val_fraction) = val_fraction {
        let classes: Vec<usize> = rows.iter().map(|row| row.class).collect();
        let is_val = drawn(&classes, val_fraction, &mut ChaCha8Rng::seed_from_u64(seed));
        let (train, val): (Vec<_>, Vec<_>) = rows.into_iter().zip(is_val).partition(|(_, is_val)| !is_val);
        let rows = |part: Vec<(Labelled, bool)>| part.into_iter().map(|(row, _)| row).collect();
        (rows(train), rows(val))
    } else {
        (rows, Vec::new())
    };
    ensure!(!train.is_empty(), "every picture is in `val` or `test`; expected some to train on in DATA/train/CLASS/*");
    // Without any validation pictures there is no such part.
    let parts = [("training", &train), ("validation", &val)];
    for (name, rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        for &class in &classes {
            let class_name = &class_names[class];
            let is_there = rows.iter().any(|row| row.class == class);
            ensure!(
                is_there || has_val,
                "class `{class_name}` has one picture, which can't both train and validate; add pictures, or let \
                 cross-validation judge: --head linear, without --val"
            );
            ensure!(
                is_there,
                "class `{class_name}` has no {name} pictures; every class needs some in either part of the data: {}",
                remedy(class_name, class_names)
            );
        }
    }
    let indices = |rows: Vec<Labelled>| rows.into_iter().map(|row| row.index).collect();
    Ok((indices(train), indices(val)))
}

/// What to do about a class that a part of the data lacks.
fn remedy(class: &str, class_names: &[String]) -> String {
    let is_alike = |other: &&String| *other != class && other.to_lowercase() == class.to_lowercase();
    match class_names.iter().find(is_alike) {
        Some(other) => format!("give its folders and those of `{other}` one name, if they are one class"),
        None => "add pictures, or remove its folder".to_owned(),
    }
}

struct Labelled {
    index: usize,
    split: Option<Split>,
    class: usize,
}

/// Draws `fraction` of each of the `classes` of some rows, at least one and not all; whether each row was drawn.
pub(super) fn drawn(classes: &[usize], fraction: f64, random: &mut ChaCha8Rng) -> Vec<bool> {
    let mut is_drawn = vec![false; classes.len()];
    for class in 0..=classes.iter().copied().max().unwrap_or(0) {
        let mut members: Vec<usize> = (0..classes.len()).filter(|&row| classes[row] == class).collect();
        members.shuffle(random);
        let count = (members.len() as f64 * fraction).round() as usize;
        let count = count.max(1).min(members.len().saturating_sub(1));
        members[..count].iter().for_each(|&row| is_drawn[row] = true);
    }
    is_drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    type Label = (Option<Split>, Option<usize>);

    /// Classes of the training and the validation rows.
    fn split_of(labels: &[Label], fraction: f64) -> Result<(Vec<usize>, Vec<usize>)> {
        let names = ["cat".to_owned(), "dög".to_owned()];
        let (train, val) = assign(&names, labels.iter().copied(), Some(fraction), 0)?;
        let classes = |rows: Vec<usize>| rows.into_iter().filter_map(|row| labels[row].1).collect();
        Ok((classes(train), classes(val)))
    }

    #[test]
    fn a_drawn_split_takes_its_share_of_each_class() {
        let labels: Vec<Label> = (0..50).map(|i| (None, Some(usize::from(i >= 10)))).collect();
        let (train, val) = split_of(&labels, 0.2).unwrap();
        let count = |classes: &[usize]| [0, 1].map(|class| classes.iter().filter(|&&c| c == class).count());
        assert_eq!((count(&train), count(&val)), ([8, 32], [2, 8]));
    }

    #[test]
    fn the_data_sets_own_folders_win_and_test_is_left_out() {
        use Split::{Test, Train, Val};
        let labels = [(Train, 0), (Test, 0), (Val, 1), (Train, 1), (Val, 0), (Test, 1)];
        assert_eq!(split_of(&labels.map(|(s, c)| (Some(s), Some(c))), 0.5).unwrap(), (vec![0, 1], vec![1, 0]));
    }

    #[test]
    fn a_class_missing_from_a_split_is_named() {
        let labels = [(Split::Train, 0), (Split::Train, 1), (Split::Val, 0)].map(|(s, c)| (Some(s), Some(c)));
        let error = split_of(&labels, 0.2).unwrap_err().to_string();
        assert!(error.contains("dög") && error.contains("validation"), "{error}");
    }

    #[test]
    fn a_class_that_is_called_otherwise_in_the_other_part_is_named() {
        let names = ["Cat".to_owned(), "cat".to_owned()];
        let labels = [(Some(Split::Train), Some(0)), (Some(Split::Val), Some(1))];
        let error = assign(&names, labels.into_iter(), None, 0).unwrap_err().to_string();
        assert!(error.contains("class `cat` has no training") && error.contains("`Cat` one name"), "{error}");
    }

    #[test]
    fn a_class_of_tests_alone_is_passed_over() {
        let names = ["cat", "dog", "unknown"].map(str::to_owned);
        let labels = [(Some(Split::Train), Some(0)), (Some(Split::Train), Some(1)), (Some(Split::Test), Some(2))];
        assert_eq!(assign(&names, labels.into_iter(), None, 0).unwrap(), (vec![0, 1], vec![]));
    }

    #[test]
    fn what_keeps_pictures_from_training_is_named() {
        let flat = [(Some(Split::Train), None), (Some(Split::Test), None)];
        assert!(split_of(&flat, 0.2).unwrap_err().to_string().contains("`train` lie in no class folders"));
        let tests = [(Some(Split::Test), Some(0)), (Some(Split::Test), Some(1))];
        assert!(split_of(&tests, 0.2).unwrap_err().to_string().contains("every picture is in `test`"));
        let single = [(None, Some(0)), (None, Some(1)), (None, Some(1))];
        assert!(split_of(&single, 0.2).unwrap_err().to_string().contains("class `cat` has one picture"));
    }

    #[test]
    fn validation_pictures_alone_cannot_be_trained_on() {
        let error = split_of(&[(Some(Split::Val), Some(0)), (Some(Split::Val), Some(1))], 0.2).unwrap_err().to_string();
        assert!(error.contains("DATA/train/CLASS"), "{error}");
    }

    #[test]
    fn pictures_without_classes_cannot_be_trained_on() {
        let error = split_of(&[(None, None)], 0.2).unwrap_err().to_string();
        assert!(error.contains("DATA/CLASS"), "{error}");
    }
}
