//! What folders mean to every command: splits, classes, pictures beside them, files that can't be read.

use serde_json::Value;

use crate::support::program::{Desk, Ran, add_crops, sample};
use xcept::dataset::Split;
use xcept::features::Features;

/// Crops of a cat and of a dog, so many in each of some splits.
fn desk_with_splits(splits: &[(&str, u32)]) -> Desk {
    let desk = Desk::new();
    for (split, count) in splits {
        add_crops(&desk, "kitten.jpg", &format!("data/{split}/cat"), *count);
        add_crops(&desk, "beagle.jpg", &format!("data/{split}/dog"), *count);
    }
    desk
}

/// Six crops of a cat and six of a dog in class folders.
fn desk_with_classes(classes: [&str; 2]) -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", &format!("data/{}", classes[0]), 6);
    add_crops(&desk, "beagle.jpg", &format!("data/{}", classes[1]), 6);
    desk
}

fn features(desk: &Desk, options: &[&str]) -> (Ran, Features) {
    let ran = desk.run(&[&["extract-features", "data", "--overwrite"], options].concat());
    (ran, Features::read(&desk.path("features.safetensors")).unwrap())
}

fn summary(ran: &Ran) -> Value {
    ran.json_lines().into_iter().find(|line| line["finding"] == "summary").unwrap()
}

#[test]
fn splits_are_known_in_any_case() {
    let desk = desk_with_splits(&[("Train", 4), ("Validation", 2), ("Test", 1)]);
    let ran = desk.run(&["finetune", "data", "-o", "pets.safetensors"]);
    let note = "8 training and 4 validation pictures of 2 classes";
    assert!(ran.assert_done().stderr.contains(note), "{}", ran.stderr);
    let info = desk.run(&["info", "pets.safetensors"]);
    assert!(info.assert_done().stdout.contains("2: cat, dog"), "{}", info.stdout);
    let ran = desk.run(&["evaluate", "data", "-m", "pets.safetensors"]);
    let report: Value = serde_json::from_str(&ran.assert_done().stdout).unwrap();
    assert_eq!((&report["split"], &report["pictures"]), (&"test".into(), &2.into()));
}

#[test]
fn a_doubled_archive_with_a_part_to_predict_trains() {
    let desk = desk_with_splits(&[("seg_train/seg_train", 4), ("seg_test/seg_test", 1)]);
    add_crops(&desk, "chelsea.png", "data/seg_pred/seg_pred", 2);
    desk.write("data/__MACOSX/seg_train/._cat", b"Mac OS X");
    desk.write("data/seg_train/seg_train/cat/._0.png", b"Mac OS X");
    let ran = desk.run(&["finetune", "data", "-o", "pets.safetensors"]);
    assert!(ran.assert_done().stderr.contains("8 training pictures of 2 classes"), "{}", ran.stderr);
    assert!(ran.stderr.contains("data/seg_pred/seg_pred: 2 pictures without class folders"), "{}", ran.stderr);
    let ran = desk.run(&["evaluate", "data", "-m", "pets.safetensors"]);
    let report: Value = serde_json::from_str(&ran.assert_done().stdout).unwrap();
    assert_eq!((&report["split"], &report["pictures"]), (&"test".into(), &2.into()));
}

#[test]
fn train_beside_a_flat_test_trains() {
    let desk = desk_with_splits(&[("train", 4)]);
    add_crops(&desk, "chelsea.png", "data/test", 2);
    let ran = desk.run(&["finetune", "data"]);
    assert!(ran.assert_done().stderr.contains("8 training pictures of 2 classes"), "{}", ran.stderr);
    let (ran, features) = features(&desk, &[]);
    ran.assert_done();
    let places: Vec<_> = features.rows.iter().map(|row| (row.split, row.class)).collect();
    assert_eq!(places[8..], [(Some(Split::Test), None); 2]);
    // In a features file nothing else is known of them.
    let ran = desk.run(&["finetune", "features.safetensors"]);
    assert!(ran.assert_done().stderr.contains("8 training pictures"), "{}", ran.stderr);
}

