//! Expected values are numpy 2's, in float64 with the whole covariance: `numpy.linalg.eigh`, `inv`, `quantile`.

use super::*;
use crate::kernel::testing::values;

const LENGTH: usize = 6;

/// Numbers that numpy made, too: a linear congruence, of which the upper bits are taken.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    const SCALES: [f32; LENGTH] = [4.0, 2.0, 1.0, 0.5, 0.5, 0.5];
    let mut state = seed;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        ((state >> 16) % 201) as f32 / 64.0 - 100.0 / 64.0
    };
    (0..count * LENGTH).map(|index| next() * SCALES[index % LENGTH]).collect()
}

/// Forty rows of two classes, the second moved, and nine rows that were not trained on.
fn fitted() -> (Known, Vec<Vec<f32>>) {
    let mut rows: Vec<Vec<f32>> = numbers(40, 3).chunks(LENGTH).map(<[f32]>::to_vec).collect();
    let classes: Vec<usize> = (0..40).map(|row| row % 2).collect();
    for row in rows.iter_mut().skip(1).step_by(2) {
        row.iter_mut().zip([1.0, 1.0, 2.0]).for_each(|(value, shift)| *value += shift);
    }
    let held_out: Vec<Vec<f32>> = numbers(9, 5).chunks(LENGTH).map(<[f32]>::to_vec).collect();
    (Known::fit(&rows, &classes, &held_out).unwrap(), held_out)
}

#[test]
fn distances_are_those_of_the_whole_covariance() {
    let (known, held_out) = fitted();
    let expected = [
        1.0230680072786142,
        1.3584806811801646,
        1.115801745326813,
        0.8632945803539782,
        1.3515447003637084,
        1.3217121579684308,
        1.4462087827601622,
        0.8386650010347535,
        1.0271154027179774,
    ];
    for (row, expected) in held_out.iter().zip(expected) {
        // The file's numbers are float32.
        let found = known.distance(row);
        assert!((found - expected).abs() < 2e-6, "{found}, expected {expected}");
    }
    let variances = [11.37676667, 3.82957695, 0.60646722, (0.26829001 + 0.18594337 + 0.07190344) / 3.0];
    for (found, expected) in known.variances.iter().zip(variances) {
        assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{found}, expected {expected}");
    }
}

#[test]
fn a_threshold_is_a_quantile_of_the_held_out_distances() {
    let (known, _) = fitted();
    for (share, expected) in
        [(0.0, 0.838665), (0.5, 1.11580175), (0.9, 1.3760263), (0.95, 1.41111754), (1.0, 1.44620878)]
    {
        assert!((known.threshold(share) - expected).abs() < 2e-6, "{share}: {}", known.threshold(share));
    }
}

#[test]
fn a_file_gives_back_what_was_written_and_damage_is_named() {
    let (known, _) = fitted();
    let mut tensors = known.tensors();
    assert_eq!(Known::from_tensors(&tensors).unwrap().unwrap(), known);
    assert_eq!(Known::from_tensors(&Tensors::new()).unwrap(), None);
    for (name, value) in [(ood::VARIANCES, 0.0), (ood::MEANS, f32::NAN), (ood::QUANTILES, 9.0)] {
        let whole = tensors[name].clone();
        let mut values = whole.data.floats().into_owned();
        values[0] = value;
        tensors.insert(name.to_owned(), RawTensor { shape: whole.shape.clone(), data: values.into() });
        let error = Known::from_tensors(&tensors).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        tensors.insert(name.to_owned(), whole);
    }
}

#[test]
fn few_and_equal_pictures_still_have_distances() {
    let row = |seed| values(seed, 2048);
    for rows in [vec![row(1), row(2)], vec![row(1), row(1), row(2), row(2)]] {
        let classes: Vec<usize> = (0..rows.len()).map(|index| index * 2 / rows.len()).collect();
        let known = Known::fit(&rows, &classes, &rows).unwrap();
        assert!(known.distance(&row(1)) < 1e-2, "{}", known.distance(&row(1)));
        let strange = known.distance(&row(3));
        assert!(strange.is_finite() && strange > known.threshold(1.0), "{strange}");
    }
}
