//! `xcept extract-features`: rows in order, later runs that compute only what is new, and kills.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::program::{Desk, Ran, add_crops};
use xcept::dataset::Split;
use xcept::features::Features;

fn read(desk: &Desk, name: &str) -> Features {
    Features::read(&desk.path(name)).unwrap()
}

#[track_caller]
fn assert_counts(ran: &Ran, computed: usize, reused: usize) {
    let expected = format!("({computed} computed, {reused} reused)");
    assert!(ran.assert_done().stdout.contains(&expected), "{}", ran.stdout);
}

#[test]
fn rows_come_in_order_with_the_labels_of_their_folders() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data/train/dog", 2);
    add_crops(&desk, "kitten.jpg", "data/train/cat", 3);
    add_crops(&desk, "chelsea.png", "data/val/cat", 1);
    desk.run(&["extract-features", "data"]).assert_done();
    let features = read(&desk, "features.safetensors");
    assert_eq!(features.class_names, ["cat", "dog"]);
    let rows: Vec<_> = features.rows.iter().map(|row| (row.path.as_str(), row.split, row.class)).collect();
    let expected = [
        ("data/train/cat/0.png", Some(Split::Train), Some(0)),
        ("data/train/cat/1.png", Some(Split::Train), Some(0)),
        ("data/train/cat/2.png", Some(Split::Train), Some(0)),
        ("data/train/dog/0.png", Some(Split::Train), Some(1)),
        ("data/train/dog/1.png", Some(Split::Train), Some(1)),
        ("data/val/cat/0.png", Some(Split::Val), Some(0)),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn rows_are_the_same_whatever_the_batch_size_threads_and_format() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 3);
    desk.run(&["extract-features", "data", "--batch-size", "1", "--threads", "1"]).assert_done();
    desk.run(&["extract-features", "data", "--batch-size", "3", "-o", "f.npz"]).assert_done();
    desk.run(&["extract-features", "data", "--batch-size", "2", "-o", "f.jsonl"]).assert_done();
    let one = read(&desk, "features.safetensors");
    assert_eq!(read(&desk, "f.npz"), one);
    assert_eq!(read(&desk, "f.jsonl"), one);
}

#[test]
fn a_later_run_computes_only_what_is_new_or_changed() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 3);
    assert_counts(&desk.run(&["extract-features", "data"]), 3, 0);
    assert_counts(&desk.run(&["extract-features", "data"]), 0, 3);
    desk.add_sample("kitten.jpg", "data/1.png");
    desk.add_sample("chelsea.png", "data/3.png");
    std::fs::remove_file(desk.path("data/0.png")).unwrap();
    assert_counts(&desk.run(&["extract-features", "data"]), 2, 1);
    let reused = read(&desk, "features.safetensors");
    desk.run(&["extract-features", "data", "-o", "anew.safetensors"]).assert_done();
    assert_eq!(reused, read(&desk, "anew.safetensors"));
}

