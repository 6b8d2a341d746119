//! `xcept finetune --unfreeze`: head and network together, run folders, and runs that were stopped.
//!
//! Pictures are brought to 71 pixels, the network's smallest input: its steps take a moment there.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::program::{Desk, Ran, add_crops, sample};
use xcept::architecture;
use xcept::weights::{Bundled, Tensors, load};

const FILES: [&str; 8] = [
    "args.toml",
    "best.safetensors",
    "curves.png",
    "curves.svg",
    "last.safetensors",
    "results.csv",
    "splits.csv",
    "checkpoint.safetensors",
];

fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 10);
    add_crops(&desk, "beagle.jpg", "data/dog", 10);
    desk
}

/// A short run with small pictures and small batches.
fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let short = "finetune data --size 71 --epochs 3 --finetune-epochs 2 --batch-size 4 --hidden 16".split(' ');
    short.chain(more.iter().copied()).collect()
}

fn run_folder(desk: &Desk, name: &str) -> PathBuf {
    desk.path("runs/finetune").join(name)
}

fn tensors(desk: &Desk, name: &str, file: &str) -> Tensors {
    load(&run_folder(desk, name).join(file)).unwrap().tensors
}

fn pretrained() -> Tensors {
    Bundled::find("bundled").unwrap().load().unwrap().tensors
}

fn bytes(desk: &Desk, name: &str) -> Vec<Vec<u8>> {
    FILES[1..7].iter().map(|file| std::fs::read(run_folder(desk, name).join(file)).unwrap()).collect()
}

