//! `xcept similar` on crops of the photographs of `samples/`.

use xcept::features::Features;
use xcept::weights::Digest;

use crate::support::program::{Desk, Ran, add_crops};

/// Features of three crops of a cat and of two of a dog.
fn desk_with_features() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 3);
    add_crops(&desk, "beagle.jpg", "data/dog", 2);
    desk.run(&["extract-features", "data", "--size", "150"]).assert_done();
    desk
}

fn found(ran: &Ran, line: usize) -> Vec<(String, f64)> {
    let line = &ran.json_lines()[line];
    let similar = line["similar"].as_array().unwrap_or_else(|| panic!("{line}"));
    similar.iter().map(|one| (one["path"].as_str().unwrap().to_owned(), one["cosine"].as_f64().unwrap())).collect()
}

#[test]
fn the_nearest_come_first_in_the_order_of_the_queries() {
    let desk = desk_with_features();
    desk.add_sample("beagle.jpg", "queries/b.jpg");
    std::fs::copy(desk.path("data/cat/2.png"), desk.path("queries/a.png")).unwrap();
    let ran = desk.run(&["similar", "queries", "data/dog/1.png", "--in", "features.safetensors", "-k", "3"]);
    let paths: Vec<String> =
        ran.assert_done().json_lines().iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths, ["queries/a.png", "queries/b.jpg", "data/dog/1.png"]);
    let cat = found(&ran, 0);
    assert_eq!((cat.len(), cat[0].0.as_str()), (3, "data/cat/2.png"));
    assert!((cat[0].1 - 1.0).abs() < 1e-5 && cat.iter().all(|(path, _)| path.starts_with("data/cat/")), "{cat:?}");
    assert!(found(&ran, 1)[..2].iter().all(|(path, _)| path.starts_with("data/dog/")));
    for line in 0..3 {
        assert!(found(&ran, line).is_sorted_by(|a, b| a.1 >= b.1));
    }
    assert_eq!(ran.json_lines()[0]["similar"][0]["label"], "cat");
}

#[test]
fn a_query_that_cannot_be_read_is_an_error_row_in_its_place_and_status_3() {
    let desk = desk_with_features();
    desk.write("cut.jpg", b"\xff\xd8\xff");
    let ran = desk.run(&["similar", "data/cat/0.png", "cut.jpg", "no.jpg", "data/dog/0.png", "-k", "1"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let lines = ran.json_lines();
    assert!(lines[1]["error"].is_string() && lines[2]["error"].as_str().unwrap().contains("no such file"));
    assert_eq!((found(&ran, 0)[0].0.as_str(), found(&ran, 3)[0].0.as_str()), ("data/cat/0.png", "data/dog/0.png"));
}

#[test]
fn queries_go_through_the_pipeline_of_the_file_and_other_weights_are_refused() {
    let desk = desk_with_features();
    let file = desk.path("features.safetensors");
    let mut features = Features::read(&file).unwrap();
    features.pipeline.backbone = Digest::of_bytes(b"others");
    features.write(&file).unwrap();
    let ran = desk.run(&["similar", "data/cat/0.png"]);
    ran.assert_failed(1, &["features.safetensors", "other weights", "as -m"]);
}

#[test]
fn a_sheet_has_a_row_for_each_query_with_the_query_first() {
    let desk = desk_with_features();
    let options = ["-k", "2", "-f", "table", "--sheet", "sheet.png"];
    let ran = desk.run(&[&["similar", "data/cat/1.png", "data/dog/1.png"], &options[..]].concat());
    assert!(ran.assert_done().stdout.contains("1.0000  data/cat/1.png  (cat)"), "{}", ran.stdout);
    let sheet = image::open(desk.path("sheet.png")).unwrap().to_rgb8();
    // Three columns between white: a query in its blue frame, itself as its nearest, and another.
    assert!((sheet.width() - 16).is_multiple_of(3), "{}", sheet.width());
    let tile = (sheet.width() - 16) / 3;
    let column =
        |index: u32| image::imageops::crop_imm(&sheet, 16 + index * tile, 0, tile - 16, sheet.height()).to_image();
    let columns = [0, 1, 2].map(column);
    let framed = columns.each_ref().map(|column| column.pixels().filter(|pixel| pixel.0 == [0, 114, 178]).count());
    assert!(framed[0] > 2 * 4 * 4 * 150 && framed[1..] == [0, 0], "{framed:?}");
    let differing = |other: usize| columns[0].pixels().zip(columns[other].pixels()).filter(|(a, b)| a != b).count();
    assert!(2 * (differing(1) - framed[0]) < differing(2) - framed[0], "{} {}", differing(1), differing(2));
    desk.run(&["similar", "data/cat/1.png", "--sheet", "sheet.png"]).assert_failed(1, &["sheet.png", "--overwrite"]);
}

#[test]
fn pictures_that_are_gone_are_counted_and_no_more_rows_than_there_are_go_on_a_sheet() {
    let desk = desk_with_features();
    desk.add_sample("kitten.jpg", "query.jpg");
    std::fs::remove_file(desk.path("data/dog/0.png")).unwrap();
    std::fs::remove_file(desk.path("data/dog/1.png")).unwrap();
    let ran = desk.run(&["similar", "query.jpg", "data/cat/0.png", "-k", "5000", "--sheet", "sheet.png"]);
    assert!(ran.assert_done().stderr.contains("2 pictures are not where the features say"), "{}", ran.stderr);
    assert!(image::open(desk.path("sheet.png")).unwrap().width() < 6 * 250);
}

#[test]
fn a_sheet_is_a_png_and_nothing_else() {
    let desk = desk_with_features();
    desk.run(&["similar", "data/cat/0.png", "--sheet", "sheet.jpg"]).assert_failed(2, &["sheet.jpg", ".png"]);
    assert!(!desk.path("sheet.jpg").exists());
}

#[test]
fn a_missing_features_file_is_named_with_the_remedy() {
    let desk = Desk::new();
    desk.add_sample("kitten.jpg", "a.jpg");
    desk.run(&["similar", "a.jpg"]).assert_failed(1, &["features.safetensors", "extract-features"]);
}
