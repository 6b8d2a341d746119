//! `xcept finetune --head`: from pictures or features to a model file that stands alone.

use crate::support::program::{Desk, add_crops, sample};
use xcept::dataset::Split;
use xcept::features::{Features, Row};
use xcept::weights::Digest;

/// Eight cats and eight dogs in folders.
fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 8);
    add_crops(&desk, "beagle.jpg", "data/dog", 8);
    desk
}

/// Features of the desk's pictures, changed by `edit`.
fn edited(desk: &Desk, edit: impl FnOnce(&mut Features)) {
    desk.run(&["extract-features", "data"]).assert_done();
    let path = desk.path("features.safetensors");
    let mut features = Features::read(&path).unwrap();
    edit(&mut features);
    features.write(&path).unwrap();
}

#[test]
fn a_folder_becomes_a_model_that_needs_nothing_beside_it() {
    let desk = desk_with_pictures();
    let ran = desk.run(&["finetune", "data", "--head", "dense", "--epochs", "5", "-o", "out/pets.safetensors"]);
    ran.assert_failed(1, &["out/pets.safetensors", "no such folder"]);
    std::fs::create_dir(desk.path("out")).unwrap();
    let ran = desk.run(&["finetune", "data", "--head", "dense", "--epochs", "5", "-o", "out/pets.safetensors"]);
    assert!(ran.assert_done().stdout.starts_with("out/pets.safetensors: validation accuracy "), "{}", ran.stdout);
    for part in ["epoch 5/5", "loss", "accuracy", "val_loss", "val_accuracy"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let results = std::fs::read_to_string(desk.path("runs/finetune/data/results.csv")).unwrap();
    let columns = "epoch,phase,learning_rate,loss,accuracy,val_loss,val_accuracy,temperature,val_calibration_error";
    let header = format!("{columns},val_calibrated_error\n1,head,0.01,");
    assert!(results.starts_with(&header), "{results}");
    assert_eq!(results.lines().count(), 6);

    let elsewhere = Desk::new();
    elsewhere.write("m.safetensors", &std::fs::read(desk.path("out/pets.safetensors")).unwrap());
    let ran = elsewhere.run(&["classify", "-m", "m.safetensors", &sample("kitten.jpg"), &sample("beagle.jpg")]);
    let lines = ran.assert_done().json_lines();
    assert_eq!(lines[0]["model"], "pets");
    assert_eq!(
        (&lines[0]["predictions"][0]["label"], &lines[1]["predictions"][0]["label"]),
        (&"cat".into(), &"dog".into())
    );
}

#[test]
fn without_a_val_folder_every_picture_trains_and_cross_validation_judges() {
    let desk = desk_with_pictures();
    let ran = desk.run(&["finetune", "data", "-o", "pets.safetensors"]);
    let result = "pets.safetensors: cross-validated accuracy 100.00 %, loss ";
    assert!(ran.assert_done().stdout.starts_with(result), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("; trained on all 16 pictures\n"), "{}", ran.stdout);
    for part in [
        "16 training pictures of 2 classes",
        "linear head, features as they are",
        "in 5 parts, 3 times: 0.0 of 16 held-out pictures wrong",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let run = desk.path("runs/finetune/data");
    let candidates = std::fs::read_to_string(run.join("cross_validation.csv")).unwrap();
    assert!(
        candidates.starts_with(
            "head,unit_length,strength,mixing,pictures,mistakes,log_loss,temperature\nlinear,false,3.2,,16,"
        ),
        "{candidates}"
    );
    assert!(candidates.contains("linear,true,3.2,,16,"), "{candidates}");
    // Five strengths each: nothing speaks against the preferred one, and the next is no better.
    assert_eq!(candidates.lines().count(), 11, "{candidates}");
    assert!(!std::fs::read_to_string(run.join("splits.csv")).unwrap().contains(",val,"));
    let ran = desk.run(&["classify", "-m", "pets.safetensors", &sample("chelsea.png"), &sample("beagle.jpg")]);
    let lines = ran.assert_done().json_lines();
    for (line, label) in lines.iter().zip(["cat", "dog"]) {
        assert_eq!(line["predictions"][0]["label"], label);
        // Epochs of SGD left such few pictures near 0.5.
        assert!(line["predictions"][0]["probability"].as_f64().unwrap() > 0.7, "{line}");
    }
    // An option of training by epochs holds pictures out, as ever.
    let ran = desk.run(&["finetune", "data", "--name", "epochs", "--epochs", "1"]);
    assert!(ran.assert_done().stderr.contains("12 training and 4 validation pictures"), "{}", ran.stderr);
}

#[test]
fn a_dense_head_is_trained_to_the_end_and_auto_says_why_it_takes_which() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 10);
    add_crops(&desk, "beagle.jpg", "data/dog", 10);
    let ran = desk.run(&["finetune", "data", "--head", "dense", "--hidden", "16,8", "-o", "dense.safetensors"]);
    assert!(ran.assert_done().stdout.contains("cross-validated accuracy 100.00 %"), "{}", ran.stdout);
    for part in [
        "dense head, features as they are, weights averaged with",
        "% of the linear start, by cross-validation in 5 parts: ",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let info = desk.run(&["info", "dense.safetensors"]);
    assert!(info.assert_done().stdout.contains("head.0 2048→16"), "{}", info.stdout);
    let ran = desk.run(&["classify", "-m", "dense.safetensors", &sample("chelsea.png"), &sample("beagle.jpg")]);
    let lines = ran.assert_done().json_lines();
    assert_eq!(lines[0]["predictions"][0]["label"], "cat");
    assert_eq!(lines[1]["predictions"][0]["label"], "dog");
    // Both are always right here, so that nothing speaks for the larger one.
    let ran = desk.run(&["finetune", "data", "--name", "auto", "--head", "auto", "--hidden", "16,8"]);
    ran.assert_done();
    let settings: toml::Table =
        std::fs::read_to_string(desk.path("runs/finetune/auto/args.toml")).unwrap().parse().unwrap();
    assert_eq!(settings["settings"]["hidden"].to_string(), "[16, 8]");
    for part in [
        "--head auto takes linear, dense is not surely better",
        "in the first cross-validation linear 0.0 of 20 held-out pictures wrong",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn one_picture_of_a_class_trains_and_says_what_cannot_be_judged() {
    let desk = Desk::new();
    desk.add_sample("kitten.jpg", "data/cat/1.jpg");
    desk.add_sample("beagle.jpg", "data/dog/1.jpg");
    let ran = desk.run(&["finetune", "data", "-o", "pets.safetensors"]);
    assert_eq!(ran.assert_done().stdout, "pets.safetensors: trained on 2 pictures, judged on none\n");
    assert!(ran.stderr.contains("nothing can be held out"), "{}", ran.stderr);
    let ran = desk.run(&["classify", "-m", "pets.safetensors", &sample("chelsea.png")]);
    assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "cat");
}

#[test]
fn a_val_folder_chooses_nothing_of_a_linear_head() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/train/cat", 4);
    add_crops(&desk, "beagle.jpg", "data/train/dog", 4);
    add_crops(&desk, "chelsea.png", "data/val/cat", 2);
    add_crops(&desk, "beagle.jpg", "data/val/dog", 2);
    let ran = desk.run(&["finetune", "data", "--name", "one"]);
    assert!(ran.assert_done().stdout.contains("validation accuracy 100.00 %"), "{}", ran.stdout);
    // Swapped labels there change what the model is called good for, and not the model.
    std::fs::rename(desk.path("data/val/cat"), desk.path("data/val/x")).unwrap();
    std::fs::rename(desk.path("data/val/dog"), desk.path("data/val/cat")).unwrap();
    std::fs::rename(desk.path("data/val/x"), desk.path("data/val/dog")).unwrap();
    let ran = desk.run(&["finetune", "data", "--name", "two"]);
    assert!(ran.assert_done().stdout.contains("validation accuracy 0.00 %"), "{}", ran.stdout);
    let head = |run: &str| {
        let model = xcept::weights::load(&desk.path(&format!("runs/finetune/{run}/best.safetensors"))).unwrap();
        (model.tensors["fc.weight"].clone(), model.metadata.head.unwrap().temperature)
    };
    assert_eq!(head("one"), head("two"));
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data"]).assert_done();
    let bytes = |runs: &str, threads: &str, seed: &str| {
        let arguments = ["finetune", "--seed", seed, "--threads", threads, "--runs", runs];
        let ran =
            desk.command(&arguments).env("RAYON_NUM_THREADS", threads).args(["--name", "solved"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let solved = std::fs::read(desk.path(runs).join("solved/best.safetensors")).unwrap();
        let arguments = ["finetune", "--epochs", "4", "--seed", seed, "--threads", threads, "--runs", runs];
        let ran = desk.command(&arguments).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        ["best.safetensors", "last.safetensors", "results.csv", "curves.svg", "curves.png", "splits.csv"]
            .map(|name| std::fs::read(desk.path(runs).join("features").join(name)).unwrap())
            .into_iter()
            .chain([solved])
            .collect::<Vec<_>>()
    };
    let one = bytes("one", "1", "0");
    assert!(one == bytes("two", "2", "0"));
    assert!(one == bytes("three", "3", "0"));
    assert!(one[0] != bytes("other", "1", "1")[0]);
}

#[test]
fn a_linear_head_and_three_classes_are_a_softmax() {
    let desk = desk_with_pictures();
    add_crops(&desk, "chelsea.png", "data/chelsea", 4);
    desk.run(&["finetune", "data", "--head", "linear", "--epochs", "20", "-o", "model.safetensors"]).assert_done();
    let ran = desk.run(&["classify", "-m", "model.safetensors", &sample("chelsea.png")]);
    let line = &ran.assert_done().json_lines()[0];
    assert_eq!(line["predictions"][0]["label"], "chelsea");
    assert_eq!(line["predictions"].as_array().unwrap().len(), 3);
    let info = desk.run(&["info", "model.safetensors"]);
    assert!(info.assert_done().stdout.contains("fc 2048→3"), "{}", info.stdout);
}

#[test]
fn an_earlier_model_is_not_replaced_unasked() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data"]).assert_done();
    let arguments = ["finetune", "--epochs", "1", "-o", "model.safetensors"];
    desk.run(&arguments).assert_done();
    desk.run(&arguments).assert_failed(1, &["model.safetensors", "--overwrite"]);
    desk.run(&[&arguments[..], &["--overwrite"]].concat()).assert_done();
    // Without a name every run has a folder of its own.
    assert!(desk.path("runs/finetune/features/best.safetensors").exists());
    assert!(desk.path("runs/finetune/features-2/best.safetensors").exists());
    let named = ["finetune", "--epochs", "1", "--name", "features"];
    desk.run(&named).assert_failed(1, &["runs/finetune/features", "an earlier run", "--name", "--resume"]);
}

#[test]
fn one_class_only_is_an_error() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 2);
    desk.run(&["finetune", "data", "-q"]).assert_failed(1, &["data", "one class only (`cat`)", "two class folders"]);
}