#[test]
fn a_class_may_be_called_train() {
    let desk = desk_with_classes(["bus", "train"]);
    let ran = desk.run(&["finetune", "data", "-o", "model.safetensors"]);
    let note = "data: `train` is taken for a class, not for a split";
    assert!(ran.assert_done().stderr.contains(note), "{}", ran.stderr);
    let ran = desk.run(&["classify", "-m", "model.safetensors", &sample("beagle.jpg")]);
    assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "train");
    // Nothing else could be meant by folders of folders.
    add_crops(&desk, "chelsea.png", "data/train/ICE", 8);
    for index in 0..6 {
        let name = format!("data/train/{index}.png");
        std::fs::rename(desk.path(&name), desk.path(&format!("data/train/ICE/more{index}.png"))).unwrap();
    }
    desk.run(&["finetune", "data", "-q"]).assert_failed(1, &["can't tell whether `train` is a class", "--classes top"]);
    let ran = desk.run(&["finetune", "data", "--classes", "top"]);
    assert!(ran.assert_done().stderr.contains("20 training pictures of 2 classes"), "{}", ran.stderr);
}

#[test]
fn names_that_differ_in_their_unicode_form_alone_are_one_class() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/train/caf\u{e9}", 4);
    add_crops(&desk, "beagle.jpg", "data/train/dog", 4);
    add_crops(&desk, "chelsea.png", "data/val/cafe\u{301}", 2);
    add_crops(&desk, "beagle.jpg", "data/val/dog", 2);
    let ran = desk.run(&["finetune", "data", "-o", "model.safetensors"]);
    assert!(ran.assert_done().stderr.contains("8 training and 4 validation pictures of 2 classes"), "{}", ran.stderr);
    std::fs::remove_dir_all(desk.path("data/train")).unwrap();
    let ran = desk.run(&["evaluate", "data", "-m", "model.safetensors"]);
    let report: Value = serde_json::from_str(&ran.assert_done().stdout).unwrap();
    assert_eq!(report["class_names"], serde_json::json!(["caf\u{e9}", "dog"]));
    assert_eq!(report["correct"], 4);
    let ran =
        desk.run(&["explain", &sample("kitten.jpg"), "-m", "model.safetensors", "--class", "cafe\u{301}", "-o", "out"]);
    assert_eq!(ran.assert_done().json_lines()[0]["label"], "caf\u{e9}");
}

#[test]
fn a_picture_beside_the_classes_takes_no_label_away() {
    let desk = desk_with_classes(["cat", "dog"]);
    desk.add_sample("chelsea.png", "data/cover.png");
    let (ran, features) = features(&desk, &[]);
    ran.assert_done();
    assert_eq!(features.class_names, ["cat", "dog"]);
    let unlabelled: Vec<_> =
        features.rows.iter().filter(|row| row.class.is_none()).map(|row| row.path.as_str()).collect();
    assert_eq!((features.rows.len(), unlabelled), (13, vec!["data/cover.png"]));

    let ran = desk.run(&["classify", "data", "-m", "cats-vs-dogs"]);
    assert_eq!(ran.assert_done().json_lines().len(), 13);
    let named = "data/cover.png: lies in no class folder";
    for data in ["data", "features.safetensors"] {
        let ran = desk.run(&["finetune", data]);
        assert_eq!(ran.status, Some(3), "{}", ran.stderr);
        for part in [named, "12 training pictures of 2 classes"] {
            assert!(ran.stderr.contains(part), "{}", ran.stderr);
        }
    }
    let ran = desk.run(&["evaluate", "data", "-m", "cats-vs-dogs"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&report["pictures"], &report["left_out"]), (&12.into(), &serde_json::json!(["data/cover.png"])));
    let classes = summary(desk.run(&["audit", "data"]).assert_done())["classes"].clone();
    assert_eq!(
        (&classes[0]["label"], &classes[0]["unsplit"], &classes[1]["unsplit"]),
        (&"cat".into(), &6.into(), &6.into())
    );
}

