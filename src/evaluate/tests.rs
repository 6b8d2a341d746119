//! Expected values are those of scikit-learn 1.9.1 and SciPy 1.17.1 for the same answers.

use super::*;

/// Truth and probabilities in 64ths, which float32 holds exactly. Class 4 is never predicted, class
/// 5 has no pictures, and one wrong answer is certain that it is not the truth.
const ANSWERS: [(usize, [u8; 6]); 12] = [
    (0, [40, 8, 8, 4, 2, 2]),
    (0, [30, 20, 5, 4, 3, 2]),
    (0, [10, 50, 1, 1, 1, 1]),
    (1, [4, 44, 6, 5, 3, 2]),
    (1, [8, 40, 8, 4, 2, 2]),
    (1, [59, 0, 1, 2, 1, 1]),
    (2, [2, 3, 50, 4, 3, 2]),
    (2, [10, 5, 9, 6, 4, 30]),
    (3, [5, 6, 7, 40, 3, 3]),
    (3, [12, 11, 10, 20, 6, 5]),
    (4, [25, 10, 8, 9, 7, 5]),
    (4, [4, 6, 8, 30, 16, 0]),
];

fn answers() -> Vec<Answer> {
    let answer = |(index, (truth, probabilities)): (usize, &(usize, [u8; 6]))| Answer {
        path: format!("{index}.jpg"),
        truth: *truth,
        probabilities: probabilities.map(|p| f32::from(p) / 64.0).to_vec(),
    };
    ANSWERS.iter().enumerate().map(answer).collect()
}

fn evaluation(mistakes: usize) -> Evaluation {
    let names = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
    Evaluation::new(&names, &answers(), mistakes).unwrap()
}

#[track_caller]
fn assert_close<const N: usize>(found: [f64; N], expected: [f64; N], tolerance: f64) {
    let is_close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(is_close, "{found:?}, expected {expected:?}");
}

#[test]
fn every_figure_is_scikit_learns() {
    let found = evaluation(0);
    assert_eq!((found.pictures, found.correct), (12, 7));
    // `accuracy_score`, `top_k_accuracy_score(k=5)`.
    assert_close([found.accuracy, found.top_5_accuracy.unwrap()], [0.5833333333333334, 0.9166666666666666], 1e-15);
    // `log_loss` of float32 probabilities, which sums in float32.
    assert_close([found.log_loss], [2.276000738143921], 1e-6);
    // `precision_recall_fscore_support(zero_division=0)`.
    let scores: Vec<Scores> = found.classes.iter().map(|class| class.scores).collect();
    let of = |figure: fn(&Scores) -> f64| [0, 1, 2, 3, 4, 5].map(|class: usize| figure(&scores[class]));
    let (third, two_thirds) = (1.0 / 3.0, 2.0 / 3.0);
    assert_close(of(|s| s.precision), [0.5, two_thirds, 1.0, two_thirds, 0.0, 0.0], 1e-15);
    assert_close(of(|s| s.recall), [two_thirds, two_thirds, 0.5, 1.0, 0.0, 0.0], 1e-15);
    assert_close(of(|s| s.f1), [0.5714285714285714, 2.0 * third, two_thirds, 0.8, 0.0, 0.0], 1e-15);
    assert_eq!(found.classes.iter().map(|class| class.support).collect::<Vec<_>>(), [3, 3, 2, 2, 2, 0]);
    // `confusion_matrix`.
    let expected =
        [[2, 1, 0, 0, 0, 0], [1, 2, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1], [0, 0, 0, 2, 0, 0], [1, 0, 0, 1, 0, 0], [0; 6]];
    assert_eq!(found.confusion_matrix, expected);
}

/// Classes, truths, predictions; the macro averages of precision, recall and F1, and the balanced accuracy.
type Averages = (usize, &'static [usize], &'static [usize], [f64; 3], f64);

