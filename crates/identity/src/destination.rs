//! What an application covers: hosts and paths, as patterns (reference section 1.3).
//!
//! Decides whether a text is a pattern and whether a host and a normal path fall under it. Choosing among many patterns
//! is [`crate::routes`]. Invariant: a pattern's host is in lower case ASCII without a port, its path holds no dot
//! segment, no doubled slash, no escape and no parameter, so that each pattern has one reading.
//!
//! A path covers itself and what lies below it: `/docs` covers `/docs` and `/docs/a`, never `/docsearch`. A `*` in a path
//! spans segments; `/docs/*` covers what lies below `/docs/` and not `/docs`. A `*` in a host spans part of one label.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use types::McpServerId;

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 2_048;

/// The type of the destination of an MCP server, which is reached through portals.
pub const VIA_PORTAL: &str = "via_mcp_server_portal";

/// One entry of `destinations` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationDocument {
    /// `public`, or [`VIA_PORTAL`] for an MCP server.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4_protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_server_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
}

impl DestinationDocument {
    /// Makes the entry for a public pattern.
    #[must_use]
    pub fn public(uri: impl Into<String>) -> Self {
        Self { kind: "public".to_owned(), uri: Some(uri.into()), ..Self::default() }
    }

    /// Makes the entry for an MCP server.
    #[must_use]
    pub fn via_portal(server: &McpServerId) -> Self {
        Self { kind: VIA_PORTAL.to_owned(), mcp_server_id: Some(server.to_string()), ..Self::default() }
    }

    /// Returns the server of a destination that is reached through portals.
    ///
    /// # Errors
    /// If it is of another type, or names no server.
    pub fn mcp_server(&self) -> Result<McpServerId, String> {
        if self.kind != VIA_PORTAL {
            return Err(format!("is of type `{VIA_PORTAL}`, as an MCP server is reached through portals"));
        }
        let id = self.mcp_server_id.as_deref().ok_or_else(|| "needs the server's `mcp_server_id`".to_owned())?;
        id.parse().map_err(|error: types::IdError| error.to_string())
    }

    /// Returns the pattern of a public destination.
    ///
    /// # Errors
    /// If it is of another type, which this product does not offer.
    pub fn public_uri(&self) -> Result<&str, String> {
        match self.kind.as_str() {
            "public" | "" => self
                .uri
                .as_deref()
                .ok_or_else(|| "a public destination needs a `uri` such as `wiki.example.com/docs`".to_owned()),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(format!("destinations of type `{shown}` are not offered; `public` is"))
            }
        }
    }
}

/// A text that is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a destination is a host, or a host and a path, of at most 2048 bytes")]
    Length,
    #[error("name only host and path: no scheme, port, credentials, query or fragment")]
    NotOnlyHostAndPath,
    #[error("not a host name")]
    Host,
    #[error("at most one `*` between two dots or two slashes")]
    Wildcards,
    #[error("a wildcard needs a parent domain of at least two labels")]
    TooWide,
    #[error("a path is written plainly: no `//`, dot segment, `%`, `;`, `\\`, space or control character")]
    Path,
}

/// A host and path, either with wildcards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    host: String,
    /// Empty, or begins with a slash and does not end with one.
    path: String,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(PatternError::Length);
        }
        if text.contains("://") || text.contains(['?', '#', '@', ':']) {
            return Err(PatternError::NotOnlyHostAndPath);
        }
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        let host = host_pattern(host)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if !path.is_empty() {
            path_pattern(path)?;
        }
        Ok(Self { host, path: path.to_owned() })
    }
}

fn host_pattern(text: &str) -> Result<String, PatternError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.split('.').any(|label| label.bytes().filter(|b| *b == b'*').count() > 1) {
        return Err(PatternError::Wildcards);
    }
    // A name in other letters is kept in its ASCII form, which is what browsers send.
    let host = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        match url::Host::parse(text) {
            Ok(url::Host::Domain(name)) => name,
            Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) | Err(_) => return Err(PatternError::Host),
        }
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b))
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(PatternError::Host);
    }
    if let Some(last) = host.rfind('*') {
        // `*.com` would take every host that anybody points here.
        let rest = host[last..].split('.').count() - 1;
        if rest < 2 {
            return Err(PatternError::TooWide);
        }
    }
    Ok(host)
}

