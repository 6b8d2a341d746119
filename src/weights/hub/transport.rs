//! The hub over HTTP: what a file is (its commit, ETag and size), and its bytes.
//!
//! `hf-hub` knows the addresses and prepares the requests; redirects are followed here, for two reasons: the answer that
//! describes a file is the hub's own, before it sends us on to the store of the bytes; and the token must not go to that
//! store. Only the plain download is used, which the hub offers for every file; `X-Xet-Hash`, which announces a second
//! way, is passed over.
//! Source: huggingface_hub's `get_hf_file_metadata` and `http_get`.

mod answer;
mod url;

use std::io::{self, Read};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use ureq::http::header::{CONTENT_LENGTH, RANGE, RETRY_AFTER};
use ureq::http::{Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Error, Timeout};

pub use self::answer::Remote;
use self::answer::{Description, has_file, location, range_start, text};
use super::settings::{Settings, Token};
use super::{Cause, Repository};

const MAX_REDIRECTS: usize = 10;
/// Asks for the first byte: the answer describes the file, and next to nothing is sent.
const FIRST_BYTE: &str = "bytes=0-0";

/// A client of one repository on a hub.
pub struct Transport {
    /// Its requests carry the token, if there is one.
    hub: ApiRepo,
    /// Its requests carry none: for every other origin.
    elsewhere: ApiRepo,
    has_token: bool,
    endpoint: String,
    revision: String,
    /// The commit, if the user pinned one.
    pinned: Option<String>,
    tls: TlsConfig,
    connect_timeout: Duration,
    read_timeout: Duration,
}

impl Transport {
    /// A client that shows `token` to the hub.
    ///
    /// # Errors
    /// If the endpoint, the certificates or the token can't be used.
    pub fn new(settings: &Settings, repository: &Repository, token: Option<&Token>) -> Result<Self, Cause> {
        if !settings.endpoint.starts_with("http://") && !settings.endpoint.starts_with("https://") {
            return Err(Cause::BadEndpoint);
        }
        if let Some(token) = token.filter(|token| !token.is_header_value()) {
            return Err(Cause::TokenMalformed { origin: token.origin.clone() });
        }
        // What hf-hub would read of the environment by itself is less than what `Settings` reads.
        let files = hf_hub::Cache::new(settings.cache_dir.clone());
        let client = |token: Option<&Token>| {
            let builder = ApiBuilder::from_cache(files.clone())
                .with_endpoint(settings.endpoint.clone())
                .with_token(token.map(|token| token.value.clone()))
                .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
            builder.build().map(|api| api.repo(repository.on_hub())).map_err(|error| no_connection(error.to_string()))
        };
        Ok(Self {
            hub: client(token)?,
            elsewhere: client(None)?,
            has_token: token.is_some(),
            endpoint: settings.endpoint.clone(),
            revision: repository.revision_or_main().to_string(),
            pinned: repository.commit().map(str::to_string),
            tls: TlsConfig::builder().root_certs(root_certificates(settings)?).build(),
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
        })
    }

    /// Asks the hub what `file` is at the repository's revision.
    pub fn metadata(&self, file: &str) -> Result<Remote, Cause> {
        let url = self.hub.url(file);
        let mut seen = Description::default();
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&at, Some(FIRST_BYTE))?;
            let onward = location(&response);
            seen.add(&response, onward.is_none());
            match onward {
                Some(location) if !seen.is_complete() => at = url::join(&at, &location),
                Some(_) => return seen.remote(url, self.pinned.as_deref()),
                None if has_file(&response) => return seen.remote(url, self.pinned.as_deref()),
                None => return Err(self.refusal(&response, &at, &self.revision)),
            }
        }
        Err(not_a_hub(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// The bytes of a file from `start` on, or from its beginning if the server has no ranges; says which.
    pub fn open(&self, remote: &Remote, start: u64) -> Result<(u64, impl Read + use<>), Cause> {
        let range = (start > 0).then(|| format!("bytes={start}-"));
        let mut at = remote.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.request(&at, range.as_deref())?;
            if let Some(location) = location(&response) {
                at = url::join(&at, &location);
                continue;
            }
            let start = match response.status() {
                StatusCode::OK => 0,
                StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(start) => start,
                StatusCode::PARTIAL_CONTENT => {
                    return Err(not_a_hub(format!("not the bytes asked for, from {start} on")));
                }
                _ => return Err(self.refusal(&response, &at, &remote.commit)),
            };
            let length = text(&response, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
            if let Some(found) = length.map(|length| start.saturating_add(length)).filter(|&found| found != remote.size)
            {
                return Err(Cause::WrongSize { found, expected: remote.size });
            }
            return Ok((start, response.into_body().into_reader()));
        }
        Err(not_a_hub(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// One request for `url` or a `range` of it, with the token if it goes to the hub itself.
    fn request(&self, url: &str, range: Option<&str>) -> Result<Response<Body>, Cause> {
        let client = if self.is_hub(url) { &self.hub } else { &self.elsewhere };
        // The only request that hf-hub prepares, with its headers set, is the one for its own address.
        let mut request = client.info_request().uri(url);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let request = request
            .config()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(self.connect_timeout))
            .timeout_connect(Some(self.connect_timeout))
            .timeout_per_read(Some(self.read_timeout))
            .timeout_per_write(Some(self.read_timeout))
            // A compressed answer would have neither the size nor the digest of the file.
            .accept_encoding("identity")
            .tls_config(self.tls.clone())
            .build();
        request.call().map_err(|error| self.failure(error, url))
    }

    fn is_hub(&self, url: &str) -> bool {
        url::origin(url) == url::origin(&self.endpoint)
    }

    /// Why there was no answer.
    fn failure(&self, error: Error, url: &str) -> Cause {
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
            Error::BadUri(_) | Error::Http(_) if url.starts_with(&self.endpoint) => Cause::BadEndpoint,
            Error::BadUri(_) | Error::Http(_) => not_a_hub(format!("a redirect to `{url}`, which is not a URL")),
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
        let status = response.status().as_u16();
        let revision = revision.to_string();
        match (status, text(response, "x-error-code").as_deref()) {
            // The store of the bytes knows neither tokens nor repositories.
            _ if !self.is_hub(url) => Cause::Status { host: url::origin(url).to_string(), status },
            (401, _) if self.has_token => Cause::TokenRefused,
            (401, _) => Cause::TokenMissing,
            (403, _) => Cause::Forbidden,
            (404, Some("RepoNotFound")) => Cause::NoRepository,
            (404, Some("RevisionNotFound")) => Cause::NoRevision { revision },
            (404, Some("EntryNotFound")) => Cause::NoFile { revision },
            (404, _) => Cause::NotFound,
            (429, _) => Cause::TooManyRequests {
                retry_after: text(response, RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok()),
            },
            _ => Cause::Status { host: url::origin(url).to_string(), status },
        }
    }
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

fn no_connection(found: String) -> Cause {
    Cause::NoConnection { found }
}

fn not_a_hub(found: String) -> Cause {
    Cause::NotAHub { found }
}
