//! A hub on 127.0.0.1 with one repository, `owner/repo`, that holds one file, `model.safetensors`, at two commits; and
//! that of ImageNet's weights, with the same file.
//!
//! It answers as huggingface.co does: the headers that describe a file (`X-Repo-Commit`, `X-Linked-Etag`,
//! `X-Linked-Size`), `X-Error-Code` beside a 404, ranges, redirects; and misbehaves as a test asks it to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

pub const REPOSITORY: &str = "owner/repo";
pub const FILE: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// The range of a request that asks what a file is.
const FIRST_BYTE: &str = "bytes=0-0";
/// The commit that `main` names.
pub const MAIN_COMMIT: &str = "1111111111111111111111111111111111111111";
/// The commit that the tag `v1` and the branch `release/1` name.
pub const OLD_COMMIT: &str = "2222222222222222222222222222222222222222";

/// How the server departs from serving its file whole at once.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Answers every request with this status and `X-Error-Code`.
    pub refuse: Option<(u16, &'static str)>,
    /// Demands this token.
    pub token: Option<&'static str>,
    /// Answers whoever shows a token, as a revoked one, with this status.
    pub refuse_tokens: Option<u16>,
    /// Does not say which commit its answers are of, as plain mirrors do.
    pub no_commit: bool,
    /// Says that its answers are of this commit.
    pub other_commit: Option<&'static str>,
    /// Sends this with the head of a page instead of the file, as a proxy that wants a login does.
    pub page: Option<&'static str>,
    /// Sends this many bytes of a body, then closes the connection.
    pub truncate_at: Option<usize>,
    /// With `truncate_at`: states no length of the body, whose end is then the connection's.
    pub no_content_length: bool,
    /// With `truncate_at`: keeps the connection open and sends nothing more.
    pub stall: bool,
    /// States a size of the file that is off by this.
    pub size_error: u64,
    /// Sends other bytes than those whose digest it states.
    pub spoil_content: bool,
    /// Answers a range with the whole file.
    pub no_ranges: bool,
    /// Redirects `owner/repo` to `renamed/repo` with a relative `Location`.
    pub renamed: bool,
    /// Redirects a body to this server with an absolute `Location`.
    pub cdn: Option<String>,
    /// Announces a xet hash, without an endpoint for its tokens.
    pub xet_hash: bool,
    /// Waits before each body of a download.
    pub delay: Duration,
    /// The bytes of the file at every commit, instead of [`content`].
    pub file: Option<Arc<Vec<u8>>>,
    /// The bytes of `config.json` at every commit. Requests for one that is not there are not kept.
    pub config: Option<Arc<Vec<u8>>>,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// Lines `name: value` with names in lower case.
    pub headers: Vec<String>,
}

impl Request {
    /// Whether it asks for the file, and not only what the file is.
    pub fn is_download(&self) -> bool {
        self.header("range") != Some(FIRST_BYTE)
    }

