//! Expected values are numpy 2's: a golden-section search in long doubles, and Guo et al.'s equation 3.

use candle_core::Device;

use super::*;

/// Numbers that numpy made, too: a linear congruence, of which the upper bits are taken.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        state >> 16
    }
}

/// Sixty rows whose true class is likelier than it should be, far from always the likeliest.
fn logits(classes: usize) -> Logits {
    let mut next = numbers(7);
    let mut logits = Logits::default();
    for _ in 0..60 {
        let truth = (next() % classes as u64) as usize;
        let mut row: Vec<f32> = (0..classes).map(|_| (next() % 97) as f32 / 8.0 - 6.0).collect();
        row[truth] += 3.0;
        // Two classes have one output.
        let row = if classes == 2 { vec![row[1] - row[0]] } else { row };
        logits.add(&Tensor::from_slice(&row, (1, row.len()), &Device::Cpu).unwrap(), &[truth]).unwrap();
    }
    logits
}

fn error(logits: &Logits, temperature: f64) -> f64 {
    expected_calibration_error(&reliability(&logits.confidences(temperature)))
}

#[test]
fn the_temperature_is_that_of_the_least_log_loss() {
    for (classes, expected) in [(3, 4.8653929570867325), (2, 3.58024218211609)] {
        let found = fit_temperature(&logits(classes));
        // A golden section finds the place of a minimum to the root of its precision.
        assert!((found - expected).abs() < 1e-8, "{classes} classes: {found}, expected {expected}");
        let slope = logits(classes).derivatives(1.0 / found)[0];
        assert!(slope.abs() < 1e-9, "{slope}");
    }
}

#[test]
fn the_error_is_the_mean_gap_between_confidence_and_accuracy() {
    for (classes, temperature, expected) in [
        (3, 1.0, 0.37986572723026657),
        (3, 2.5, 0.20817170949371605),
        (2, 1.0, 0.22483284879957482),
        (2, 2.5, 0.1027763473870015),
    ] {
        let found = error(&logits(classes), temperature);
        assert!((found - expected).abs() < 1e-12, "{classes} at {temperature}: {found}, expected {expected}");
    }
    let counts: Vec<usize> = reliability(&logits(3).confidences(1.0)).iter().map(|bin| bin.count).collect();
    assert_eq!(counts, [0, 0, 0, 0, 0, 0, 1, 2, 7, 2, 3, 4, 7, 6, 28]);
}

#[test]
fn a_bin_ends_with_its_upper_edge() {
    let bins = reliability(&[(1.0, true), (14.0 / 15.0, false), (0.0, false)]);
    let counts: Vec<usize> = bins.iter().map(|bin| bin.count).collect();
    assert_eq!((counts[0], counts[13], counts[14]), (1, 1, 1));
    assert_eq!((bins[13].upper, bins[14].accuracy), (14.0 / 15.0, 1.0));
}

#[test]
fn where_every_answer_is_right_nothing_is_fitted_and_extremes_stay_within_bounds() {
    let of = |rows: &[f32], truths: &[usize]| {
        let mut logits = Logits::default();
        logits.add(&Tensor::from_slice(rows, (truths.len(), 2), &Device::Cpu).unwrap(), truths).unwrap();
        fit_temperature(&logits)
    };
    assert_eq!(of(&[3.0, 0.0, 0.0, 1.0], &[0, 1]), 1.0);
    // Every answer wrong: no temperature is high enough. One wrong by a hair: hardly one is low enough.
    assert!((of(&[3.0, 0.0, 0.0, 1.0], &[1, 0]) - TEMPERATURES[1]).abs() < 1e-6);
    assert!((of(&[0.1, 0.0, 0.0, 0.1, 0.0, 1e-9], &[0, 1, 0]) - TEMPERATURES[0]).abs() < 1e-3);
}

#[test]
fn a_prior_steadies_the_temperature_of_few_rows_and_hardly_moves_that_of_many() {
    let mut few = Logits::default();
    few.extend([(&[1.0][..], 1), (&[-1.0], 0), (&[1.5], 1), (&[-0.5], 0)].into_iter());
    // scipy 1.17's minimize_scalar of Σ log(1 + exp(-z/T)) + 0.15 / 4 · Σ log(1 + exp(z/T)) + (ln 2T)² / 2.
    let found = steadied_temperature(&few, 1.0);
    assert!((found - 0.36901385).abs() < 1e-6, "{found}");
    let many = logits(3);
    let (free, steadied) = (fit_temperature(&many), steadied_temperature(&many, 1000.0));
    assert!((free - steadied).abs() < 1e-2 * free, "{free} {steadied}");
}
