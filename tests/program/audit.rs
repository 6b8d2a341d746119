//! `xcept audit` on small folders made of the photographs of `samples/`.

use serde_json::Value;

use crate::support::program::{Desk, Ran, add_crops, samples};

/// Six crops of a cat and six of a dog, each in train and in val; crops of one photograph are alike but not the same.
fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    for (sample, class) in [("kitten.jpg", "cat"), ("beagle.jpg", "dog")] {
        add_quarters(&desk, sample, class);
    }
    desk
}

/// Nine parts of a photograph that overlap by a half, the first six for training.
fn add_quarters(desk: &Desk, sample: &str, class: &str) {
    let picture = image::open(samples().join(sample)).unwrap();
    let (width, height) = (picture.width() / 2, picture.height() / 2);
    for index in 0..9 {
        let part = picture.crop_imm(index % 3 * width / 2, index / 3 * height / 2, width, height);
        let split = if index < 6 { "train" } else { "val" };
        std::fs::create_dir_all(desk.path(&format!("data/{split}/{class}"))).unwrap();
        part.save(desk.path(&format!("data/{split}/{class}/{index}.png"))).unwrap();
    }
}

fn audit(desk: &Desk, options: &[&str]) -> Ran {
    desk.run(&[&["audit", "data", "-q", "--size", "150"], options].concat())
}

fn of_kind(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.json_lines().into_iter().filter(|line| line["finding"] == kind).collect()
}

/// Kind, first and second picture of each duplicate, and whether it is a leak.
fn duplicates(ran: &Ran) -> Vec<(String, String, String, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = |line: &Value| {
        (text(&line["kind"]), text(&line["first"]["path"]), text(&line["second"]["path"]), line["leak"] == true)
    };
    of_kind(ran, "duplicate").iter().map(told).collect()
}

fn owned(expected: &[(&str, &str, &str, bool)]) -> Vec<(String, String, String, bool)> {
    expected.iter().map(|(kind, a, b, leak)| (kind.to_string(), a.to_string(), b.to_string(), *leak)).collect()
}

#[test]
fn copies_across_splits_are_leaks_whether_the_same_mirrored_or_smaller() {
    let desk = desk_with_pictures();
    let picture = image::open(desk.path("data/train/cat/0.png")).unwrap();
    picture.fliph().save(desk.path("data/val/cat/flip.png")).unwrap();
    let dog = image::open(desk.path("data/train/dog/1.png")).unwrap();
    dog.thumbnail(dog.width() / 2, dog.height() / 2).save(desk.path("data/val/dog/half.png")).unwrap();
    std::fs::copy(desk.path("data/train/dog/2.png"), desk.path("data/val/dog/same.png")).unwrap();
    std::fs::copy(desk.path("data/train/dog/3.png"), desk.path("data/train/dog/again.png")).unwrap();
    let ran = audit(&desk, &[]);
    let expected = [
        ("same_bytes", "data/train/dog/2.png", "data/val/dog/same.png", true),
        ("same_picture", "data/train/dog/1.png", "data/val/dog/half.png", true),
        ("mirrored", "data/train/cat/0.png", "data/val/cat/flip.png", true),
        ("same_bytes", "data/train/dog/3.png", "data/train/dog/again.png", false),
    ];
    assert_eq!(duplicates(ran.assert_done()), owned(&expected));
    let summary = &of_kind(&ran, "summary")[0];
    assert_eq!((&summary["pictures"], &summary["leaks"], &summary["duplicates"]), (&22.into(), &3.into(), &4.into()));
    assert_eq!(summary["classes"][1]["val"], 5);
}

