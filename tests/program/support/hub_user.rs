//! Somebody who runs `xcept weights pull` against a hub on this machine, and what is expected of the runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use tempfile::TempDir;

use super::hub_server::{FILE, MAIN_COMMIT, REPOSITORY, content, sha256};
use super::program::xcept;

const UNAVAILABLE: i32 = 5;

/// A user with an empty home, and the hub that their environment names.
pub struct User {
    pub home: TempDir,
    pub endpoint: String,
}

impl User {
    /// With an empty home.
    pub fn of(endpoint: impl Into<String>) -> Self {
        Self { home: tempfile::tempdir().unwrap(), endpoint: endpoint.into() }
    }

    /// `xcept weights pull …` with nothing of the environment that could lead it elsewhere.
    pub fn pull(&self, arguments: &[&str]) -> Command {
        let mut command = xcept();
        command.args(["weights", "pull"]).args(arguments);
        command.env("HF_HOME", self.home.path()).env("HF_ENDPOINT", &self.endpoint);
        command
    }

    /// The pull of the server's repository, running.
    pub fn start(&self) -> Child {
        self.pull(&[REPOSITORY]).spawn().unwrap()
    }

    /// Where the cache keeps the server's repository.
    pub fn folder(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--repo")
    }

    /// Where the file at `main` grows.
    pub fn incomplete(&self) -> PathBuf {
        self.folder().join("blobs").join(format!("{}.incomplete", sha256(MAIN_COMMIT)))
    }

    /// No file that a reader of the cache would take for whole.
    pub fn assert_nothing_is_cached(&self) {
        let whole = |entry: &fs::DirEntry| entry.path().extension().is_none_or(|end| end != "incomplete");
        let blobs = fs::read_dir(self.folder().join("blobs")).into_iter().flatten();
        assert_eq!(blobs.map(Result::unwrap).filter(whole).count(), 0, "a broken blob");
        assert!(!self.folder().join("snapshots").exists(), "a broken snapshot");
        assert!(!self.folder().join("refs").exists(), "a revision without files");
    }
}

/// The path that a run that ended well printed.
pub fn stdout_path(output: &Output) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout.clone()).unwrap().trim_end())
}

/// The run ended well and its file is that of `commit`.
pub fn assert_pulled(output: &Output, commit: &str) {
    let path = stdout_path(output);
    assert!(path.ends_with(Path::new("snapshots").join(commit).join(FILE)), "{}", path.display());
    assert!(fs::read(&path).unwrap() == content(commit), "{} has other bytes", path.display());
}

/// The run ended with "weights unavailable" and a message that has all `parts`.
pub fn assert_unavailable(output: &Output, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{message}");
    assert!(output.stdout.is_empty());
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// `xcept weights pull …`, to its end.
pub fn run(user: &User, arguments: &[&str]) -> Output {
    user.pull(arguments).output().unwrap()
}
