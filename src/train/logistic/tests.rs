//! The optimum is scikit-learn's (1.9.1, `LogisticRegression(C, tol=1e-10)`), on the same made-up rows.

use super::*;

fn rows(classes: usize) -> (Vec<Vec<f32>>, Vec<usize>) {
    let value = |i: usize, j: usize| {
        let own = if j % classes == i % classes { 0.5 } else { 0.0 };
        ((1.3 * i as f64 + 0.7 * j as f64).sin() + own) as f32
    };
    ((0..12).map(|i| (0..5).map(|j| value(i, j)).collect()).collect(), (0..12).map(|i| i % classes).collect())
}

/// Kernels by output, and biases, of models with these row weights, for scikit-learn's C.
fn solve(class_count: usize, c: f64, weights: &[Vec<f64>]) -> Vec<(Vec<Vec<f64>>, Vec<f64>)> {
    let (rows, classes) = rows(class_count);
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let design = Design::new(&rows, false).unwrap();
    let problem = Problem { design: &design, classes: &classes, class_count, weights };
    let models = problem.solve(c / design.scaling.scale.powi(2), None, &|| Ok(())).unwrap();
    let by_output = |model: &Linear| {
        let Linear { kernel, bias } = design.scaling.unscaled(model);
        let column = |output: usize| kernel.iter().skip(output).step_by(bias.len()).copied().collect();
        ((0..bias.len()).map(column).collect(), bias)
    };
    models.iter().map(by_output).collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    let are_near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3);
    assert!(are_near, "{found:?}, expected {expected:?}");
}

/// Every row once, and the first nine with the first counting twice.
fn weights() -> [Vec<f64>; 2] {
    let some = (0..12).map(|row| [2.0, 1.0, 0.0][usize::from(row > 0) + usize::from(row > 8)]).collect();
    [vec![1.0; 12], some]
}

#[test]
fn two_classes_reach_the_optimum_of_a_sigmoid() {
    let found = solve(2, 0.5, &weights());
    assert_near(&found[0].0[0], &[-0.469571, 0.488302, -0.59494, 0.413086, -0.584627]);
    assert_near(&found[0].1, &[0.181609]);
    assert_near(&found[1].0[0], &[-0.340438, 0.416438, -0.54574, 0.271948, -0.561461]);
    assert_near(&found[1].1, &[-0.146418]);
}

#[test]
fn three_classes_reach_the_optimum_of_a_softmax() {
    let found = solve(3, 2.0, &weights());
    assert_near(&found[0].0[0], &[0.898431, -0.660377, -0.552882, 1.425349, -0.233208]);
    assert_near(&found[0].0[2], &[-0.590777, -0.723767, 1.140095, -0.801759, -0.753475]);
    assert_near(&found[0].1, &[-0.162774, -0.156638, 0.319412]);
    assert_near(&found[1].0[1], &[-0.300366, 1.163611, -0.584042, -0.654193, 0.844881]);
    assert_near(&found[1].1, &[-0.103477, -0.13471, 0.238187]);
}

#[test]
fn a_weak_penalty_is_no_reason_to_stop_early() {
    let [all, _] = weights();
    let near = |found: &[f64], expected: &[f64]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.05);
    let found = solve(2, 1e4, std::slice::from_ref(&all));
    assert!(near(&found[0].0[0], &[-6.78372, 6.30346, -7.34943, 6.22968, -6.89657]), "{found:?}");
    let found = solve(3, 1e3, &[all]);
    assert!(near(&found[0].0[0], &[4.22895, -2.52924, -2.96664, 5.87469, -1.06163]), "{found:?}");
}

#[test]
fn a_model_is_the_same_alone_and_in_company() {
    let [all, some] = weights();
    let together = solve(3, 2.0, &[all.clone(), some]);
    let alone = solve(3, 2.0, &[all]);
    assert_near(&together[0].0.concat(), &alone[0].0.concat());
}

#[test]
fn rows_that_are_all_the_same_give_the_shares_of_the_classes() {
    let row = [1.0_f32, 2.0];
    let rows = [&row[..]; 4];
    let design = Design::new(&rows, true).unwrap();
    let problem = Problem { design: &design, classes: &[0, 1, 1, 1], class_count: 2, weights: &[vec![1.0; 4]] };
    let model = &problem.solve(100.0, None, &|| Ok(())).unwrap()[0];
    // ln 3: one row of the first class, three of the second.
    assert_near(&model.bias, &[1.098_612]);
    assert_near(&design.logits(model).unwrap().concat(), &[1.098_612; 4]);
}