#[cfg(unix)]
#[test]
fn a_killed_run_leaves_no_broken_file_and_the_next_goes_on() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 20);
    let arguments = ["extract-features", "data", "--batch-size", "1"];
    let mut child = desk.command(&arguments).spawn().unwrap();
    wait_for_rows(&desk.path("features.safetensors.partial"), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!desk.path("features.safetensors").exists());

    let ran = desk.run(&arguments);
    let reused: usize =
        ran.assert_done().stdout.split(" computed, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((2..20).contains(&reused), "{}", ran.stdout);
    assert!(!desk.path("features.safetensors.partial").exists());
    desk.run(&["extract-features", "data", "-o", "whole.safetensors"]).assert_done();
    let bytes = |name| std::fs::read(desk.path(name)).unwrap();
    assert!(bytes("features.safetensors") == bytes("whole.safetensors"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_what_is_done_and_is_status_130() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 30);
    let child = desk.command(&["extract-features", "data", "--batch-size", "1"]).spawn().unwrap();
    wait_for_rows(&desk.path("features.safetensors.partial"), 2);
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    ran.assert_failed(130, &["interrupted", "features.safetensors.partial", "the same command goes on"]);
    assert!(desk.path("features.safetensors.partial").exists());
}

/// Waits until the journal holds more than `count` rows.
fn wait_for_rows(journal: &Path, count: u64) {
    let started = Instant::now();
    let row = 4 * 2048;
    while std::fs::metadata(journal).map_or(0, |journal| journal.len()) < (count + 1) * row {
        assert!(started.elapsed() < Duration::from_secs(60), "no rows came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_unreadable_picture_has_no_row_and_the_others_keep_theirs() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 2);
    desk.write("data/05.jpg", b"");
    let ran = desk.run(&["extract-features", "data"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("data/05.jpg: the file is empty"), "{}", ran.stderr);
    let paths: Vec<_> = read(&desk, "features.safetensors").rows.into_iter().map(|row| row.path).collect();
    assert_eq!(paths, ["data/0.png", "data/1.png"]);
}

#[test]
fn nothing_readable_is_an_error_and_leaves_no_file() {
    let desk = Desk::new();
    desk.write("data/1.jpg", b"");
    desk.run(&["extract-features", "data"]).assert_failed(1, &["none of 1 pictures", "data/1.jpg", "empty"]);
    assert_eq!(std::fs::read_dir(desk.path("")).unwrap().count(), 1, "a file was left");
    desk.run(&["extract-features", "data", "-o", "data/1.jpg"]).assert_failed(2, &["data/1.jpg"]);
}

#[test]
fn features_of_other_numbers_or_other_pictures_are_not_replaced_unasked() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 1);
    add_crops(&desk, "kitten.jpg", "others", 1);
    desk.run(&["extract-features", "data"]).assert_done();
    let before = std::fs::read(desk.path("features.safetensors")).unwrap();
    let refused: [(&[&str], &str); 3] = [
        (&["data", "--convention", "timm"], "numbers of `keras`"),
        (&["data", "--size", "150"], "150×150"),
        (&["others"], "data/0.png"),
    ];
    for (arguments, part) in refused {
        let ran = desk.run(&[&["extract-features"], arguments].concat());
        ran.assert_failed(1, &["features.safetensors", part, "--overwrite"]);
        assert!(std::fs::read(desk.path("features.safetensors")).unwrap() == before);
    }
    desk.run(&["extract-features", "others", "--overwrite"]).assert_done();
    assert_eq!(read(&desk, "features.safetensors").rows[0].path, "others/0.png");
}

#[test]
fn what_a_run_with_other_settings_left_unfinished_is_not_dropped_unasked() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 20);
    let mut child = desk.command(&["extract-features", "data"]).spawn().unwrap();
    wait_for_rows(&desk.path("features.safetensors.partial"), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let journal = std::fs::read(desk.path("features.safetensors.partial")).unwrap();
    let ran = desk.run(&["extract-features", "data", "--size", "150"]);
    ran.assert_failed(1, &["features.safetensors.partial", "--overwrite"]);
    assert!(std::fs::read(desk.path("features.safetensors.partial")).unwrap() == journal);
}

#[test]
fn rows_of_pictures_that_are_all_elsewhere_are_not_dropped_unasked() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 1);
    desk.run(&["extract-features", "data"]).assert_done();
    std::fs::rename(desk.path("data"), desk.path("moved")).unwrap();
    let ran = desk.run(&["extract-features", "moved"]);
    ran.assert_failed(1, &["data/0.png", "--overwrite"]);
    assert_counts(&desk.run(&["extract-features", "moved", "--overwrite"]), 0, 1);
}

#[test]
fn maps_are_kept_whole_without_pooling() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", 1);
    desk.run(&["extract-features", "data", "--pool", "none", "--size", "150", "-o", "maps.npz"]).assert_done();
    desk.run(&["extract-features", "data", "--pool", "avg", "--size", "150", "-o", "avg.npz"]).assert_done();
    let (maps, avg) = (read(&desk, "maps.npz"), read(&desk, "avg.npz"));
    assert_eq!(maps.pipeline.row_shape(), [5, 5, 2048]);
    let mean: f32 = maps.rows[0].values.iter().step_by(2048).sum::<f32>() / 25.0;
    assert!((mean - avg.rows[0].values[0]).abs() < 1e-5);
}

#[test]
fn an_output_of_an_unknown_kind_is_refused_before_any_work() {
    let desk = Desk::new();
    desk.run(&["extract-features", "data", "-o", "f.csv"]).assert_failed(2, &["f.csv", ".safetensors, .npz or .jsonl"]);
}
