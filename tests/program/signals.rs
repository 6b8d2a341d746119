//! Signals, an error on the way, and what is there afterwards: all that was done, and nothing else.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::program::{Desk, Ran, add_crops};

/// Name, exit status of a program that saved, and the first word that it says.
const SIGNALS: [(&str, i32, &str); 3] =
    [("TERM", 143, "terminated"), ("HUP", 129, "hung up"), ("INT", 130, "interrupted")];
const PICTURES: usize = 40;
const CLASSIFY: [&str; 6] = ["classify", "-m", "cats-vs-dogs", "data", "-o", "out/rows.jsonl"];

/// A desk with pictures for some seconds of work, and a folder for results.
fn desk_with_pictures() -> Desk {
    let desk = Desk::new();
    add_crops(&desk, "beagle.jpg", "data", PICTURES as u32);
    std::fs::create_dir(desk.path("out")).unwrap();
    desk
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "the program ended before SIG{signal}");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} never came");
        sleep(Duration::from_millis(1));
    }
}

/// Names in a folder, hidden ones among them.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until a file in the folder, whatever its name, has some bytes.
fn wait_for_bytes(folder: &Path) {
    let length = |name: &String| folder.join(name).metadata().map_or(0, |found| found.len());
    wait_until("a row", || names(folder).iter().any(|name| length(name) > 0));
}

/// The number of rows, each of which is whole and that of its picture.
#[track_caller]
fn assert_rows(desk: &Desk) -> usize {
    let text = std::fs::read_to_string(desk.path("out/rows.jsonl")).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut paths: Vec<String> = (0..PICTURES).map(|index| format!("data/{index}.png")).collect();
    paths.sort();
    for (row, path) in rows.iter().zip(&paths) {
        assert!(row["path"] == path.as_str() && row["predictions"][0]["label"] == "dog", "{row}");
    }
    assert_eq!(names(&desk.path("out")), ["rows.jsonl"]);
    rows.len()
}

