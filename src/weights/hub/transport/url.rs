//! What following redirects takes: join an address with where an answer sends us, compare origins.
//!
//! Source: RFC 3986, section 5.2 (references), without `.` and `..`, which servers resolve.

/// Scheme, host and port: who gets a request.
pub fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

/// Where `location`, which the answer of `base` names, leads.
pub fn join(base: &str, location: &str) -> String {
    let origin = origin(base);
    let scheme = base.split("//").next().unwrap_or_default();
    if location.starts_with("http://") || location.starts_with("https://") {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}{location}")
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else {
        let path = base[origin.len()..].split(['?', '#']).next().unwrap_or_default();
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        format!("{origin}{folder}{location}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_rfc_3986_says() {
        let base = "http://hub:80/a/b?c=/d";
        assert_eq!(join(base, "https://cdn/x"), "https://cdn/x");
        assert_eq!(join(base, "//cdn/x"), "http://cdn/x");
        assert_eq!(join(base, "/x?y"), "http://hub:80/x?y");
        assert_eq!(join(base, "x"), "http://hub:80/a/x");
        assert_eq!(join("http://hub", "x"), "http://hub/x");
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        assert_eq!(origin("http://hub:80/a"), "http://hub:80");
        assert_eq!(origin("http://hub?x"), "http://hub");
        assert_ne!(origin("http://hub/a"), origin("https://hub/a"));
        assert_ne!(origin("http://hub:1/a"), origin("http://hub:2/a"));
    }
}
