//! `xcept evaluate` with the bundled classifier on crops of the photographs of `samples/`.

use serde_json::Value;
use xcept::features::Features;

use crate::support::program::{Desk, Ran, add_crops, root, thousand_classes};

/// Three cats and two dogs, and a cat in the dogs' folder: one answer of six is wrong.
fn desk_with_pictures(data: &str) -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", &format!("{data}/cat"), 3);
    add_crops(&desk, "beagle.jpg", &format!("{data}/dog"), 2);
    desk.add_sample("chelsea.png", &format!("{data}/dog/chelsea.png"));
    desk
}

fn evaluate(desk: &Desk, options: &[&str]) -> Ran {
    desk.run(&[&["evaluate", "data", "-m", "cats-vs-dogs"], options].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

#[track_caller]
fn assert_close(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-12, "{found}, expected {expected}");
}

#[test]
fn the_figures_are_those_of_the_answers() {
    let ran = evaluate(&desk_with_pictures("data"), &[]);
    let report = json(ran.assert_done());
    assert_eq!(ran.stderr, "data: 6 pictures (all) for cats-vs-dogs; those that it was trained on would flatter it\n");
    assert_eq!((&report["model"], &report["split"]), (&"cats-vs-dogs".into(), &"all".into()));
    assert_eq!((&report["pictures"], &report["correct"]), (&6.into(), &5.into()));
    assert_eq!(report["class_names"], serde_json::json!(["cat", "dog"]));
    assert_eq!(report["confusion_matrix"], serde_json::json!([[3, 0], [1, 2]]));
    assert_close(&report["accuracy"], 5.0 / 6.0);
    // By hand from the matrix.
    let dog = &report["classes"][1];
    for (figure, expected) in [("precision", 1.0), ("recall", 2.0 / 3.0), ("f1", 0.8), ("support", 3.0)] {
        assert_close(&dog[figure], expected);
    }
    assert_close(&report["macro_average"]["precision"], (0.75 + 1.0) / 2.0);
    let mistakes = report["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 1);
    assert_eq!((&mistakes[0]["path"], &mistakes[0]["truth"]), (&"data/dog/chelsea.png".into(), &"dog".into()));
    // One answer is wrong with near certainty, the others are right: a sixth of −ln of the truth's probability.
    let least = -mistakes[0]["truth_probability"].as_f64().unwrap().ln() / 6.0;
    let log_loss = report["log_loss"].as_f64().unwrap();
    assert!(log_loss >= least && log_loss < least + 0.1, "{report}");
}

#[test]
fn a_row_of_csv_for_each_picture_holds_what_the_figures_are_made_of() {
    let desk = desk_with_pictures("data");
    let csv = evaluate(&desk, &["-f", "csv"]).assert_done().stdout.clone();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(header, "path,truth,prediction,probability,correct,error,probability_cat,probability_dog");
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let of = |column: usize| rows.iter().map(|row| row[column].to_owned()).collect::<Vec<_>>();
    assert_eq!(of(0)[4..], ["data/dog/1.png", "data/dog/chelsea.png"]);
    assert_eq!(of(1), ["cat", "cat", "cat", "dog", "dog", "dog"]);
    assert_eq!(of(2), ["cat", "cat", "cat", "dog", "dog", "cat"]);
    assert_eq!(of(4), ["true", "true", "true", "true", "true", "false"]);
    assert_eq!((&of(3)[0], &of(3)[4]), (&of(6)[0], &of(7)[4]));
}

#[test]
fn the_table_shows_figures_matrix_and_mistakes() {
    let table = evaluate(&desk_with_pictures("data"), &["-f", "table"]).assert_done().stdout.clone();
    let line = |start: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no `{start}` in {table}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // The interval is that of `scipy.stats.binomtest(5, 6).proportion_ci(method="wilson")`.
    assert_eq!(line("accuracy"), "accuracy 83.33 % 5 of 6 right; 43.65 to 96.99 % with 95 % confidence");
    assert_eq!(line("dog"), "dog 100.00 % 66.67 % 80.00 % 3");
    assert!(table.contains("data/dog/chelsea.png") && table.contains("confusion matrix"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100 && line.trim_end() == line), "{table}");
}

#[test]
fn an_accuracy_below_the_least_is_status_4_with_the_results_still_there() {
    let desk = desk_with_pictures("data");
    let ran = evaluate(&desk, &["-q", "--min-accuracy", "0.9"]);
    ran.assert_failed(4, &["83.33 %", "5 of 6", "--min-accuracy 0.9"]);
    assert_eq!(json(&ran)["correct"], 5);
    evaluate(&desk, &["--min-accuracy", "0.8"]).assert_done();
    let ran = evaluate(&desk, &["--min-accuracy", "95"]);
    assert!(ran.status == Some(2) && ran.stderr.contains("0.95 is 95 %"), "{}", ran.stderr);
}

#[test]
fn test_is_taken_before_val_and_val_before_all() {
    let desk = Desk::new();
    for (split, count) in [("train", 1), ("val", 2), ("test", 3)] {
        add_crops(&desk, "kitten.jpg", &format!("data/{split}/cat"), count);
    }
    let pictures = |options: &[&str]| json(evaluate(&desk, options).assert_done())["pictures"].clone();
    assert_eq!(pictures(&[]), 3);
    assert_eq!([pictures(&["--split", "train"]), pictures(&["--split", "all"])], [1, 6]);
    std::fs::remove_dir_all(desk.path("data/test")).unwrap();
    assert_eq!(pictures(&[]), 2);
    evaluate(&desk, &["--split", "test"]).assert_failed(1, &["data: no pictures in test/CLASS/*"]);
}

#[test]
fn a_folder_that_is_no_class_is_named_with_the_models_classes() {
    let desk = desk_with_pictures("data");
    add_crops(&desk, "beagle.jpg", "data/wolf", 1);
    evaluate(&desk, &[]).assert_failed(1, &["data", "`wolf` is no class of cats-vs-dogs (cat, dog)", "-m"]);
}

#[test]
fn folders_may_have_wordnet_ids_and_a_thousand_classes_have_a_top_5() {
    let desk = Desk::new();
    desk.write("imagenet.safetensors", &thousand_classes());
    // Every picture is a tabby to this model, the first four classes share the second place.
    add_crops(&desk, "kitten.jpg", "data/n02123045", 2);
    add_crops(&desk, "beagle.jpg", "data/goldfish", 1);
    let run = |format| {
        let model = ["-m", "imagenet.safetensors", "--class-names", "imagenet"];
        desk.run(&[&["evaluate", "data", "-f", format], &model[..]].concat())
    };
    let report = json(run("json").assert_done());
    assert_eq!((&report["correct"], &report["top_5_accuracy"]), (&2.into(), &1.0.into()));
    assert_eq!((&report["classes"][281]["support"], &report["class_ids"][281]), (&2.into(), &"n02123045".into()));
    assert_eq!(report["confusion_matrix"][1][281], 1);
    let table = run("table").assert_done().stdout.clone();
    assert!(table.contains("top-5 accuracy  100.00 %") && table.lines().count() < 20, "{table}");
}

#[test]
fn a_test_split_needs_no_training_pictures_beside_it() {
    let desk = desk_with_pictures("data/test");
    let report = json(evaluate(&desk, &[]).assert_done());
    assert_eq!((&report["pictures"], &report["split"]), (&6.into(), &"test".into()));
}

#[test]
fn data_without_class_folders_is_an_error_with_the_remedy() {
    let desk = Desk::new();
    evaluate(&desk, &[]).assert_failed(1, &["data: no such folder", "DATA/CLASS/*"]);
    add_crops(&desk, "kitten.jpg", "data", 1);
    evaluate(&desk, &[]).assert_failed(1, &["data: has pictures but no class folders", "xcept classify"]);
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_in_no_figure() {
    let desk = desk_with_pictures("data");
    desk.write("data/cat/00.jpg", b"not a picture at all");
    let ran = evaluate(&desk, &[]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("xcept: data/cat/00.jpg: ") && ran.stderr.contains("1 of 7 pictures"),
        "{}",
        ran.stderr
    );
    let report = json(&ran);
    assert_eq!((&report["pictures"], &report["unreadable"][0]["path"]), (&6.into(), &"data/cat/00.jpg".into()));
    let csv = evaluate(&desk, &["-f", "csv"]).stdout;
    let row = csv.lines().find(|line| line.starts_with("data/cat/00.jpg,cat,,,,")).unwrap();
    assert!(row.ends_with(",,"), "{row}");
    assert_eq!(evaluate(&desk, &["--min-accuracy", "1"]).status, Some(4));
}

#[test]
fn data_that_cannot_be_read_at_all_is_a_failure() {
    let desk = Desk::new();
    desk.write("data/cat/1.jpg", b"");
    let ran = evaluate(&desk, &["-q"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("none of 1 pictures could be read"), "{}", ran.stderr);
}

#[test]
fn results_go_to_a_file_that_is_not_replaced_unasked() {
    let desk = desk_with_pictures("data");
    assert_eq!(evaluate(&desk, &["-o", "out.csv"]).assert_done().stdout, "");
    assert!(std::fs::read_to_string(desk.path("out.csv")).unwrap().starts_with("path,truth,"));
    evaluate(&desk, &["-o", "out.csv"]).assert_failed(1, &["out.csv", "--overwrite"]);
    evaluate(&desk, &["-o", "out.csv", "--overwrite", "-f", "json"]).assert_done();
    assert!(std::fs::read_to_string(desk.path("out.csv")).unwrap().starts_with("{\"model\""));
    let picture = ["-o", "data/cat/0.png", "--overwrite"];
    evaluate(&desk, &picture).assert_failed(1, &["data/cat/0.png", "input of this very command"]);
}

#[test]
fn a_report_is_one_file_with_the_mistakes_pictures() {
    let desk = desk_with_pictures("data");
    let ran = evaluate(&desk, &["--report", "out", "--plots", "charts", "-o", "figures.json"]);
    assert!(ran.assert_done().stderr.contains("out/report.html"), "{}", ran.stderr);
    let html = std::fs::read_to_string(desk.path("out/report.html")).unwrap();
    for part in ["83.33 %", "43.65 to 96.99 %", "data/dog/chelsea.png", "Confusion matrix", "Reliability"] {
        assert!(html.contains(part), "no `{part}`");
    }
    // One mistake: its picture, and that with the heat.
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 2);
    assert_eq!(std::fs::read_dir(desk.path("out")).unwrap().count(), 1);
    let svg = std::fs::read_to_string(desk.path("charts/reliability.svg")).unwrap();
    assert!(svg.starts_with("<svg") && desk.path("charts/reliability.png").exists());
    // Three cats are right; chelsea is a cat among the dogs.
    let svg = std::fs::read_to_string(desk.path("charts/confusion_matrix.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains(">3</text>") && desk.path("charts/confusion_matrix.png").exists());
    evaluate(&desk, &["--report", "out"]).assert_failed(1, &["out/report.html", "--overwrite"]);
}

#[test]
fn a_report_may_have_a_section_on_what_is_wrong_with_the_data() {
    let desk = desk_with_pictures("data/test");
    desk.add_sample("beagle.jpg", "data/train/dog/1.jpg");
    desk.add_sample("beagle.jpg", "data/test/dog/the same.jpg");
    let ran = evaluate(&desk, &["--audit"]);
    assert!(ran.status == Some(2) && ran.stderr.contains("--report <DIR>"), "{}", ran.stderr);
    evaluate(&desk, &["--report", "out", "--audit"]).assert_done();
    let html = std::fs::read_to_string(desk.path("out/report.html")).unwrap();
    let (figures, audit) = html.split_once("Audit of the whole data").unwrap();
    assert!(figures.contains("7 pictures (test)") && audit.contains("8 pictures of 2 classes"));
    let (_, leaks) = audit.split_once("Leaks: one picture in two splits").unwrap();
    assert!(leaks.contains("same bytes") && leaks.contains("test: data/test/dog/the same.jpg"));
    assert!(leaks.contains("<img src=\"data:image/jpeg;base64,"));
}

#[test]
fn a_run_s_learning_curves_are_in_its_model_s_report() {
    let desk = desk_with_pictures("data");
    desk.write("run/best.safetensors", &std::fs::read(root().join("weights/cats-vs-dogs.safetensors")).unwrap());
    desk.write("run/curves.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    desk.run(&["evaluate", "data", "-m", "run/best.safetensors", "--report", "none"]).assert_done();
    assert!(!std::fs::read_to_string(desk.path("none/report.html")).unwrap().contains("Learning curves"), "of no run");
    desk.write("run/args.toml", b"");
    desk.run(&["evaluate", "data", "-m", "run/best.safetensors", "--report", "out", "--plots", "out"]).assert_done();
    let html = std::fs::read_to_string(desk.path("out/report.html")).unwrap();
    assert!(html.contains("Learning curves"));
    assert_eq!(
        std::fs::read(desk.path("out/curves.svg")).unwrap(),
        std::fs::read(desk.path("run/curves.svg")).unwrap()
    );
}

/// The features file in the desk's cache folder.
fn cached(desk: &Desk) -> std::path::PathBuf {
    let files = std::fs::read_dir(desk.path("cache/xcept/features")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

#[test]
fn features_that_extraction_or_training_kept_are_not_computed_again() {
    let desk = desk_with_pictures("data");
    let first = json(evaluate(&desk, &[]).assert_done());
    let mut features = Features::read(&cached(&desk)).unwrap();
    assert_eq!((features.rows.len(), &features.class_names), (6, &vec!["cat".to_owned(), "dog".to_owned()]));
    assert_eq!(features.rows.iter().filter(|row| row.class == Some(1)).count(), 3);
    let second = json(evaluate(&desk, &[]).assert_done());
    assert_eq!(first, second);
    // Rows that no network would compute: what is answered comes from the file.
    let dog = features.rows[3].values.clone();
    features.rows.iter_mut().for_each(|row| row.values.clone_from(&dog));
    features.write(&cached(&desk)).unwrap();
    assert_eq!(json(evaluate(&desk, &[]).assert_done())["confusion_matrix"], serde_json::json!([[0, 3], [0, 3]]));
    let ran = desk.run(&["classify", "data", "-m", "cats-vs-dogs"]);
    assert!(ran.assert_done().json_lines().iter().all(|line| line["predictions"][0]["label"] == "dog"));
    // A picture that changes is computed anew, and a single file never comes from there.
    desk.add_sample("kitten.jpg", "data/cat/0.png");
    let report = json(evaluate(&desk, &[]).assert_done());
    assert_eq!(report["confusion_matrix"], serde_json::json!([[1, 2], [0, 3]]));
    let ran = desk.run(&["classify", "data/cat/1.png", "-m", "cats-vs-dogs"]);
    assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "cat");
}

#[test]
fn a_part_of_the_data_leaves_the_features_of_the_others_kept() {
    let desk = desk_with_pictures("data/val");
    add_crops(&desk, "chelsea.png", "data/train/cat", 2);
    add_crops(&desk, "beagle.jpg", "data/train/dog", 2);
    evaluate(&desk, &["--split", "val"]).assert_done();
    assert_eq!(Features::read(&cached(&desk)).unwrap().rows.len(), 6);
    evaluate(&desk, &["--split", "train"]).assert_done();
    assert_eq!(Features::read(&cached(&desk)).unwrap().rows.len(), 10);
}