#[test]
fn classify_keeps_the_rows_that_were_done_whatever_signal_ends_it() {
    let desk = desk_with_pictures();
    for (signal, status, word) in SIGNALS {
        let child = desk.command(&CLASSIFY).arg("--overwrite").spawn().unwrap();
        wait_for_bytes(&desk.path("out"));
        // As `timeout` does: to the program, and to its group.
        send(signal, &child);
        send(signal, &child);
        let ran = Ran::of(child.wait_with_output().unwrap());
        let rows = assert_rows(&desk);
        assert!((1..PICTURES).contains(&rows), "{rows}");
        let kept = format!("results of the first {rows} of {PICTURES} pictures are in out/rows.jsonl");
        ran.assert_failed(status, &[word, &kept]);
        std::fs::remove_file(desk.path("out/rows.jsonl")).unwrap();
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once_and_the_rows_stay() {
    let desk = desk_with_pictures();
    let child = desk.command(&CLASSIFY).spawn().unwrap();
    wait_for_bytes(&desk.path("out"));
    send("INT", &child);
    sleep(Duration::from_millis(100));
    // Held back, for it would be done before a second signal counted as one of its own.
    send("STOP", &child);
    sleep(Duration::from_millis(1100));
    send("INT", &child);
    send("CONT", &child);
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!((1..PICTURES).contains(&assert_rows(&desk)));
    ran.assert_failed(130, &["interrupted twice", "results so far are in", "out/rows.jsonl"]);
}

#[test]
fn a_second_signal_leaves_a_journal_of_what_was_computed() {
    let desk = desk_with_pictures();
    // Batches of more than a second.
    let arguments = ["extract-features", "data", "--batch-size", "20", "-o", "out/f.safetensors"];
    let child = desk.command(&arguments).spawn().unwrap();
    let journal = desk.path("out/f.safetensors.partial");
    let has_rows = || journal.metadata().is_ok_and(|found| found.len() > 20 * 4 * 2048);
    wait_until("a batch", has_rows);
    send("TERM", &child);
    sleep(Duration::from_millis(100));
    send("STOP", &child);
    sleep(Duration::from_millis(1100));
    send("HUP", &child);
    send("CONT", &child);
    Ran::of(child.wait_with_output().unwrap()).assert_failed(143, &["terminated twice"]);
    assert_eq!(names(&desk.path("out")), ["f.safetensors.partial"]);
    let ran = desk.run(&arguments);
    assert!(ran.assert_done().stdout.contains("(20 computed, 20 reused)"), "{}", ran.stdout);
    assert_eq!(names(&desk.path("out")), ["f.safetensors"]);
}

#[test]
fn extract_features_keeps_its_journal_whatever_signal_ends_it() {
    let desk = desk_with_pictures();
    let arguments = ["extract-features", "data", "--batch-size", "1", "-o", "out/f.npz"];
    for (signal, status, word) in SIGNALS {
        let child = desk.command(&arguments).spawn().unwrap();
        let length = || desk.path("out/f.npz.partial").metadata().map_or(0, |found| found.len());
        let before = length().max(1000);
        wait_until("a row", || length() > before);
        send(signal, &child);
        Ran::of(child.wait_with_output().unwrap()).assert_failed(status, &[word, "f.npz.partial", "the same command"]);
        assert_eq!(names(&desk.path("out")), ["f.npz.partial"]);
    }
    let ran = desk.run(&arguments);
    assert!(ran.assert_done().stdout.contains("reused") && !ran.stdout.contains(" 0 reused"), "{}", ran.stdout);
}

#[test]
fn finetune_goes_on_after_any_signal() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 10);
    add_crops(&desk, "beagle.jpg", "data/dog", 10);
    let begin = "finetune data --size 71 --epochs 2 --finetune-epochs 8 --batch-size 4 --hidden 16 --unfreeze block13";
    let begin: Vec<&str> = begin.split(' ').collect();
    let mut arguments = &begin[..];
    let run = desk.path("runs/finetune/data");
    for (signal, status, word) in SIGNALS {
        let child = desk.command(arguments).spawn().unwrap();
        let time = || run.join("checkpoint.safetensors").metadata().and_then(|found| found.modified()).ok();
        let before = time();
        wait_until("a checkpoint", || time() > before);
        send(signal, &child);
        let ran = Ran::of(child.wait_with_output().unwrap());
        let said = ran.stderr.lines().last().unwrap_or_default();
        assert!(ran.status == Some(status) && said.contains(word) && said.contains("--resume runs/finetune/data"));
        assert!(names(&run).iter().all(|name| !name.starts_with('.')), "{:?}", names(&run));
        arguments = &["finetune", "--resume", "data"];
    }
    desk.run(arguments).assert_done();
    assert!(run.join("last.safetensors").exists());
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let desk = desk_with_pictures();
    let program = desk.command(&CLASSIFY);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(desk.path(""));
    let mut child = shell.spawn().unwrap();
    wait_for_bytes(&desk.path("out"));
    send("HUP", &child);
    send("INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(assert_rows(&desk), PICTURES);
}

#[test]
fn a_command_that_saves_nothing_ends_by_the_signal_and_leaves_nothing() {
    let desk = Desk::new();
    desk.write("out/name", b"");
    std::fs::remove_file(desk.path("out/name")).unwrap();
    let base = crate::support::program::root().join("weights/xception-imagenet-base.safetensors");
    let arguments = ["convert", base.to_str().unwrap(), "out/base.safetensors"];
    // Writing takes a moment that may be missed.
    for _ in 0..50 {
        let mut child = desk.command(&arguments).spawn().unwrap();
        wait_until("a file", || !names(&desk.path("out")).is_empty());
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        if status.signal() == Some(15) && !desk.path("out/base.safetensors").exists() {
            assert!(names(&desk.path("out")).is_empty(), "{:?}", names(&desk.path("out")));
            return;
        }
        std::fs::remove_file(desk.path("out/base.safetensors")).unwrap();
    }
    panic!("the program was never ended while it wrote");
}

#[test]
fn a_disk_that_is_full_keeps_the_rows_before_and_names_the_file() {
    let desk = desk_with_pictures();
    let program = desk.command(&CLASSIFY);
    let mut shell = Command::new("/bin/sh");
    // Room for some rows, and for a part of one.
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(desk.path(""));
    let ran = Ran::of(shell.output().unwrap());
    let rows = assert_rows(&desk);
    assert!((1..PICTURES).contains(&rows), "{rows}");
    let kept = format!("results of the first {rows} of {PICTURES} pictures are in out/rows.jsonl");
    ran.assert_failed(1, &[&kept, "out/rows.jsonl: cannot be written", "File too large"]);
}

/// Every write to this device fails as on a full disk.
const FULL: &str = "/dev/full";

#[test]
fn a_full_disk_behind_stdout_is_named() {
    let desk = Desk::new();
    add_crops(&desk, "kitten.jpg", "data/cat", 3);
    add_crops(&desk, "beagle.jpg", "data/dog", 3);
    desk.run(&["extract-features", "data", "-o", "f.safetensors"]).assert_done();
    let classify = ["classify", "-q", "data", "-m", "cats-vs-dogs", "-f"];
    let commands: [&[&str]; 9] = [
        &[&classify[..], &["jsonl"]].concat(),
        &[&classify[..], &["csv"]].concat(),
        &[&classify[..], &["table"]].concat(),
        &["evaluate", "-q", "data", "-m", "cats-vs-dogs"],
        &["audit", "-q", "f.safetensors"],
        &["similar", "-q", "data", "--in", "f.safetensors"],
        &["extract-features", "-q", "data", "-o", "f.safetensors"],
        &["info"],
        &["weights", "list"],
    ];
    for command in commands {
        let full = std::fs::File::create(FULL).unwrap();
        let ran = Ran::of(desk.command(command).stdout(full).output().unwrap());
        assert_eq!(ran.status, Some(1), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("stdout") && ran.stderr.contains("No space left"), "{command:?}: {}", ran.stderr);
    }
}