#[test]
fn a_class_that_is_missing_from_val_is_named() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/train/cat", 1);
    add_crops(&desk, "beagle.jpg", "data/train/dog", 1);
    add_crops(&desk, "chelsea.png", "data/val/cat", 1);
    let ran = desk.run(&["finetune", "data", "-q"]);
    ran.assert_failed(1, &["data", "class `dog` has no validation pictures"]);
}

#[test]
fn pictures_of_test_are_not_learned_from() {
    let desk = desk_with_pictures();
    // Test rows with the labels swapped would ruin what is learned.
    edited(&desk, |features| {
        let swapped: Vec<Row> = features
            .rows
            .iter()
            .flat_map(|row| vec![Row { split: Some(Split::Test), class: row.class.map(|c| 1 - c), ..row.clone() }; 3])
            .collect();
        features.rows.extend(swapped);
    });
    let ran = desk.run(&["finetune", "--epochs", "20", "--head", "linear"]);
    assert!(ran.assert_done().stdout.contains("validation accuracy 100.00 %"), "{}", ran.stdout);
    assert!(ran.stderr.contains("12 training and 4 validation pictures"), "{}", ran.stderr);
}

#[test]
fn features_of_other_weights_are_refused_with_both_digests() {
    let desk = desk_with_pictures();
    let other = Digest::of_bytes(b"other weights");
    edited(&desk, |features| features.pipeline.backbone = other.clone());
    let bundled = xcept::weights::Bundled::find("bundled").unwrap().load().unwrap().backbone_digest();
    desk.run(&["finetune", "-q"]).assert_failed(1, &["bundled", other.short(), bundled.short()]);
    assert!(!desk.path("runs").exists());
}

