//! Weights under other names and beside other tensors: found, and what is assumed and left aside is said.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::support::program::{Desk, Ran, root, sample};

/// Tensors under names of their own.
type Named<'a> = Vec<(String, TensorView<'a>)>;

fn base() -> Vec<u8> {
    std::fs::read(root().join("weights/xception-imagenet-base.safetensors")).unwrap()
}

fn renamed<'a>(base: &'a SafeTensors, rename: impl Fn(&str) -> String) -> Named<'a> {
    base.tensors().into_iter().map(|(name, view)| (rename(&name), view)).collect()
}

fn ones(shape: &[usize]) -> TensorView<'static> {
    static ONES: [u8; 2 * 2048 * 8] = {
        let mut ones = [0; 2 * 2048 * 8];
        let mut index = 1;
        while index < ones.len() {
            ones[index] = 0x3c;
            index += 2;
        }
        ones
    };
    let bytes = 2 * shape.iter().product::<usize>();
    TensorView::new(Dtype::F16, shape.to_vec(), &ONES[..bytes]).unwrap()
}

fn write(desk: &Desk, name: &str, tensors: Named) {
    desk.write(name, &safetensors::serialize(tensors, None).unwrap());
}

/// The backbone's SHA-256.
fn digest(ran: &Ran) -> String {
    ran.assert_done().stdout.trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_network_behind_any_prefix_is_the_same_network_and_a_line_says_what_was_left_aside() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let expected = digest(&desk.run(&["weights", "verify", "bundled"]));
    for prefix in ["model.", "net.backbone.", "module."] {
        let mut tensors = renamed(&base, |name| format!("{prefix}{name}"));
        tensors.push(("criterion.weight".to_owned(), ones(&[5])));
        tensors.push(("optimizer.state.0.exp_avg".to_owned(), ones(&[32, 3, 3, 3])));
        write(&desk, "model.safetensors", tensors);
        let ran = desk.run(&["weights", "verify", "model.safetensors", "--size", "150"]);
        assert_eq!(digest(&ran), expected);
        let line = format!(
            "model.safetensors: read as `{prefix}…`; left aside 2 tensors: `criterion.weight`, `optimizer.state.0.exp_avg`"
        );
        assert_eq!(ran.stderr.trim_end(), line);
    }
}

#[test]
fn statistics_of_pictures_in_front_of_the_network_are_pointed_out() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = renamed(&base, |name| format!("model.{name}"));
    tensors.push(("normalize.mean".to_owned(), ones(&[1, 3, 1, 1])));
    tensors.push(("normalize.std".to_owned(), ones(&[1, 3, 1, 1])));
    write(&desk, "model.safetensors", tensors);
    let ran = desk.run(&["weights", "verify", "model.safetensors"]);
    let note =
        "pictures are normalised as a config.json beside the file says, not by `normalize.mean` and `normalize.std`";
    assert!(ran.assert_done().stderr.contains(note), "{}", ran.stderr);
}

#[test]
fn a_network_without_its_names_is_found_by_shapes_and_order() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let expected = digest(&desk.run(&["weights", "verify", "bundled"]));
    let other = |name: &str| name.replace("block", "stage").replace(".rep.", ".layers.").replace("skip", "shortcut");
    for rename in [&other as &dyn Fn(&str) -> String, &|name| name.replace("block7.", "middle."), &|name| {
        name.replace("block5.rep.4.", "block5.other.")
    }] {
        write(&desk, "model.safetensors", renamed(&base, rename));
        let ran = desk.run(&["weights", "verify", "model.safetensors", "--size", "299"]);
        assert_eq!(digest(&ran), expected);
        assert!(ran.stderr.contains("by its shape and place") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
    // The names of two blocks alike are taken away: nothing tells them apart.
    write(
        &desk,
        "model.safetensors",
        renamed(&base, |name| name.replace("block5.", "one.").replace("block6.", "two.")),
    );
    desk.run(&["weights", "verify", "model.safetensors"])
        .assert_failed(1, &["model.safetensors", "could be read in more than one way"]);
}

#[test]
fn averaged_weights_are_taken_and_said_and_two_copies_alike_are_refused() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let both = |a: &str, b: &str| {
        let mut tensors = renamed(&base, |name| format!("{a}{name}"));
        tensors.extend(renamed(&base, |name| format!("{b}{name}")));
        tensors
    };
    write(&desk, "model.safetensors", both("model.", "ema."));
    let ran = desk.run(&["weights", "verify", "model.safetensors", "--size", "299"]);
    assert!(ran.assert_done().stderr.contains("read as `ema.…`; left aside 234 tensors: `model.…`"), "{}", ran.stderr);
    write(&desk, "model.safetensors", both("student.", "teacher."));
    desk.run(&["weights", "verify", "model.safetensors"]).assert_failed(
        1,
        &["model.safetensors: holds the network 2 times, as `student.…` and `teacher.…`; save one of them alone"],
    );
}