#[test]
fn every_picture_that_cannot_be_read_is_named() {
    let desk = desk_with_classes(["cat", "dog"]);
    let jpeg = std::fs::read(sample("kitten.jpg")).unwrap();
    for name in ["cat/noextension", "dog/b.jpg ", "dog/c.jpg.", "dog/d.jpg_large"] {
        desk.write(&format!("data/{name}"), &jpeg);
    }
    // None of them is whole.
    let unreadable = [
        ("cat/IMG_0.HEIC", &b"\0\0\0\x18ftypheic\0\0\0\0heic"[..]),
        ("cat/a.avif", b"\0\0\0\x18ftypavif\0\0\0\0avif"),
        ("cat/bare", b"\0\0\0\x18ftypheic\0\0\0\0heic"),
        ("dog/e.jxl", b"\xff\x0a"),
        ("dog/f.psd", b"8BPS\0\x01"),
        ("dog/g.DNG", b"II*\0"),
    ];
    for (name, content) in unreadable {
        desk.write(&format!("data/{name}"), content);
    }
    for name in ["cat/0.xmp", "cat/film.mp4", "dog/Thumbs.db", "notes.txt"] {
        desk.write(&format!("data/{name}"), b"no picture");
    }
    let note = "passed over: 4 files that are no pictures (1 .db, 1 .mp4, 1 .txt, 1 .xmp)";
    let ran = desk.run(&["classify", "data", "-m", "cats-vs-dogs"]);
    assert_eq!((ran.status, ran.json_lines().len()), (Some(3), 22), "{}", ran.stderr);
    for part in [note, "6 of 22 inputs could not be read"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let failed: Vec<_> = ran.json_lines().into_iter().filter(|line| line["error"].is_string()).collect();
    let failed: Vec<_> = failed.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(failed, unreadable.map(|(name, _)| format!("data/{name}")));
    for command in
        [&["extract-features", "data"][..], &["evaluate", "data", "-m", "cats-vs-dogs"], &["finetune", "data"]]
    {
        let ran = desk.run(command);
        assert_eq!(ran.status, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.contains(note), "{}", ran.stderr);
        for (name, _) in unreadable {
            assert!(ran.stderr.contains(&format!("data/{name}: ")), "{command:?} {name}: {}", ran.stderr);
        }
    }
    let ran = desk.run(&["audit", "data"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let faults = ran.json_lines().into_iter().filter(|line| line["kind"] == "unreadable");
    assert_eq!(faults.count(), unreadable.len());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_named_and_the_others_are_read() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let desk = desk_with_classes(["cat", "dog"]);
    desk.add_sample("kitten.jpg", "data/cat/private/1.jpg");
    let set = |name: &str, mode| std::fs::set_permissions(desk.path(name), PermissionsExt::from_mode(mode)).unwrap();
    set("data/cat/private", 0o000);
    // Root reads everything, so that the program must run as somebody else.
    let is_root = std::fs::read_dir(desk.path("data/cat/private")).is_ok();
    set("", 0o777);
    std::fs::copy(env!("CARGO_BIN_EXE_xcept"), desk.path("xcept")).unwrap();
    set("xcept", 0o755);
    let run = |arguments: &[&str]| {
        let (usual, mut command) = (desk.command(arguments), Command::new(desk.path("xcept")));
        command.args(arguments).current_dir(desk.path("")).stdin(Stdio::null());
        command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if is_root {
            command.uid(65534).gid(65534);
        }
        Ran::of(command.output().unwrap())
    };
    let reason = "the folder cannot be read: permission denied; make it readable";
    let ran = run(&["classify", "data", "-m", "cats-vs-dogs"]);
    assert_eq!((ran.status, ran.json_lines().len()), (Some(3), 13), "{}", ran.stderr);
    let failed: Vec<_> = ran.json_lines().into_iter().filter(|line| line["error"].is_string()).collect();
    assert_eq!(
        (failed.len(), &failed[0]["path"], &failed[0]["error"]),
        (1, &"data/cat/private".into(), &reason.into())
    );
    for command in ["extract-features", "finetune", "audit"] {
        let ran = run(&[command, "data"]);
        assert_eq!(ran.status, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("data/cat/private: {reason}")), "{}", ran.stderr);
    }
    set("data/cat/private", 0o755);
    set("data", 0o000);
    run(&["classify", "data", "-m", "cats-vs-dogs"]).assert_failed(1, &["data: cannot be read", "ermission denied"]);
    set("data", 0o755);
}

#[test]
fn the_level_of_the_classes_can_be_told_to_every_command() {
    let desk = Desk::new();
    for (class, name) in [("site1", "kitten.jpg"), ("site2", "beagle.jpg")] {
        add_crops(&desk, name, &format!("data/2019/{class}"), 3);
        add_crops(&desk, name, &format!("data/2020/{class}"), 4);
    }
    let (ran, top) = features(&desk, &[]);
    let note =
        "data: its classes are taken to be `2019`, `2020`; --classes leaf takes the folders in them, `site1`, `site2`";
    assert_eq!(ran.assert_done().stderr.lines().collect::<Vec<_>>(), [note]);
    assert_eq!(top.class_names, ["2019", "2020"]);
    let (ran, leaf) = features(&desk, &["--classes", "leaf"]);
    assert_eq!((ran.assert_done().stderr.as_str(), leaf.class_names.join(" ")), ("", "site1 site2".to_owned()));
    assert_eq!(leaf.rows.iter().filter(|row| row.class == Some(0)).count(), 7);
    let ran = desk.run(&["finetune", "data", "--classes", "leaf", "-o", "sites.safetensors"]);
    assert!(ran.assert_done().stdout.contains("accuracy 100.00 %"), "{}", ran.stdout);
    let arguments = std::fs::read_to_string(desk.path("runs/finetune/data/args.toml")).unwrap();
    assert!(arguments.contains("classes = \"leaf\""), "{arguments}");
    let evaluate = ["evaluate", "data", "-m", "sites.safetensors", "--classes"];
    let report: Value =
        serde_json::from_str(&desk.run(&[&evaluate[..], &["leaf"]].concat()).assert_done().stdout).unwrap();
    assert_eq!(report["correct"], 14);
    desk.run(&[&evaluate[..], &["top", "-q"]].concat()).assert_failed(1, &["its folder `2019` is no class"]);
    let ran = desk.run(&["audit", "data", "--classes", "leaf"]);
    assert_eq!(summary(ran.assert_done())["classes"][1]["label"], "site2");
    desk.run(&["audit", "features.safetensors", "--classes", "leaf"]).assert_failed(2, &["--classes", "made already"]);
}

#[test]
fn macro_averages_are_scikit_learns() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 2);
    add_crops(&desk, "beagle.jpg", "data/cat/and", 2);
    let report: Value =
        serde_json::from_str(&desk.run(&["evaluate", "data", "-m", "cats-vs-dogs"]).assert_done().stdout).unwrap();
    // `precision_recall_fscore_support` of cat, cat, cat, cat and cat, cat, dog, dog.
    let expected = serde_json::json!({"precision": 0.5, "recall": 0.25, "f1": 1.0 / 3.0});
    assert_eq!((&report["macro_average"], &report["balanced_accuracy"]), (&expected, &0.5.into()));
    let ran = desk.run(&["evaluate", "data", "-m", "cats-vs-dogs", "-f", "table"]);
    let row = ran.assert_done().stdout.lines().find(|line| line.trim_start().starts_with("dog")).unwrap().to_owned();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["dog", "0.00", "%", "0.00", "%", "0.00", "%", "0"]);
}