#[test]
fn data_that_is_not_there_or_no_features_is_an_error_with_the_remedy() {
    let desk = Desk::new();
    desk.run(&["finetune"]).assert_failed(1, &["features.safetensors", "xcept extract-features"]);
    desk.run(&["finetune", "nowhere"]).assert_failed(1, &["nowhere: no such file or folder"]);
    desk.write("notes.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}");
    desk.run(&["finetune", "notes.safetensors"]).assert_failed(1, &["notes.safetensors", "not a features file"]);
}

#[test]
fn options_that_would_change_ready_features_are_refused() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data"]).assert_done();
    for option in [["--model", "imagenet"], ["--size", "150"], ["--pool", "max"]] {
        desk.run(&[&["finetune"], &option[..]].concat()).assert_failed(2, &[option[0], "features.safetensors"]);
    }
}

#[test]
fn training_that_diverges_is_an_error_and_a_row_of_nan_is_left_out_and_named() {
    let desk = desk_with_pictures();
    edited(&desk, |_| ());
    let ran = desk.run(&["finetune", "-q", "--learning-rate", "1e30"]);
    ran.assert_failed(1, &["diverged", "--learning-rate"]);
    assert!(!desk.path("runs/finetune/features/best.safetensors").exists());
    edited(&desk, |features| features.rows[3].values[7] = f32::NAN);
    let ran = desk.run(&["finetune", "-q", "--epochs", "2", "-o", "model.safetensors"]);
    ran.assert_failed(3, &["data/cat/3.png: its features hold NaN or infinity", "extract the features again"]);
    assert!(desk.path("model.safetensors").exists());
}