#[test]
fn one_run_trains_the_head_and_then_the_network_into_one_file() {
    let desk = desk_with_pictures();
    let ran = desk.run(&arguments(&["--unfreeze", "block14"]));
    assert!(ran.assert_done().stdout.starts_with("runs/finetune/data/best.safetensors: validation accuracy "));
    for part in ["epoch 3/5", "epoch 5/5", "16 training and 4 validation pictures"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    for file in &FILES[..7] {
        assert!(run_folder(&desk, "data").join(file).is_file(), "{file}");
    }
    assert!(!run_folder(&desk, "data").join(FILES[7]).exists());
    let results = std::fs::read_to_string(run_folder(&desk, "data").join("results.csv")).unwrap();
    let phases: Vec<&str> = results.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(phases, ["head", "head", "head", "network", "network"]);
    let splits = std::fs::read_to_string(run_folder(&desk, "data").join("splits.csv")).unwrap();
    assert!(splits.starts_with("path,split,class\ndata/cat/"), "{splits}");

    let elsewhere = Desk::new();
    elsewhere.write("m.safetensors", &std::fs::read(run_folder(&desk, "data").join("last.safetensors")).unwrap());
    let ran = elsewhere.run(&["classify", "-m", "m.safetensors", &sample("kitten.jpg"), &sample("beagle.jpg")]);
    let labels: Vec<_> =
        ran.assert_done().json_lines().iter().map(|line| line["predictions"][0]["label"].clone()).collect();
    assert_eq!(labels, ["cat", "dog"]);
}

#[test]
fn what_lies_below_the_trained_blocks_and_frozen_batch_norms_stay_bit_for_bit() {
    let desk = desk_with_pictures();
    desk.run(&arguments(&["--unfreeze", "block13", "--finetune-learning-rate", "0.1"])).assert_done();
    let (before, after) = (pretrained(), tensors(&desk, "data", "last.safetensors"));
    let trained: Vec<String> = architecture::tensors_of(13..=14).into_iter().map(|spec| spec.name).collect();
    for spec in architecture::tensors() {
        let is_kernel = spec.shape.len() > 1;
        let changes = trained.contains(&spec.name) && is_kernel;
        assert_eq!(before[&spec.name] != after[&spec.name], changes, "{}", spec.name);
    }
}

#[test]
fn batch_norms_train_when_asked_to() {
    let desk = desk_with_pictures();
    desk.run(&arguments(&["--unfreeze", "block14", "--batch-norm", "train"])).assert_done();
    let (before, after) = (pretrained(), tensors(&desk, "data", "last.safetensors"));
    for name in ["bn4.weight", "bn4.bias", "bn4.running_mean", "bn4.running_var", "conv4.pointwise.weight"] {
        assert!(before[name] != after[name], "{name}");
    }
    assert!(before["block12.skipbn.running_mean"] == after["block12.skipbn.running_mean"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    for options in [
        &["--unfreeze", "block13", "--momentum", "0.9", "--nesterov", "--ema", "0.9"][..],
        &["--unfreeze", "all", "--augment", "all", "--finetune-epochs", "1", "--batch-norm", "train"],
        &["--unfreeze", "block14", "--augment", "flip", "--views", "2", "--optimizer", "adamw", "--clip-norm", "1"],
    ] {
        let desk = desk_with_pictures();
        for threads in ["1", "2", "3"] {
            let mut command = desk.command(&arguments(options));
            command.args(["--runs", threads, "--threads", threads]);
            Ran::of(command.output().unwrap()).assert_done();
            // Nothing may come from the run before.
            std::fs::remove_dir_all(desk.path("cache")).unwrap();
        }
        for file in &FILES[1..7] {
            let of = |threads: &str| std::fs::read(desk.path(threads).join("data").join(file)).unwrap();
            assert!(of("1") == of("2") && of("1") == of("3"), "{options:?} {file}");
        }
    }
}

/// Waits until the child has said `part` on stderr, for at most a minute.
fn wait_for(path: &std::path::Path, part: &str) {
    let started = Instant::now();
    while !std::fs::read_to_string(path).unwrap_or_default().contains(part) {
        assert!(started.elapsed() < Duration::from_secs(60), "`{part}` never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_that_was_stopped_anywhere_ends_with_the_same_bytes() {
    let options = ["--unfreeze", "block13", "--momentum", "0.9", "--augment", "flip", "--finetune-epochs", "4"];
    let desk = desk_with_pictures();
    desk.run(&arguments(&[&options[..], &["--name", "whole"]].concat())).assert_done();

    let said = desk.path("stderr");
    let start = |extra: &[&str], all: bool| {
        let arguments = if all { arguments(&[&options[..], extra].concat()) } else { extra.to_vec() };
        let mut command = desk.command(&arguments);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&said).unwrap()).spawn().unwrap()
    };
    // The name is part of the model file: two runs of one name.
    std::fs::rename(desk.path("runs/finetune/whole"), desk.path("whole")).unwrap();
    let mut child = start(&["--name", "whole"], true);
    for (part, signal) in [("epoch 2/7", "-KILL"), ("epoch 4/7", "-INT"), ("epoch 5/7", "-KILL")] {
        wait_for(&said, part);
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        if signal == "-INT" {
            assert_eq!(status.code(), Some(130));
            wait_for(&said, "--resume runs/finetune/whole");
        }
        child = start(&["finetune", "--resume"], false);
    }
    assert!(child.wait().unwrap().success(), "{}", std::fs::read_to_string(&said).unwrap());
    let stopped = bytes(&desk, "whole");
    std::fs::remove_dir_all(desk.path("runs/finetune/whole")).unwrap();
    std::fs::rename(desk.path("whole"), desk.path("runs/finetune/whole")).unwrap();
    for (index, (stopped, whole)) in stopped.iter().zip(bytes(&desk, "whole")).enumerate() {
        assert!(*stopped == whole, "{}", FILES[index + 1]);
    }
}

#[test]
fn resuming_what_cannot_be_resumed_is_an_error_with_the_remedy() {
    let desk = desk_with_pictures();
    desk.run(&["finetune", "--resume"]).assert_failed(1, &["runs/finetune", "no run"]);
    desk.run(&["finetune", "--resume", "nowhere"]).assert_failed(1, &["nowhere", "args.toml"]);
    desk.run(&arguments(&["--name", "a"])).assert_done();
    let ran = desk.run(&["finetune", "--resume", "a"]);
    assert!(ran.assert_done().stderr.contains("the run is done"), "{}", ran.stderr);
    desk.run(&["finetune", "--resume", "a", "--epochs", "9"]).assert_failed(2, &["args.toml", "leave"]);
    assert_eq!(desk.run(&["finetune", "--resume", "a", "--size", "75"]).status, Some(2));
    std::fs::remove_file(desk.path("runs/finetune/a/last.safetensors")).unwrap();
    std::fs::remove_file(desk.path("data/cat/3.png")).unwrap();
    desk.run(&["finetune", "-q", "--resume", "a"]).assert_failed(1, &["data", "changed", "begin a new run"]);
}

#[test]
fn a_recipe_says_what_it_sets_and_flags_beside_it_win() {
    let desk = desk_with_pictures();
    let recipe = ["--recipe", "cats-vs-dogs", "--unfreeze", "block14", "--finetune-epochs", "1"];
    let ran = desk.run(&arguments(&recipe));
    for part in ["recipe cats-vs-dogs", "unfreeze = \"all\"", "momentum = 0.1", "nesterov = true", "augment = "] {
        assert!(ran.assert_done().stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let settings = std::fs::read_to_string(run_folder(&desk, "data").join("args.toml")).unwrap();
    for part in ["unfreeze = \"block14\"", "finetune_epochs = 1", "momentum = 0.1", "finetune_learning_rate = 0.005"] {
        assert!(settings.contains(part), "{part}: {settings}");
    }
}

#[test]
fn patience_ends_a_phase_and_class_weights_and_smoothing_train() {
    let desk = desk_with_pictures();
    let options =
        ["--patience", "1", "--class-weight", "balanced", "--label-smoothing", "0.1", "--monitor", "val_loss"];
    let ran = desk.run(&arguments(&[&options[..], &["--learning-rate", "3", "--epochs", "200"]].concat()));
    let epochs = ran.assert_done().stderr.matches("epoch ").count();
    assert!(epochs < 200, "{epochs}");
}

#[test]
fn a_solved_head_counts_as_one_epoch_before_those_of_the_network() {
    let desk = desk_with_pictures();
    let options = "finetune data --size 71 --head linear --unfreeze block14 --finetune-epochs 2";
    let ran = desk.run(&options.split(' ').collect::<Vec<_>>());
    ran.assert_done();
    for part in ["epoch 2/3", "epoch 3/3"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
}

#[test]
fn patience_of_the_head_does_not_skip_the_network() {
    let desk = desk_with_pictures();
    let options = ["--patience", "1", "--learning-rate", "0.3", "--epochs", "50", "--unfreeze", "block14"];
    desk.run(&arguments(&options)).assert_done();
    let results = std::fs::read_to_string(run_folder(&desk, "data").join("results.csv")).unwrap();
    assert!(results.contains(",network,"), "{results}");
}

#[test]
fn a_picture_that_changed_since_its_features_were_made_is_named() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data", "--size", "71"]).assert_done();
    std::fs::copy(desk.path("data/dog/3.png"), desk.path("data/dog/2.png")).unwrap();
    let ran = desk.run(&["finetune", "-q", "--epochs", "1", "--unfreeze", "block14"]);
    ran.assert_failed(1, &["data/dog/2.png", "changed", "extract them again"]);
}

#[test]
fn a_preview_shows_the_pictures_as_they_will_be_seen() {
    let desk = desk_with_pictures();
    let options = ["--unfreeze", "block14", "--augment", "all", "--finetune-epochs", "1", "--preview", "sheet.png"];
    desk.run(&arguments(&options)).assert_done();
    let sheet = image::open(desk.path("sheet.png")).unwrap();
    assert!(sheet.width() >= 7 * 71 && sheet.height() >= 6 * 71, "{}×{}", sheet.width(), sheet.height());
    desk.run(&arguments(&["--preview", "other.png"])).assert_failed(2, &["--preview", "--augment"]);
}

#[test]
fn a_picture_that_is_gone_stops_the_training_of_the_network_by_name() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data", "--size", "71"]).assert_done();
    std::fs::remove_file(desk.path("data/dog/2.png")).unwrap();
    let ran = desk.run(&["finetune", "-q", "--epochs", "1", "--unfreeze", "block14"]);
    ran.assert_failed(1, &["data/dog/2.png", "no longer there"]);
}
