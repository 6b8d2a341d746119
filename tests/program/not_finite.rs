//! NaN and infinity: in a model they are refused when it is read, for a picture they are its error row.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use xcept::features::Features;
use xcept::weights::{self, Bundled, Checkpoint, Precision};

use crate::support::program::{Desk, Ran, root};

/// The bundled classifier's head with value `index` of `tensor` replaced.
fn spoiled_head(tensor: &str, index: usize, value: f32) -> Vec<u8> {
    let bytes = std::fs::read(root().join("weights/cats-vs-dogs.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut data = file.tensor(tensor).unwrap().data().to_vec();
    data[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
    let shape = file.tensor(tensor).unwrap().shape().to_vec();
    let mut tensors = file.tensors();
    tensors.retain(|(name, _)| name != tensor);
    tensors.push((tensor.to_owned(), TensorView::new(Dtype::F32, shape, &data).unwrap()));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    safetensors::serialize(tensors, header.metadata().clone()).unwrap()
}

/// Two crops of a cat and two of a dog, and their features.
fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    crate::support::program::add_crops(&desk, "kitten.jpg", "data/cat", 2);
    crate::support::program::add_crops(&desk, "beagle.jpg", "data/dog", 2);
    desk.run(&["extract-features", "data"]).assert_done();
    desk
}

/// The feature in which the dogs exceed the cats most, and its largest value for either.
fn telling_feature(desk: &Desk) -> (usize, f32, f32) {
    let features = Features::read(&desk.path("features.safetensors")).unwrap();
    let largest = |class: usize, feature: usize| {
        let rows = features.rows.iter().filter(|row| row.class == Some(class));
        rows.map(|row| row.values[feature]).fold(0.0, f32::max)
    };
    let least_dog = |feature: usize| {
        let rows = features.rows.iter().filter(|row| row.class == Some(1));
        rows.map(|row| row.values[feature]).fold(f32::INFINITY, f32::min)
    };
    let feature = (0..2048).max_by(|&a, &b| {
        let margin = |feature| least_dog(feature) / (largest(0, feature) + 0.01);
        f32::total_cmp(&margin(a), &margin(b))
    });
    let feature = feature.unwrap();
    (feature, largest(0, feature), least_dog(feature))
}

fn bundled(name: &str) -> Checkpoint {
    Bundled::find(name).unwrap().load().unwrap()
}

fn write(desk: &Desk, name: &str, checkpoint: &Checkpoint) {
    let (path, keep) = (desk.path(name), xcept::output::Existing::Keep);
    weights::write(&path, keep, &checkpoint.tensors, &checkpoint.metadata, Precision::F32).unwrap();
}

/// A head on the bundled base, whose logits overflow for the dogs only.
fn add_overflowing_head(desk: &Desk) {
    let (feature, cat, dog) = telling_feature(desk);
    assert!(dog > 5.0 * cat, "no feature tells them apart: {cat}, {dog}");
    let mut model = bundled("cats-vs-dogs");
    model.tensors.retain(|name, _| !name.starts_with("head."));
    let mut hidden = vec![0.0; 2048];
    hidden[feature] = 1000.0;
    // For a dog the product is beyond f32::MAX, for a cat well below.
    let weight = vec![2.0 * (f32::MAX / 1000.0 / dog), 0.0];
    let layers = [
        ("head.0.weight", &[1, 2048][..], hidden),
        ("head.0.bias", &[1], vec![0.0]),
        ("fc.weight", &[2, 1], weight),
        ("fc.bias", &[2], vec![0.0; 2]),
    ];
    for (name, shape, data) in layers {
        model.tensors.insert(name.to_owned(), weights::RawTensor { shape: shape.to_vec(), data: data.into() });
    }
    model.metadata.head.as_mut().unwrap().dropout = vec![0.0];
    write(desk, "head.safetensors", &model);
}

/// The bundled base, in which one channel of the last batch norm overflows for the dogs only.
fn add_overflowing_base(desk: &Desk) {
    let (feature, cat, dog) = telling_feature(desk);
    assert!(dog > 5.0 * cat, "no feature tells them apart: {cat}, {dog}");
    let mut base = bundled("bundled");
    for name in ["bn4.weight", "bn4.bias"] {
        let tensor = base.tensors.get_mut(name).unwrap();
        let mut values = tensor.data.floats().into_owned();
        // The sum over the 100 places overflows.
        values[feature] *= 2.0 * (f32::MAX / 100.0 / dog);
        tensor.data = values.into();
    }
    base.metadata.backbone = Some(weights::backbone_digest(&base.tensors));
    write(desk, "base.safetensors", &base);
}

#[track_caller]
fn assert_refused(ran: &Ran) {
    ran.assert_failed(1, &["model.safetensors", "tensor `fc.weight` holds NaN; the file is damaged"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_model_with_nan_is_refused_by_every_command_that_reads_it() {
    let desk = desk_with_pictures();
    desk.write("model.safetensors", &spoiled_head("fc.weight", 7, f32::NAN));
    for arguments in [
        &["classify", "-m", "model.safetensors", "data"][..],
        &["evaluate", "data", "-m", "model.safetensors"],
        &["explain", "data", "-m", "model.safetensors", "-o", "out"],
        &["weights", "verify", "model.safetensors"],
        &["info", "model.safetensors"],
        &["convert", "model.safetensors", "out.safetensors"],
    ] {
        assert_refused(&desk.run(arguments));
    }
}

#[test]
fn infinity_and_a_hidden_layers_nan_are_named() {
    let desk = Desk::new();
    for (tensor, value, found) in [
        ("fc.bias", f32::INFINITY, "tensor `fc.bias` holds infinity"),
        ("head.0.weight", f32::NAN, "tensor `head.0.weight` holds NaN"),
        ("head.1.bias", f32::NEG_INFINITY, "tensor `head.1.bias` holds infinity"),
    ] {
        desk.write("model.safetensors", &spoiled_head(tensor, 0, value));
        desk.run(&["weights", "verify", "model.safetensors"]).assert_failed(1, &["model.safetensors", found]);
    }
}

#[test]
fn numbers_that_overflow_on_any_picture_do_not_pass_for_complete() {
    let desk = Desk::new();
    let mut base = bundled("bundled");
    let tensor = base.tensors.get_mut("bn4.bias").unwrap();
    tensor.data = vec![3e38; tensor.data.len()].into();
    base.metadata.backbone = Some(weights::backbone_digest(&base.tensors));
    write(&desk, "base.safetensors", &base);
    let ran = desk.run(&["weights", "verify", "base.safetensors"]);
    assert_eq!(ran.status, Some(4), "{}", ran.stderr);
    assert!(ran.stdout.contains("base.safetensors: its numbers are too large"), "{}", ran.stdout);
}

#[test]
fn a_number_too_large_for_16_bits_is_not_stored_as_infinity() {
    let desk = Desk::new();
    desk.write("model.safetensors", &spoiled_head("fc.weight", 0, 70_000.0));
    let ran = desk.run(&["convert", "model.safetensors", "out.safetensors", "--precision", "f16"]);
    ran.assert_failed(1, &["tensor `fc.weight` holds ±70000", "store it as f32"]);
    assert!(!desk.path("out.safetensors").exists());
    desk.run(&["convert", "model.safetensors", "out.safetensors"]).assert_done();
}

#[test]
fn every_bundled_number_is_finite_and_no_variance_is_negative() {
    for bundled in weights::BUNDLED {
        for (name, tensor) in bundled.load().unwrap().tensors {
            let least = if name.ends_with("running_var") { 0.0 } else { f32::MIN };
            let passes = |value: &f32| (least..=f32::MAX).contains(value);
            assert!(tensor.data.floats().iter().all(passes), "{}: {name}", bundled.name);
        }
    }
}

#[test]
fn logits_that_overflow_are_an_error_row_of_their_picture() {
    let desk = desk_with_pictures();
    add_overflowing_head(&desk);
    let ran = desk.run(&["classify", "-m", "head.safetensors", "data"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let lines = ran.json_lines();
    assert_eq!(lines.len(), 4);
    for (line, is_dog) in lines.iter().zip([false, false, true, true]) {
        let error = line["error"].as_str().unwrap_or_default();
        assert_eq!(error.contains("its logits hold NaN or infinity"), is_dog, "{line}");
        assert_eq!(line["predictions"][0]["probability"].is_number(), !is_dog, "{line}");
    }
    let ran = desk.run(&["evaluate", "data", "-m", "head.safetensors", "-f", "json", "-q"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["pictures"], report["unreadable"].as_array().unwrap().len()), (&2.into(), 2), "{report}");
    let ran = desk.run(&["explain", "data", "-m", "head.safetensors", "-o", "heat", "-q"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let dogs: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("data/dog/")).collect();
    assert!(dogs.len() == 2 && dogs.iter().all(|line| line.contains("its logits hold NaN or infinity")), "{dogs:?}");
}

#[test]
fn features_that_overflow_are_an_error_row_of_their_picture() {
    let desk = desk_with_pictures();
    add_overflowing_base(&desk);
    let error = "its features hold NaN or infinity";
    let ran = desk.run(&["extract-features", "data", "-m", "base.safetensors", "-o", "f.jsonl", "-q"]);
    assert_eq!((ran.status, ran.stderr.matches(error).count()), (Some(3), 2), "{}", ran.stderr);
    let features = Features::read(&desk.path("f.jsonl")).unwrap();
    assert!(features.rows.len() == 2 && features.rows.iter().all(|row| row.path.starts_with("data/cat/")));
    let ran = desk.run(&["similar", "data", "--in", "f.jsonl", "-k", "1", "-q"]);
    assert_eq!((ran.status, ran.json_lines().len()), (Some(3), 4), "{}", ran.stderr);
    assert!(ran.json_lines()[2]["error"].as_str().unwrap().contains(error));
    let ran = desk.run(&["audit", "data", "-m", "base.safetensors", "-q"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert_eq!(ran.json_lines().iter().filter(|line| line.to_string().contains(error)).count(), 2, "{}", ran.stdout);
}

#[test]
fn rows_of_nan_in_a_features_file_are_named_and_computed_again() {
    let desk = desk_with_pictures();
    let path = desk.path("features.safetensors");
    let mut features = Features::read(&path).unwrap();
    features.rows[1].values[5] = f32::NAN;
    features.write(&path).unwrap();
    let ran = desk.run(&["similar", "data/cat/0.png", "-k", "9", "-q"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("data/cat/1.png: its features hold NaN or infinity; extract"), "{}", ran.stderr);
    assert_eq!(ran.json_lines()[0]["similar"].as_array().unwrap().len(), 3);
    let ran = desk.run(&["audit", "features.safetensors", "-q"]);
    assert_eq!((ran.status, ran.stderr.lines().count()), (Some(3), 1), "{}", ran.stderr);
    let ran = desk.run(&["extract-features", "data"]);
    assert!(ran.assert_done().stdout.contains("(1 computed, 3 reused)"), "{}", ran.stdout);
    assert!(Features::read(&path).unwrap().ensure_finite().is_ok());
}