#[test]
fn classifiers_of_every_usual_name_are_found_and_two_are_refused() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let with = |heads: &[(&str, &[usize])]| {
        let mut tensors = renamed(&base, |name| format!("net.{name}"));
        tensors.extend(heads.iter().map(|(name, shape)| ((*name).to_owned(), ones(shape))));
        write(&desk, "model.safetensors", tensors);
        desk.run(&["info", "model.safetensors"])
    };
    for stem in ["net.last_linear", "net.fc", "net.fc.1", "net.classifier.1", "head.fc", "my_classifier"] {
        let ran = with(&[(&format!("{stem}.weight"), &[3, 2048]), (&format!("{stem}.bias"), &[3])]);
        assert!(ran.assert_done().stdout.contains("fc 2048→3"), "{stem}: {}", ran.stdout);
        assert_eq!(ran.stderr.contains("`my_classifier` is taken for the classifier"), stem == "my_classifier");
    }
    let hidden = |second: &'static str| {
        let first: [(&str, &[usize]); 2] = [("net.fc.0.weight", &[8, 2048]), ("net.fc.0.bias", &[8])];
        let (weight, bias) = (format!("net.fc.{second}.weight"), format!("net.fc.{second}.bias"));
        with(&[first[0], first[1], (&weight, &[3, 8]), (&bias, &[3])])
    };
    let ran = hidden("3");
    assert!(ran.assert_done().stdout.contains("head.0 2048→8, fc 8→3"), "{}", ran.stdout);
    assert!(ran.stderr.contains("relu and softmax (else"), "{}", ran.stderr);
    hidden("1").assert_failed(1, &["between its dense layers `net.fc.0` and `net.fc.1` there is no activation"]);
    // A head spread over modules: what lies between them no file tells.
    let spread: [(&str, &[usize]); 4] =
        [("net.fc.weight", &[8, 2048]), ("net.fc.bias", &[8]), ("head.1.weight", &[3, 8]), ("head.1.bias", &[3])];
    with(&spread)
        .assert_failed(1, &["model.safetensors: `head.1.weight` may belong to the head beside `net.fc.weight`"]);
    let spread: [(&str, &[usize]); 4] =
        [("fc1.weight", &[8, 2048]), ("fc1.bias", &[8]), ("fc2.weight", &[3, 8]), ("fc2.bias", &[3])];
    with(&spread).assert_failed(1, &["`fc2.weight` may belong to the head beside `fc1.weight`"]);
    let neck = ["weight", "bias", "running_mean", "running_var"].map(|tail| format!("neck.{tail}"));
    let mut necked: Vec<(&str, &[usize])> = neck.iter().map(|name| (name.as_str(), &[2048][..])).collect();
    necked.extend([("fc.weight", &[3, 2048][..]), ("fc.bias", &[3])]);
    with(&necked).assert_failed(1, &["`neck.running_mean` may belong to the head beside `fc.weight`"]);
    let two: [(&str, &[usize]); 4] = [
        ("net.fc.weight", &[3, 2048]),
        ("net.fc.bias", &[3]),
        ("net.head.weight", &[4, 2048]),
        ("net.head.bias", &[4]),
    ];
    with(&two).assert_failed(1, &["both `net.fc` and `net.head` could be the classifier"]);
    with(&[("net.attention.weight", &[8])]).assert_failed(1, &["unexpected tensor `net.attention.weight`"]);
}

#[test]
fn what_a_file_of_weights_does_not_say_is_said_and_can_be_given() {
    let (desk, bytes) = (Desk::new(), base());
    let base = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = renamed(&base, str::to_owned);
    tensors.push(("fc.weight".to_owned(), ones(&[3, 2048])));
    write(&desk, "model.safetensors", tensors);
    let note = "model.safetensors: does not say its input size, normalisation, pooling and activations; assuming \
                299×299 pixels, samples of -1 to 1, pooling `avg`, softmax (else --size, a config.json beside the \
                file, --pool, --activation)";
    let classify = |options: &[&str]| {
        let arguments = ["classify", "-m", "model.safetensors", "--class-names", "a,b,c", &sample("chelsea.png")];
        desk.run(&[&arguments[..], options].concat())
    };
    let assumed = classify(&[]);
    assert_eq!(assumed.assert_done().stderr.trim_end(), note);
    let given = classify(&["--size", "299", "--pool", "avg", "--activation", "softmax"]);
    let rest = "model.safetensors: does not say its normalisation; assuming samples of -1 to 1 (else a config.json beside \
                the file)";
    assert_eq!((given.assert_done().stderr.trim_end(), &given.stdout), (rest, &assumed.stdout));
    let other = classify(&["--size", "150", "--pool", "max", "--activation", "softmax"]);
    assert_eq!(other.assert_done().stderr.trim_end(), rest);
    classify(&["--activation", "sigmoid"]).assert_failed(1, &["its classifier has 3 outputs", "several labels"]);
    classify(&["--pool", "none"]).assert_failed(1, &["takes 2048 features", "set --size or --pool"]);
    // What is converted keeps what was given.
    let options = ["--size", "150", "--pool", "max", "--activation", "softmax", "--class-names", "a,b,c"];
    let ran = desk.run(&[&["convert", "model.safetensors", "out.safetensors"][..], &options].concat());
    assert_eq!(ran.assert_done().stderr.trim_end(), rest);
    let converted = desk.run(&["info", "out.safetensors"]);
    for part in ["max", "150×150"] {
        assert!(converted.assert_done().stdout.contains(part), "{}", converted.stdout);
    }
    let answer = desk.run(&["classify", "-m", "out.safetensors", &sample("chelsea.png")]);
    let predictions = |ran: &Ran| ran.assert_done().json_lines()[0]["predictions"].clone();
    assert_eq!(predictions(&answer), predictions(&other));
}

#[test]
fn a_saved_model_is_told_how_to_be_saved() {
    let desk = Desk::new();
    desk.write("exported/saved_model.pb", b"\x08\x01");
    desk.write("exported/variables/variables.index", b"");
    for arguments in [
        &["classify", "-m", "exported", &sample("chelsea.png")][..],
        &["info", "exported"],
        &["convert", "exported", "x.safetensors"],
    ] {
        desk.run(arguments).assert_failed(1, &["exported: is a TensorFlow SavedModel", "model.save(\"model.keras\")"]);
    }
}
