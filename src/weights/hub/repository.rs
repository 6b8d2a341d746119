//! The name of a repository on the hub, `OWNER/REPO` or `OWNER/REPO@REVISION`, and its strict parsing.
//!
//! The parts become folder names in the cache and segments of a URL, so nothing passes here that could leave either.
//! Source: the rules of huggingface_hub's `validate_repo_id`, and `git check-ref-format` for revisions.

use std::fmt;
use std::str::FromStr;

use hf_hub::{Repo, RepoType};

/// A repository of models, and which of its revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub owner: String,
    pub name: String,
    /// Branch, tag or commit; `None` is the branch `main`.
    pub revision: Option<String>,
}

impl Repository {
    /// `OWNER/REPO`, whatever the revision.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// The revision to ask for.
    pub fn revision_or_main(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The revision if it is a whole commit, which no branch or tag on the hub may be named like.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// The same as `hf-hub` takes it.
    pub fn on_hub(&self) -> Repo {
        Repo::with_revision(self.id(), RepoType::Model, self.revision_or_main().to_string())
    }
}

fn is_commit(revision: &str) -> bool {
    const DIGITS: usize = 40;
    revision.len() == DIGITS && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A text that names no repository.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a repository on the hub: {reason}; expected OWNER/REPO or OWNER/REPO@REVISION, such as timm/legacy_xception.tf_in1k"
)]
pub struct InvalidRepository {
    text: String,
    reason: String,
}

impl FromStr for Repository {
    type Err = InvalidRepository;

    fn from_str(text: &str) -> Result<Self, InvalidRepository> {
        parse(text).map_err(|reason| InvalidRepository { text: text.to_string(), reason })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Repository, String> {
    if text.contains("://") {
        return Err("it is a URL".to_string());
    }
    let (id, revision) = match text.split_once('@') {
        Some((id, revision)) => (id, Some(revision)),
        None => (text, None),
    };
    let (owner, name) = id.split_once('/').ok_or("it has no `/` between owner and repository")?;
    check_name("owner", owner)?;
    check_name("repository", name)?;
    if let Some(revision) = revision {
        check_revision(revision)?;
    }
    // Git takes a commit in capitals, too; the hub and the cache write it small.
    let revision = revision.map(|text| if is_commit(text) { text.to_ascii_lowercase() } else { text.to_string() });
    Ok(Repository { owner: owner.to_string(), name: name.to_string(), revision })
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    const LONGEST: usize = 96;
    let edge = |c: char| c == '-' || c == '.';
    if name.is_empty() {
        Err(format!("the {what} is empty"))
    } else if name.len() > LONGEST {
        Err(format!("the {what} is longer than {LONGEST} characters"))
    } else if let Some(c) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-_.".contains(c))) {
        Err(format!("`{c}` can't stand in the name of the {what}"))
    } else if name.starts_with(edge) || name.ends_with(edge) || name.contains("--") || name.contains("..") {
        Err(format!("the {what} begins or ends with `-` or `.`, or has two of them in a row"))
    } else {
        Ok(())
    }
}

fn check_revision(revision: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
    if revision.is_empty() {
        return Err("nothing stands behind the `@`".to_string());
    }
    if let Some(c) = revision.chars().find(|&c| !allowed(c)) {
        return Err(format!("`{c}` can't stand in a revision"));
    }
    let broken = |segment: &str| segment.is_empty() || segment.starts_with('.') || segment.ends_with('.');
    if revision.contains("..") || revision.split('/').any(broken) {
        return Err(format!("`{revision}` is not the name of a branch, a tag or a commit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_name_and_revision_are_told_apart() {
        let repository: Repository = "timm/legacy_xception.tf_in1k@refs/pr/1".parse().unwrap();
        assert_eq!(repository.owner, "timm");
        assert_eq!(repository.name, "legacy_xception.tf_in1k");
        assert_eq!(repository.revision_or_main(), "refs/pr/1");
        assert_eq!(repository.to_string(), "timm/legacy_xception.tf_in1k@refs/pr/1");
        let repository: Repository = crate::weights::hub::IMAGENET.parse().unwrap();
        assert_eq!(repository.revision_or_main(), "main");
        assert_eq!(repository.to_string(), crate::weights::hub::IMAGENET);
    }

    #[test]
    fn a_whole_commit_is_told_from_a_branch_and_written_small() {
        let commit =
            |revision: &str| format!("a/b@{revision}").parse::<Repository>().unwrap().commit().map(str::to_owned);
        assert_eq!(commit(&"aB3d".repeat(10)), Some("ab3d".repeat(10)));
        assert_eq!(commit(&"ab3d".repeat(9)), None);
        assert_eq!(commit(&"Ref0".repeat(10)), None);
    }

    #[test]
    fn a_name_that_could_leave_the_cache_or_the_url_is_refused() {
        for text in [
            "",
            "/",
            "xception",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "a/b--c",
            "a/b c",
            "a/b?x",
            "a/b@",
            "a/b@..",
            "a/b@../../c",
            "a/b@/c",
            "a/b@c/",
            "a/b@c//d",
            "a/b@.git",
            "a/b@c@d",
            "a\\b",
            "https://huggingface.co/a/b",
        ] {
            let error = text.parse::<Repository>().unwrap_err().to_string();
            assert!(error.contains("expected OWNER/REPO"), "{text}: {error}");
        }
    }
}
