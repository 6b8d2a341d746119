//! `config.json` beside weights, in a folder and on the hub: what it says is followed, or refused by name.

use std::sync::Arc;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::support::hub_server::{Behaviour, HubServer, REPOSITORY, dead_endpoint};
use crate::support::program::{Desk, Ran, root, sample, thousand_classes};

const SAMPLES: [&str; 3] = ["beagle.jpg", "chelsea.png", "kitten.jpg"];

/// The bundled base with the head of `data/weights/make_configs.py`.
fn three_classes() -> Vec<u8> {
    let base = std::fs::read(root().join("weights/xception-imagenet-base.safetensors")).unwrap();
    let base = SafeTensors::deserialize(&base).unwrap();
    let value = |k: usize, i: usize| ((5 * k * k + 7 * i * (k + 1)) % 13) as f32 - 6.0;
    let weight = (0..3).flat_map(|k| (0..2048).map(move |i| half::f16::from_f32(value(k, i) / 64.0)));
    let weight: Vec<u8> = weight.flat_map(half::f16::to_le_bytes).collect();
    let mut tensors = base.tensors();
    tensors.push(("fc.weight".into(), TensorView::new(Dtype::F16, vec![3, 2048], &weight).unwrap()));
    tensors.push(("fc.bias".into(), TensorView::new(Dtype::F16, vec![3], &[0; 6]).unwrap()));
    safetensors::serialize(tensors, None).unwrap()
}

fn desk_with_model() -> Desk {
    let desk = Desk::new();
    desk.write("repo/model.safetensors", &three_classes());
    desk
}

fn classify(desk: &Desk, config: &Value) -> Ran {
    desk.write("repo/config.json", config.to_string().as_bytes());
    let pictures = SAMPLES.map(sample);
    desk.run(&["classify", "-m", "repo/model.safetensors", &pictures[0], &pictures[1], &pictures[2]])
}

/// Labels and probabilities of each line, in the order of the classes.
fn answers(ran: &Ran) -> Vec<Vec<(String, f64)>> {
    let class = |prediction: &Value| prediction["index"].as_u64();
    let answer = |line: Value| {
        let mut predictions = line["predictions"].as_array().unwrap().clone();
        predictions.sort_by_key(class);
        let pair = |p: &Value| (p["label"].as_str().unwrap().to_owned(), p["probability"].as_f64().unwrap());
        predictions.iter().map(pair).collect()
    };
    ran.assert_done().json_lines().into_iter().map(answer).collect()
}

