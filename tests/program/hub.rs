//! `xcept weights pull` against a hub on this machine: downloads, the cache, and everything that can go wrong.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::support::hub_server::{
    Behaviour, FILE, HubServer, MAIN_COMMIT, OLD_COMMIT, REPOSITORY, content, dead_endpoint, sha256,
};
use crate::support::hub_user::{User, assert_pulled, assert_unavailable, run, stdout_path};

#[test]
fn the_first_pull_downloads_into_the_layout_of_hugging_face() {
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
    assert_eq!(fs::read_to_string(user.folder().join("refs/main")).unwrap(), MAIN_COMMIT);
    let blob = user.folder().join("blobs").join(sha256(MAIN_COMMIT));
    assert!(fs::read(blob).unwrap() == content(MAIN_COMMIT));
    #[cfg(unix)]
    {
        let link = fs::read_link(user.folder().join("snapshots").join(MAIN_COMMIT).join(FILE)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(MAIN_COMMIT)));
    }
}

#[test]
fn what_is_in_the_cache_is_found_without_the_network() {
    let server = HubServer::start(Behaviour::default());
    let mut user = User::of(server.endpoint());
    run(&user, &[REPOSITORY]);
    server.take_requests();
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
    assert!(server.take_requests().is_empty(), "the hub was asked");
    user.endpoint = dead_endpoint();
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
    assert_pulled(&run(&user, &[REPOSITORY, "--offline"]), MAIN_COMMIT);
}

#[test]
fn a_file_that_another_tool_cached_elsewhere_is_found() {
    let user = User::of(dead_endpoint());
    let cache = user.home.path().join("elsewhere");
    let snapshot = cache.join("models--owner--repo/snapshots").join(MAIN_COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("models--owner--repo/refs")).unwrap();
    fs::write(snapshot.join(FILE), content(MAIN_COMMIT)).unwrap();
    fs::write(cache.join("models--owner--repo/refs/main"), MAIN_COMMIT).unwrap();
    let output = user.pull(&[REPOSITORY]).env("HF_HUB_CACHE", &cache).output().unwrap();
    assert_pulled(&output, MAIN_COMMIT);
    assert!(stdout_path(&output).starts_with(&cache));
}

#[test]
fn offline_with_an_empty_cache_names_the_remedy_and_asks_nobody() {
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    let cache = user.home.path().join("hub").display().to_string();
    let parts = [REPOSITORY, &cache, "run `xcept weights pull owner/repo` once without it", "-m FILE"];
    let by_flag = run(&user, &[REPOSITORY, "--offline"]);
    assert_unavailable(&by_flag, &parts);
    assert_unavailable(&by_flag, &["--offline forbids"]);
    let by_variable = user.pull(&[REPOSITORY]).env("HF_HUB_OFFLINE", "TRUE").output().unwrap();
    assert_unavailable(&by_variable, &parts);
    assert_unavailable(&by_variable, &["HF_HUB_OFFLINE forbids"]);
    assert!(server.take_requests().is_empty(), "the hub was asked");
}

#[test]
fn a_server_that_is_gone_is_reported_with_its_address() {
    let user = User::of(dead_endpoint());
    let output = run(&user, &[REPOSITORY]);
    assert_unavailable(&output, &[REPOSITORY, &user.endpoint, "no connection", "HF_ENDPOINT"]);
    user.assert_nothing_is_cached();
}