/// Drawn at random, so that some classes have no pictures and some only predictions.
const AVERAGES: [Averages; 6] = [
    (2, &[0, 0, 0, 0], &[0, 1, 0, 1], [0.5, 0.25, 1.0 / 3.0], 0.5),
    (
        3,
        &[2, 2, 0, 2, 1, 1, 1],
        &[2, 2, 0, 2, 1, 0, 2],
        [0.75, 0.7777777777777777, 0.6746031746031745],
        0.7777777777777777,
    ),
    (
        4,
        &[0, 3, 3, 3, 0, 1, 2, 1, 2],
        &[0, 3, 3, 1, 0, 3, 2, 1, 0],
        [0.7083333333333333, 0.6666666666666666, 0.6583333333333333],
        0.6666666666666666,
    ),
    (6, &[0, 3, 2, 2, 5, 1, 3, 1], &[0, 3, 2, 3, 5, 3, 3, 1], [0.9, 0.8, 0.7999999999999999], 0.8),
    (
        8,
        &[6, 0, 2, 7, 6, 0, 6, 6, 3, 2],
        &[2, 0, 5, 0, 6, 5, 6, 5, 3, 2],
        [0.5, 0.4166666666666667, 0.4444444444444444],
        0.5,
    ),
    (10, &[3, 7, 0, 1, 1, 3], &[6, 7, 3, 8, 1, 1], [0.25, 0.25, 0.25], 0.375),
];

#[test]
fn macro_averages_are_over_the_classes_that_have_pictures_or_were_predicted() {
    // `precision_recall_fscore_support(average="macro", zero_division=0)` and `balanced_accuracy_score`.
    for (classes, truths, predictions, expected, balanced_accuracy) in AVERAGES {
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let answer = |(&truth, &prediction): (&usize, &usize)| {
            let probabilities = (0..classes).map(|class| if class == prediction { 1.0 } else { 0.0 }).collect();
            Answer { path: String::new(), truth, probabilities }
        };
        let answers: Vec<Answer> = truths.iter().zip(predictions).map(answer).collect();
        let found = Evaluation::new(&names, &answers, 0).unwrap();
        let Scores { precision, recall, f1 } = found.macro_average;
        assert_close([precision, recall, f1], expected, 1e-15);
        assert_close([found.balanced_accuracy], [balanced_accuracy], 1e-15);
    }
    let found = evaluation(0);
    let Scores { precision, recall, f1 } = found.macro_average;
    assert_close([precision, recall, f1], [0.47222222222222215, 0.47222222222222215, 0.4507936507936508], 1e-15);
    assert_close([found.balanced_accuracy], [0.5666666666666667], 1e-15);
}

#[test]
fn the_interval_is_wilsons() {
    // `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`.
    for (successes, trials, expected) in [
        (7, 12, [0.31951131254954973, 0.8067396863412435]),
        (0, 10, [0.0, 0.27753279986288926]),
        (10, 10, [0.7224672001371109, 1.0]),
        (1985, 2000, [0.9876620858637752, 0.9954496225641909]),
    ] {
        assert_close(wilson_interval(successes, trials), expected, 1e-12);
    }
}

#[test]
fn the_most_confident_mistakes_come_first() {
    let found = evaluation(4);
    let names: Vec<_> =
        found.mistakes.iter().map(|m| (m.path.as_str(), m.truth.as_str(), m.prediction.as_str())).collect();
    assert_eq!(names, [("5.jpg", "b", "a"), ("2.jpg", "a", "b"), ("7.jpg", "c", "f"), ("11.jpg", "e", "d")]);
    assert_eq!((found.mistakes[0].probability, found.mistakes[0].truth_probability), (59.0 / 64.0, 0.0));
    assert_eq!(evaluation(99).mistakes.len(), 5);
}

#[test]
fn five_classes_have_no_top_5() {
    let answer = Answer { path: String::new(), truth: 0, probabilities: vec![0.2; 5] };
    let names: Vec<String> = (0..5).map(|class| class.to_string()).collect();
    assert_eq!(Evaluation::new(&names, [&answer], 0).unwrap().top_5_accuracy, None);
}

#[test]
fn answers_that_are_no_probabilities_are_refused() {
    let names = ["a", "b"].map(str::to_owned);
    assert!(Evaluation::new(&names, [], 0).is_err());
    for probabilities in [vec![0.5, f32::NAN], vec![1.0]] {
        let answer = Answer { path: "x.jpg".to_owned(), truth: 0, probabilities };
        let error = Evaluation::new(&names, [&answer], 0).unwrap_err().to_string();
        assert!(error.contains("x.jpg"), "{error}");
    }
}
