//! What the answers of a hub say in their headers.

use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION};
use ureq::http::{Response, StatusCode};

use super::{Cause, not_a_hub};
use crate::weights;

/// A file on the hub.
#[derive(Debug)]
pub struct Remote {
    /// Where to ask the hub for the bytes.
    pub url: String,
    pub commit: String,
    /// Names the content; the SHA-256 of a large file.
    pub etag: String,
    /// In bytes.
    pub size: u64,
}

impl Remote {
    /// The SHA-256 of the content, where the ETag is one.
    pub fn sha256(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| etag.parse::<weights::Digest>().is_ok())
    }
}

/// What the answers on the way to a file have said of it.
#[derive(Default)]
pub struct Description {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<String>,
    is_page: bool,
}

impl Description {
    /// Adds what `response` says that none before it has said; `is_last` if it leads nowhere else.
    pub fn add(&mut self, response: &Response<Body>, is_last: bool) {
        let own = |value: Option<String>| value.filter(|_| is_last);
        self.commit = self.commit.take().or_else(|| text(response, "x-repo-commit"));
        self.etag =
            self.etag.take().or_else(|| text(response, "x-linked-etag").or_else(|| own(text(response, ETAG.as_str()))));
        self.size = self.size.take().or_else(|| text(response, "x-linked-size").or_else(|| own(size(response))));
        self.is_page = text(response, CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/html"));
    }

    pub fn is_complete(&self) -> bool {
        self.commit.is_some() && self.etag.is_some() && self.size.is_some()
    }

    /// The file at `url`. Its commit is `pinned` where the server, a mirror, does not say.
    pub fn remote(self, url: String, pinned: Option<&str>) -> Result<Remote, Cause> {
        let commit = match (self.commit, pinned) {
            (Some(commit), Some(pinned)) if commit != pinned => {
                return Err(not_a_hub(format!("the answer is of commit `{commit}`, expected `{pinned}`")));
            }
            // A proxy that wants a login answers so, too.
            (None, _) if self.is_page => return Err(not_a_hub("the answer is a page, not a file".to_string())),
            (Some(commit), _) => commit,
            (None, Some(pinned)) => pinned.to_string(),
            (None, None) => return Err(Cause::NoCommit),
        };
        let etag = self.etag.ok_or_else(|| not_a_hub("the answer has no ETag".to_string()))?;
        let etag = etag.strip_prefix("W/").unwrap_or(&etag).trim_matches('"').to_string();
        // Both become names of files.
        for name in [&commit, &etag] {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if name.is_empty() || name.len() > 128 || !plain {
                return Err(not_a_hub(format!("`{name}` is neither a commit nor an ETag of a hub")));
            }
        }
        let size = self.size.and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| not_a_hub("the answer does not state the size of the file".to_string()))?;
        Ok(Remote { url, commit, etag, size })
    }
}

/// Whether the answer to [`FIRST_BYTE`](super::FIRST_BYTE) is about a file: an empty one has no first byte.
pub fn has_file(response: &Response<Body>) -> bool {
    let is_empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE && size(response).as_deref() == Some("0");
    response.status().is_success() || is_empty
}

/// The size that an answer states of the whole file: `10` of `Content-Range: bytes 0-0/10`.
fn size(response: &Response<Body>) -> Option<String> {
    match response.status() {
        StatusCode::OK => text(response, CONTENT_LENGTH.as_str()),
        _ => Some(text(response, CONTENT_RANGE.as_str())?.rsplit_once('/')?.1.to_string()),
    }
}

/// Where a redirect leads.
pub fn location(response: &Response<Body>) -> Option<String> {
    if response.status().is_redirection() { text(response, LOCATION.as_str()) } else { None }
}

/// `5` of `Content-Range: bytes 5-9/10`.
pub fn range_start(response: &Response<Body>) -> Option<u64> {
    text(response, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// The value of a header.
pub fn text(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(|value| value.trim().to_string())
}
