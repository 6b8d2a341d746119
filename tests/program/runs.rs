//! The folders of runs: each is one program's at a time, and none can have another file overwritten.

use std::fs::File;
use std::path::PathBuf;

use crate::support::program::{Desk, Ran, add_crops};

/// A desk with the features of some pictures.
fn desk_with_features() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 5);
    add_crops(&desk, "beagle.jpg", "data/dog", 5);
    desk.run(&["extract-features", "data"]).assert_done();
    desk
}

fn run_folder(desk: &Desk, name: &str) -> PathBuf {
    desk.path("runs/finetune").join(name)
}

fn finetune(desk: &Desk, options: &[&str]) -> Ran {
    desk.run(&[&["finetune", "-q", "--epochs", "2", "--hidden", "4"], options].concat())
}

/// A run `a` that was stopped, so that there is something to go on with; `args.toml` changed by `edit`.
fn stopped(desk: &Desk, options: &[&str], edit: impl FnOnce(String) -> String) {
    finetune(desk, &[&["--name", "a"], options].concat()).assert_done();
    std::fs::remove_file(run_folder(desk, "a").join("last.safetensors")).unwrap();
    let path = run_folder(desk, "a").join("args.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, edit(text)).unwrap();
}

/// Puts a line before the first table of a TOML file.
fn with_line(text: String, line: &str) -> String {
    format!("{line}\n{text}")
}

#[test]
fn runs_that_are_started_together_have_folders_of_their_own() {
    let desk = desk_with_features();
    let arguments = |seed: &'static str, runs: &'static str| {
        ["finetune", "-q", "--epochs", "2", "--hidden", "4", "--seed", seed, "--runs", runs]
    };
    let seeds = ["1", "2", "3", "4"];
    let together: Vec<_> =
        seeds.iter().map(|seed| desk.command(&arguments(seed, "together")).spawn().unwrap()).collect();
    together.into_iter().for_each(|child| {
        Ran::of(child.wait_with_output().unwrap()).assert_done();
    });
    let splits = |runs: &str, name: &str| std::fs::read(desk.path(runs).join(name).join("splits.csv")).unwrap();
    for name in ["features", "features-2", "features-3", "features-4"] {
        let settings = std::fs::read_to_string(desk.path("together").join(name).join("args.toml")).unwrap();
        let is_its = |seed: &&&str| settings.lines().any(|line| line == format!("seed = {seed}"));
        let seed = seeds.iter().find(is_its).unwrap();
        desk.run(&arguments(seed, "alone")).assert_done();
        assert!(splits("together", name) == splits("alone", "features"), "{name}");
        std::fs::remove_dir_all(desk.path("alone")).unwrap();
    }
}

#[test]
fn of_two_runs_with_one_name_one_is_told() {
    let desk = desk_with_features();
    let arguments = ["finetune", "-q", "--epochs", "2", "--hidden", "4", "--name", "a"];
    let both = [(); 2].map(|()| desk.command(&arguments).spawn().unwrap());
    let mut both = both.map(|child| Ran::of(child.wait_with_output().unwrap()));
    both.sort_by_key(|ran| ran.status);
    both[0].assert_done();
    both[1].assert_failed(1, &["runs/finetune/a"]);
    assert!(run_folder(&desk, "a").join("last.safetensors").exists());
}

#[test]
fn a_run_that_another_program_trains_is_left_to_it() {
    let desk = desk_with_features();
    stopped(&desk, &[], |text| text);
    let live = File::open(run_folder(&desk, "a")).unwrap();
    live.try_lock().unwrap();
    let parts = ["runs/finetune/a", "another xcept is training this run; wait for it to end"];
    finetune(&desk, &["--resume", "a"]).assert_failed(1, &parts);
    finetune(&desk, &["--name", "a"]).assert_failed(1, &parts);
    // The one that stopped last is another.
    std::fs::copy(desk.path("features.safetensors"), run_folder(&desk, "a").join("checkpoint.safetensors")).unwrap();
    finetune(&desk, &["--resume"]).assert_failed(1, &parts);
    drop(live);
    std::fs::remove_file(run_folder(&desk, "a").join("checkpoint.safetensors")).unwrap();
    desk.run(&["finetune", "--resume", "a"]).assert_done();
}

#[test]
fn a_folder_of_something_else_is_no_run_and_stays_as_it_is() {
    let desk = desk_with_features();
    desk.write("runs/finetune/a/results.csv", b"mine");
    finetune(&desk, &["--name", "a"]).assert_failed(1, &["runs/finetune/a", "other files", "--name"]);
    desk.write("runs/finetune/features/results.csv", b"mine");
    finetune(&desk, &[]).assert_done();
    assert!(run_folder(&desk, "features-2").join("best.safetensors").exists());
    for name in ["a", "features"] {
        assert_eq!(std::fs::read(run_folder(&desk, name).join("results.csv")).unwrap(), b"mine");
    }
}

#[test]
fn a_resumed_run_replaces_no_file_that_only_its_settings_name() {
    let desk = desk_with_features();
    desk.write("theirs.safetensors", b"theirs");
    let theirs = desk.path("theirs.safetensors");
    let line = format!("output = {:?}\n", theirs.to_str().unwrap());
    stopped(&desk, &[], |text| with_line(text.replace("overwrite = false", "overwrite = true"), &line));
    let resume = |options: &[&str]| desk.run(&[&["finetune", "-q", "--resume", "a"], options].concat());
    resume(&[]).assert_failed(1, &["theirs.safetensors: exists already", "-o", "--overwrite"]);
    resume(&["--overwrite"]).assert_failed(2, &["--overwrite", "-o FILE"]);
    assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
    resume(&["-o", "theirs.safetensors", "--overwrite"]).assert_done();
    assert!(std::fs::read(&theirs).unwrap() == std::fs::read(run_folder(&desk, "a").join("best.safetensors")).unwrap());
}

#[test]
fn a_resumed_run_writes_models_under_names_of_models_only() {
    let desk = desk_with_features();
    let line = format!("output = {:?}\n", desk.path("profile").to_str().unwrap());
    stopped(&desk, &[], |text| with_line(text, &line));
    desk.run(&["finetune", "-q", "--resume", "a"]).assert_failed(2, &["profile", ".safetensors"]);
    assert!(!desk.path("profile").exists());
}

#[test]
fn a_resumed_run_replaces_no_features_of_something_else() {
    let desk = desk_with_features();
    desk.write("theirs.npz", b"theirs");
    let line = format!("features = {:?}", desk.path("theirs.npz").to_str().unwrap());
    finetune(&desk, &["data", "--name", "a"]).assert_done();
    std::fs::remove_file(run_folder(&desk, "a").join("last.safetensors")).unwrap();
    let path = run_folder(&desk, "a").join("args.toml");
    std::fs::write(&path, with_line(std::fs::read_to_string(&path).unwrap(), &line)).unwrap();
    let ran = desk.run(&["finetune", "-q", "--resume", "a"]);
    ran.assert_failed(1, &["runs/finetune/a", "begin a new run", "theirs.npz"]);
    assert_eq!(std::fs::read(desk.path("theirs.npz")).unwrap(), b"theirs");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_in_the_place_of_a_file_of_ours_is_refused_by_name() {
    use std::os::unix::fs::symlink;

    let desk = desk_with_features();
    desk.write("theirs", b"theirs");
    symlink(desk.path("theirs"), desk.path("g.safetensors.partial")).unwrap();
    let options = ["-o", "g.safetensors", "--overwrite"];
    let ran = desk.run(&[&["extract-features", "data"], &options[..]].concat());
    ran.assert_failed(1, &["g.safetensors.partial: is a symbolic link", "theirs", "remove it"]);
    stopped(&desk, &[], |text| text);
    for name in ["best.safetensors", "checkpoint.safetensors", "results.csv", "curves.svg"] {
        let path = run_folder(&desk, "a").join(name);
        let _ = std::fs::remove_file(&path);
        symlink(desk.path("theirs"), &path).unwrap();
        let ran = desk.run(&["finetune", "-q", "--resume", "a"]);
        ran.assert_failed(1, &[name]);
        std::fs::remove_file(&path).unwrap();
    }
    // A whole folder that is a link, too.
    desk.write("elsewhere/splits.csv", b"theirs");
    symlink(desk.path("elsewhere"), run_folder(&desk, "b")).unwrap();
    finetune(&desk, &["--name", "b"]).assert_failed(1, &["runs/finetune/b"]);
    for name in ["theirs", "elsewhere/splits.csv"] {
        assert_eq!(std::fs::read(desk.path(name)).unwrap(), b"theirs", "{name}");
    }
    symlink(desk.path("nothing"), desk.path("m.safetensors")).unwrap();
    finetune(&desk, &["-o", "m.safetensors"]).assert_failed(1, &["m.safetensors: is a symbolic link to nothing"]);
}