#[test]
fn splits_in_capitals_have_leaks_too_and_a_picture_in_none_leaks_nothing() {
    let desk = desk_with_pictures();
    std::fs::rename(desk.path("data/train"), desk.path("data/Train")).unwrap();
    std::fs::rename(desk.path("data/val"), desk.path("data/Test")).unwrap();
    std::fs::copy(desk.path("data/Train/dog/2.png"), desk.path("data/Test/dog/same.png")).unwrap();
    std::fs::copy(desk.path("data/Train/cat/1.png"), desk.path("data/cover.png")).unwrap();
    let ran = audit(&desk, &[]);
    let expected = [
        ("same_bytes", "data/Train/dog/2.png", "data/Test/dog/same.png", true),
        ("same_bytes", "data/cover.png", "data/Train/cat/1.png", false),
    ];
    assert_eq!(duplicates(ran.assert_done()), owned(&expected));
    let summary = &of_kind(&ran, "summary")[0];
    assert_eq!((&summary["leaks"], &summary["leaks_skipped"]), (&1.into(), &Value::Null));
    let counts = serde_json::json!({"label": "cat", "train": 6, "val": 0, "test": 3, "unsplit": 0});
    assert_eq!(summary["classes"][0], counts);
}

#[test]
fn a_file_in_the_wrong_class_is_a_doubtful_label() {
    let desk = desk_with_pictures();
    std::fs::rename(desk.path("data/train/cat/4.png"), desk.path("data/train/dog/stray.png")).unwrap();
    let ran = audit(&desk, &["--fail-on", "label"]);
    let labels = of_kind(&ran, "label");
    assert_eq!(labels.len(), 1, "{labels:?}");
    assert_eq!(labels[0]["path"], "data/train/dog/stray.png");
    assert_eq!((&labels[0]["label"], &labels[0]["suggestion"]), (&"dog".into(), &"cat".into()));
    ran.assert_failed(4, &["1 doubtful label where --fail-on"]);
    audit(&desk, &["--fail-on", "leak,duplicate"]).assert_done();
}

#[test]
fn a_leak_that_was_asked_about_is_status_4_with_the_findings_still_there() {
    let desk = desk_with_pictures();
    std::fs::copy(desk.path("data/train/dog/2.png"), desk.path("data/val/dog/same.png")).unwrap();
    let ran = audit(&desk, &["--fail-on", "leak,label", "-o", "findings.jsonl"]);
    ran.assert_failed(4, &["1 leak where"]);
    assert!(std::fs::read_to_string(desk.path("findings.jsonl")).unwrap().contains("\"leak\":true"));
    audit(&desk, &["-o", "findings.jsonl"]).assert_failed(1, &["findings.jsonl", "--overwrite"]);
    let ran = audit(&desk, &["--fail-on", "everything"]);
    assert!(ran.status == Some(2) && ran.stderr.contains("leak, duplicate, label"), "{}", ran.stderr);
}

