//! PyTorch's checkpoints: every value, and the errors for what is not exactly an Xception.

use xcept::architecture;
use xcept::weights::pytorch;

use crate::fixture::{Fixture, error_of, of_kind, sampled};

/// `make.py`'s value at `index` of a PyTorch tensor.
fn torch_formula(index: usize, number: usize) -> f32 {
    ((7 * (index + 2 * number % 13) % 13) as f32 - 6.0) / 64.0
}

#[test]
fn pytorch_checkpoints_give_timms_tensors_whatever_their_wrapping_layout_and_type() {
    // Channels-last state dict; half precision under state_dict_ema and module., beside an
    // optimizer; Cadene's old format and names, where every tensor is a slice of one storage.
    for name in ["plain.pth", "wrapped.pth", "cadene.pth"] {
        assert_formula(name, &Fixture::unpack(name));
    }
}

#[test]
fn whole_modules_of_both_formats_are_read_as_their_state_dict() {
    // timm's model as a zip archive, pretrainedmodels' in the format before PyTorch 1.6, which names the classes' sources.
    for name in ["module.pth", "module_old.pth"] {
        assert_formula(name, &Fixture::unpack_from("modules.zip", name));
    }
}

/// Compares every value of an Xception with five classes.
fn assert_formula(name: &str, fixture: &Fixture) {
    let imported = pytorch::read(&fixture.path).map_err(|error| format!("{error:#}")).unwrap();
    assert_eq!(imported.tensors.len(), architecture::tensors().len() + 2);
    for (number, (tensor, values)) in imported.tensors.iter().enumerate() {
        let floats = values.data.floats();
        let wrong = sampled(values).find(|&index| floats[index] != of_kind(tensor, torch_formula(index, number)));
        assert_eq!(wrong, None, "{name}: {tensor}");
    }
    assert_eq!(imported.tensors["fc.weight"].shape, [5, architecture::FEATURES]);
    assert_eq!((imported.input_size, imported.dropout), (None, vec![]));
}

#[test]
fn a_checkpoint_that_is_not_exactly_an_xception_is_an_error_that_names_the_tensor() {
    for (name, expected) in [
        ("empty.pth", "the checkpoint holds no tensors, expected a state dict with timm's names"),
        ("missing.pth", "missing tensor `block3.rep.1.pointwise.weight`"),
        ("extra.pth", "unexpected tensor `attention.weight`"),
    ] {
        let error = error_of(&Fixture::unpack(name));
        assert!(error.ends_with(&format!("{name}: {expected}")), "{error}");
    }
}
