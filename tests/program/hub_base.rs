//! A repository that a file names as its backbone, and the user does not.

use std::sync::Arc;

use crate::support::hub_server::{Behaviour, HubServer, REPOSITORY, Request};
use crate::support::program::{Desk, Ran, add_crops, sample, thousand_classes};

const TOKEN: &str = "hf_test";

/// A hub with a whole network, and a user who has trained a head on it, with a token.
struct Scene {
    server: HubServer,
    desk: Desk,
    network: Arc<Vec<u8>>,
}

/// What is served: two files, which one announcement is enough for.
fn serving(network: &Arc<Vec<u8>>, token: Option<&'static str>) -> Behaviour {
    let config = br#"{"architecture": "legacy_xception"}"#.to_vec();
    Behaviour { file: Some(Arc::clone(network)), config: Some(Arc::new(config)), token, ..Default::default() }
}

impl Scene {
    fn new() -> Self {
        let network = Arc::new(thousand_classes());
        let server = HubServer::start(serving(&network, None));
        let scene = Self { server, desk: Desk::new(), network };
        add_crops(&scene.desk, "kitten.jpg", "data/cat", 4);
        add_crops(&scene.desk, "beagle.jpg", "data/dog", 4);
        let (ran, requests) = scene.run("trainer", &["extract-features", "data", "-m", REPOSITORY, "--size", "71"]);
        assert_eq!((ran.assert_done().stderr.as_str(), shown(&requests)), ("", true));
        scene.run("trainer", &["finetune", "features.safetensors", "-o", "pets.safetensors"]).0.assert_done();
        scene
    }

    fn is_private(&self) {
        self.server.behave(serving(&self.network, Some(TOKEN)));
    }

    /// A run of the user with the cache of this name, and what it asked the hub.
    fn run(&self, cache: &str, arguments: &[&str]) -> (Ran, Vec<Request>) {
        let mut command = self.desk.online(&self.server.endpoint(), arguments);
        let ran = Ran::of(command.env("HF_HOME", self.desk.path(cache)).env("HF_TOKEN", TOKEN).output().unwrap());
        (ran, self.server.take_requests())
    }

    fn noted(&self, file: &str) -> String {
        format!("{file} names owner/repo: downloading it from {}, without the token\n", self.server.endpoint())
    }
}

/// Whether every request showed the token, or none; a mixture is a mistake.
#[track_caller]
fn shown(requests: &[Request]) -> bool {
    let count = requests.iter().filter(|request| request.header("authorization").is_some()).count();
    assert!(!requests.is_empty() && [0, requests.len()].contains(&count), "{requests:?}");
    count > 0
}

#[test]
fn it_is_announced_and_gets_no_token_unless_the_user_names_it() {
    let scene = Scene::new();
    let classify = ["classify", "-m", "pets.safetensors", &sample("kitten.jpg"), "-f", "jsonl"];
    let with_base = [&classify[..], &["--base", REPOSITORY]].concat();
    let (ran, requests) = scene.run("unasked", &classify);
    assert_eq!(
        (ran.assert_done().stderr.as_str(), shown(&requests)),
        (scene.noted("pets.safetensors").as_str(), false)
    );
    let (again, requests) = scene.run("unasked", &classify);
    assert_eq!((again.assert_done().stderr.as_str(), requests.len()), ("", 0));
    let (asked, requests) = scene.run("asked", &with_base);
    assert_eq!((asked.assert_done().stderr.as_str(), shown(&requests)), ("", true));
    assert_eq!(asked.stdout, ran.stdout);

    scene.is_private();
    let (refused, _) = scene.run("private", &classify);
    refused.assert_failed(5, &["owner/repo", "status 401", "pets.safetensors names it, not you", "weights pull"]);
    scene.run("private", &["weights", "pull", REPOSITORY]).0.assert_done();
    scene.run("private", &classify).0.assert_done();
    scene.run("named", &with_base).0.assert_done();
}

#[test]
fn files_of_features_and_of_runs_get_no_token_either() {
    let scene = Scene::new();
    let similar = ["similar", "data/cat/0.png", "--in", "features.safetensors"];
    let (ran, requests) = scene.run("similar", &similar);
    assert_eq!(
        (ran.assert_done().stderr.as_str(), shown(&requests)),
        (scene.noted("features.safetensors").as_str(), false)
    );
    let (ran, requests) = scene.run("named", &[&similar[..], &["-m", REPOSITORY]].concat());
    assert_eq!((ran.assert_done().stderr.as_str(), shown(&requests)), ("", true));
    let rates = ["--from", "1e-4", "--to", "10", "--steps", "12", "--batch-size", "8"];
    let lr_find = [&["lr-find", "features.safetensors", "--unfreeze", "block14"], &rates[..]].concat();
    let (ran, requests) = scene.run("lr-find", &lr_find);
    assert!(ran.assert_done().stderr.contains(&scene.noted("features.safetensors")), "{}", ran.stderr);
    assert!(!shown(&requests));
}

#[test]
fn a_backbone_for_a_head_may_be_a_file_and_must_be_the_heads() {
    let scene = Scene::new();
    scene.desk.write("network.safetensors", &scene.network);
    let classify = |model: &str, options: &[&str]| {
        scene.desk.run(&[&["classify", "-m", model, &sample("kitten.jpg")], options].concat())
    };
    let head = "pets.safetensors";
    classify(head, &[]).assert_failed(5, &["owner/repo", "HF_HUB_OFFLINE forbids"]);
    classify(head, &["--base", "network.safetensors"]).assert_done();
    classify(head, &["--base", "bundled.safetensors"]).assert_failed(1, &["--base: bundled.safetensors: no such file"]);
    let whole = classify("network.safetensors", &["-q", "--base", "bundled"]);
    whole.assert_failed(2, &["--base: network.safetensors holds a backbone itself"]);
    let over_itself = ["--base", "network.safetensors", "-o", "network.safetensors", "--overwrite"];
    classify(head, &over_itself).assert_failed(1, &["network.safetensors: is an input"]);
    add_other_network(&scene);
    classify(head, &["--base", "other.safetensors"])
        .assert_failed(1, &["the head was trained on", "`other.safetensors`"]);
}

/// Writes a network with other weights than the head's.
fn add_other_network(scene: &Scene) {
    let mut bytes = scene.network.to_vec();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // Behind the counter, which is no weight and 8 bytes long: the first weight.
    bytes[8 + header + 8] ^= 1;
    scene.desk.write("other.safetensors", &bytes);
}
