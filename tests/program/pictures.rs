//! Pictures of every kind, as a folder of them is classified.

use std::path::Path;

use crate::support::program::{Desk, root};

/// Copies the pictures of a folder of fixtures, but not its folders; returns how many.
fn add_fixtures(desk: &Desk, fixtures: &Path, folder: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_file() && !name.ends_with(".py") && !name.ends_with(".json") {
            desk.write(&format!("{folder}/{name}"), &std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

/// Of which the PNG decoder panics, were it given the palette as it is.
const PALETTE_OF_4_BYTES: &str = "pictures/kinds/palette8-of-4-bytes.png";

#[test]
fn a_folder_of_every_fixture_has_a_row_for_each_file() {
    let desk = Desk::new();
    let fixtures = root().join("tests/data/images");
    let whole = add_fixtures(&desk, &fixtures, "pictures");
    let kinds = add_fixtures(&desk, &fixtures.join("kinds"), "pictures/kinds");
    let phones = add_fixtures(&desk, &fixtures.join("phones"), "pictures/phones");
    desk.write("pictures/broken/empty.jpg", b"");
    desk.write("pictures/broken/text.png", b"not a picture");
    let ran = desk.run(&["classify", "-m", "cats-vs-dogs", "pictures"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);

    let lines = ran.json_lines();
    assert_eq!(lines.len(), whole + kinds + phones + 2);
    let expected = ["kinds.json", "phones.json"].map(|name| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(fixtures.join(name)).unwrap()).unwrap()
    });
    for line in &lines {
        let path = line["path"].as_str().unwrap();
        let name = path.rsplit('/').next().unwrap();
        let is_refused =
            path.starts_with("pictures/broken/") || expected.iter().any(|expected| expected[name]["error"].is_string());
        assert_eq!(line["error"].is_string(), is_refused, "{line}");
    }
    assert!(lines.iter().any(|line| line["path"] == PALETTE_OF_4_BYTES && line["error"].is_null()));
}

#[test]
fn a_guess_at_the_range_of_samples_is_said() {
    let desk = Desk::new();
    let kinds = root().join("tests/data/images/kinds");
    for name in ["grey12-in-16.png", "grey12-in-16-sbit.png", "grey16.png"] {
        desk.write(name, &std::fs::read(kinds.join(name)).unwrap());
    }
    let run = |name: &str| desk.run(&["classify", "-m", "cats-vs-dogs", name]).assert_done().stderr.clone();
    let note = "1 picture with samples that use only their lower bits";
    assert!(run("grey12-in-16.png").starts_with(note));
    assert_eq!([run("grey12-in-16-sbit.png"), run("grey16.png")], ["", ""]);
}
