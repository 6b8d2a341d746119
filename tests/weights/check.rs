//! The check that all readers of weights share.

use xcept::architecture;
use xcept::weights::check::check;
use xcept::weights::{RawTensor, Tensors};

/// Tensors of the right shapes, with a head of one hidden layer.
fn with_head() -> Tensors {
    let mut tensors = Tensors::new();
    let mut insert = |name: &str, shape: &[usize]| {
        let data = vec![0.0; shape.iter().product()];
        tensors.insert(name.to_owned(), RawTensor { shape: shape.to_vec(), data: data.into() });
    };
    for spec in architecture::tensors() {
        insert(&spec.name, &spec.shape);
    }
    for (name, shape) in [("head.0.weight", &[16, 2048][..]), ("head.0.bias", &[16])] {
        insert(name, shape);
    }
    insert("fc.weight", &[3, 16]);
    insert("fc.bias", &[3]);
    for (name, shape) in [("ood.means", &[3, 2048][..]), ("ood.components", &[5, 2048]), ("ood.variances", &[6])] {
        insert(name, shape);
    }
    insert("ood.quantiles", &[1001]);
    tensors
}

#[test]
fn the_check_names_what_does_not_fit_in_a_head() {
    assert!(check(&with_head()).is_ok());
    let tensor = |shape: &[usize]| RawTensor { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()].into() };
    for (name, replacement, expected) in [
        ("fc.weight", None, "missing tensor `fc.weight`: a head ends in a classifier, `fc.weight` and `fc.bias`"),
        ("fc.bias", None, "missing tensor `fc.bias`"),
        ("head.0.bias", Some(tensor(&[3])), "tensor `head.0.bias` is [3], expected [16]"),
        ("fc.weight", Some(tensor(&[3, 2048])), "tensor `fc.weight` is [3, 2048], expected [units, 16]"),
        ("head.2.weight", Some(tensor(&[3, 3])), "unexpected tensor `head.2.weight`"),
        ("ood.variances", None, "missing tensor `ood.variances`"),
        ("ood.variances", Some(tensor(&[5])), "tensor `ood.variances` is [5], expected [6]"),
        ("ood.means", Some(tensor(&[2, 2048])), "tensor `ood.means` is [2, 2048], expected [3, 2048]"),
        ("ood.more", Some(tensor(&[3])), "unexpected tensor `ood.more`"),
        ("bn1.bias", Some(tensor(&[64])), "tensor `bn1.bias` is [64], expected [32]"),
        ("bn1.bias", None, "missing tensor `bn1.bias`"),
    ] {
        let mut tensors = with_head();
        match replacement {
            Some(replacement) => tensors.insert(name.to_owned(), replacement),
            None => tensors.remove(name),
        };
        assert_eq!(check(&tensors).err().unwrap().to_string(), expected);
    }
    let error = check(&Tensors::from([("x.weight".to_owned(), tensor(&[1]))])).err().unwrap().to_string();
    assert_eq!(error, "not an Xception: 234 of its 234 tensors are missing; found 1: tensor `x.weight`");
}

#[test]
fn a_value_that_is_not_finite_and_a_negative_variance_are_named() {
    for (name, value, expected) in [
        ("bn1.weight", f32::NAN, Some("NaN")),
        ("conv2.weight", f32::INFINITY, Some("infinity")),
        ("fc.bias", f32::NEG_INFINITY, Some("infinity")),
        ("ood.means", f32::NAN, Some("NaN")),
        ("bn3.running_var", -0.25, Some("a negative variance (-0.25)")),
        // Rounding.
        ("bn3.running_var", -1e-8, None),
        ("bn3.running_mean", -0.25, None),
        ("conv2.weight", f32::MAX, None),
    ] {
        let mut tensors = with_head();
        let tensor = tensors.get_mut(name).unwrap();
        let mut values = tensor.data.floats().into_owned();
        *values.last_mut().unwrap() = value;
        tensor.data = values.into();
        let error = check(&tensors).err().map(|error| error.to_string());
        let start = expected.map(|expected| format!("tensor `{name}` holds {expected}; the file is damaged"));
        assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
        assert!(error.unwrap_or_default().starts_with(&start.unwrap_or_default()));
    }
}
