//! Kernels, Candle's own operations and finite differences against one another.

use candle_core::Var;

use super::*;

type Operation = fn(&mut Tape, &[Var]) -> Result<Tensor>;

/// Name, shapes of the inputs, the operation.
const OPERATIONS: [(&str, &[&[usize]], Operation); 8] = [
    ("separable", &[&[2, 5, 4, 19], &[19, 1, 3, 3], &[7, 19, 1, 1]], |t, v| t.separable(&v[0], &v[1], &v[2], PLAIN)),
    ("separable, affine", &[&[2, 5, 4, 19], &[19, 1, 3, 3], &[7, 19, 1, 1]], |t, v| {
        t.separable(&v[0], &v[1], &v[2], Around { affine: Some(&affine(7)), ..PLAIN })
    }),
    ("max-pool, padding 1", &[&[2, 6, 7, 5]], |t, v| t.max_pool(&v[0], (1, 1))),
    ("max-pool, SAME", &[&[1, 6, 7, 5]], |t, v| t.max_pool(&v[0], (0, 1))),
    ("convolution", &[&[2, 7, 8, 3], &[4, 3, 3, 3]], |t, v| t.convolution(&v[0], &v[1], 2, PLAIN)),
    ("batch norm", &[&[2, 5, 4, 7], &[7], &[7]], |t, v| Ok(t.batch_norm(&v[0], &v[1], &v[2], 1e-3, false)?.0)),
    // From here on with ReLUs, whose bends finite differences may step over.
    ("separable, ReLUs", &[&[2, 5, 4, 19], &[19, 1, 3, 3], &[7, 19, 1, 1]], |t, v| {
        t.separable(&v[0], &v[1], &v[2], Around { relu_before: true, affine: Some(&affine(7)), relu_after: true })
    }),
    ("batch norm, ReLU", &[&[2, 5, 4, 7], &[7], &[7]], |t, v| Ok(t.batch_norm(&v[0], &v[1], &v[2], 1e-3, true)?.0)),
];
/// Operations that are smooth, or linear between bends far apart.
const SMOOTH: usize = 6;

const PLAIN: Around = Around { relu_before: false, affine: None, relu_after: false };

fn affine(channels: usize) -> Affine {
    let tensor =
        |seed| Tensor::from_vec(crate::kernel::testing::values(seed, channels), channels, &Device::Cpu).unwrap();
    Affine { scale: tensor(7), shift: tensor(8) }
}

