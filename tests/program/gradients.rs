//! Gradients of the whole network against those that PyTorch computes for timm's, with the same
//! weights and pictures (`data/reference/make.py`).

use std::collections::{BTreeMap, HashMap};

use crate::support::program::root;
use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;
use xcept::architecture::{self, BLOCKS, TensorSpec};
use xcept::convention::Convention;
use xcept::op::Backend;
use xcept::weights::{Bundled, Pool};
use xcept::xception::{self, Norm, Pass, Xception};

struct Reference(BTreeMap<String, Vec<f32>>);

impl Reference {
    fn read() -> Self {
        let bytes = std::fs::read(root().join("tests/data/reference/gradients.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Self(file.iter().map(|(name, view)| (name.to_owned(), floats(view.data()))).collect())
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Tensor {
        Tensor::from_slice(&self.0[name], shape, &Device::Cpu).unwrap()
    }

    /// How far `found` is from the values that are kept of `name`, as a share of `scale`.
    fn difference(&self, name: &str, found: &[f32], scale: f32) -> f32 {
        let kept = &self.0[name];
        // numpy's linspace, cut to whole numbers.
        let step = (found.len() - 1) as f64 / (kept.len() - 1).max(1) as f64;
        let spread = kept.iter().enumerate().map(|(i, kept)| (found[(i as f64 * step) as usize] - kept).abs());
        spread.fold(0.0, f32::max) / scale
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn is_of_norm(spec: &TensorSpec) -> bool {
    spec.shape.len() == 1
}

/// The tensors of the network, those that `is_trained` as variables.
fn tensors(is_trained: impl Fn(&TensorSpec) -> bool) -> (HashMap<String, Tensor>, Vec<(String, Var)>) {
    let checkpoint = Bundled::find("bundled").unwrap().load().unwrap();
    let (mut tensors, mut variables) = (HashMap::new(), Vec::new());
    for spec in architecture::tensors() {
        let raw = &checkpoint.tensors[&spec.name];
        let tensor = Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), &Device::Cpu).unwrap();
        if is_trained(&spec) {
            let variable = Var::from_tensor(&tensor).unwrap();
            tensors.insert(spec.name.clone(), variable.as_tensor().clone());
            variables.push((spec.name, variable));
        } else {
            tensors.insert(spec.name, tensor);
        }
    }
    (tensors, variables)
}

fn assert_gradients(backend: Backend, mode: &str, tolerance: f32) {
    let reference = Reference::read();
    let is_frozen = mode == "frozen";
    let (tensors, variables) = tensors(|spec| spec.trainable && !(is_frozen && is_of_norm(spec)));
    let network = Xception::from_tensors(&tensors, BLOCKS, Convention::Timm).unwrap();
    let norm = if is_frozen { Norm::Running } else { Norm::Batch(Vec::new()) };
    let mut pass = Pass::new(norm, backend);
    let maps = network.forward(&reference.tensor("input", &[2, 77, 84, 3]), &mut pass).unwrap();
    let features = xception::pool(&maps, Pool::Avg).unwrap();
    let loss = (features * reference.tensor("direction", &[2, 2048])).unwrap().sum_all().unwrap();
    let mut gradients = loss.backward().unwrap();
    let statistics = pass.backward(&mut gradients).unwrap();
    for (name, variable) in &variables {
        let found = floats(gradients.get(variable).unwrap());
        let norm = found.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        let key = format!("{mode}/{name}");
        let expected = reference.0[&format!("{key}#norm")][0];
        // Against the root mean square of the gradient's values, and at least its largest kept one.
        let scale =
            (expected / (found.len() as f32).sqrt()).max(reference.0[&key].iter().fold(0.0, |a, b| a.max(b.abs())));
        let difference = reference.difference(&key, &found, scale);
        assert!(difference < tolerance, "{key}: {difference:.1e}");
        assert!((norm / expected - 1.0).abs() < tolerance, "{key}: norm {norm}, expected {expected}");
    }
    assert_eq!(statistics.len(), if is_frozen { 0 } else { 40 });
    for statistics in statistics {
        let running = ["running_mean", "running_var"].map(|part| format!("{}.{part}", statistics.name));
        let [mut mean, mut variance] = running.each_ref().map(|name| floats(&tensors[name]));
        statistics.average_into(&mut mean, &mut variance, Convention::Timm);
        for (name, values) in running.iter().zip([mean, variance]) {
            let largest = values.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            let difference = reference.difference(&format!("batch/{name}"), &values, largest);
            assert!(difference < 1e-5, "{name}: {difference:.1e}");
        }
    }
}

/// Two float32 implementations agree to some 1e-6 of a stage's activation; a gradient passes through all
/// 36 of them twice, and a ReLU or maximum that tips over in one of them moves single values by more.
const FROZEN: f32 = 2e-3;
/// Over 2×3×3 values a variance near zero magnifies that further.
const BATCH: f32 = 2e-2;

#[test]
fn gradients_with_frozen_batch_norm_are_pytorchs() {
    assert_gradients(Backend::Kernel, "frozen", FROZEN);
}

#[test]
fn gradients_and_running_averages_in_training_are_pytorchs() {
    assert_gradients(Backend::Kernel, "batch", BATCH);
}

#[test]
fn gradients_of_the_fallback_for_other_devices_are_pytorchs() {
    assert_gradients(Backend::Candle, "frozen", FROZEN);
    assert_gradients(Backend::Candle, "batch", BATCH);
}