#[test]
fn a_download_that_breaks_off_leaves_nothing_broken_and_is_continued() {
    for no_content_length in [false, true] {
        let broken = Behaviour { truncate_at: Some(150_000), no_content_length, ..Default::default() };
        let server = HubServer::start(broken);
        let user = User::of(server.endpoint());
        assert_unavailable(&run(&user, &[REPOSITORY]), &["150000 of 400003 bytes", "again"]);
        user.assert_nothing_is_cached();
        server.behave(Behaviour::default());
        server.take_requests();
        assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
        let requests = server.take_requests();
        assert_eq!(requests.last().unwrap().header("range"), Some("bytes=150000-"));
        assert!(!user.incomplete().exists());
    }
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let server = HubServer::start(Behaviour { truncate_at: Some(150_000), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &[REPOSITORY]), &["broke"]);
    server.behave(Behaviour { no_ranges: true, ..Default::default() });
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_damaged_beginning_is_noticed_and_fetched_anew() {
    let server = HubServer::start(Behaviour { truncate_at: Some(150_000), ..Default::default() });
    let user = User::of(server.endpoint());
    run(&user, &[REPOSITORY]);
    fs::write(user.incomplete(), vec![0; 150_000]).unwrap();
    server.behave(Behaviour::default());
    assert_unavailable(&run(&user, &[REPOSITORY]), &["SHA-256", &sha256(MAIN_COMMIT)]);
    user.assert_nothing_is_cached();
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_run_that_was_killed_does_not_hinder_the_next() {
    let server = HubServer::start(Behaviour { truncate_at: Some(150_000), stall: true, ..Default::default() });
    let user = User::of(server.endpoint());
    let mut child = user.start();
    while fs::metadata(user.incomplete()).map_or(0, |found| found.len()) < 150_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    user.assert_nothing_is_cached();
    server.behave(Behaviour::default());
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server = HubServer::start(Behaviour { truncate_at: Some(150_000), stall: true, ..Default::default() });
    let user = User::of(server.endpoint());
    let output = user.pull(&[REPOSITORY]).env("HF_HUB_DOWNLOAD_TIMEOUT", "1").output().unwrap();
    assert_unavailable(&output, &["150000 of 400003 bytes"]);
    user.assert_nothing_is_cached();
}

#[test]
fn two_runs_at_once_download_once() {
    let server = HubServer::start(Behaviour { delay: Duration::from_millis(300), ..Default::default() });
    let user = User::of(server.endpoint());
    let runs = [user.start(), user.start()];
    for run in runs {
        assert_pulled(&run.wait_with_output().unwrap(), MAIN_COMMIT);
    }
    let downloads = server.take_requests().iter().filter(|request| request.is_download()).count();
    assert_eq!(downloads, 1);
}

#[test]
fn a_file_of_another_size_than_stated_is_refused() {
    let server = HubServer::start(Behaviour { size_error: 5, ..Default::default() });
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &[REPOSITORY]), &["400003", "expected 400008"]);
    user.assert_nothing_is_cached();
    server.behave(Behaviour::default());
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_file_of_other_content_than_stated_is_refused() {
    let server = HubServer::start(Behaviour { spoil_content: true, ..Default::default() });
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &[REPOSITORY]), &["SHA-256", &sha256(MAIN_COMMIT)]);
    user.assert_nothing_is_cached();
    server.behave(Behaviour::default());
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn each_refusal_says_what_is_wrong_and_what_to_do() {
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    let cases: [(u16, &str, &[&str]); 9] = [
        (401, "GatedRepo", &["private or gated", "set HF_TOKEN"]),
        (403, "GatedRepo", &["forbidden", "accept its terms"]),
        (404, "RepoNotFound", &["no such repository", "check its owner and name"]),
        (404, "RevisionNotFound", &["no revision `main`"]),
        (404, "EntryNotFound", &["no such file", FILE]),
        (404, "", &["no such repository, revision or file"]),
        (429, "", &["too many requests", "later"]),
        (500, "", &["status 500", "later"]),
        (503, "", &["status 503", "later"]),
    ];
    for (status, code, parts) in cases {
        server.behave(Behaviour { refuse: Some((status, code)), ..Default::default() });
        let output = run(&user, &[REPOSITORY]);
        assert_unavailable(&output, parts);
        assert_unavailable(&output, &[REPOSITORY, &user.endpoint]);
        user.assert_nothing_is_cached();
    }
}

#[test]
fn a_repository_or_revision_that_the_hub_lacks_is_named() {
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &["owner/nothing"]), &["owner/nothing", "no such repository"]);
    assert_unavailable(&run(&user, &["owner/repo@v9"]), &["owner/repo@v9", "no revision `v9`"]);
}

#[test]
fn a_store_that_refuses_does_not_put_its_page_into_the_cache() {
    let store = HubServer::start(Behaviour { refuse: Some((403, "")), ..Default::default() });
    let server = HubServer::start(Behaviour { cdn: Some(store.endpoint()), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &[REPOSITORY]), &[&store.endpoint(), "status 403"]);
    user.assert_nothing_is_cached();
}

#[test]
fn a_revision_may_be_a_tag_a_branch_or_a_commit() {
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    for revision in ["v1", "release/1"] {
        assert_pulled(&run(&user, &[&format!("{REPOSITORY}@{revision}")]), OLD_COMMIT);
        assert_eq!(fs::read_to_string(user.folder().join("refs").join(revision)).unwrap(), OLD_COMMIT);
    }
    assert_pulled(&run(&user, &[&format!("{REPOSITORY}@{MAIN_COMMIT}")]), MAIN_COMMIT);
    // A commit is no name that could come to mean another, so it has no file among the refs.
    assert!(!user.folder().join("refs").join(MAIN_COMMIT).exists());
    let downloads = server.take_requests().iter().filter(|request| request.is_download()).count();
    assert_eq!(downloads, 2, "the same content was downloaded twice");
}
