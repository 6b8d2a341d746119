//! The token of the hub's user: who gets it, and what happens where it is no good.

use std::fs;

use crate::support::hub_server::{Behaviour, HubServer, MAIN_COMMIT, REPOSITORY};
use crate::support::hub_user::{User, assert_pulled, assert_unavailable, run};

#[test]
fn the_token_opens_a_private_repository() {
    let server = HubServer::start(Behaviour { token: Some("hf_test"), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_unavailable(&run(&user, &[REPOSITORY]), &["401", "set HF_TOKEN"]);
    let refused = user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_wrong").output().unwrap();
    assert_unavailable(&refused, &["401", "the token was refused"]);
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("hf_wrong"), "the token is shown");
    assert_pulled(&user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_test").output().unwrap(), MAIN_COMMIT);
}

#[test]
fn the_token_file_of_hf_auth_login_is_read() {
    let server = HubServer::start(Behaviour { token: Some("hf_test"), ..Default::default() });
    let user = User::of(server.endpoint());
    fs::write(user.home.path().join("token"), "hf_test\n").unwrap();
    assert_pulled(&run(&user, &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_relative_redirect_is_followed_with_the_token() {
    let server = HubServer::start(Behaviour { renamed: true, token: Some("hf_test"), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_pulled(&user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_test").output().unwrap(), MAIN_COMMIT);
    assert!(server.take_requests().iter().any(|request| request.path.starts_with("/renamed/repo/")));
}

#[test]
fn a_redirect_to_another_host_is_followed_without_the_token() {
    let store = HubServer::start(Behaviour::default());
    let server = HubServer::start(Behaviour { cdn: Some(store.endpoint()), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_pulled(&user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_test").output().unwrap(), MAIN_COMMIT);
    assert!(server.take_requests().iter().all(|request| request.header("authorization") == Some("Bearer hf_test")));
    let at_store = store.take_requests();
    assert_eq!(at_store.len(), 1);
    assert_eq!(at_store[0].header("authorization"), None);
}

#[test]
fn a_token_that_is_no_good_does_not_keep_a_public_repository_away() {
    for status in [401, 403] {
        let server = HubServer::start(Behaviour { refuse_tokens: Some(status), ..Default::default() });
        let by_variable = User::of(server.endpoint());
        let output = by_variable.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_revoked").output().unwrap();
        assert_pulled(&output, MAIN_COMMIT);
        assert_noted(&output, &["HF_TOKEN", &format!("refused (status {status})"), "owner/repo without it"]);

        let by_file = User::of(server.endpoint());
        let path = by_file.home.path().join("token");
        fs::write(&path, "hf_revoked").unwrap();
        let output = run(&by_file, &[REPOSITORY]);
        assert_pulled(&output, MAIN_COMMIT);
        assert_noted(&output, &[path.to_str().unwrap(), "owner/repo without it"]);
    }
    let server = HubServer::start(Behaviour::default());
    let user = User::of(server.endpoint());
    let output = user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_of two").output().unwrap();
    assert_pulled(&output, MAIN_COMMIT);
    assert_noted(&output, &["HF_TOKEN is malformed", "owner/repo without it"]);
}

/// One line on stderr with all `parts`, and without the token.
#[track_caller]
fn assert_noted(output: &std::process::Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains("hf_"), "the token is shown: {text}");
}

#[test]
fn a_token_that_is_no_good_is_reported_where_one_is_needed() {
    let server = HubServer::start(Behaviour { token: Some("hf_test"), ..Default::default() });
    let user = User::of(server.endpoint());
    let malformed = user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_of two").output().unwrap();
    assert_unavailable(&malformed, &["the token of HF_TOKEN has characters that no token has"]);
    server.behave(Behaviour { token: Some("hf_test"), refuse_tokens: Some(403), ..Default::default() });
    let forbidden = user.pull(&[REPOSITORY]).env("HF_TOKEN", "hf_test").output().unwrap();
    assert_unavailable(&forbidden, &["access is forbidden (status 403)"]);
    user.assert_nothing_is_cached();
}

#[test]
fn what_the_hub_lacks_is_said_whatever_the_token() {
    let server = HubServer::start(Behaviour { refuse_tokens: Some(401), ..Default::default() });
    let user = User::of(server.endpoint());
    let output = user.pull(&["owner/nothing"]).env("HF_TOKEN", "hf_revoked").output().unwrap();
    assert_unavailable(&output, &["owner/nothing", "no such repository"]);
}

/// At level trace the HTTP client writes its requests out, 16 bytes a line.
#[test]
fn no_trace_shows_the_token() {
    const TOKEN: &str = "hf_QwErTyUiOpAsDfGhJkLzXcVbNm";
    let server = HubServer::start(Behaviour { token: Some(TOKEN), ..Default::default() });
    for filter in ["trace", "ureq_proto=trace,ureq=debug", "ureq_proto::util=trace,debug", "xcept=trace,ureq=trace"] {
        let user = User::of(server.endpoint());
        let mut command = user.pull(&[REPOSITORY]);
        let output = command.env("HF_TOKEN", TOKEN).env("RUST_LOG", filter).output().unwrap();
        assert_pulled(&output, MAIN_COMMIT);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("DEBUG ureq"), "{filter} traces nothing: {text}");
        for piece in TOKEN.as_bytes().windows(6) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!text.contains(piece), "{filter} shows `{piece}` of the token: {text}");
        }
    }
}
