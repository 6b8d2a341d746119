//! Keras' files in all their forms: every value, and the errors for what cannot be represented.

use serde_json::Value;
use xcept::architecture::{self, TensorSpec};
use xcept::weights::{Imported, RawTensor, keras};

use crate::fixture::{Fixture, error_of, of_kind, sampled};

fn read_keras(name: &str) -> Imported {
    keras::read(&Fixture::unpack(name).path).map_err(|error| format!("{error:#}")).unwrap()
}

/// `make.py`'s value at `index` of tensor `number` in Keras' order of axes.
fn keras_formula(index: usize, number: usize) -> f32 {
    ((7 * index % 13) as f32 - 6.0) / 64.0 + number as f32 / 4096.0
}

/// Where the value at `index` of a tensor with timm's `shape` lies in Keras' order of axes.
fn keras_index(index: usize, shape: &[usize], depthwise: bool) -> usize {
    match *shape {
        [_, i, h, w] => {
            let (o, rest) = (index / (i * h * w), index % (i * h * w));
            let (input, pixel) = (rest / (h * w), rest % (h * w));
            let (inputs, outputs) = if depthwise { (shape[0], 1) } else { (i, shape[0]) };
            let (input, output) = if depthwise { (o, 0) } else { (input, o) };
            (pixel * inputs + input) * outputs + output
        }
        [rows, columns] => index % columns * rows + index / columns,
        _ => index,
    }
}

/// Compares every value; `head` are the units of the dense layers that the file should hold.
fn assert_formula(imported: &Imported, head: &[usize]) {
    let tensors = &imported.tensors;
    let specs = architecture::tensors();
    for (number, TensorSpec { name, shape, keras, .. }) in specs.iter().enumerate() {
        assert_tensor(name, &tensors[name], shape, number, keras.1 == "depthwise_kernel");
    }
    let mut inputs = architecture::FEATURES;
    for (index, &units) in head.iter().enumerate() {
        let layer = if index + 1 == head.len() { "fc".to_owned() } else { format!("head.{index}") };
        let number = specs.len() + 2 * index;
        assert_tensor(&layer, &tensors[&format!("{layer}.weight")], &[units, inputs], number, false);
        assert_tensor(&layer, &tensors[&format!("{layer}.bias")], &[units], number + 1, false);
        inputs = units;
    }
    assert_eq!(tensors.len(), specs.len() + 2 * head.len());
}

fn assert_tensor(name: &str, tensor: &RawTensor, shape: &[usize], number: usize, depthwise: bool) {
    assert_eq!(tensor.shape, shape, "{name}");
    let floats = tensor.data.floats();
    let formula = |index| keras_formula(keras_index(index, shape, depthwise), number);
    let is_wrong = |&index: &usize| floats[index] != of_kind(name, formula(index));
    assert_eq!(sampled(tensor).find(is_wrong), None, "{name}");
}

#[test]
fn a_legacy_h5_of_the_whole_model_gives_backbone_and_1000_classes() {
    let imported = read_keras("full.h5");
    assert_formula(&imported, &[1000]);
    assert_eq!(imported.input_size, Some(299));
}

#[test]
fn a_bare_weights_h5_is_read_with_and_without_layer_names() {
    for name in ["full.weights.h5", "nameless.weights.h5"] {
        let imported = read_keras(name);
        assert_formula(&imported, &[1000]);
        assert_eq!((imported.input_size, imported.dropout), (None, vec![]));
    }
}

#[test]
fn the_names_of_the_distributed_keras_1_file_are_read_in_the_models_order() {
    assert_formula(&read_keras("keras1.h5"), &[1000]);
}

#[test]
fn tf_keras_2_weights_without_head_are_read_whatever_number_the_shortcuts_have() {
    assert_formula(&read_keras("base_keras2.h5"), &[]);
}

#[test]
fn a_nested_base_under_a_functional_head_gives_head_dropout_and_input_size() {
    // Deflated .keras of Keras 3, and tf.keras 2's .h5 with its dialect and split attributes.
    for name in ["nested.keras", "nested_keras2.h5"] {
        let imported = read_keras(name);
        assert_formula(&imported, &[20, 6]);
        assert_eq!((imported.input_size, imported.dropout), (Some(150), vec![0.2]), "{name}");
    }
}

#[test]
fn sequential_models_in_a_sequential_model_are_one_chain() {
    for name in ["sequential.keras", "sequential.h5"] {
        let imported = read_keras(name);
        assert_formula(&imported, &[1]);
        assert_eq!((imported.input_size, imported.dropout), (Some(128), vec![]), "{name}");
    }
}

/// Its output may be a logit of two classes, or a number that was to be predicted.
#[test]
fn a_linear_unit_is_read_as_a_logit_and_a_note_says_so() {
    let imported = |activation: &str| {
        let edit = |config: &mut Value| {
            let head = config["config"]["layers"].as_array_mut().unwrap().last_mut().unwrap();
            let unit = head["config"]["layers"].as_array_mut().unwrap().last_mut().unwrap();
            assert_eq!(
                (&unit["config"]["name"], &unit["config"]["activation"]),
                (&"dogness".into(), &"sigmoid".into())
            );
            unit["config"]["activation"] = activation.into();
        };
        keras::read(&Fixture::reconfigured("sequential.keras", edit).path).unwrap()
    };
    let (sigmoid, linear) = (imported("sigmoid"), imported("linear"));
    assert_eq!(sigmoid.notes, [""; 0]);
    assert_eq!(linear.notes, ["the one output of `dogness` is read as the logit of the second class"]);
    assert_formula(&linear, &[1]);
}

