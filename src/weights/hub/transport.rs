//! The hub over HTTP: what a file is (its commit, ETag and size), and its bytes.
//!
//! Only the plain download is used, which the hub offers for every file; `X-Xet-Hash`, which announces a second way, is
//! passed over. Redirects are followed here and not by the client, for two reasons: the answer that describes a file is
//! the hub's own, before it sends us on to the store of the bytes; and the token must not go to that store.
//! Source: huggingface_hub's `get_hf_file_metadata` and `http_get`.

mod url;

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error, Timeout};

use super::settings::Settings;
use super::{Cause, Repository};
use crate::weights;

const MAX_REDIRECTS: usize = 10;

/// A client of one hub.
pub struct Transport {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// A file on the hub.
#[derive(Debug)]
pub struct Remote {
    /// Where to ask the hub for the bytes.
    url: String,
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

#[derive(Clone, Copy)]
enum Method {
    Head,
    Get,
}

impl Transport {
    pub fn new(settings: &Settings) -> Result<Self, Cause> {
        if !settings.endpoint.starts_with("http://") && !settings.endpoint.starts_with("https://") {
            return Err(Cause::BadEndpoint);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_per_read(Some(settings.read_timeout))
            .timeout_per_write(Some(settings.read_timeout))
            .user_agent(concat!("xcept/", env!("CARGO_PKG_VERSION")))
            // A compressed answer would have neither the size nor the digest of the file.
            .accept_encoding("identity")
            .tls_config(TlsConfig::builder().root_certs(root_certificates(settings)?).build())
            .build();
        Ok(Self {
            agent: config.new_agent(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
        })
    }

    /// Asks the hub what `file` is at the repository's revision.
    pub fn metadata(&self, repository: &Repository, file: &str) -> Result<Remote, Cause> {
        let url = url::of_file(&self.endpoint, repository, file);
        let (mut commit, mut etag, mut size) = (None, None, None);
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(Method::Head, &at, 0)?;
            let headers = response.headers();
            let onward = location(&response);
            let own = |name| if onward.is_none() { text(headers, name) } else { None };
            commit = commit.or_else(|| text(headers, "x-repo-commit"));
            etag = etag.or_else(|| text(headers, "x-linked-etag").or_else(|| own(ETAG.as_str())));
            size = size.or_else(|| text(headers, "x-linked-size").or_else(|| own(CONTENT_LENGTH.as_str())));
            let complete = commit.is_some() && etag.is_some() && size.is_some();
            match onward {
                Some(location) if !complete => at = url::join(&at, &location),
                Some(_) => return described(url, commit, etag, size),
                None if response.status().is_success() => return described(url, commit, etag, size),
                None => return Err(self.refusal(&response, &at, repository.revision_or_main())),
            }
        }
        Err(not_a_hub(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// The bytes of a file from `start` on, or from its beginning if the server has no ranges; says which.
    pub fn open(&self, remote: &Remote, start: u64) -> Result<(u64, impl Read + use<>), Cause> {
        let mut at = remote.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(Method::Get, &at, start)?;
            if let Some(location) = location(&response) {
                at = url::join(&at, &location);
                continue;
            }
            let start = match response.status() {
                StatusCode::OK => 0,
                StatusCode::PARTIAL_CONTENT if range_start(response.headers()) == Some(start) => start,
                StatusCode::PARTIAL_CONTENT => {
                    return Err(not_a_hub(format!("not the bytes asked for, from {start} on")));
                }
                _ => return Err(self.refusal(&response, &at, &remote.commit)),
            };
            let length =
                text(response.headers(), CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
            if let Some(found) = length.map(|length| start.saturating_add(length)).filter(|&found| found != remote.size)
            {
                return Err(Cause::WrongSize { found, expected: remote.size });
            }
            return Ok((start, response.into_body().into_reader()));
        }
        Err(not_a_hub(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// One request, with the token if it goes to the hub itself.
    fn request(&self, method: Method, url: &str, start: u64) -> Result<Response<Body>, Cause> {
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(url)) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        request.call().map_err(|error| self.failure(error))
    }

    fn is_hub(&self, url: &str) -> bool {
        url::origin(url) == url::origin(&self.endpoint)
    }

    /// Why there was no answer.
    fn failure(&self, error: Error) -> Cause {
        match error {
            Error::Timeout(Timeout::Resolve) => self.unanswered("the name server"),
            Error::Timeout(Timeout::Connect) => self.unanswered("the server"),
            Error::Timeout(_) => Cause::Silent { seconds: self.read_timeout.as_secs() },
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                Cause::Silent { seconds: self.read_timeout.as_secs() }
            }
            // So rustls reports through a stream what it thinks of a certificate.
            Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Cause::NotTrusted { found: error.to_string() }
            }
            error @ (Error::Rustls(_) | Error::Tls(_)) => Cause::NotTrusted { found: error.to_string() },
            Error::Io(error) => no_connection(error.to_string()),
            Error::BadUri(_) => Cause::BadEndpoint,
            Error::Protocol(error) => not_a_hub(format!("the answer is not HTTP ({error})")),
            other => no_connection(other.to_string()),
        }
    }

    fn unanswered(&self, who: &str) -> Cause {
        let seconds = self.connect_timeout.as_secs();
        no_connection(format!("{who} does not answer within {seconds} s (HF_HUB_ETAG_TIMEOUT)"))
    }

    /// Why an answer is not the file.
    fn refusal(&self, response: &Response<Body>, url: &str, revision: &str) -> Cause {
        let headers = response.headers();
        let status = response.status().as_u16();
        let revision = revision.to_string();
        match (status, text(headers, "x-error-code").as_deref()) {
            // The store of the bytes knows neither tokens nor repositories.
            _ if !self.is_hub(url) => Cause::Status { host: url::origin(url).to_string(), status },
            (401, _) if self.token.is_some() => Cause::TokenRefused,
            (401, _) => Cause::TokenMissing,
            (403, _) => Cause::Forbidden,
            (404, Some("RepoNotFound")) => Cause::NoRepository,
            (404, Some("RevisionNotFound")) => Cause::NoRevision { revision },
            (404, Some("EntryNotFound")) => Cause::NoFile { revision },
            (404, _) => Cause::NotFound,
            (429, _) => Cause::TooManyRequests {
                retry_after: text(headers, RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok()),
            },
            _ => Cause::Status { host: url::origin(url).to_string(), status },
        }
    }
}

fn described(url: String, commit: Option<String>, etag: Option<String>, size: Option<String>) -> Result<Remote, Cause> {
    let commit = commit.ok_or_else(|| not_a_hub("the answer has no X-Repo-Commit".to_string()))?;
    let etag = etag.ok_or_else(|| not_a_hub("the answer has no ETag".to_string()))?;
    let etag = etag.strip_prefix("W/").unwrap_or(&etag).trim_matches('"').to_string();
    // Both become names of files.
    for name in [&commit, &etag] {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.is_empty() || name.len() > 128 || !plain {
            return Err(not_a_hub(format!("`{name}` is neither a commit nor an ETag of a hub")));
        }
    }
    let size = size.and_then(|size| size.parse().ok());
    let size = size.ok_or_else(|| not_a_hub("the answer does not state the size of the file".to_string()))?;
    Ok(Remote { url, commit, etag, size })
}

/// Mozilla's certificate authorities, which are built in, or those of the file that the user names.
fn root_certificates(settings: &Settings) -> Result<RootCerts, Cause> {
    let Some(path) = &settings.certificates else {
        return Ok(RootCerts::WebPki);
    };
    let pem = std::fs::read(path).map_err(|error| Cause::Certificates { path: path.clone(), error })?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    Ok(parse_pem(&pem).filter_map(certificate).into())
}

/// Where a redirect leads.
fn location(response: &Response<Body>) -> Option<String> {
    if response.status().is_redirection() { text(response.headers(), LOCATION.as_str()) } else { None }
}

/// `5` of `Content-Range: bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_string())
}

fn no_connection(found: String) -> Cause {
    Cause::NoConnection { found }
}

fn not_a_hub(found: String) -> Cause {
    Cause::NotAHub { found }
}