fn inputs(shapes: &[&[usize]]) -> Vec<Var> {
    let var = |(seed, shape): (usize, &&[usize])| {
        let count = shape.iter().product();
        let values = crate::kernel::testing::values(seed as u64, count);
        Var::from_vec(values, *shape, &Device::Cpu).unwrap()
    };
    shapes.iter().enumerate().map(var).collect()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

fn run(operation: Operation, backend: Backend, inputs: &[Var]) -> Tensor {
    operation(&mut Tape::new(backend), inputs).unwrap()
}

fn gradients(operation: Operation, backend: Backend, inputs: &[Var]) -> GradStore {
    let mut tape = Tape::new(backend);
    let mut gradients = loss(&operation(&mut tape, inputs).unwrap()).backward().unwrap();
    tape.backward(&mut gradients).unwrap();
    gradients
}

/// A loss whose gradient differs for every output element.
fn loss(y: &Tensor) -> Tensor {
    let weights = crate::kernel::testing::values(99, y.elem_count());
    let weights = Tensor::from_vec(weights, y.dims(), &Device::Cpu).unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

#[test]
fn kernels_and_candle_operations_agree_on_values() {
    for (name, shapes, operation) in OPERATIONS {
        let inputs = inputs(shapes);
        let [kernel, candle] = [Backend::Kernel, Backend::Candle].map(|backend| run(operation, backend, &inputs));
        assert_eq!(kernel.dims(), candle.dims(), "{name}");
        // Sums of at most 27 products of values below 1.
        assert!(largest_difference(&kernel, &candle) < 1e-5, "{name}");
    }
}

#[test]
fn kernels_and_candle_operations_agree_on_gradients() {
    for (name, shapes, operation) in OPERATIONS {
        let inputs = inputs(shapes);
        let gradients = [Backend::Kernel, Backend::Candle].map(|backend| gradients(operation, backend, &inputs));
        for (index, input) in inputs.iter().enumerate() {
            let [kernel, candle] = [0, 1].map(|i: usize| gradients[i].get(input).unwrap());
            assert!(largest_difference(kernel, candle) < 2e-5, "{name}, input {index}");
        }
    }
}

#[test]
fn gradients_are_the_slopes_that_finite_differences_show() {
    for (name, shapes, operation) in &OPERATIONS[..SMOOTH] {
        let inputs = inputs(shapes);
        let loss_of = |inputs: &[Var]| loss(&run(*operation, Backend::Kernel, inputs)).to_scalar::<f32>().unwrap();
        let gradients = gradients(*operation, Backend::Kernel, &inputs);
        for (index, input) in inputs.iter().enumerate() {
            let gradient = gradients.get(input).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let values = input.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for element in [0, values.len() / 2, values.len() - 1] {
                // Nearly every operation is linear in each element (max-pool piecewise): a small
                // step keeps the maxima, float32 sums of some hundred terms set the tolerance.
                let step = 1e-2;
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[element] += by;
                    input.set(&Tensor::from_vec(values, input.dims(), &Device::Cpu).unwrap()).unwrap();
                    loss_of(&inputs)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                moved(0.0);
                let expected = gradient[element];
                assert!((slope - expected).abs() < 5e-3, "{name}, input {index}: {slope}, {expected}");
            }
        }
    }
}

#[test]
fn statistics_of_a_batch_are_the_same_by_either_backend() {
    let inputs = inputs(&[&[2, 5, 4, 7], &[7], &[7]]);
    let of =
        |backend: Backend| Tape::new(backend).batch_norm(&inputs[0], &inputs[1], &inputs[2], 1e-3, false).unwrap().1;
    let (kernel, candle) = (of(Backend::Kernel), of(Backend::Candle));
    for (a, b) in [(&kernel.mean, &candle.mean), (&kernel.variance, &candle.variance)] {
        assert!(crate::kernel::testing::largest_difference(a, b) < 1e-6);
    }
}

#[test]
fn what_takes_part_in_no_gradient_gets_none() {
    let inputs = inputs(&[&[1, 4, 4, 3], &[3, 1, 3, 3], &[2, 3, 1, 1]]);
    let x = inputs[0].as_detached_tensor();
    let mut tape = Tape::new(Backend::Kernel);
    let y = tape.separable(&x, &inputs[1], &inputs[2], PLAIN).unwrap();
    let mut gradients = loss(&y).backward().unwrap();
    tape.backward(&mut gradients).unwrap();
    assert!(gradients.get(&x).is_none());
    assert!(gradients.get(&inputs[1]).is_some() && gradients.get(&inputs[2]).is_some());
}

#[test]
fn gradients_from_several_places_add_up() {
    let inputs = inputs(&[&[1, 4, 4, 3], &[3, 1, 3, 3], &[3, 3, 1, 1]]);
    // The same convolution twice, and around it a sum: every tensor has more than one use.
    let operation: Operation = |tape, v| {
        let y = tape.separable(&v[0], &v[1], &v[2], PLAIN)?;
        let z = tape.separable(&y, &v[1], &v[2], PLAIN)?;
        let sum = tape.sum(&z, &v[0])?;
        tape.sum(&sum, &y)
    };
    let [kernel, candle] = [Backend::Kernel, Backend::Candle].map(|backend| gradients(operation, backend, &inputs));
    for input in &inputs {
        // Sums of some hundred products.
        assert!(largest_difference(kernel.get(input).unwrap(), candle.get(input).unwrap()) < 1e-4);
    }
}

#[test]
fn a_pass_without_variables_leaves_nothing_behind() {
    let inputs = inputs(&[&[1, 4, 4, 3], &[3, 1, 3, 3], &[2, 3, 1, 1]]);
    let inputs: Vec<Tensor> = inputs.iter().map(Var::as_detached_tensor).collect();
    let mut tape = Tape::new(Backend::Kernel);
    let y = tape.separable(&inputs[0], &inputs[1], &inputs[2], PLAIN).unwrap();
    assert!(!y.track_op() && tape.steps.is_empty());
}

#[test]
fn a_step_of_sgd_is_the_same_by_either_backend() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let sgd = Sgd { rate: 0.1, momentum, nesterov, weight_decay: 0.01 };
        let step = |backend: Backend| {
            let inputs = inputs(&[&[3, 5], &[3, 5], &[3, 5]]);
            let mut velocity = inputs[2].as_detached_tensor();
            let slot = (momentum > 0.0).then_some(&mut velocity);
            backend.sgd(&inputs[0], &inputs[1].as_detached_tensor(), slot, sgd).unwrap();
            (inputs[0].as_detached_tensor(), velocity)
        };
        let (kernel, candle) = (step(Backend::Kernel), step(Backend::Candle));
        assert!(largest_difference(&kernel.0, &candle.0) < 1e-6 && largest_difference(&kernel.1, &candle.1) < 1e-6);
    }
}