#[test]
fn a_head_in_the_same_model_may_have_activation_layers_and_no_bias() {
    let imported = read_keras("flat.keras");
    assert_eq!((imported.input_size, imported.dropout.as_slice()), (Some(96), &[0.25, 0.0][..]));
    let tensors = &imported.tensors;
    let specs = architecture::tensors().len();
    assert_tensor("head.0.bias", &tensors["head.0.bias"], &[8], specs + 1, false);
    assert_tensor("head.1.weight", &tensors["head.1.weight"], &[4, 8], specs + 2, false);
    assert_eq!(*tensors["head.1.bias"].data.floats(), [0.0; 4]);
    assert_tensor("fc.weight", &tensors["fc.weight"], &[3, 4], specs + 3, false);
}

#[test]
fn layers_of_other_names_are_found_by_shape_and_place() {
    for (name, note) in [
        ("renamed.keras", "layer `my_convolution` is taken for `block5_sepconv3` by its shape and place"),
        (
            "renamed_norm.keras",
            "layer `batch_normalization_77` is taken for `block2_sepconv2_bn` by its shape and place",
        ),
        ("renamed_two.keras", "layer `second` is taken for `block7_sepconv1` by its shape and place, 1 more likewise"),
    ] {
        let imported = keras::read(&Fixture::unpack_from("heads.zip", name).path).unwrap();
        assert_formula(&imported, &[]);
        assert_eq!(imported.notes, [note]);
    }
}

#[test]
fn a_missing_an_extra_and_a_misshapen_layer_are_named() {
    for (name, expected) in [
        ("missing.h5", "missing layer `block5_sepconv3`"),
        ("extra.h5", "unexpected layer `attention` with weights"),
        ("misshapen.h5", "layer `block7_sepconv2`: `pointwise_kernel` is [1, 1, 728, 512], expected [1, 1, 728, 728]"),
    ] {
        let error = error_of(&Fixture::unpack(name));
        assert!(error.ends_with(&format!("{name}: {expected}")), "{error}");
    }
}

#[test]
fn another_network_is_called_not_an_xception() {
    for name in ["small.h5", "small.keras"] {
        let error = error_of(&Fixture::unpack(name));
        assert!(error.contains("is not an Xception: 4 layers, 0 separable convolutions; expected 34"), "{error}");
    }
}

#[test]
fn weights_alone_with_hidden_layers_are_refused_with_the_remedy() {
    let error = error_of(&Fixture::unpack("nested_weights.h5"));
    assert!(error.contains("activations") && error.ends_with("save the whole model as .keras"), "{error}");
}

/// Layer of the outer model by name.
fn layer<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = config["config"]["layers"].as_array_mut().unwrap();
    layers.iter_mut().find(|layer| layer["config"]["name"] == name).unwrap()
}

/// Configuration of a layer of Xception by name.
fn body_layer<'a>(config: &'a mut Value, name: &str) -> &'a mut Value {
    let layers = layer(config, "xception")["config"]["layers"].as_array_mut().unwrap();
    &mut layers.iter_mut().find(|layer| layer["config"]["name"] == name).unwrap()["config"]
}

#[test]
fn a_head_or_preprocessing_that_cannot_be_represented_is_an_error_that_names_the_layer() {
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 14] = [
        (|c| layer(c, "dense")["config"]["activation"] = "elu".into(), "hidden layer `dense` has activation elu"),
        (|c| layer(c, "dense")["config"]["activation"] = "linear".into(), "hidden layer `dense` has activation linear"),
        (
            |c| layer(c, "dense_1")["config"]["activation"] = "sigmoid".into(),
            "classifier `dense_1` has 6 units with a sigmoid each, for several labels in a picture",
        ),
        (|c| layer(c, "dense_1")["config"]["activation"] = "relu".into(), "classifier `dense_1` has 6 units"),
        (|c| layer(c, "dropout")["class_name"] = "LayerNormalization".into(), "layer `dropout` is of class LayerNorm"),
        (
            |c| layer(c, "global_average_pooling2d")["class_name"] = "MaxPooling2D".into(),
            "`global_average_pooling2d` is of class MaxPooling2D",
        ),
        (
            |c| layer(c, "global_average_pooling2d")["class_name"] = "Dropout".into(),
            "`global_average_pooling2d` (Dropout): `rate` is not a number",
        ),
        (|c| layer(c, "true_divide")["inbound_nodes"][0]["args"][1] = 255.0.into(), "expected Xception's x/127.5 - 1"),
        (|c| layer(c, "subtract")["class_name"] = "Resizing".into(), "layer `subtract` in front of the backbone"),
        (
            |c| layer(c, "xception")["config"]["layers"][2]["config"]["epsilon"] = 1e-5.into(),
            "layer `block1_conv1_bn` (BatchNormalization) is not the one of Keras Applications' Xception",
        ),
        (|c| body_layer(c, "block2_pool")["padding"] = "valid".into(), "layer `block2_pool` (MaxPooling2D) is not"),
        (|c| body_layer(c, "block1_conv2")["padding"] = "same".into(), "layer `block1_conv2` (Conv2D) is not"),
        (
            |c| body_layer(c, "block5_sepconv1")["dilation_rate"] = [2, 2].into(),
            "layer `block5_sepconv1` (SeparableConv2D) is not",
        ),
        (
            |c| c["config"]["layers"][0]["config"]["batch_shape"][1] = 200.into(),
            "takes [200, 150, 3], expected a square of 3 channels",
        ),
    ];
    for (edit, expected) in edits {
        let error = error_of(&Fixture::configured(edit));
        assert!(error.contains(expected), "{error}");
    }
}