#[test]
fn a_head_runs_on_the_numbers_that_its_features_were_made_with() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data", "--convention", "timm", "--preprocess", "keras"]).assert_done();
    desk.run(&["finetune", "--head", "linear", "--epochs", "3", "-o", "model.safetensors"]).assert_done();
    // The training picture's probability, computed from its stored features.
    let features = Features::read(&desk.path("features.safetensors")).unwrap();
    let model = xcept::weights::load(&desk.path("model.safetensors")).unwrap();
    let (weight, bias) = (model.tensors["fc.weight"].data.floats(), model.tensors["fc.bias"].data.floats()[0]);
    let logit: f32 = features.rows[0].values.iter().zip(&*weight).map(|(x, w)| x * w).sum::<f32>() + bias;
    let ran = desk.run(&["classify", "-m", "model.safetensors", "data/cat/0.png"]);
    let predictions = ran.assert_done().json_lines()[0]["predictions"].clone();
    let dog = predictions.as_array().unwrap().iter().find(|p| p["label"] == "dog").unwrap()["probability"].as_f64();
    let temperature = model.metadata.head.unwrap().temperature;
    let expected = 1.0 / (1.0 + (-f64::from(logit) / temperature).exp());
    assert!((dog.unwrap() - expected).abs() < 1e-5, "{dog:?}, {expected}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let desk = Desk::new();
    for (arguments, part) in [
        (["--dropout", "1"], "--dropout"),
        (["--val", "0"], "--val"),
        (["--epochs", "0"], "--epochs"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--hidden", "0"], "--hidden"),
        (["-o", "model.h5"], ".safetensors"),
        (["--augment", "flip"], "--unfreeze"),
        (["--batch-norm", "train"], "--unfreeze"),
        (["--ema", "1"], "--ema"),
        (["--clip-norm", "0"], "--clip-norm"),
        (["--views", "2"], "--augment"),
        (["--label-smoothing", "1"], "--label-smoothing"),
    ] {
        let ran = desk.run(&[&["finetune"], &arguments[..]].concat());
        ran.assert_failed(2, &[part]);
    }
    for (arguments, part) in [
        (["--unfreeze", "block15"], "block1 to block14"),
        (["--augment", "crop=2"], "crop"),
        (["--schedule", "step=3/2epochs"], "factor above 0"),
    ] {
        let ran = desk.run(&[&["finetune"], &arguments[..]].concat());
        assert!(ran.status == Some(2) && ran.stderr.contains(part), "{}", ran.stderr);
    }
}
