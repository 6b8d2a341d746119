//! Models that `xcept finetune` makes, on pictures like those they were trained on and on others.

use serde_json::Value;

use crate::support::program::{Desk, add_crops, sample};
use xcept::rejection::Known;
use xcept::weights::{RawTensor, load};

/// Eight cats and eight dogs, and a model of them in `model.safetensors`.
fn desk_with_model(options: &[&str]) -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 8);
    add_crops(&desk, "beagle.jpg", "data/dog", 8);
    desk.run(&[&["finetune", "data", "--epochs", "3", "-o", "model.safetensors"], options].concat()).assert_done();
    desk
}

#[test]
fn a_picture_unlike_the_training_pictures_is_unknown_in_every_format() {
    let desk = desk_with_model(&[]);
    let run = |options: &[&str]| {
        let arguments = ["classify", "-m", "model.safetensors", "-k", "1", "data/cat/0.png", &sample("chelsea.png")];
        let ran = desk.run(&[&arguments[..], options].concat());
        ran.assert_done();
        ran
    };
    let lines = run(&["--reject", "1"]).json_lines();
    assert_eq!([&lines[0]["unknown"], &lines[1]["unknown"]], [false, true]);
    assert!(lines[0]["distance"].as_f64() < lines[1]["distance"].as_f64(), "{lines:?}");
    assert!(lines[1]["predictions"][0]["label"].is_string());

    let csv = run(&["--reject", "1", "-f", "csv"]).stdout;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][7..], ["unknown", "distance", "error"]);
    assert_eq!([rows[1][7], rows[2][7]], ["false", "true"]);
    assert_eq!(rows[2][8], lines[1]["distance"].to_string());

    let table = run(&["--reject", "1", "-f", "table"]).stdout;
    assert!(table.contains("%  cat") && table.contains("chelsea.png  (model)\n    unknown  distance "), "{table}");

    // Unasked, the answers are what they were.
    let plain = run(&[]).json_lines();
    assert_eq!(plain[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "model", "predictions"]);
    assert_eq!(plain[1]["predictions"], lines[1]["predictions"]);
}

#[test]
fn evaluate_says_how_well_strangers_are_told_apart() {
    let desk = desk_with_model(&[]);
    desk.add_sample("chelsea.png", "others/deep/1.png");
    desk.write("others/2.jpg", b"not a picture");
    let evaluate =
        |format| desk.run(&["evaluate", "data", "-m", "model.safetensors", "--unknown", "others", "-f", format]);
    let ran = evaluate("json");
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["pictures"], &report["rejection"]["auroc"]), (&16.into(), &1.0.into()));
    assert_eq!(
        (&report["unreadable"][0]["path"], &report["unreadable"][0]["truth"]),
        (&"others/2.jpg".into(), &"unknown".into())
    );
    let limits = report["rejection"]["thresholds"].as_array().unwrap();
    assert_eq!([&limits[0]["reject"], &limits[1]["reject"]], [0.95, 0.99]);
    for limit in limits {
        assert_eq!(limit["unknown_rejected"], 1.0);
        assert!(limit["known_accepted"].as_f64().unwrap() >= 13.0 / 16.0, "{limit}");
    }
    let bins = report["reliability"].as_array().unwrap();
    assert_eq!(bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum::<u64>(), 16);
    assert!(report["expected_calibration_error"].is_f64());

    let options = ["--unknown", "others", "--report", "out"];
    desk.run(&[&["evaluate", "data", "-m", "model.safetensors"], &options[..]].concat());
    let html = std::fs::read_to_string(desk.path("out/report.html")).unwrap();
    assert!(html.contains("1 unknown pictures are told apart with an AUROC of <b>1.0000</b>"), "{html}");

    let table = evaluate("table").stdout;
    assert!(table.contains("1 unknown pictures: AUROC 1.0000") && table.contains(" 0.99 "), "{table}");
    evaluate("csv").assert_failed(2, &["--unknown", "-f json"]);
}

#[test]
fn a_model_that_does_not_know_its_training_pictures_rejects_none_and_says_so() {
    let desk = Desk::new();
    let picture = sample("beagle.jpg");
    desk.add_sample("kitten.jpg", "data/cat/1.jpg");
    desk.add_sample("beagle.jpg", "data/dog/1.jpg");
    let ran = desk.run(&["finetune", "data", "-o", "few.safetensors", "--keep-known", "0.9"]);
    assert!(ran.assert_done().stderr.contains("--keep-known: no picture will be called unknown"), "{}", ran.stderr);
    desk.run(&["classify", "-m", "few.safetensors", &picture]).assert_done();
    let ran = desk.run(&["classify", "-m", "few.safetensors", "--keep-known", "0.99", &picture]);
    ran.assert_failed(1, &["few.safetensors", "--keep-known", "xcept finetune"]);
    let ran = desk.run(&["evaluate", "data", "-m", "few.safetensors", "--unknown", "data"]);
    ran.assert_failed(1, &["few.safetensors", "--unknown", "xcept finetune"]);
    for share in ["0", "99", "x"] {
        let ran = desk.run(&["classify", "--keep-known", share, &picture]);
        assert!(ran.status == Some(2) && ran.stderr.contains("0.99 keeps 99 %"), "{}", ran.stderr);
    }
}

