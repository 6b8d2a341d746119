//! The token of the hub's user: who gets it.

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
