//! Made-up rows that are easy to tell apart, and rows that say nothing.

use super::*;

/// Rows of sixteen features; those of the class's own column are larger by `gap`.
fn rows(counts: &[usize], gap: f32) -> (Vec<Vec<f32>>, Vec<usize>) {
    let mut noise = random(3, "rows");
    let mut value = |column: usize, class: usize| {
        let own = if column % counts.len() == class { gap } else { 0.0 };
        own + rand::RngExt::random_range(&mut noise, -1.0..1.0_f32)
    };
    let classes: Vec<usize> = counts.iter().enumerate().flat_map(|(class, &count)| vec![class; count]).collect();
    (classes.iter().map(|&class| (0..16).map(|column| value(column, class)).collect()).collect(), classes)
}

fn solved(counts: &[usize], gap: f32) -> Solved {
    let (rows, classes) = rows(counts, gap);
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let weights = vec![1.0; rows.len()];
    let examples = Examples { rows: &rows, classes: &classes, class_count: counts.len(), weights: &weights };
    let mut steps_done = 0;
    let solved = solve(&examples, 0, &|| Ok(()), &mut || steps_done += 1).unwrap();
    assert_eq!(steps_done, steps(&examples));
    solved
}

#[test]
fn every_picture_is_held_out_once_and_judged_by_a_head_that_never_saw_it() {
    let found = solved(&[12, 9, 15], 2.0);
    assert_eq!((found.folds, found.chosen.pictures), (5, 36));
    assert_eq!(found.logits.truths().len(), 36);
    assert!(found.chosen.mistakes <= 2.0, "{:?}", found.chosen);
    // Rows without a difference cannot be told apart by heads that did not see them: 24 of 36 wrong by guessing.
    let guessed = solved(&[12, 12, 12], 0.0);
    assert!(guessed.chosen.mistakes > 15.0, "{:?}", guessed.chosen);
    assert!(guessed.chosen.log_loss > 1.0, "{:?}", guessed.chosen);
}

#[test]
fn two_pictures_a_class_are_held_out_in_pairs_and_one_picture_a_class_is_not_judged() {
    let found = solved(&[2, 2], 3.0);
    assert_eq!((found.folds, found.chosen.pictures), (2, 4));
    let found = solved(&[1, 1], 3.0);
    assert_eq!((found.folds, found.chosen.pictures), (0, 0));
    assert!((found.chosen.temperature - 0.5).abs() < 1e-6 && !found.chosen.unit_length, "{:?}", found.chosen);
}

#[test]
fn the_only_picture_of_a_class_always_trains() {
    let found = solved(&[1, 6, 6], 3.0);
    assert_eq!(found.chosen.pictures, 12);
    assert!(found.logits.truths().iter().all(|&truth| truth > 0));
}

#[test]
fn penalties_weaker_than_one_that_is_no_better_are_left_out() {
    let found = solved(&[40, 40], 0.3);
    for unit_length in [false, true] {
        let of_scaling = found.candidates.iter().filter(|other| other.unit_length == unit_length);
        let losses: Vec<f64> = of_scaling.map(|other| other.log_loss).collect();
        assert!((2..STRENGTHS.len()).contains(&losses.len()), "{losses:?}");
        assert!(losses[losses.len() - 2] < losses[losses.len() - 1], "{losses:?}");
    }
}
