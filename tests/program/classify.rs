//! `xcept classify` on the photographs of `samples/`.

use std::io::Write;
use std::process::Stdio;

use crate::support::hub_server::{Behaviour, HubServer, dead_endpoint};
use crate::support::program::{Desk, Ran, sample, thousand_classes};

#[test]
fn the_bundled_classifier_answers_where_imagenets_weights_are_not_to_be_had() {
    let desk = Desk::new();
    let ran = desk.run(&["classify", &sample("chelsea.png"), &sample("kitten.jpg"), &sample("beagle.jpg")]);
    ran.assert_done();
    let labels: Vec<_> = ran.json_lines().iter().map(|line| line["predictions"][0]["label"].clone()).collect();
    assert_eq!(labels, ["cat", "cat", "dog"]);
    for line in ran.json_lines() {
        assert_eq!(line["model"], "cats-vs-dogs");
        let total: f64 =
            line["predictions"].as_array().unwrap().iter().map(|p| p["probability"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{line}");
    }
    assert!(
        ran.stderr.contains("`cats-vs-dogs`") && ran.stderr.contains("run the command once without it"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn what_keeps_imagenets_weights_away_is_named() {
    let server = HubServer::start(Behaviour::default());
    let desk = Desk::new();
    desk.write("file", b"");
    let classify = ["classify", &sample("chelsea.png")];
    let run = |endpoint: &str, variables: &[(&str, &str)]| {
        let mut command = desk.online(endpoint, &classify);
        Ran::of(command.envs(variables.iter().copied()).output().unwrap())
    };
    let refusing = |status, code| {
        server.behave(Behaviour { refuse: Some((status, code)), ..Behaviour::default() });
        run(&server.endpoint(), &[])
    };
    let assert_named = |ran: Ran, parts: &[&str]| {
        assert_eq!(ran.assert_done().json_lines()[0]["model"], "cats-vs-dogs");
        for part in parts {
            assert!(ran.stderr.contains(part), "`{part}` is not in: {}", ran.stderr);
        }
        assert!(ran.stderr.starts_with("answered by the bundled classifier `cats-vs-dogs`"), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    };
    let dead = dead_endpoint();
    assert_named(run(&dead, &[]), &[&dead, "no connection: Connection refused"]);
    assert_named(run("http://no-such-host.invalid", &[]), &["http://no-such-host.invalid", "no connection"]);
    assert_named(run("no-address", &[]), &["no-address", "not a URL", "HF_ENDPOINT"]);
    assert_named(run(&dead, &[("HF_HUB_OFFLINE", "1")]), &["HF_HUB_OFFLINE forbids the download"]);
    assert_named(run(&dead, &[("SSL_CERT_FILE", "none.pem")]), &["none.pem", "SSL_CERT_FILE"]);
    assert_named(refusing(401, "GatedRepo"), &["status 401", "HF_TOKEN"]);
    assert_named(refusing(403, "GatedRepo"), &["access is forbidden (status 403)"]);
    assert_named(refusing(404, "RepoNotFound"), &["no such repository"]);
    assert_named(refusing(503, ""), &["status 503"]);
    server.behave(Behaviour { truncate_at: Some(150_000), ..Behaviour::default() });
    assert_named(run(&server.endpoint(), &[]), &["the connection broke after 150000 of 400003 bytes"]);
    server.behave(Behaviour::default());
    let cache = desk.path("file").display().to_string();
    assert_named(run(&server.endpoint(), &[("HF_HUB_CACHE", &cache)]), &[&cache, "HF_HUB_CACHE"]);
    let offline = Ran::of(desk.online(&dead, &[&classify[..], &["--offline"]].concat()).output().unwrap());
    assert_named(offline, &["--offline forbids the download"]);
}

#[test]
fn an_unreadable_input_is_an_error_row_in_its_place_and_status_3() {
    let desk = Desk::new();
    desk.write("pictures/a.jpg", b"not a picture at all");
    desk.add_sample("kitten.jpg", "pictures/b.jpg");
    desk.write("pictures/c.png", b"");
    desk.add_sample("beagle.jpg", "pictures/d.jpeg");
    let ran = desk.run(&["classify", "-m", "cats-vs-dogs", "pictures", "missing.jpg"]);
    assert_eq!(ran.status, Some(3), "{}", ran.stderr);
    let lines = ran.json_lines();
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["pictures/a.jpg", "pictures/b.jpg", "pictures/c.png", "pictures/d.jpeg", "missing.jpg"]);
    let has_error: Vec<_> = lines.iter().map(|line| line["error"].is_string()).collect();
    assert_eq!(has_error, [true, false, true, false, true]);
    assert_eq!(lines[1]["predictions"][0]["label"], "cat");
    assert_eq!(lines[3]["predictions"][0]["label"], "dog");
    assert!(lines[2]["error"].as_str().unwrap().contains("empty"), "{}", lines[2]);
}

#[test]
fn every_format_tells_the_same() {
    let desk = Desk::new();
    let run = |format| {
        let arguments = ["classify", "-q", "-m", "cats-vs-dogs", "--keep-known", "all", "-f", format, "-k", "1"];
        let ran = desk.run(&[&arguments[..], &[&sample("beagle.jpg")]].concat());
        ran.assert_done();
        ran.stdout
    };
    let json: serde_json::Value = serde_json::from_str(&run("jsonl")).unwrap();
    let probability = &json["predictions"][0]["probability"];
    let csv = run("csv");
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows[0], "path,model,rank,index,id,label,probability,error");
    assert_eq!(rows[1], format!("{},cats-vs-dogs,1,1,,dog,{probability},", sample("beagle.jpg")));
    assert!(run("table").contains("%  dog"));
}

#[test]
fn answers_do_not_depend_on_threads_or_on_the_company() {
    let desk = Desk::new();
    let all = [sample("chelsea.png"), sample("kitten.jpg"), sample("beagle.jpg")];
    let of = |ran: Ran| ran.assert_done().stdout.clone();
    let together = ["classify", "-m", "cats-vs-dogs", &all[0], &all[1], &all[2]];
    let one_thread = of(desk.run(&[&together[..], &["--threads", "1"]].concat()));
    assert_eq!(of(desk.run(&[&together[..], &["--threads", "2"]].concat())), one_thread);
    let alone: String = all.iter().map(|path| of(desk.run(&["classify", "-m", "cats-vs-dogs", path]))).collect();
    assert_eq!(alone, one_thread);
}

#[test]
fn a_list_of_paths_is_read_from_stdin() {
    let desk = Desk::new();
    let mut child = desk.command(&["classify", "-m", "cats-vs-dogs", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}\n\n{}", sample("beagle.jpg"), sample("kitten.jpg")).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    let labels: Vec<_> = ran.assert_done().json_lines().iter().map(|l| l["predictions"][0]["label"].clone()).collect();
    assert_eq!(labels, ["dog", "cat"]);
}

/// Classifies a list that comes on stdin.
fn classify_list(desk: &Desk, list: &[u8]) -> Ran {
    let mut child = desk.command(&["classify", "-m", "cats-vs-dogs", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(list).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn a_list_is_read_however_the_system_stores_text() {
    let desk = Desk::new();
    desk.add_sample("kitten.jpg", "pool/cat 00.jpg");
    desk.add_sample("beagle.jpg", "pool/dög00.jpg");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let lists = [
        b"pool/cat 00.jpg\r\npool/d\xc3\xb6g00.jpg\r\n".to_vec(),
        b"pool/cat 00.jpg\0pool/d\xc3\xb6g00.jpg\0".to_vec(),
        b"\xef\xbb\xbfpool/cat 00.jpg\npool/d\xc3\xb6g00.jpg".to_vec(),
        utf16("\u{feff}pool/cat 00.jpg\r\npool/dög00.jpg\r\n"),
        utf16("pool/cat 00.jpg\npool/dög00.jpg\n"),
    ];
    for list in lists {
        let ran = classify_list(&desk, &list);
        let lines = ran.assert_done().json_lines();
        let found: Vec<_> = lines.iter().map(|l| [&l["path"], &l["predictions"][0]["label"]]).collect();
        assert_eq!(
            serde_json::json!(found),
            serde_json::json!([["pool/cat 00.jpg", "cat"], ["pool/dög00.jpg", "dog"]])
        );
    }
}

#[test]
fn an_empty_list_is_wrong_usage() {
    let desk = Desk::new();
    for list in [&b""[..], b"\n", b"\xef\xbb\xbf\r\n"] {
        classify_list(&desk, list).assert_failed(2, &["the list on stdin is empty", "one on each line"]);
    }
    classify_list(&desk, b"\xff\xfea").assert_failed(1, &["the list on stdin: the text is damaged UTF-16"]);
}

#[test]
fn names_of_classes_may_have_blanks_around_them_or_come_from_a_file_of_any_system() {
    let desk = Desk::new();
    desk.write(
        "names.txt",
        &"\u{feff}Katze\r\nHund \r\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    desk.write("unix.txt", "Katze\nHund\n".as_bytes());
    for names in ["Katze,Hund", " Katze , Hund", "names.txt", "unix.txt"] {
        let ran = desk.run(&["classify", "-m", "cats-vs-dogs", "--class-names", names, &sample("beagle.jpg")]);
        assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "Hund", "{names}");
    }
    let classify = ["classify", "-m", "cats-vs-dogs", &sample("beagle.jpg"), "--class-names"];
    for (names, parts) in [
        ("Katze,,Hund", ["--class-names Katze,,Hund", "a name is empty"]),
        ("gone.txt", ["--class-names gone.txt", "no such file"]),
    ] {
        desk.run(&[&classify[..], &[names]].concat()).assert_failed(1, &parts);
    }
}

#[test]
fn results_go_to_a_file_that_is_not_replaced_unasked() {
    let desk = Desk::new();
    let arguments = ["classify", "-m", "cats-vs-dogs", "-o", "out.jsonl", &sample("kitten.jpg")];
    assert_eq!(desk.run(&arguments).assert_done().stdout, "");
    assert!(std::fs::read_to_string(desk.path("out.jsonl")).unwrap().contains("\"cat\""));
    desk.run(&arguments).assert_failed(1, &["out.jsonl", "--overwrite"]);
    desk.run(&[&arguments[..], &["--overwrite"]].concat()).assert_done();
    desk.add_sample("kitten.jpg", "mine.jpg");
    let ran = desk.run(&["classify", "-m", "cats-vs-dogs", "mine.jpg", "-o", "mine.jpg", "--overwrite"]);
    ran.assert_failed(1, &["mine.jpg", "input of this very command"]);
}

#[test]
fn every_picture_of_a_folder_is_classified_whatever_its_folders_are_called() {
    let desk = Desk::new();
    for name in ["photos/train/1.jpg", "photos/train/cat/2.jpg", "photos/holiday/3.jpg"] {
        desk.add_sample("kitten.jpg", name);
    }
    std::fs::create_dir(desk.path("empty")).unwrap();
    let ran = desk.run(&["classify", "-m", "cats-vs-dogs", "photos", "empty"]);
    assert_eq!((ran.status, ran.json_lines().len()), (Some(3), 4), "{}", ran.stdout);
    assert!(ran.stdout.contains("a folder without pictures") && ran.stderr.contains("1 of 4 inputs"), "{}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn a_list_may_hold_paths_that_are_not_text() {
    use std::os::unix::ffi::OsStrExt;
    let desk = Desk::new();
    let mut path = desk.path("").into_os_string().as_bytes().to_vec();
    path.extend(b"kitten \xff.jpg");
    std::fs::copy(sample("kitten.jpg"), std::ffi::OsStr::from_bytes(&path)).unwrap();
    let mut child = desk.command(&["classify", "-m", "cats-vs-dogs", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&path).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "cat");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let desk = Desk::new();
    let paths = vec![sample("kitten.jpg"); 12];
    let mut command = desk.command(&["classify", "-m", "cats-vs-dogs"]);
    let mut child = command.args(&paths).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    for arguments in [&["info"][..], &["weights", "list"], &["weights", "verify"]] {
        let mut child = desk.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn an_empty_folder_is_an_error_that_names_it() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.run(&["classify", "-m", "cats-vs-dogs", "empty"])
        .assert_failed(1, &["empty: no pictures", "looked for JPEG, PNG"]);
}

#[test]
fn a_mistyped_model_file_is_not_taken_for_a_repository() {
    let desk = Desk::new();
    let arguments = ["classify", &sample("kitten.jpg"), "-m", "models/cat.safetensors"];
    desk.run(&arguments).assert_failed(1, &["models/cat.safetensors: no such file"]);
}

#[test]
fn imagenets_weights_in_the_cache_answer_by_themselves() {
    let desk = Desk::new();
    let folder = "hf/hub/models--timm--legacy_xception.tf_in1k";
    desk.write(&format!("{folder}/refs/main"), b"1111111111111111111111111111111111111111");
    let snapshot = "snapshots/1111111111111111111111111111111111111111/model.safetensors";
    desk.write(&format!("{folder}/{snapshot}"), &thousand_classes());
    let ran = desk.run(&["classify", &sample("chelsea.png")]);
    assert_eq!(ran.assert_done().json_lines()[0]["predictions"][0]["label"], "tabby");
    assert_eq!(ran.stderr, "");
}

#[test]
fn no_network_and_no_cache_is_status_5_when_imagenet_is_asked_for() {
    let desk = Desk::new();
    let arguments = ["classify", "-m", "imagenet", &sample("chelsea.png")];
    desk.run(&arguments).assert_failed(5, &["timm/legacy_xception.tf_in1k", "xcept weights pull"]);
}