#[test]
fn the_bundled_classifier_calls_what_is_neither_cat_nor_dog_unknown_unless_every_picture_is_kept() {
    let desk = Desk::new();
    let stripes = crate::support::program::root().join("tests/data/images/rgb.png");
    let run = |more: &[&str]| {
        let arguments = ["classify", "-m", "cats-vs-dogs", stripes.to_str().unwrap(), &sample("kitten.jpg")];
        desk.run(&[&arguments[..], more].concat())
    };
    let lines = run(&[]).assert_done().json_lines();
    assert_eq!((&lines[0]["unknown"], &lines[1]["unknown"]), (&true.into(), &false.into()));
    assert_eq!(lines[1]["predictions"][0]["label"], "cat");
    assert!(run(&["-f", "table"]).assert_done().stdout.contains("unknown  distance"));
    let lines = run(&["--keep-known", "all"]).assert_done().json_lines();
    assert!(lines.iter().all(|line| line.get("unknown").is_none() && line.get("distance").is_none()));
    let info = desk.run(&["info", "cats-vs-dogs"]);
    assert!(info.assert_done().stdout.contains("called `unknown`; 98.00 % of known ones kept"), "{}", info.stdout);
}

#[test]
fn a_model_keeps_the_share_that_it_was_trained_with() {
    let desk = desk_with_model(&["--keep-known", "0.9"]);
    let line = |more: &[&str]| {
        let arguments = ["classify", "-m", "model.safetensors", &sample("chelsea.png")];
        desk.run(&[&arguments[..], more].concat()).assert_done().json_lines().remove(0)
    };
    assert_eq!(line(&[])["unknown"], line(&["--keep-known", "0.9"])["unknown"]);
    assert_eq!(line(&["--keep-known", "all"]).get("unknown"), None);
}

#[test]
fn a_trained_network_knows_its_own_features_of_the_training_pictures() {
    let options = ["--size", "71", "--unfreeze", "block14", "--monitor", "val_loss", "--finetune-epochs", "2"];
    for augment in [&[][..], &["--augment", "flip"]] {
        let desk = desk_with_model(&[&options, augment].concat());
        let model = load(&desk.path("model.safetensors")).unwrap();
        assert_eq!(model.metadata.history["epoch"]["phase"], "network");
        let known = Known::from_tensors(&model.tensors).unwrap().unwrap();
        // The farthest validation picture stands at the last quantile; `classify` computes its features anew.
        let splits = std::fs::read_to_string(desk.path("runs/finetune/data/splits.csv")).unwrap();
        let held_out = splits.lines().filter(|line| line.contains(",val,")).map(|line| line.split(',').next().unwrap());
        let arguments = ["classify", "-m", "model.safetensors", "--reject", "1"];
        let ran = desk.run(&arguments.into_iter().chain(held_out).collect::<Vec<_>>());
        let distances = ran.assert_done().json_lines().into_iter().map(|line| line["distance"].as_f64().unwrap());
        let (farthest, expected) = (distances.fold(0.0, f64::max), known.threshold(1.0));
        // Training computes block by block, the engine with folded batch norms: about 1e-6 apart, in features.
        assert!((farthest / expected - 1.0).abs() < 1e-3, "{farthest}, expected {expected}");
    }
}

#[test]
fn a_converted_model_answers_alike_and_a_temperature_that_makes_no_sense_is_named() {
    let desk = desk_with_model(&["--learning-rate", "0.001"]);
    desk.run(&["convert", "model.safetensors", "half.safetensors", "--precision", "f16", "--name", "model"])
        .assert_done();
    let distance = |model| {
        let ran = desk.run(&["classify", "-m", model, "--reject", "0.99", &sample("chelsea.png")]);
        ran.assert_done().json_lines()[0]["distance"].as_f64().unwrap()
    };
    let (whole, half) = (distance("model.safetensors"), distance("half.safetensors"));
    assert!((half / whole - 1.0).abs() < 0.05, "{half}, expected {whole}");

    let mut model = load(&desk.path("model.safetensors")).unwrap();
    let write = |model: &xcept::weights::Checkpoint| {
        use xcept::{output::Existing, weights};
        let path = desk.path("bad.safetensors");
        weights::write(&path, Existing::Replace, &model.tensors, &model.metadata, weights::Precision::F32).unwrap();
        desk.run(&["classify", "-m", "bad.safetensors", &sample("chelsea.png")])
    };
    let count = model.tensors["ood.variances"].data.len();
    let zeros = RawTensor { shape: vec![count], data: vec![0.0; count].into() };
    model.tensors.insert("ood.variances".to_owned(), zeros);
    write(&model).assert_failed(1, &["bad.safetensors", "`ood.variances`", "train the model again"]);
    model.metadata.head.as_mut().unwrap().temperature = -1.0;
    write(&model).assert_failed(1, &["bad.safetensors", "temperature is -1", "train the model again"]);
}
