//! The network with the bundled weights against what Keras and timm compute with the same numbers.
//!
//! `data/reference/make.py` made the references. Tolerances: two float32 implementations of the
//! network that sum in other orders agree to some 1e-6 of a stage's largest activation; 1e-5
//! leaves room for other instruction sets and is a hundredth of what a wrong epsilon shows.

use std::collections::HashMap;

use crate::support::program::{Desk, root, sample};
use candle_core::{Device, Tensor};
use xcept::architecture::BLOCKS;
use xcept::convention::Convention;
use xcept::kernel::isa::Isa;
use xcept::op::Backend;
use xcept::reference::{CandleModules, CompiledEngine, Deviation, Reference, Stages};
use xcept::weights::{Bundled, Checkpoint};
use xcept::xception::Xception;

const TOLERANCE: f64 = 1e-5;

fn bundled(convention: Convention) -> Checkpoint {
    Bundled::find("bundled").unwrap().load().unwrap().with_convention(convention)
}

fn kernels(network: &Xception) -> CandleModules<'_> {
    CandleModules { network, backend: Backend::Kernel }
}

fn assert_agrees(network: &dyn Stages, convention: Convention) {
    let path = root().join(format!("tests/data/reference/stages-{convention}.safetensors"));
    let deviations = Reference::read(&path).unwrap().compare(network, convention).unwrap();
    assert_eq!(deviations.len(), 10);
    for (stage, deviation) in deviations {
        let Deviation::Stage { largest_difference, largest_activation } = deviation else { panic!("{deviation:?}") };
        let share = largest_difference / largest_activation;
        assert!(share < TOLERANCE, "{convention}, {stage}: {share:.2e}");
    }
}

#[test]
fn every_stage_agrees_with_keras() {
    let network = Xception::new(&bundled(Convention::Keras), &Device::Cpu).unwrap();
    assert_agrees(&kernels(&network), Convention::Keras);
}

#[test]
fn every_stage_agrees_with_timm() {
    let network = Xception::new(&bundled(Convention::Timm), &Device::Cpu).unwrap();
    assert_agrees(&kernels(&network), Convention::Timm);
}

#[test]
fn the_fallback_for_other_devices_agrees_too() {
    for convention in [Convention::Keras, Convention::Timm] {
        let tensor = |(name, raw): (&String, &xcept::weights::RawTensor)| {
            (name.clone(), Tensor::from_slice(&raw.data.floats(), raw.shape.as_slice(), &Device::Cpu).unwrap())
        };
        let tensors: HashMap<_, _> = bundled(convention).tensors.iter().map(tensor).collect();
        let network = Xception::from_tensors(&tensors, BLOCKS, convention).unwrap();
        assert_agrees(&CandleModules { network: &network, backend: Backend::Candle }, convention);
    }
}

#[test]
fn the_engine_agrees_on_every_instruction_set() {
    for convention in [Convention::Keras, Convention::Timm] {
        let checkpoint = bundled(convention);
        for isa in Isa::all() {
            assert_agrees(&CompiledEngine { checkpoint: &checkpoint, isa }, convention);
        }
    }
}

#[test]
fn a_wrong_convention_does_not_pass_for_right() {
    let network = Xception::new(&bundled(Convention::Keras), &Device::Cpu).unwrap();
    let path = root().join("tests/data/reference/stages-timm.safetensors");
    let deviations = Reference::read(&path).unwrap().compare(&kernels(&network), Convention::Timm).unwrap();
    let Deviation::Stage { largest_difference, largest_activation } = deviations[9].1 else { panic!() };
    assert!(largest_difference / largest_activation > 100.0 * TOLERANCE);
}

#[test]
fn features_of_a_photograph_agree_from_the_file_on() {
    for convention in ["keras", "timm"] {
        let desk = Desk::new();
        let arguments = ["extract-features", &sample("chelsea.png"), "--convention", convention];
        desk.run(&[&arguments[..], &["--preprocess", convention]].concat()).assert_done();
        let found = features(&desk.path("features.safetensors"));
        let expected = features(&root().join(format!("tests/data/reference/features-{convention}.safetensors")));
        let largest = expected.iter().copied().fold(0.0, f32::max);
        assert_eq!(found.len(), 2048);
        for (found, expected) in found.iter().zip(&expected) {
            let difference = f64::from((found - expected).abs() / largest);
            assert!(difference < TOLERANCE, "{convention}: {found}, {expected}");
        }
    }
}

fn features(path: &std::path::Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensor("features").unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn weights_verify_holds_the_network_against_a_reference() {
    let desk = Desk::new();
    let reference = root().join("tests/data/reference/stages-keras.safetensors");
    let reference = reference.to_str().unwrap();
    let right = desk.run(&["weights", "verify", "--reference", reference]);
    right.assert_done();
    assert!(right.stdout.contains("block14_sepconv2"), "{}", right.stdout);
    let wrong = desk.run(&["weights", "verify", "--reference", reference, "--convention", "timm"]);
    assert_eq!(wrong.status, Some(4), "{}", wrong.stdout);
    assert!(wrong.stdout.contains("too large"), "{}", wrong.stdout);
}