/// Tolerance: 2e-5 where the picture is decoded without loss, for sums in float32 and the exponential of a logit; 0.02
/// for JPEG, whose samples decoders round by up to 3 levels (at most 0.012 was measured, with max-pooling).
#[test]
fn answers_are_timms_whatever_the_config_says() {
    let cases = std::fs::read_to_string(root().join("tests/data/weights/configs.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    assert_eq!(cases.len(), 7);
    let desk = desk_with_model();
    for case in cases {
        for (name, answer) in SAMPLES.iter().zip(answers(&classify(&desk, &case["config"]))) {
            assert_eq!(answer.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), ["cat", "dog", "horse"]);
            let tolerance = if name.ends_with(".png") { 2e-5 } else { 0.02 };
            for ((_, found), expected) in answer.iter().zip(case["probabilities"][name].as_array().unwrap()) {
                let difference = (found - expected.as_f64().unwrap()).abs();
                assert!(difference < tolerance, "{}, {name}: {found}, timm has {expected}", case["name"]);
            }
        }
    }
}

#[test]
fn names_of_classes_are_read_in_every_form() {
    let desk = desk_with_model();
    let plain = ["class 0", "class 1", "class 2"];
    for (config, expected) in [
        (json!({"id2label": {"0": "tabby", "1": "pug", "2": "pony"}}), ["tabby", "pug", "pony"]),
        (json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}), plain),
        (json!({"class_names": ["tabby", "pug", "pony"]}), ["tabby", "pug", "pony"]),
        (json!({"label2id": {"pony": "2", "tabby": "0", "pug": "1"}}), ["tabby", "pug", "pony"]),
        (json!({"class_to_idx": {"pony": 2, "tabby": 0, "pug": 1}}), ["tabby", "pug", "pony"]),
        (json!({"label_names": {"2": "pony", "0": "tabby", "1": "pug"}}), ["tabby", "pug", "pony"]),
        (
            json!({"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n1": "crane", "n2": "crane"}}),
            ["crane (n1)", "crane (n2)", "n3"],
        ),
        (json!({"pretrained_cfg": {"label_names": ["tabby", "pug", "pony"]}}), ["tabby", "pug", "pony"]),
        (json!({"something": "else"}), plain),
    ] {
        let ran = classify(&desk, &config);
        let found = answers(&ran)[1].iter().map(|(label, _)| label.clone()).collect::<Vec<_>>();
        assert_eq!(found, expected, "{config}");
        assert_eq!(ran.stderr.contains("does not name its classes"), expected == plain, "{}", ran.stderr);
    }
    let config = json!({"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n1": "tabby"}});
    assert_eq!(classify(&desk, &config).json_lines()[1]["predictions"].as_array().unwrap().len(), 3);
    desk.run(&["convert", "repo/model.safetensors", "out.safetensors"]).assert_done();
    let ran = desk.run(&["classify", "-m", "out.safetensors", "-k", "3", &sample("chelsea.png")]);
    assert!(ran.assert_done().stdout.contains(r#""id":"n1","label":"tabby""#), "{}", ran.stdout);
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let desk = desk_with_model();
    let pretrained =
        |field: &str, value: Value| json!({"architecture": "legacy_xception", "pretrained_cfg": {field: value}});
    for (config, expected) in [
        (json!({"architecture": "resnet50"}), "its architecture is `resnet50`, expected legacy_xception"),
        (json!({"architecture": "xception41"}), "its architecture is `xception41`"),
        (pretrained("crop_mode", "border".into()), "its crop_mode is `border`"),
        (pretrained("crop_mode", "squash".into()), "its crop_mode is `squash` with a crop_pct of 0.875"),
        (pretrained("interpolation", "lanczos".into()), "its interpolation is `lanczos`"),
        (pretrained("input_size", json!([1, 299, 299])), "its input_size is [1, 299, 299]"),
        (pretrained("input_size", json!([3, 299, 224])), "its input_size is [3, 299, 224], expected a square"),
        (pretrained("input_size", json!([3, 28, 28])), "its input is 28×28 pixels"),
        (pretrained("crop_pct", 1.5.into()), "expected 224 to"),
        (pretrained("crop_pct", 0.into()), "its crop_pct is 0 or less, expected the share"),
        (pretrained("std", json!([0.5, 0.0, 0.5])), "std above 0"),
        (pretrained("mean", json!([123.675, 116.28, 103.53])), "divide by 255"),
        (pretrained("mean", json!([0.5])), "cannot be understood"),
        (pretrained("label_offset", 1.into()), "its label_offset is"),
        (json!({"model_args": {"global_pool": "catavgmax"}}), "its global_pool is `catavgmax`"),
        (json!({"architecture": "xception", "model_args": {"in_chans": 1}}), "its in_chans is"),
        (json!({"num_classes": 5}), "its num_classes is 5, the classifier has 3"),
        (json!({"label_names": ["cat", "dog"]}), "it names 2 classes, the classifier has 3"),
        (json!({"label_names": ["cat", "dog", "cat"]}), "it names `cat` twice"),
        (json!({"label_names": {"0": "cat", "1": "dog", "3": "cow"}}), "it has no name for class 2"),
        (json!({"class_to_idx": {"cat": 0, "kitty": 0, "dog": 1}}), "it gives `cat` and `kitty` one index"),
        (json!({"label2id": {"cat": -1}}), "it gives class `cat` the index -1"),
        (json!([1, 2]), "cannot be understood"),
    ] {
        classify(&desk, &config).assert_failed(1, &["config.json", expected]);
    }
}

#[test]
fn a_random_interpolation_is_bicubic_and_a_note_says_so() {
    let desk = desk_with_model();
    let config = |filter: &str| json!({"architecture": "xception", "pretrained_cfg": {"interpolation": filter}});
    let random = classify(&desk, &config("random"));
    assert_eq!(answers(&random), answers(&classify(&desk, &config("bicubic"))));
    assert!(random.stderr.contains("interpolation `random` is for training"), "{}", random.stderr);
}

#[test]
fn a_config_that_is_not_the_weights_own_is_left_alone() {
    let desk = desk_with_model();
    desk.write("repo/config.json", br#"{"architecture": "resnet50"}"#);
    std::fs::rename(desk.path("repo/model.safetensors"), desk.path("repo/cats.safetensors")).unwrap();
    let ran = desk.run(&["classify", "-m", "repo/cats.safetensors", &sample("chelsea.png")]);
    let ignored = "repo/cats.safetensors: ignored the config.json beside it: config.json says that its architecture is `resnet50`";
    assert!(ran.assert_done().stderr.contains(ignored), "{}", ran.stderr);
    // A file of xcept's says itself what there is to say.
    desk.run(&["convert", "repo/cats.safetensors", "repo/model.safetensors"]).assert_done();
    desk.run(&["classify", "-m", "repo/model.safetensors", &sample("chelsea.png")]).assert_done();
}

/// The measure is the same file under the name that it has in a repository.
#[test]
fn a_config_beside_weights_of_any_name_is_followed_as_far_as_it_can_be() {
    let desk = desk_with_model();
    let statistics = json!({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]});
    let names = json!({"label_names": ["tabby", "pug", "pony"]});
    let mut both = statistics.clone();
    both.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
    let (named, expected) = (answers(&classify(&desk, &names)), answers(&classify(&desk, &both)));
    assert_ne!(named, expected);
    std::fs::rename(desk.path("repo/model.safetensors"), desk.path("repo/cats.safetensors")).unwrap();
    let pictures = SAMPLES.map(sample);
    let classify = |config: &str| {
        // As Windows' editors write it.
        desk.write("repo/config.json", format!("\u{feff}{config}").as_bytes());
        desk.run(&["classify", "-m", "repo/cats.safetensors", &pictures[0], &pictures[1], &pictures[2]])
    };
    for (config, expected, taken) in [
        (&names, &named, "class names are from the config.json beside it"),
        (&both, &expected, "class names and preprocessing are from the config.json beside it"),
    ] {
        let ran = classify(&config.to_string());
        assert_eq!(answers(&ran), *expected);
        assert!(ran.stderr.contains(&format!("repo/cats.safetensors: {taken}")), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("its input size, normalisation, pooling"), config == &names, "{}", ran.stderr);
    }
    // It may be about something else altogether.
    for other in [r#"{"num_classes": 5}"#, r#"{"labels": 5, "lr": 0.1}"#, r#"{"mean": 0.5}"#, "// rubbish"] {
        let ran = classify(other);
        assert!(ran.assert_done().stderr.contains("repo/cats.safetensors: ignored the config.json beside it: "));
    }
}

#[test]
fn a_thousand_classes_are_imagenets_only_if_something_says_so() {
    let desk = Desk::new();
    desk.write("model.safetensors", &thousand_classes());
    let classify = |model: &str, options: &[&str]| {
        desk.run(&[&["classify", "-m", model, &sample("chelsea.png"), "-k", "1"], options].concat())
    };
    let label = |ran: &Ran| ran.assert_done().json_lines()[0]["predictions"][0]["label"].clone();
    let plain = classify("model.safetensors", &[]);
    assert_eq!(label(&plain), "class 281");
    assert!(plain.stderr.contains("model.safetensors: does not name its classes"), "{}", plain.stderr);
    assert!(plain.stderr.contains("--class-names") && plain.stderr.contains("xcept convert"), "{}", plain.stderr);
    assert_eq!(label(&classify("model.safetensors", &["--class-names", "imagenet"])), "tabby");
    desk.run(&["convert", "model.safetensors", "out.safetensors", "--class-names", "imagenet"]).assert_done();
    let named = classify("out.safetensors", &[]);
    assert_eq!((label(&named), named.stderr.as_str()), ("tabby".into(), ""));
    classify("cats-vs-dogs", &["--class-names", "imagenet"]).assert_failed(1, &["--class-names", "has 2"]);
    classify("cats-vs-dogs", &["--class-names", "a,b,c"])
        .assert_failed(1, &["--class-names a,b,c: 3 names, the classifier has 2 classes"]);
}

/// What a user of the hub at `endpoint` sees.
fn of_the_hub(desk: &Desk, endpoint: &str, arguments: &[&str]) -> Ran {
    Ran::of(desk.online(endpoint, arguments).output().unwrap())
}

#[test]
fn a_repositorys_config_is_downloaded_with_its_weights_and_found_without_the_network() {
    let config = json!({"architecture": "legacy_xception", "label_names": ["cat", "dog", "horse"]}).to_string();
    let behaviour = Behaviour {
        file: Some(Arc::new(three_classes())),
        config: Some(Arc::new(config.into())),
        ..Behaviour::default()
    };
    let server = HubServer::start(behaviour);
    let classify = ["classify", "-m", REPOSITORY, &sample("chelsea.png")];
    for first in [&classify[..], &["weights", "pull", REPOSITORY]] {
        let desk = Desk::new();
        of_the_hub(&desk, &server.endpoint(), first).assert_done();
        let ran = of_the_hub(&desk, &dead_endpoint(), &classify);
        assert_eq!(
            answers(&ran)[0].iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(),
            ["cat", "dog", "horse"]
        );
        assert_eq!((ran.json_lines()[0]["model"].as_str(), ran.stderr.as_str()), (Some("repo"), ""));
    }
}

#[test]
fn a_repository_without_a_config_is_asked_for_it_once() {
    let server = HubServer::start(Behaviour { file: Some(Arc::new(three_classes())), ..Behaviour::default() });
    let desk = Desk::new();
    let classify = ["classify", "-m", REPOSITORY, "--class-names", "cat,dog,horse", &sample("chelsea.png")];
    let first = of_the_hub(&desk, &server.endpoint(), &classify);
    let second = of_the_hub(&desk, &dead_endpoint(), &classify);
    assert_eq!(second.assert_done().stdout, first.assert_done().stdout);
    assert!(!second.stderr.contains("its config.json"), "{}", second.stderr);
}

#[test]
fn a_config_that_cannot_be_had_is_told() {
    let desk = Desk::new();
    let folder = "hf/hub/models--owner--repo";
    desk.write(&format!("{folder}/refs/main"), &b"1".repeat(40));
    desk.write(&format!("{folder}/snapshots/{}/model.safetensors", "1".repeat(40)), &three_classes());
    let classify = ["classify", "-m", REPOSITORY, "--class-names", "cat,dog,horse", &sample("chelsea.png")];
    let offline = desk.run(&classify);
    assert!(offline.assert_done().stderr.contains("owner/repo: its config.json can't be had (HF_HUB_OFFLINE forbids"));
    let dead = of_the_hub(&desk, &dead_endpoint(), &classify);
    assert!(
        dead.assert_done().stderr.contains("owner/repo: its config.json can't be had (no connection"),
        "{}",
        dead.stderr
    );
}