#[test]
fn odd_files_are_named_and_unreadable_ones_are_status_3() {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data/dog", 2);
    desk.add_sample("kitten.jpg", "data/cat/named.png");
    desk.write("data/cat/broken.jpg", b"not a picture");
    let images = crate::support::program::root().join("tests/data/images");
    std::fs::copy(images.join("animated.gif"), desk.path("data/cat/moving.gif")).unwrap();
    std::fs::copy(images.join("cmyk.tif"), desk.path("data/cat/inks.tif")).unwrap();
    let ran = desk.run(&["audit", "data", "-q", "--size", "150"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let files = of_kind(&ran, "file");
    let has = |kind: &str, path: &str| files.iter().any(|file| file["kind"] == kind && file["path"] == path);
    assert!(has("unreadable", "data/cat/broken.jpg") && has("wrong_extension", "data/cat/named.png"), "{files:?}");
    assert!(has("animated", "data/cat/moving.gif") && has("cmyk", "data/cat/inks.tif"), "{files:?}");
}

#[test]
fn a_features_file_without_its_pictures_says_so_and_tells_by_features() {
    let desk = desk_with_pictures();
    std::fs::copy(desk.path("data/train/dog/2.png"), desk.path("data/val/dog/same.png")).unwrap();
    desk.run(&["extract-features", "data", "--size", "150"]).assert_done();
    let there = desk.run(&["audit"]);
    assert_eq!(there.assert_done().stderr, "");
    std::fs::rename(desk.path("data"), desk.path("moved")).unwrap();
    let ran = desk.run(&["audit"]);
    assert!(ran.assert_done().stderr.contains("data/train/cat/0.png"), "{}", ran.stderr);
    assert_eq!(of_kind(&ran, "summary")[0]["files_found"], 0);
    assert_eq!(duplicates(&ran)[0], duplicates(&there)[0]);
    assert!(of_kind(&ran, "shortcut").is_empty() && !of_kind(&there, "shortcut").is_empty());
}

#[test]
fn a_check_that_can_not_be_made_does_not_hold() {
    let desk = Desk::new();
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(desk.path(&format!("data/{class}"))).unwrap();
    }
    desk.add_sample("kitten.jpg", "data/cat/only.jpg");
    desk.add_sample("beagle.jpg", "data/dog/only.jpg");
    audit(&desk, &["--fail-on", "leak"]).assert_failed(4, &["leaks were not looked for: the data is not split"]);
    let ran = audit(&desk, &["--fail-on", "label"]);
    ran.assert_failed(4, &["labels were not judged: no class has 5 different pictures"]);
    let table = audit(&desk, &["-f", "table", "--fail-on", "duplicate"]).assert_done().stdout.clone();
    for part in ["data: 2 pictures, 2 classes", "not looked for: the data is not split"] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
    assert_eq!(table.matches("0  not judged: ").count(), 3, "{table}");
}

#[test]
fn pictures_that_only_their_features_tell_of_are_counted_where_leaks_must_not_be() {
    let desk = desk_with_pictures();
    desk.run(&["extract-features", "data", "--size", "150"]).assert_done();
    std::fs::remove_file(desk.path("data/train/cat/0.png")).unwrap();
    let ran = desk.run(&["audit", "-f", "table", "--fail-on", "leak"]);
    assert!(ran.assert_done().stderr.contains("1 picture was compared by the features alone"), "{}", ran.stderr);
    assert!(ran.stdout.contains("1 file is not there"), "{}", ran.stdout);
}

#[test]
fn the_table_has_a_line_for_each_kind_of_finding() {
    let desk = desk_with_pictures();
    std::fs::copy(desk.path("data/train/dog/2.png"), desk.path("data/val/dog/same.png")).unwrap();
    let table = audit(&desk, &["-f", "table"]).assert_done().stdout.clone();
    let line = |start: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no `{start}` in {table}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("data:"), "data: 19 pictures, 2 classes");
    assert!(line("leaks").starts_with("leaks 1 one picture in two splits"), "{table}");
    assert_eq!(line("outliers"), "outliers 0 not judged: 18 different pictures, expected 50 or more");
    assert_eq!(line("dog"), "dog 6 4 10 52.63 %");
    assert_eq!(line("same bytes"), "same bytes 1.0000 – data/train/dog/2.png data/val/dog/same.png");
    assert!(table.lines().all(|line| line.trim_end() == line), "{table}");
}

#[test]
fn a_report_shows_the_pictures_of_what_was_found() {
    let desk = desk_with_pictures();
    std::fs::copy(desk.path("data/train/cat/0.png"), desk.path("data/val/cat/copy.png")).unwrap();
    audit(&desk, &["--report", "out", "-o", "findings.jsonl"]).assert_done();
    let html = std::fs::read_to_string(desk.path("out/audit.html")).unwrap();
    for part in ["Leaks", "same bytes", "data/train/cat/0.png", "data/val/cat/copy.png", "Classes"] {
        assert!(html.contains(part), "no `{part}`");
    }
    assert!(html.matches("data:image/jpeg;base64,").count() >= 2);
    audit(&desk, &["--report", "out"]).assert_failed(1, &["out/audit.html", "--overwrite"]);
}
