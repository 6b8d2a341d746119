//! `--tta flip`: each picture and its mirror image.

use serde_json::Value;

use crate::support::program::{Desk, add_crops, samples};

/// A square of the network's size out of a photograph, so that nothing is resampled, and the same mirrored.
fn desk_with_a_mirrored_picture() -> Desk {
    let desk = Desk::new();
    let square = image::open(samples().join("beagle.jpg")).unwrap().to_rgb8();
    let square = image::imageops::crop_imm(&square, 40, 10, 299, 299).to_image();
    square.save(desk.path("plain.png")).unwrap();
    image::imageops::flip_horizontal(&square).save(desk.path("mirrored.png")).unwrap();
    desk
}

/// The probability of a dog in each picture.
fn dog(desk: &Desk, options: &[&str]) -> Vec<f64> {
    let arguments = ["classify", "-m", "cats-vs-dogs", "--keep-known", "all", "plain.png", "mirrored.png"];
    let ran = desk.run(&[&arguments[..], options].concat());
    let of = |line: Value| {
        let predictions = line["predictions"].as_array().unwrap().clone();
        predictions.iter().find(|p| p["label"] == "dog").unwrap()["probability"].as_f64().unwrap()
    };
    ran.assert_done().json_lines().into_iter().map(of).collect()
}

#[test]
fn the_probabilities_of_a_picture_and_its_mirror_image_are_averaged() {
    let desk = desk_with_a_mirrored_picture();
    let plain = dog(&desk, &[]);
    assert_ne!(plain[0], plain[1]);
    let mean = (plain[0] + plain[1]) / 2.0;
    for probability in dog(&desk, &["--tta", "flip"]) {
        assert!((probability - mean).abs() < 1e-7, "{probability}, expected {mean}");
    }
}

#[test]
fn an_evaluation_says_that_it_looked_at_mirror_images_and_keeps_none_of_their_features() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 2);
    add_crops(&desk, "beagle.jpg", "data/dog", 2);
    let log_loss = |options: &[&str]| {
        let ran = desk.run(&[&["evaluate", "data", "-m", "cats-vs-dogs", "-f", "json"], options].concat());
        let report: Value = serde_json::from_str(&ran.assert_done().stdout).unwrap();
        assert_eq!(report["tta"], if options.is_empty() { Value::Null } else { "flip".into() });
        assert_eq!(ran.stderr.contains("each with its mirror image"), !options.is_empty(), "{}", ran.stderr);
        report["log_loss"].as_f64().unwrap()
    };
    let fresh = log_loss(&["--tta", "flip"]);
    let plain = log_loss(&[]);
    assert_ne!(fresh, plain);
    assert_eq!((log_loss(&["--tta", "flip"]), log_loss(&[])), (fresh, plain), "from features that were kept");
}
