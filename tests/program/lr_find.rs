//! `xcept lr-find`: a curve and a suggestion.

use crate::support::program::{Desk, add_crops};

fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 8);
    add_crops(&desk, "beagle.jpg", "data/dog", 8);
    desk
}

#[test]
fn a_rate_is_suggested_for_the_head_and_for_the_network() {
    let desk = desk_with_pictures();
    let short = ["lr-find", "data", "--size", "71", "--batch-size", "8", "--hidden", "16", "--epochs", "1"];
    let ran = desk.run(&[&short[..], &["--dropout", "0", "--from", "1e-4", "--to", "10"]].concat());
    assert!(ran.assert_done().stdout.contains("try `xcept finetune --learning-rate "), "{}", ran.stdout);
    let curve = image::open(desk.path("lr-find.png")).unwrap();
    assert!(curve.width() > 400 && curve.height() > 300);
    let network = ["--unfreeze", "block14", "--steps", "12", "-o", "curve.svg"];
    let ran = desk.run(&[&short[..], &network[..]].concat());
    assert!(ran.assert_done().stdout.starts_with("curve.svg: the loss "), "{}", ran.stdout);
    assert!(std::fs::read_to_string(desk.path("curve.svg")).unwrap().contains("learning rate"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let desk = desk_with_pictures();
    desk.run(&["lr-find", "data", "-o", "curve.pdf"]).assert_failed(2, &["curve.pdf", ".png"]);
    desk.run(&["lr-find", "data", "--from", "1", "--to", "0.1"]).assert_failed(2, &["--from", "--to"]);
    desk.run(&["lr-find", "nowhere"]).assert_failed(1, &["nowhere: no such file or folder"]);
}