fn path_pattern(path: &str) -> Result<(), PatternError> {
    for segment in path.split('/').skip(1) {
        if segment.is_empty() || segment == "." || segment == ".." {
            return Err(PatternError::Path);
        }
        if segment.bytes().any(|b| matches!(b, b'%' | b';' | b'\\' | b' ') || b.is_ascii_control()) {
            return Err(PatternError::Path);
        }
        if segment.bytes().filter(|b| *b == b'*').count() > 1 {
            return Err(PatternError::Wildcards);
        }
    }
    Ok(())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

impl Pattern {
    /// Returns the host, which may hold wildcards.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the path: empty for the whole host.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the pattern of the whole host.
    pub(crate) fn host_alone(&self) -> Self {
        self.with_path("")
    }

    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self { host: self.host.clone(), path: path.to_owned() }
    }

    /// Tells whether the host names one host alone.
    #[must_use]
    pub fn has_exact_host(&self) -> bool {
        !self.host.contains('*')
    }

    /// Returns the URL a tile leads to; `None` when a wildcard leaves it open.
    #[must_use]
    pub fn start(&self) -> Option<String> {
        if !self.has_exact_host() {
            return None;
        }
        let path = self.path.split('*').next().unwrap_or_default();
        Some(format!("https://{}{}", self.host, if path.is_empty() { "/" } else { path }))
    }

    /// Tells whether a host in lower case falls under the pattern.
    #[must_use]
    pub fn covers_host(&self, host: &str) -> bool {
        let (mut pattern, mut labels) = (self.host.split('.'), host.split('.'));
        loop {
            match (pattern.next(), labels.next()) {
                (None, None) => return true,
                (Some(pattern), Some(label)) if label_matches(pattern, label) => {}
                _ => return false,
            }
        }
    }

    /// Tells whether a normal path falls under the pattern.
    #[must_use]
    pub fn covers_path(&self, path: &str) -> bool {
        path_matches(&self.path, path)
    }

    /// Compares how closely two patterns name what they cover: the more specific one is greater. Host before path; an
    /// exact name before a wildcard, then more literal text before less.
    #[must_use]
    pub fn compare_specificity(&self, other: &Self) -> Ordering {
        let literal = |text: &str| (!text.contains('*'), text.bytes().filter(|b| *b != b'*').count());
        let host = |pattern: &Self| literal(&pattern.host);
        let path = |pattern: &Self| {
            let (exact, length) = literal(&pattern.path);
            (length, exact)
        };
        // Two hosts that are equally specific stand in the order of their names, so that hosts never interleave.
        host(self)
            .cmp(&host(other))
            .then_with(|| other.host.cmp(&self.host))
            .then_with(|| path(self).cmp(&path(other)))
            .then_with(|| other.path.cmp(&self.path))
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((start, end)) => label.len() > start.len() + end.len() && label.starts_with(start) && label.ends_with(end),
    }
}

/// Matches a path: literal pieces in order, the first at the start; what is left must begin a new segment unless the
/// pattern ends with a wildcard.
fn path_matches(pattern: &str, path: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = path.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty() || rest.starts_with('/');
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_some() {
            // The leftmost place leaves the most for the pieces after it.
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        } else if piece.is_empty() {
            return true;
        } else {
            return rest.match_indices(piece).any(|(at, _)| {
                let after = &rest[at + piece.len()..];
                after.is_empty() || after.starts_with('/')
            });
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{DestinationDocument, Pattern};

    #[test]
    fn what_is_not_a_plain_host_and_path_is_refused() {
        for text in [
            "",
            "https://x.example",
            "x.example:8443",
            "x.example/?a",
            "x.example/#a",
            "a@x.example",
            "x..example",
            "-x.example",
            "**.example.com",
            "*.com",
            "*",
            "a.*.com",
            "x.example//a",
            "x.example/a/../b",
            "x.example/./a",
            "x.example/%61",
            "x.example/a;b",
            "x.example/a b",
            "x.example/a\\b",
            "x.example/*a*",
            "/path",
            "x .example",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        for (text, shown) in [
            ("Wiki.Example.com", "wiki.example.com"),
            ("wiki.example.com/", "wiki.example.com"),
            ("wiki.example.com./Docs/", "wiki.example.com/Docs"),
            ("*.example.com/a/*/c", "*.example.com/a/*/c"),
            ("dev-*.*.example.com", "dev-*.*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn hosts_and_paths_are_covered_as_the_reference_says() {
        for (pattern, host, path, covered) in [
            ("a.example.com", "a.example.com", "/x", true),
            ("a.example.com", "b.a.example.com", "/", false),
            ("*.example.com", "a.example.com", "/", true),
            ("*.example.com", "example.com", "/", false),
            ("*.example.com", "a.b.example.com", "/", false),
            ("dev-*.example.com", "dev-1.example.com", "/", true),
            ("dev-*.example.com", "dev-.example.com", "/", false),
            ("h.example/alpha", "h.example", "/alpha", true),
            ("h.example/alpha", "h.example", "/alpha/", true),
            ("h.example/alpha", "h.example", "/alpha/b", true),
            ("h.example/alpha", "h.example", "/alphabet", false),
            ("h.example/alpha/*", "h.example", "/alpha", false),
            ("h.example/alpha/*", "h.example", "/alpha/b/c", true),
            ("h.example/alpha*", "h.example", "/alphabet/x", true),
            ("h.example/a/*/c", "h.example", "/a/b/x/c", true),
            ("h.example/a/*/c", "h.example", "/a/b/c/d", true),
            ("h.example/a/*/c", "h.example", "/a/b/cd", false),
            ("h.example/a/*/c", "h.example", "/a/b/cd/c", true),
            ("h.example/a/*/c/*", "h.example", "/a/b/c", false),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.covers_host(host) && parsed.covers_path(path), covered, "{pattern} {host}{path}");
        }
    }

    #[test]
    fn other_destinations_are_refused_by_name() {
        let document =
            DestinationDocument { kind: "private".into(), cidr: Some("10.0.0.0/8".into()), ..Default::default() };
        assert!(document.public_uri().unwrap_err().contains("`private`"));
        assert_eq!(DestinationDocument::public("a.example").public_uri(), Ok("a.example"));
    }
}
