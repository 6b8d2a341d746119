//! `xcept convert`, `info` and `weights` on real and on broken files.

use std::io::Read;

use crate::support::program::{Desk, root, sample};

fn base() -> String {
    root().join("weights/xception-imagenet-base.safetensors").to_string_lossy().into_owned()
}

/// A file that Keras wrote, out of the fixtures: every weight has a value by formula.
fn add_keras_file(desk: &Desk, name: &str) {
    let fixtures = std::fs::File::open(root().join("tests/data/weights/keras.zip")).unwrap();
    let mut inner = Vec::new();
    zip::ZipArchive::new(fixtures).unwrap().by_name(name).unwrap().read_to_end(&mut inner).unwrap();
    let mut bytes = Vec::new();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(inner)).unwrap();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    desk.write(name, &bytes);
}

#[test]
fn the_layers_add_up_to_the_published_numbers() {
    let ran = Desk::new().run(&["info"]);
    let info = &ran.assert_done().stdout;
    for number in ["22,855,952", "22,910,480", "20,861,480"] {
        assert!(info.contains(number), "{number} is not in:\n{info}");
    }
    let line = |name: &str| {
        let line = info.lines().find(|line| line.contains(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("block1_conv1")[3..], ["149×149×32", "992", "19,181,664"]);
    assert_eq!(line("block5_sepconv1")[3..], ["19×19×728", "539,448", "193,689,496"]);
}

#[test]
fn a_converted_file_keeps_its_numbers_and_says_so() {
    let desk = Desk::new();
    desk.run(&["convert", &base(), "f32.safetensors"]).assert_done();
    let digest = |model: &str| {
        desk.run(&["weights", "verify", model]).assert_done().stdout.split("is ").nth(1).unwrap().to_owned()
    };
    assert_eq!(digest("f32.safetensors"), digest("bundled"));
    desk.run(&["convert", &base(), "f32.safetensors"]).assert_failed(1, &["f32.safetensors", "--overwrite"]);
}

#[test]
fn a_keras_model_with_its_own_head_classifies() {
    let desk = Desk::new();
    add_keras_file(&desk, "nested.keras");
    let ran = desk.run(&["convert", "nested.keras", "model.safetensors", "--interpolation", "nearest"]);
    assert!(ran.assert_done().stdout.contains("convention keras"), "{}", ran.stdout);
    let classify = |model: &str| desk.run(&["classify", "-m", model, &sample("kitten.jpg")]);
    let line = &classify("model.safetensors").assert_done().json_lines()[0];
    assert_eq!(line["model"], "model");
    assert!(line["predictions"][0]["label"].as_str().unwrap().starts_with("class "), "{line}");
    classify("nested.keras").assert_done();
}

#[test]
fn class_names_must_be_as_many_as_the_classes() {
    let desk = Desk::new();
    add_keras_file(&desk, "nested.keras");
    let ran = desk.run(&["convert", "nested.keras", "model.safetensors", "--class-names", "one,two"]);
    ran.assert_failed(1, &["2 names, the classifier has 6 classes"]);
    let ran = desk.run(&["convert", &base(), "model.safetensors", "--class-names", "one,two"]);
    ran.assert_failed(1, &["has no classifier"]);
}

#[test]
fn a_file_that_is_no_weights_file_is_told_what_was_expected() {
    let desk = Desk::new();
    desk.write("notes.keras", b"some notes");
    desk.write("empty.safetensors", b"");
    desk.write("lying.safetensors", b"\xff\xff\xff\x00\x00\x00\x00\x00{\"fc.weight\"");
    desk.write("broken.keras", b"PK\x03\x04 and nothing more");
    for name in ["notes.keras", "empty.safetensors"] {
        let ran = desk.run(&["classify", "-m", name, &sample("kitten.jpg")]);
        ran.assert_failed(1, &[name, "expected safetensors, Keras .h5 or .keras, or PyTorch .pth"]);
    }
    for name in ["lying.safetensors", "broken.keras"] {
        let ran = desk.run(&["classify", "-m", name, &sample("kitten.jpg")]);
        ran.assert_failed(1, &[name, "damaged"]);
    }
    desk.run(&["convert", "gone.h5", "out.safetensors"]).assert_failed(1, &["gone.h5: no such file"]);
}

#[test]
fn a_file_without_some_tensor_or_with_one_too_many_is_refused() {
    let desk = Desk::new();
    let bytes = std::fs::read(base()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.retain(|(name, _)| name != "block7.rep.4.conv1.weight");
    desk.write("missing.safetensors", &safetensors::serialize(tensors, None).unwrap());
    desk.run(&["weights", "verify", "missing.safetensors"])
        .assert_failed(1, &["missing.safetensors", "missing tensor `block7.rep.4.conv1.weight`"]);
    let mut tensors = file.tensors();
    let extra = tensors[0].1.clone();
    tensors.push(("block99.weight".to_owned(), extra));
    desk.write("extra.safetensors", &safetensors::serialize(tensors, None).unwrap());
    desk.run(&["weights", "verify", "extra.safetensors"])
        .assert_failed(1, &["extra.safetensors", "unexpected tensor `block99.weight`"]);
}

#[test]
fn changed_numbers_are_found_by_their_digest() {
    let desk = Desk::new();
    let mut bytes = std::fs::read(base()).unwrap();
    let last = bytes.len() - 1000;
    bytes[last] ^= 0x10;
    desk.write("changed.safetensors", &bytes);
    let ran = desk.run(&["weights", "verify", "changed.safetensors"]);
    assert_eq!(ran.status, Some(4), "{}", ran.stderr);
    assert!(ran.stdout.contains("damaged"), "{}", ran.stdout);
}

#[test]
fn a_base_alone_cannot_classify() {
    let desk = Desk::new();
    desk.run(&["classify", "-m", "bundled", &sample("kitten.jpg")])
        .assert_failed(1, &["bundled", "no classifier", "xcept finetune"]);
}

#[test]
fn a_cuda_device_that_is_not_built_in_is_an_error_with_the_remedy() {
    let desk = Desk::new();
    let ran = desk.run(&["classify", "--device", "cuda", &sample("kitten.jpg")]);
    assert!(
        cfg!(feature = "cuda") || ran.status == Some(1) && ran.stderr.contains("--features cuda"),
        "{}",
        ran.stderr
    );
    let ran = desk.run(&["classify", "--device", "gpu", &sample("kitten.jpg")]);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
}
