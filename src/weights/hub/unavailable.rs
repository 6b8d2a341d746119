//! Why weights could not be had, and what the user can do about it: one message for each cause.

use std::io;
use std::path::{Path, PathBuf};

/// Weights that could not be had (exit status 5).
#[derive(Debug)]
pub struct Unavailable {
    /// As the user would write it.
    pub repository: String,
    pub file: String,
    pub endpoint: String,
    pub cause: Box<Cause>,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { repository, file, endpoint, cause } = self;
        match cause.as_ref() {
            Cause::Offline { switch, cache } => write!(
                f,
                "weights of {repository} are not in the cache ({}) and {switch} forbids the download; run `xcept weights pull {repository}` once without it, or pass -m FILE",
                cache.display()
            ),
            cause => write!(f, "cannot download {file} of {repository} from {endpoint}: {cause}"),
        }
    }
}

/// Has no source: the message says it all.
impl std::error::Error for Unavailable {}

/// What went wrong, with its remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    #[error("{switch} forbids the download; run the command once without it")]
    Offline { switch: &'static str, cache: PathBuf },
    #[error("this build can't download; build it with the feature `hub`, or pass -m FILE")]
    NotBuiltIn,
    #[error("the address is not a URL; set HF_ENDPOINT to one that begins with https:// or http://")]
    BadEndpoint,
    #[error("no connection: {found}; check the network, set HF_ENDPOINT to a mirror, or pass -m FILE")]
    NoConnection { found: String },
    #[error("{found}; if your network inspects connections, set SSL_CERT_FILE to a PEM file of its certificates")]
    NotTrusted { found: String },
    #[error("no answer within {seconds} s; try again, or raise HF_HUB_DOWNLOAD_TIMEOUT")]
    Silent { seconds: u64 },
    #[error(
        "it is private or gated, or does not exist (status 401); check the name, then set HF_TOKEN to a token that may read it"
    )]
    TokenMissing,
    #[error(
        "the token was refused, or the repository does not exist (status 401); check the name, then set HF_TOKEN to a valid token that may read it"
    )]
    TokenRefused,
    #[error(
        "it is private or gated, or does not exist (status {status}), and {named_by} names it, not you, so the token was not sent; run `xcept weights pull` for it, which sends the token"
    )]
    TokenWithheld { named_by: String, status: u16 },
    #[error("the token of {origin} has characters that no token has; set HF_TOKEN to the token alone")]
    TokenMalformed { origin: String },
    #[error(
        "access is forbidden (status 403); accept its terms on its page, and set HF_TOKEN to a token that may read it"
    )]
    Forbidden,
    #[error("there is no such repository (status 404); check its owner and name")]
    NoRepository,
    #[error(
        "the repository has no revision `{revision}` (status 404); name a branch, a tag or a whole commit behind `@`"
    )]
    NoRevision { revision: String },
    #[error("the repository has no such file at revision `{revision}` (status 404); pass a repository that has one")]
    NoFile { revision: String },
    #[error("no such repository, revision or file (status 404); check the name")]
    NotFound,
    #[error("too many requests (status 429); try again {}", when(*.retry_after))]
    TooManyRequests { retry_after: Option<u64> },
    #[error("{host} answered with status {status}; try again later")]
    Status { host: String, status: u16 },
    #[error("{found}; check that HF_ENDPOINT is a hub and that nothing stands between")]
    NotAHub { found: String },
    #[error(
        "the answer does not say which commit it is of (X-Repo-Commit); name a whole commit, as in OWNER/REPO@COMMIT, or set HF_ENDPOINT to a hub"
    )]
    NoCommit,
    #[error("the connection broke after {received} of {total} bytes ({found}); run the command again")]
    BrokenOff { received: u64, total: u64, found: String },
    #[error("got a file of {found} bytes, expected {expected}; run the command again, or try another HF_ENDPOINT")]
    WrongSize { found: u64, expected: u64 },
    #[error("got a file with SHA-256 {found}, expected {expected}; run the command again, or try another HF_ENDPOINT")]
    WrongContent { found: String, expected: String },
    #[error("{}: {error}; SSL_CERT_FILE (or REQUESTS_CA_BUNDLE) must name a PEM file of certificates", .path.display())]
    Certificates { path: PathBuf, error: io::Error },
    #[error("{}: {error}; free or change the place with HF_HUB_CACHE", .path.display())]
    Disk { path: PathBuf, error: io::Error },
}

impl Cause {
    /// What is wrong with the token, where somebody else, or nobody by name, might get the file.
    pub(super) fn fault_of_token(&self) -> Option<&'static str> {
        match self {
            Self::TokenMissing | Self::TokenRefused => Some("refused (status 401)"),
            Self::Forbidden => Some("refused (status 403)"),
            Self::TokenMalformed { .. } => Some("malformed"),
            _ => None,
        }
    }

    /// The same of a hub that was not shown the token, because the repository is named by the file `named_by`.
    pub(super) fn without_token(self, named_by: &str) -> Self {
        let withheld = |status| Self::TokenWithheld { named_by: named_by.to_string(), status };
        match self {
            Self::TokenMissing => withheld(401),
            Self::Forbidden => withheld(403),
            other => other,
        }
    }

    /// For `map_err` on what is done to `path`.
    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |error| Self::Disk { path, error }
    }
}

fn when(retry_after: Option<u64>) -> String {
    match retry_after {
        Some(seconds) => format!("in {seconds} s"),
        None => "later".to_string(),
    }
}
