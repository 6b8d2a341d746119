//! What becomes of the files that a command was told to write: none is lost, none is an input.

use std::process::Stdio;

use crate::support::program::{Desk, Ran, add_crops, root};

fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 3);
    add_crops(&desk, "beagle.jpg", "data/dog", 3);
    desk
}

/// Runs with a stdout that nobody reads.
fn run_unread(desk: &Desk, arguments: &[&str]) -> Ran {
    let mut child = desk.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn the_model_that_answers_is_never_written_over() {
    let desk = desk_with_pictures();
    let model = std::fs::read(root().join("weights/cats-vs-dogs.safetensors")).unwrap();
    desk.write("m.safetensors", &model);
    let base = std::fs::read(root().join("weights/xception-imagenet-base.safetensors")).unwrap();
    desk.write("b.safetensors", &base);
    desk.run(&["extract-features", "data", "-o", "f.safetensors"]).assert_done();
    let commands: [&[&str]; 7] = [
        &["evaluate", "data", "-m", "m.safetensors", "-o", "m.safetensors", "--overwrite"],
        &["classify", "data", "-m", "m.safetensors", "-o", "./m.safetensors", "--overwrite"],
        &["audit", "data", "-m", "b.safetensors", "-o", "b.safetensors", "--overwrite"],
        &["similar", "data", "--in", "f.safetensors", "-m", "b.safetensors", "-o", "b.safetensors", "--overwrite"],
        &["extract-features", "data", "-m", "b.safetensors", "-o", "b.safetensors", "--overwrite"],
        &["finetune", "data", "-m", "b.safetensors", "-o", "b.safetensors", "--overwrite"],
        &["lr-find", "f.safetensors", "-o", "f.safetensors", "--overwrite"],
    ];
    for command in commands {
        let ran = desk.run(command);
        assert!(matches!(ran.status, Some(1 | 2)), "{command:?}: {}", ran.stderr);
        assert!(command[0] == "lr-find" || ran.stderr.contains("is an input of this very command"), "{}", ran.stderr);
    }
    assert!(std::fs::read(desk.path("m.safetensors")).unwrap() == model);
    assert!(std::fs::read(desk.path("b.safetensors")).unwrap() == base);
}

#[test]
fn two_results_never_share_a_file() {
    let desk = desk_with_pictures();
    let options = ["-m", "cats-vs-dogs", "--report", "r", "-o", "r/../r/report.html"];
    std::fs::create_dir(desk.path("r")).unwrap();
    desk.run(&[&["evaluate", "data"], &options[..]].concat()).assert_failed(1, &["two results", "report.html"]);
    let ran = desk.run(&["audit", "data", "--report", "r", "-o", "./r/audit.html"]);
    ran.assert_failed(1, &["two results", "audit.html"]);
}

#[test]
fn a_reader_who_goes_away_costs_no_file_and_no_check() {
    let desk = desk_with_pictures();
    let ran = run_unread(&desk, &["explain", "data", "-m", "cats-vs-dogs", "-o", "maps"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(desk.path("maps")).unwrap().count(), 6);
    run_unread(&desk, &["explain", "data", "-m", "cats-vs-dogs", "-o", "sheet", "--grid"]);
    assert!(desk.path("sheet/grid.png").exists());
    std::fs::copy(desk.path("data/cat/0.png"), desk.path("data/dog/copy.png")).unwrap();
    let ran = run_unread(&desk, &["evaluate", "data", "-m", "cats-vs-dogs", "--report", "r", "--min-accuracy", "1"]);
    assert!(ran.status == Some(4) && desk.path("r/report.html").exists(), "{:?} {}", ran.status, ran.stderr);
    let ran = run_unread(&desk, &["audit", "data", "--report", "r", "--fail-on", "duplicate"]);
    assert!(ran.status == Some(4) && desk.path("r/audit.html").exists(), "{:?} {}", ran.status, ran.stderr);
}

#[test]
fn what_fails_before_its_work_leaves_no_folder_behind() {
    let desk = desk_with_pictures();
    for command in [
        &["evaluate", "nowhere", "-m", "cats-vs-dogs", "--report", "new", "--plots", "new"][..],
        &["evaluate", "data", "-m", "gone.safetensors", "--report", "new"],
        &["audit", "nowhere", "--report", "new"],
        &["explain", "data", "-m", "cats-vs-dogs", "-o", "new/maps", "--class", "horse"],
    ] {
        let ran = desk.run(command);
        assert!(matches!(ran.status, Some(1 | 2)), "{command:?}: {}", ran.stderr);
        assert!(!desk.path("new").exists(), "{command:?}");
    }
}

#[test]
fn a_report_does_not_become_a_class() {
    let desk = desk_with_pictures();
    let parts = ["data/audit", "taken for a class"];
    desk.run(&["audit", "data", "--report", "data/audit"]).assert_failed(1, &parts);
    desk.run(&["evaluate", "data", "-m", "cats-vs-dogs", "--report", "data/audit"]).assert_failed(1, &parts);
    desk.write("file", b"");
    desk.run(&["audit", "data", "--report", "file"]).assert_failed(1, &["file", "expected a folder"]);
}

#[test]
fn pictures_of_other_things_cost_no_evaluation() {
    let desk = desk_with_pictures();
    let evaluate = |unknown: &str| {
        let files = ["-o", "figures.json", "--overwrite"];
        desk.run(&[&["evaluate", "data", "-m", "known.safetensors", "--unknown", unknown], &files[..]].concat())
    };
    desk.run(&["finetune", "data", "--epochs", "1", "-o", "known.safetensors"]).assert_done();
    evaluate("gone").assert_failed(1, &["--unknown gone", "no such folder"]);
    desk.write("broken/a.jpg", b"no picture");
    let ran = evaluate("broken");
    assert!(ran.status == Some(3) && ran.stderr.contains("--unknown: none of 1 pictures"), "{}", ran.stderr);
    let figures: serde_json::Value =
        serde_json::from_slice(&std::fs::read(desk.path("figures.json")).unwrap()).unwrap();
    assert!(figures["accuracy"].is_f64() && figures.get("rejection").is_none_or(serde_json::Value::is_null));
}
