//! What the environment says about the hub, under the names that every Hugging Face tool reads.
//!
//! Source: huggingface_hub's "Environment variables" page, `constants.py` and `_auth.py`.

use std::path::PathBuf;
use std::time::Duration;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// A machine without a network must learn so quickly; a connection to the hub takes a tenth of this.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// huggingface_hub's default for `HF_HUB_DOWNLOAD_TIMEOUT`.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the hub is, who asks, and where files are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Without a slash at its end.
    pub endpoint: String,
    pub cache_dir: PathBuf,
    pub token: Option<Token>,
    /// The switch that forbids the network, as the user wrote it.
    pub offline: Option<&'static str>,
    /// For the name lookup and for the connection, each.
    pub connect_timeout: Duration,
    /// For each wait for the next bytes.
    pub read_timeout: Duration,
    /// A PEM file of certificate authorities to trust instead of the built-in ones.
    pub certificates: Option<PathBuf>,
}

impl Settings {
    pub fn from_environment() -> Self {
        // An empty variable counts as unset, as it does in a shell script that clears one.
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let seconds = |name: &str| variable(name)?.trim().parse().ok().filter(|&s| s > 0).map(Duration::from_secs);
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_string());
        let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
            (Some(home), _) => expand_home(&home),
            (None, Some(cache)) => expand_home(&cache).join("huggingface"),
            (None, None) => expand_home("~/.cache/huggingface"),
        };
        Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache_dir: first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .map_or_else(|| home.join("hub"), |dir| expand_home(&dir)),
            token: token(variable, &home),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)).then_some("HF_HUB_OFFLINE"),
            connect_timeout: seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            read_timeout: seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(DEFAULT_READ_TIMEOUT),
            certificates: first(&["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]).map(PathBuf::from),
        }
    }
}

/// What proves to the hub who asks.
#[derive(Clone)]
pub struct Token {
    pub value: String,
    /// Where the user keeps it, for messages.
    pub origin: String,
}

impl Token {
    fn new(text: &str, origin: String) -> Option<Self> {
        let value = text.trim();
        (!value.is_empty()).then(|| Self { value: value.to_string(), origin })
    }

    /// Whether it can be sent at all.
    pub fn is_header_value(&self) -> bool {
        self.value.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

/// Never shows the token, which is a password.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the token of {}", self.origin)
    }
}

/// `HF_TOKEN`, else the file that `hf auth login` wrote, unless the user forbade to send it unasked.
fn token(variable: &dyn Fn(&str) -> Option<String>, home: &std::path::Path) -> Option<Token> {
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    let from_file = || {
        let path = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), |path| expand_home(&path));
        Token::new(&std::fs::read_to_string(&path).ok()?, path.display().to_string())
    };
    variable("HF_TOKEN").and_then(|text| Token::new(&text, "HF_TOKEN".to_string())).or_else(from_file)
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str())
}

/// `~/x` is the user's home; a shell leaves a quoted `~` as it is.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        // Without a home there is still a place to write to.
        (Some(rest), None) => std::env::temp_dir().join(rest),
        (None, _) => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_looks_for_it() {
        let cache = |variables: &[(&str, &str)]| read(variables).cache_dir;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), PathBuf::from("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), PathBuf::from("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")]), PathBuf::from("/old"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")]), PathBuf::from("/c"));
        assert!(cache(&[]).ends_with(".cache/huggingface/hub"));
    }

    #[test]
    fn offline_is_switched_on_by_every_spelling_of_true() {
        for value in ["1", "true", "TRUE", "yes", "On"] {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, Some("HF_HUB_OFFLINE"), "{value}");
        }
        for value in ["0", "false", "no", "off"] {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, None, "{value}");
        }
    }

    #[test]
    fn the_token_is_read_from_the_variable_and_not_shown() {
        let settings = read(&[("HF_TOKEN", " hf_secret\n"), ("HF_HOME", "/nowhere")]);
        assert_eq!(settings.token.as_ref().map(|token| token.value.as_str()), Some("hf_secret"));
        assert!(!format!("{settings:?}").contains("secret"));
        let forbidden = read(&[("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
        assert!(forbidden.token.is_none());
    }

    #[test]
    fn a_slash_at_the_end_of_the_endpoint_does_not_matter() {
        assert_eq!(read(&[("HF_ENDPOINT", "http://mirror/hub/")]).endpoint, "http://mirror/hub");
        assert_eq!(read(&[]).endpoint, "https://huggingface.co");
    }
}