    /// The bytes asked for of a file of `length`, if not all.
    fn range(&self, length: usize) -> Option<Range<usize>> {
        let (start, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { length } else { last.parse::<usize>().ok()? + 1 };
        Some(start.parse().ok()?..end)
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    requests: Vec<Request>,
}

/// A running server, which ends with the test.
pub struct HubServer {
    address: std::net::SocketAddr,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { behaviour, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is part of some tests.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &shared)));
            }
        });
        Self { address, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

/// An address on which nothing listens.
pub fn dead_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The bytes of the file at a commit: enough for several reads.
pub fn content(commit: &str) -> Vec<u8> {
    let seed = commit.as_bytes()[0];
    (0..400_003_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

/// The ETag of the file at a commit.
pub fn sha256(commit: &str) -> String {
    digest(&content(commit))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(request) = read_request(&stream)? else { return Ok(()) };
    let behaviour = {
        let mut state = state.lock().unwrap();
        if !request.path.ends_with(CONFIG) || state.behaviour.config.is_some() {
            state.requests.push(request.clone());
        }
        state.behaviour.clone()
    };
    let Some(commit) = request.path.rsplit('/').nth(1).and_then(commit_of) else {
        return refuse(&mut stream, 404, "RevisionNotFound");
    };
    if let Some((status, code)) = behaviour.refuse {
        return refuse(&mut stream, status, code);
    }
    if let Some(status) = behaviour.refuse_tokens.filter(|_| request.header("authorization").is_some()) {
        return refuse(&mut stream, status, "");
    }
    if let Some(page) = behaviour.page {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"page\"\r\nConnection: close\r\n";
        return write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
    }
    if let Some(token) = behaviour.token
        && request.header("authorization") != Some(format!("Bearer {token}").as_str())
    {
        return refuse(&mut stream, 401, "GatedRepo");
    }
    if behaviour.renamed && request.path.starts_with("/owner/") {
        let to = request.path.replacen("/owner/", "/renamed/", 1);
        return write!(stream, "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\n{END}");
    }
    if request.path.ends_with(CONFIG) && behaviour.config.is_some() {
        return send_file(&mut stream, &request, &Behaviour { file: behaviour.config.clone(), ..behaviour }, commit);
    }
    if !request.path.ends_with(FILE) {
        return refuse(&mut stream, 404, "EntryNotFound");
    }
    let known = ["/owner/repo/", "/renamed/repo/", "/timm/legacy_xception.tf_in1k/"];
    if !known.iter().any(|start| request.path.starts_with(start)) {
        return refuse(&mut stream, 404, "RepoNotFound");
    }
    send_file(&mut stream, &request, &behaviour, commit)
}

const END: &str = "Content-Length: 0\r\nConnection: close\r\n\r\n";

fn commit_of(revision: &str) -> Option<&'static str> {
    match revision {
        "main" | MAIN_COMMIT => Some(MAIN_COMMIT),
        "v1" | "release%2F1" | OLD_COMMIT => Some(OLD_COMMIT),
        _ => None,
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_string);
    let Some(path) = words.nth(1) else { return Ok(None) };
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push(format!("{}: {}", name.to_lowercase(), value.trim()));
    }
    Ok(Some(Request { path, headers }))
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Refused\r\nX-Error-Code: {code}\r\n{END}")
}

fn send_file(stream: &mut TcpStream, request: &Request, behaviour: &Behaviour, commit: &str) -> std::io::Result<()> {
    let mut body = behaviour.file.as_ref().map_or_else(|| content(commit), |file| file.to_vec());
    let etag = digest(&body);
    let total = body.len() as u64;
    let mut head = format!("X-Linked-Etag: \"{etag}\"\r\n");
    if !behaviour.no_commit {
        head += &format!("X-Repo-Commit: {}\r\n", behaviour.other_commit.unwrap_or(commit));
    }
    head +=
        &format!("X-Linked-Size: {}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n", total + behaviour.size_error);
    if behaviour.xet_hash {
        head += &format!("X-Xet-Hash: {}\r\n", "0".repeat(64));
    }
    if let Some(cdn) = &behaviour.cdn {
        head += &format!("Location: {cdn}{}\r\nContent-Length: 0\r\n", request.path);
        return write!(stream, "HTTP/1.1 302 Found\r\n{head}\r\n");
    }
    if request.is_download() {
        thread::sleep(behaviour.delay);
    }
    if behaviour.spoil_content {
        body[7] ^= 1;
    }
    let status = match request.range(body.len()) {
        Some(range) if range.start >= body.len() => {
            return write!(
                stream,
                "HTTP/1.1 416 Range Not Satisfiable\r\n{head}Content-Range: bytes */{total}\r\n{END}"
            );
        }
        Some(range) if !behaviour.no_ranges => {
            head += &format!("Content-Range: bytes {}-{}/{total}\r\n", range.start, range.end - 1);
            body = body[range].to_vec();
            "206 Partial Content"
        }
        _ => "200 OK",
    };
    if !behaviour.no_content_length {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n")?;
    stream.write_all(&body[..behaviour.truncate_at.unwrap_or(body.len()).min(body.len())])?;
    if behaviour.stall {
        // Longer than any test; the thread ends with the test's process.
        thread::sleep(Duration::from_secs(600));
    }
    Ok(())
}
