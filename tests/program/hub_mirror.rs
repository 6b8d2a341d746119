//! `xcept weights pull` from servers that do not say all that huggingface.co says.

use std::fs;
use std::sync::Arc;

use crate::support::hub_server::{Behaviour, HubServer, MAIN_COMMIT, OLD_COMMIT, REPOSITORY, dead_endpoint};
use crate::support::hub_user::{User, assert_pulled, assert_unavailable, run, stdout_path};

#[test]
fn a_mirror_that_announces_xet_without_offering_it_is_good_enough() {
    let server = HubServer::start(Behaviour { xet_hash: true, ..Default::default() });
    assert_pulled(&run(&User::of(server.endpoint()), &[REPOSITORY]), MAIN_COMMIT);
}

#[test]
fn a_mirror_that_does_not_name_commits_serves_a_pinned_one() {
    let server = HubServer::start(Behaviour { no_commit: true, ..Default::default() });
    let mut user = User::of(server.endpoint());
    let pinned = format!("{REPOSITORY}@{OLD_COMMIT}");
    assert_pulled(&run(&user, &[&pinned]), OLD_COMMIT);
    user.endpoint = dead_endpoint();
    assert_pulled(&run(&user, &[&pinned]), OLD_COMMIT);
}

#[test]
fn a_mirror_that_does_not_name_commits_is_not_asked_for_a_branch_or_tag() {
    let server = HubServer::start(Behaviour { no_commit: true, ..Default::default() });
    let user = User::of(server.endpoint());
    for name in [REPOSITORY, "owner/repo@v1"] {
        assert_unavailable(&run(&user, &[name]), &["does not say which commit", "name a whole commit", "@COMMIT"]);
        user.assert_nothing_is_cached();
    }
}

#[test]
fn an_answer_of_another_commit_than_the_pinned_one_is_refused() {
    let server = HubServer::start(Behaviour { other_commit: Some(MAIN_COMMIT), ..Default::default() });
    let user = User::of(server.endpoint());
    let output = run(&user, &[&format!("{REPOSITORY}@{OLD_COMMIT}")]);
    assert_unavailable(&output, &[MAIN_COMMIT, "expected", OLD_COMMIT]);
    user.assert_nothing_is_cached();
}

#[test]
fn a_page_is_not_taken_for_the_file() {
    let server = HubServer::start(Behaviour { page: Some("<html>log in</html>"), ..Default::default() });
    let user = User::of(server.endpoint());
    for name in [REPOSITORY.to_owned(), format!("{REPOSITORY}@{OLD_COMMIT}")] {
        assert_unavailable(&run(&user, &[&name]), &["a page, not a file", "HF_ENDPOINT"]);
        user.assert_nothing_is_cached();
    }
}

/// Servers answer a request for the first byte of an empty file with status 416.
#[test]
fn an_empty_file_is_downloaded_as_one() {
    let server = HubServer::start(Behaviour { file: Some(Arc::default()), ..Default::default() });
    let user = User::of(server.endpoint());
    assert_eq!(fs::read(stdout_path(&run(&user, &[REPOSITORY]))).unwrap(), b"");
}
