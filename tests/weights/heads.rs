//! Heads of Keras' models, whatever they are made of: the answers are Keras' own for the same feature map.

use candle_core::{Device, Tensor};
use xcept::head::Head;
use xcept::weights::{Imported, Pool, keras};
use xcept::xception::pool;

use crate::fixture::Fixture;

fn read(name: &str) -> Result<Imported, String> {
    keras::read(&Fixture::unpack_from("heads.zip", name).path).map_err(|error| format!("{error:#}"))
}

/// The feature map of `make.py`, [1,3,3,2048].
fn maps() -> Tensor {
    let value = |index: usize| {
        ((((7 * index % 13) as f32 - 6.0) / 64.0 + 5.0 / 4096.0).abs()) * (1.0 + (index / 2048) as f32 / 9.0)
    };
    Tensor::from_vec((0..9 * 2048).map(value).collect::<Vec<f32>>(), (1, 3, 3, 2048), &Device::Cpu).unwrap()
}

fn answer(imported: &Imported, features: Pool) -> Vec<f32> {
    let features = pool(&maps(), features).unwrap().flatten_from(1).unwrap();
    let head = Head::new(&imported.tensors, &Device::Cpu).unwrap();
    head.probabilities(&features).unwrap().get(0).unwrap().to_vec1().unwrap()
}

/// Tolerance: sums of up to 18,432 products in float32, in another order.
#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let is_near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-5;
    assert!(found.iter().zip(expected).all(is_near), "{name}: {found:?}, Keras has {expected:?}");
}

fn keras_answers() -> std::collections::BTreeMap<String, Vec<f32>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/weights/heads.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn max_pooling_batch_norms_and_flatten_answer_as_in_keras() {
    let answers = keras_answers();
    assert_eq!(answers.len(), 5);
    for (name, expected) in answers {
        let imported = read(&format!("{name}.keras")).unwrap();
        let expected_pool = match name.as_str() {
            "max" => Pool::Max,
            "flatten" | "norms_and_flatten" => Pool::None,
            _ => Pool::Avg,
        };
        assert_eq!((imported.pool, imported.input_size), (Some(expected_pool), Some(71)), "{name}");
        assert!(imported.says_activations);
        assert_near(&answer(&imported, expected_pool), &expected, &name);
    }
}

#[test]
fn dropout_behind_a_batch_norm_belongs_to_the_layer_before_it() {
    assert_eq!(read("norms.keras").unwrap().dropout, [0.5, 0.0]);
}

#[test]
fn weights_alone_tell_the_pooling_by_names_and_units() {
    let answers = keras_answers();
    for name in ["max", "flatten"] {
        let pool = if name == "max" { Pool::Max } else { Pool::None };
        for extension in ["weights.h5", "h5"] {
            let imported = read(&format!("{name}.{extension}")).unwrap();
            assert_eq!((imported.pool, imported.input_size, imported.says_activations), (Some(pool), None, false));
            assert_near(&answer(&imported, pool), &answers[name], name);
        }
    }
}

#[test]
fn weights_alone_with_batch_norms_in_the_head_are_refused() {
    let error = read("norms_and_flatten.h5").unwrap_err();
    assert!(error.contains("does not say where the batch norm `batch_normalization_4` and others"), "{error}");
    assert!(error.ends_with("save the whole model as .keras"), "{error}");
}
