//! Audits of made-up features whose pictures are not there.

use super::*;
use crate::features::testing::{features, row};

/// Rows of two classes that a head tells apart easily, each in its own direction besides.
fn rows(count: usize) -> Vec<Row> {
    let values = |i: usize, class: usize| {
        let mut values = vec![0.0; 40];
        values[class] = 1.0;
        values[2 + i % 38] = 0.6;
        values
    };
    let split = |i: usize| Some(if i.is_multiple_of(3) { Split::Val } else { Split::Train });
    (0..count).map(|i| row(&format!("{i}.jpg"), split(i), Some(i % 2), &values(i, i % 2))).collect()
}

fn audit(rows: Vec<Row>) -> Audit {
    Audit::of(&features(rows), &[], &mut |_| Ok(())).unwrap()
}

#[test]
fn a_swapped_label_is_doubted_and_the_other_class_suggested() {
    let mut rows = rows(38);
    rows[6].class = Some(1);
    let found = audit(rows);
    let told: Vec<_> =
        found.labels.iter().map(|fault| (fault.place.path.as_str(), fault.suggestion.as_str())).collect();
    assert_eq!(told, [("6.jpg", "cat")]);
    assert!(found.labels[0].margin() < -0.5, "{:?}", found.labels);
}

#[test]
fn without_the_pictures_only_nearly_equal_features_are_duplicates() {
    let mut rows = rows(38);
    rows[4].values = rows[3].values.clone();
    rows[4].values[39] = 0.1;
    let found = audit(rows);
    assert_eq!((found.pictures, found.files_found), (38, 0));
    let [duplicate] = found.duplicates.as_slice() else { panic!("{:?}", found.duplicates) };
    assert_eq!((duplicate.kind, duplicate.leak), (DuplicateKind::SameFeatures, true));
    assert_eq!((duplicate.first.path.as_str(), duplicate.second.path.as_str()), ("3.jpg", "4.jpg"));
}

#[test]
fn classes_are_counted_by_split() {
    let found = audit(rows(12));
    let counts: Vec<_> = found.classes.iter().map(|class| (class.train, class.val, class.pictures())).collect();
    assert_eq!(counts, [(4, 2, 6), (4, 2, 6)]);
}

#[test]
fn labels_of_too_few_pictures_are_not_judged() {
    let found = audit(rows(8));
    assert!(found.labels.is_empty() && found.labels_skipped.unwrap().contains("has 4 different pictures"));
}

#[test]
fn a_feature_that_is_not_a_number_is_refused() {
    let mut rows = rows(4);
    rows[2].values[7] = f32::NAN;
    let error = Audit::of(&features(rows), &[], &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("2.jpg"), "{error}");
}
