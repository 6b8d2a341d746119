//! What is in the binary may be given on under the binary's licence: `deny.toml` says what is allowed.

use std::process::Command;

use serde::Deserialize;

use crate::support::program::root;

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

impl Licenses {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        toml::from_str::<Deny>(&text).unwrap().licenses
    }

    /// Whether a crate may be there under an SPDX expression; `/` is an older way to write OR.
    fn allow(&self, name: &str, expression: &str) -> bool {
        let exception = self.exceptions.iter().filter(|exception| exception.name == name);
        let allowed: Vec<&String> = self.allow.iter().chain(exception.flat_map(|exception| &exception.allow)).collect();
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words = spaced.split_whitespace().peekable();
        let holds = any(&mut words, &|id| allowed.iter().any(|allowed| *allowed == id));
        assert_eq!(words.next(), None, "{name}: `{expression}`");
        holds
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = all(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        holds |= all(words, is_allowed);
    }
    holds
}

fn all(words: &mut Words, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        holds &= one(words, is_allowed);
    }
    holds
}

fn one(words: &mut Words, is_allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut id = words.next().unwrap_or_default().to_owned();
    if id == "(" {
        let holds = any(words, is_allowed);
        assert_eq!(words.next(), Some(")"));
        return holds;
    }
    if words.next_if_eq(&"WITH").is_some() {
        id = format!("{id} WITH {}", words.next().unwrap_or_default());
    }
    is_allowed(&id)
}

#[test]
fn every_crate_in_the_binary_has_a_licence_of_the_list() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"]);
    let output = command.args(["--format", "{p}\t{l}"]).current_dir(root()).output().unwrap();
    let (tree, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    let licenses = Licenses::read();
    let mut crates = 0;
    for line in tree.lines() {
        let (name, license) = line.split_once('\t').unwrap();
        let (name, license) = (name.split(' ').next().unwrap(), license.trim_end_matches(" (*)"));
        assert!(licenses.allow(name, license), "{name}: `{license}` is not in deny.toml");
        crates += 1;
    }
    assert!(crates > 100, "{tree}");
}

#[test]
fn a_licence_that_asks_for_more_is_seen_in_any_expression() {
    let licenses = Licenses::read();
    for (expression, expected) in [
        ("MIT", true),
        ("LGPL-3.0-or-later", false),
        ("LGPL-3.0-or-later OR MIT", true),
        ("MIT AND LGPL-3.0-or-later", false),
        ("(MIT OR GPL-2.0) AND (Zlib/GPL-3.0)", true),
        ("MIT OR Apache-2.0 AND GPL-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("MPL-2.0", false),
        ("", false),
    ] {
        assert_eq!(licenses.allow("any", expression), expected, "{expression}");
    }
    assert!(licenses.allow("option-ext", "MPL-2.0"));
}
