//! `xcept explain`, and its maps against Grad-CAM in PyTorch over timm's network with the same weights
//! (`data/reference/make.py`).

use std::collections::BTreeMap;

use crate::support::program::{Desk, Ran, root};
#[cfg(unix)]
use crate::support::pseudo_terminal;
use candle_core::Device;
use safetensors::SafeTensors;
use serde_json::Value;
use xcept::classifier::Parts;
use xcept::convention::Convention;
use xcept::explain::Explainer;
use xcept::head::Head;
use xcept::image::{self, Picture};
use xcept::weights::{Bundled, RawTensor, Tensors};

/// The reference's tensors as float32.
fn reference() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(root().join("tests/data/reference/gradcam.safetensors")).unwrap();
    let values = |name: &str, data: &[u8]| match name {
        "input" => data.iter().map(|&value| f32::from(value)).collect(),
        _ => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(name, view.data())))).collect()
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |x: &[f32], mean_x: f64, y: &[f32], mean_y: f64| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - mean_x) * (f64::from(y) - mean_y)).sum()
    };
    product(a, mean_a, b, mean_b) / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
}

#[test]
fn maps_are_those_of_grad_cam_in_pytorch() {
    let reference = reference();
    let pixels: Vec<f32> = reference["input"].1.iter().map(|value| value / 127.5 - 1.0).collect();
    let cats = Bundled::find("cats-vs-dogs").unwrap().load().unwrap();
    let linear: Tensors = [("fc.weight", "linear.weight"), ("fc.bias", "linear.bias")]
        .map(|(name, key)| {
            (name.to_owned(), RawTensor { shape: reference[key].0.clone(), data: reference[key].1.clone().into() })
        })
        .into();
    let mut compared = 0;
    for (kind, tensors) in [("dense", &cats.tensors), ("linear", &linear)] {
        for layer in [13, 14] {
            let base = Bundled::find("bundled").unwrap().load().unwrap().with_convention(Convention::Timm);
            let preprocessing = base.metadata.preprocessing;
            let head = Head::new(tensors, &Device::Cpu).unwrap();
            let metadata = cats.metadata.head.clone().unwrap();
            let (known, pipeline, origin) = (None, None, String::new());
            let parts = Parts { backbone: base, head, metadata, preprocessing, known, pipeline, origin };
            let explainer = Explainer::new(parts, layer, &Device::Cpu).unwrap();
            for class in 0.. {
                let Some((shape, expected)) = reference.get(&format!("{kind}/block{layer}/{class}")) else { break };
                let map = explainer.explain(&pixels, Some(class)).unwrap().map;
                assert_eq!([map.height, map.width], shape[..]);
                // float32 sums in other orders; the bar is 0.999.
                let found = correlation(&map.values, expected);
                assert!(found > 0.999_99, "{kind}, block {layer}, class {class}: {found}");
                let largest = expected.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
                let difference = map.values.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference < 1e-3 * largest, "{kind}, block {layer}, class {class}: {difference} of {largest}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn the_map_of_a_linear_head_sums_to_the_logit() {
    let reference = reference();
    // Mean of the map times the places is Σ weight · feature.
    for class in 0..3 {
        let (_, map) = &reference[&format!("linear/block14/{class}")];
        let pixels: Vec<f32> = reference["input"].1.iter().map(|value| value / 127.5 - 1.0).collect();
        let base = Bundled::find("bundled").unwrap().load().unwrap().with_convention(Convention::Timm);
        let network = xcept::xception::Xception::new(&base, &Device::Cpu).unwrap();
        let x = candle_core::Tensor::from_vec(pixels, (1, 299, 299, 3), &Device::Cpu).unwrap();
        let maps = network.forward_features(&x).unwrap();
        let features = xcept::xception::pool(&maps, xcept::weights::Pool::Avg).unwrap();
        let features: Vec<f32> = features.flatten_all().unwrap().to_vec1().unwrap();
        let weight = &reference["linear.weight"].1[2048 * class..][..2048];
        let logit: f32 = features.iter().zip(weight).map(|(a, b)| a * b).sum();
        let sum: f32 = map.iter().sum();
        assert!((sum - logit).abs() < 1e-3 * logit.abs().max(1.0), "{sum}, {logit}");
    }
}

fn explain(desk: &Desk, options: &[&str]) -> Ran {
    desk.run(&[&["explain", "-m", "cats-vs-dogs"], options].concat())
}

fn picture(desk: &Desk, path: &str) -> Picture {
    image::decode(&std::fs::read(desk.path(path)).unwrap(), usize::MAX).unwrap()
}

fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    desk.add_sample("kitten.jpg", "a/kitten.jpg");
    desk.add_sample("beagle.jpg", "b/kitten.jpg");
    desk
}

#[test]
fn each_photograph_is_written_at_its_own_size_above_its_label() {
    let desk = desk_with_pictures();
    let ran = explain(&desk, &["a", "b", "-o", "maps"]);
    let lines: Vec<Value> = ran.assert_done().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |key: &str| lines.iter().map(|line| line[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("path"), of("label")), (vec!["a/kitten.jpg", "b/kitten.jpg"], vec!["cat", "dog"]));
    assert_eq!(of("output"), ["maps/kitten.png", "maps/kitten-2.png"]);
    for (from, to) in [("a/kitten.jpg", "maps/kitten.png"), ("b/kitten.jpg", "maps/kitten-2.png")] {
        let (photograph, map) = (picture(&desk, from), picture(&desk, to));
        assert_eq!(map.width, photograph.width);
        assert!(map.height > photograph.height && map.height < photograph.height * 6 / 5);
        let kept = &map.pixels[..photograph.pixels.len()];
        let changed = kept.iter().zip(&photograph.pixels).filter(|(a, b)| a != b).count();
        assert!(changed > kept.len() / 50 && changed < kept.len(), "{changed} of {}", kept.len());
    }
    let again = explain(&desk, &["a", "-o", "maps"]);
    again.assert_failed(1, &["maps/kitten.png", "--overwrite"]);
    explain(&desk, &["a", "-o", "maps", "--overwrite"]).assert_done();
}

#[test]
fn another_class_and_another_layer_light_up_other_places() {
    let desk = desk_with_pictures();
    let options: [&[&str]; 3] = [&[], &["--class", "dog"], &["--layer", "block13"]];
    let pictures = options.map(|options| {
        explain(&desk, &[&["a", "-o", "maps", "--overwrite"], options].concat()).assert_done();
        picture(&desk, "maps/kitten.png").pixels
    });
    assert!(pictures[0] != pictures[1] && pictures[0] != pictures[2] && pictures[1] != pictures[2]);
}

#[test]
fn many_pictures_go_on_one_sheet() {
    let desk = desk_with_pictures();
    explain(&desk, &["a", "b", "-o", "maps", "--grid"]).assert_done();
    let sheet = picture(&desk, "maps/grid.png");
    assert!(sheet.width == 2 * 320 + 3 * 16 && !desk.path("maps/kitten.png").exists());
}

#[test]
fn what_cannot_be_explained_says_why() {
    let desk = desk_with_pictures();
    explain(&desk, &["a", "-o", "maps", "--class", "horse"]).assert_failed(2, &["--class horse", "cats-vs-dogs"]);
    let ran = explain(&desk, &["a"]);
    assert!(ran.status == Some(2) && ran.stderr.contains("--output <DIR>"), "{}", ran.stderr);
    explain(&desk, &["a", "--show"]).assert_failed(2, &["--show", "terminal"]);
    std::fs::write(desk.path("a/broken.jpg"), b"no picture").unwrap();
    let ran = explain(&desk, &["a", "-o", "maps"]);
    ran.assert_failed(3, &["a/broken.jpg", "not a picture"]);
    assert!(desk.path("maps/kitten.png").exists());
}

/// What the program writes to a terminal that says this of itself.
#[cfg(unix)]
fn show(variables: &[(&str, &str)]) -> String {
    let desk = desk_with_pictures();
    let mut command = desk.command(&["explain", "-m", "cats-vs-dogs", "a", "--show"]);
    for name in ["KITTY_WINDOW_ID", "KONSOLE_VERSION", "LC_TERMINAL", "TERM_PROGRAM", "TMUX", "COLORTERM"] {
        command.env_remove(name);
    }
    let (status, text) = pseudo_terminal::run(command.envs(variables.iter().copied()));
    assert!(status == Some(0) && text.contains("a/kitten.jpg  cat  "), "{status:?}: {text}");
    text
}

#[cfg(unix)]
#[test]
fn any_terminal_shows_half_blocks_and_is_asked_nothing() {
    let text = show(&[("TERM", "xterm-256color")]);
    assert!(text.contains('▄') && text.contains("\x1b[48;5;") && !text.contains("\x1b_G"), "{text}");
    assert!(!text.contains("\x1b[c") && !text.contains("\x1b[48;2;"), "{text}");
    // A row of them is as wide as the terminal is taken to be.
    let row = text.lines().find(|line| line.contains('▄')).unwrap();
    assert_eq!(row.matches('▄').count(), 80);
    let text = show(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]);
    assert!(text.contains("\x1b[48;2;") && !text.contains("\x1b[48;5;"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_terminal_that_speaks_kittys_protocol_or_iterms_is_sent_the_picture() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let decoded = |encoded: &str| image::decode(&STANDARD.decode(encoded).unwrap(), usize::MAX).unwrap();
    let text = show(&[("TERM", "xterm-kitty")]);
    let (first, _) = text.split_once("m=0;").unwrap();
    assert!(first.contains("\x1b_Gf=100,a=T,") && !text.contains('▄'), "{text}");
    let pieces =
        text.split("\x1b_G").skip(1).map(|piece| piece.split_once(';').unwrap().1.split_once('\x1b').unwrap().0);
    let shown = decoded(&pieces.collect::<String>());
    let photograph = picture(&desk_with_pictures(), "a/kitten.jpg");
    assert!(shown.width == photograph.width && shown.height > photograph.height, "{shown:?}");
    let text = show(&[("TERM_PROGRAM", "iTerm.app"), ("TERM", "xterm-256color")]);
    let (_, encoded) = text.split_once("\x1b]1337;File=inline=1").unwrap().1.split_once(':').unwrap();
    assert!(decoded(encoded.split_once('\x07').unwrap().0) == shown);
}
