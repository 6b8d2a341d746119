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
    assert!(found.labels.is_empty() && found.labels_skipped.unwrap().contains("no class has 5 different pictures"));
    let found = audit(rows(9));
    assert!(found.labels_skipped.unwrap().contains("only class `cat` has 5 different pictures"));
}

#[test]
fn a_class_of_too_few_pictures_is_left_out_and_the_others_are_judged() {
    let mut rows = rows(38);
    rows[6].class = Some(1);
    // Four of a third class, of which two look like cats: they would be doubted, and cats doubted for them.
    for (row, path) in ["x", "y", "z", "w"].into_iter().enumerate() {
        rows.push(Row { path: path.into(), class: Some(2), ..rows[row].clone() });
        rows.last_mut().unwrap().values[1 + row] += 0.3;
        rows.last_mut().unwrap().sha256 = crate::weights::Digest::of_bytes(path.as_bytes());
    }
    let class_names = ["cat", "dog", "rare"].map(String::from).into();
    let found = Audit::of(&Features { class_names, ..features(rows) }, &[], &mut |_| Ok(())).unwrap();
    let told: Vec<_> = found.labels.iter().map(|fault| fault.place.path.as_str()).collect();
    assert_eq!((told, &found.labels_skipped), (vec!["6.jpg"], &None));
    assert_eq!(found.labels_left_out, ["rare"]);
    assert!(found.headline()[2].2.ends_with("not judged, with fewer than 5 different pictures: `rare`"));
}

#[test]
fn labels_that_heads_can_only_guess_are_not_judged() {
    // Eight classes of six pictures that have nothing to do with their class.
    let values = |i: usize| (0..40).map(|k| ((i * 7919 + k * 104_729) % 1009 * 7 % 101) as f32).collect::<Vec<_>>();
    let rows = (0..48).map(|i| row(&format!("{i}.jpg"), None, Some(i % 8), &values(i))).collect();
    let class_names = (0..8).map(|class| class.to_string()).collect();
    let found = Audit::of(&Features { class_names, ..features(rows) }, &[], &mut |_| Ok(())).unwrap();
    assert!(found.labels.is_empty(), "{:?}", found.labels.len());
    assert!(found.headline()[2].2.contains("no better than a guess"), "{}", found.headline()[2].2);
}

#[test]
fn every_step_that_was_announced_is_heard_of() {
    let mut rows = rows(38);
    rows[5].sha256 = rows[4].sha256.clone();
    rows[9].class = None;
    let features = features(rows);
    let mut heard = 0;
    let count = &mut |steps| {
        heard += steps;
        Ok(())
    };
    Audit::of(&features, &[], count).unwrap();
    assert_eq!(heard, Audit::steps(&features));
}

#[test]
fn a_name_that_was_not_utf8_is_why_its_file_is_not_there() {
    let mut rows = rows(4);
    rows[2].path = "caf\u{FFFD}.jpg".into();
    let found = audit(rows);
    let [fault] = found.files.as_slice() else { panic!("{:?}", found.files) };
    assert_eq!((fault.path.as_str(), fault.detail.as_str()), ("caf\u{FFFD}.jpg", "its name is not UTF-8; rename it"));
}

#[test]
fn a_feature_that_is_not_a_number_is_refused() {
    let mut rows = rows(4);
    rows[2].values[7] = f32::NAN;
    let error = Audit::of(&features(rows), &[], &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("2.jpg"), "{error}");
}
