//! Which application a request belongs to: one index over the patterns of every application (reference section 1.3).
//!
//! Decides by host and path alone; the most specific pattern wins and nothing is inherited from a wider one.
//!
//! # Security
//! An origin may read a path in more than one way: it may resolve `%2e%2e`, cut `;parameters`, merge `//` or ignore case.
//! If a reading of the origin's own led to another application than the one whose policies were applied, those policies
//! would be bypassed. So where paths matter at all (some pattern of the host has one):
//! - a path that is decoded twice to something else, holds a dot segment, a backslash, a control character, an encoded
//!   slash or begins with `//` is refused: no browser sends one for an ordinary link;
//! - every other reading (cut at an encoded `?` or `#`, parameters cut, slashes merged, case folded) must lead to the same application as the plain
//!   one, or the request is refused.
//!
//! Invariant: a request that is answered with an application is answered with it under every reading.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::destination::Pattern;

/// Longest path that is looked at, in bytes.
pub const MAX_PATH: usize = 16 * 1_024;

/// Why a request belongs to no application for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("the host is not a name: {0}")]
    Host(&'static str),
    #[error("the path cannot be read safely: {0}")]
    Path(&'static str),
    #[error("the path can be read as more than one application's")]
    Ambiguous,
}

/// Two applications claim one pattern; the first keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<T> {
    pub pattern: Pattern,
    pub kept: T,
    pub refused: T,
}

/// Reads the host out of a `Host` header or `:authority`: lower case, without port and without a final dot.
///
/// # Errors
/// If it is anything but one host name or address with at most one port.
pub fn host_of(authority: &str) -> Result<Cow<'_, str>, RouteError> {
    if authority.len() > 260 {
        return Err(RouteError::Host("it is too long"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(RouteError::Host("a bracket is missing"))?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(RouteError::Host("it is not an address"));
            }
            (address, after.strip_prefix(':').or(after.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    if !port.is_some_and(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(RouteError::Host("its port is not a number"));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !authority.starts_with('[') && !host.split('.').all(label) {
        return Err(RouteError::Host("it holds characters that no host name has"));
    }
    Ok(if host.bytes().any(|b| b.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() })
}

/// An index over the patterns of every application.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    exact: HashMap<String, Bucket<T>>,
    /// By what follows the last label with a wildcard.
    wildcard: HashMap<String, Vec<Bucket<T>>>,
}

/// The patterns of one host, most specific first.
#[derive(Debug, Clone)]
struct Bucket<T> {
    host: Pattern,
    entries: Vec<Entry<T>>,
}

#[derive(Debug, Clone)]
struct Entry<T> {
    pattern: Pattern,
    /// The pattern with its path in lower case.
    folded: Pattern,
    target: T,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T: Copy + Eq> Routes<T> {
    /// Builds the index. Of two applications with one pattern (paths compared without case) the first keeps it.
    pub fn build(patterns: impl IntoIterator<Item = (Pattern, T)>) -> (Self, Vec<Conflict<T>>) {
        let mut routes = Self::default();
        let mut taken: HashMap<Pattern, T> = HashMap::new();
        let mut conflicts = Vec::new();
        for (pattern, target) in patterns {
            let folded = fold(&pattern);
            match taken.get(&folded) {
                Some(kept) if *kept == target => {}
                Some(kept) => {
                    conflicts.push(Conflict { pattern, kept: *kept, refused: target });
                    continue;
                }
                None => {
                    taken.insert(folded.clone(), target);
                }
            }
            routes.bucket(&pattern).entries.push(Entry { pattern, folded, target });
        }
        for bucket in routes.exact.values_mut().chain(routes.wildcard.values_mut().flatten()) {
            bucket.entries.sort_by(|a, b| b.pattern.compare_specificity(&a.pattern));
        }
        for buckets in routes.wildcard.values_mut() {
            buckets.sort_by(|a, b| b.host.compare_specificity(&a.host));
        }
        (routes, conflicts)
    }

    fn bucket(&mut self, pattern: &Pattern) -> &mut Bucket<T> {
        let host = pattern.host_alone();
        let empty = Bucket { host: host.clone(), entries: Vec::new() };
        match host.host().rfind('*') {
            None => self.exact.entry(host.host().to_owned()).or_insert(empty),
            Some(last) => {
                let suffix = host.host()[last..].split_once('.').map_or("", |(_, suffix)| suffix);
                let buckets = self.wildcard.entry(suffix.to_owned()).or_default();
                let at = buckets.iter().position(|bucket| bucket.host == host).unwrap_or_else(|| {
                    buckets.push(empty);
                    buckets.len() - 1
                });
                &mut buckets[at]
            }
        }
    }

    /// Finds the application of a request and the pattern that names it. `host` comes from [`host_of`]; `path` is the
    /// request's own, undecoded and without its query.
    ///
    /// # Errors
    /// If the path cannot be read safely, or not in one way.
    pub fn find(&self, host: &str, path: &str) -> Result<Option<(T, &Pattern)>, RouteError> {
        let buckets = self.buckets(host);
        if buckets.iter().all(|bucket| bucket.entries.iter().all(|entry| entry.pattern.path().is_empty())) {
            // One application has the whole host, so the path decides nothing.
            return Ok(buckets.first().and_then(|b| b.entries.first()).map(|entry| (entry.target, &entry.pattern)));
        }
        let plain = plain(path)?;
        let found = best(&buckets, |entry| entry.pattern.covers_path(&plain));
        let target = found.map(|entry| entry.target);
        for reading in readings(&plain)? {
            let other = best(&buckets, |entry| entry.pattern.covers_path(&reading));
            if other.map(|entry| entry.target) != target {
                return Err(RouteError::Ambiguous);
            }
            let lower = reading.to_lowercase();
            let other = best(&buckets, |entry| entry.folded.covers_path(&lower));
            if other.map(|entry| entry.target) != target {
                return Err(RouteError::Ambiguous);
            }
        }
        Ok(found.map(|entry| (entry.target, &entry.pattern)))
    }

    /// Tells whether some pattern covers a host, at whatever path.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        !self.buckets(host).is_empty()
    }

    /// Returns the patterns that a host falls under, the most specific host first.
    fn buckets(&self, host: &str) -> Vec<&Bucket<T>> {
        let mut found: Vec<&Bucket<T>> = self.exact.get(host).into_iter().collect();
        if !self.wildcard.is_empty() {
            let mut rest = host;
            let mut wild = Vec::new();
            while let Some((_, suffix)) = rest.split_once('.') {
                wild.extend(self.wildcard.get(suffix).into_iter().flatten().filter(|b| b.host.covers_host(host)));
                rest = suffix;
            }
            wild.sort_by(|a, b| b.host.compare_specificity(&a.host));
            found.extend(wild);
        }
        found
    }
}

fn best<'r, T>(buckets: &[&'r Bucket<T>], covers: impl Fn(&Entry<T>) -> bool) -> Option<&'r Entry<T>> {
    buckets.iter().find_map(|bucket| bucket.entries.iter().find(|entry| covers(entry)))
}

fn fold(pattern: &Pattern) -> Pattern {
    pattern.with_path(&pattern.path().to_lowercase())
}

/// Decodes a path once and refuses what no two readers agree on.
fn plain(path: &str) -> Result<Cow<'_, str>, RouteError> {
    if path.len() > MAX_PATH {
        return Err(RouteError::Path("it is too long"));
    }
    if !path.starts_with('/') {
        return Err(RouteError::Path("it does not begin with a slash"));
    }
    if path.starts_with("//") {
        return Err(RouteError::Path("it begins like the name of another host"));
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next(), bytes.next()].map(|digit| digit.is_some_and(|b| b.is_ascii_hexdigit()));
            if digits != [true, true] {
                return Err(RouteError::Path("an escape is incomplete"));
            }
        }
    }
    let lower = path.to_ascii_lowercase();
    if lower.contains("%2f") || lower.contains("%5c") || lower.contains('\\') {
        return Err(RouteError::Path("it holds an encoded slash or a backslash"));
    }
    let decoded =
        percent_encoding::percent_decode_str(path).decode_utf8().map_err(|_| RouteError::Path("it is not UTF-8"))?;
    if decoded.chars().any(char::is_control) {
        return Err(RouteError::Path("it holds a control character"));
    }
    let escape =
        |at: usize| decoded.as_bytes().get(at + 1..at + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
    if decoded.match_indices('%').any(|(at, _)| escape(at)) {
        return Err(RouteError::Path("it is encoded twice"));
    }
    for segment in decoded.split('/') {
        let name = segment.split(';').next().unwrap_or_default().trim();
        if matches!(name, "." | "..") {
            return Err(RouteError::Path("it holds a dot segment"));
        }
    }
    Ok(decoded)
}

/// Returns the ways a plain path may be read by an origin, itself first.
fn readings(plain: &str) -> Result<Vec<Cow<'_, str>>, RouteError> {
    let mut readings = vec![Cow::Borrowed(plain)];
    // A reader that decodes before it splits takes `%3f` for the beginning of the query.
    if let Some(at) = plain.find(['?', '#']) {
        readings.push(plain[..at].into());
    }
    for at in 0..readings.len() {
        if readings[at].contains(';') {
            let segments = readings[at].split('/').map(|segment| segment.split(';').next().unwrap_or_default());
            let cut = segments.collect::<Vec<_>>().join("/");
            readings.push(cut.into());
        }
    }
    for at in 0..readings.len() {
        if readings[at].contains("//") {
            let mut merged = String::with_capacity(plain.len());
            for character in readings[at].chars() {
                if !(character == '/' && merged.ends_with('/')) {
                    merged.push(character);
                }
            }
            readings.push(merged.into());
        }
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RouteError, Routes, host_of};
    use crate::destination::Pattern;

    fn routes(patterns: &[&str]) -> Routes<usize> {
        let patterns = patterns.iter().enumerate().map(|(index, text)| (text.parse().unwrap(), index));
        let (routes, conflicts) = Routes::build(patterns);
        assert!(conflicts.is_empty(), "{conflicts:?}");
        routes
    }

    #[test]
    fn the_most_specific_application_wins() {
        let patterns = [
            "a.example.com",
            "a.example.com/docs",
            "a.example.com/docs/secret",
            "*.example.com",
            "*.example.com/admin",
            "b.example.com/only",
            "dev-*.example.com",
            "a.example.com/docs/*/x",
        ];
        let routes = routes(&patterns);
        for (host, path, expected) in [
            ("a.example.com", "/", Some(0)),
            ("a.example.com", "/docs", Some(1)),
            ("a.example.com", "/docs/a", Some(1)),
            ("a.example.com", "/docs/secret/b", Some(2)),
            ("a.example.com", "/docs/1/x", Some(1)),
            ("a.example.com", "/admin", Some(0)),
            ("b.example.com", "/only/a", Some(5)),
            ("b.example.com", "/", Some(3)),
            ("b.example.com", "/admin/x", Some(4)),
            ("dev-1.example.com", "/", Some(6)),
            ("dev-1.example.com", "/admin", Some(6)),
            ("a.b.example.com", "/", None),
            ("example.com", "/", None),
            ("other.example", "/", None),
        ] {
            let found = routes.find(host, path).unwrap().map(|(target, _)| target);
            let expected = if path == "/docs/1/x" { Some(7) } else { expected };
            assert_eq!(found, expected, "{host}{path}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        let routes = routes(&["h.example", "h.example/admin", "h.example/public"]);
        let refused = |path: &str| routes.find("h.example", path).unwrap_err();
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..;/admin",
            "/public/.%2E;x/admin",
            "/./admin",
            "//admin",
            "/public/%2fadmin",
            "/public%2Fadmin",
            "/public\\..\\admin",
            "/public/%5cadmin",
            "/%2561dmin",
            "/admin%00",
            "/admin%0a",
            "/%zz",
            "/%6",
            "/%ff",
            "admin",
            "",
        ] {
            assert!(matches!(refused(path), RouteError::Path(_)), "{path}");
        }
        for path in [
            "/admin%3fx",
            "/admin%23",
            "/admin;a%3fb",
            "/admin;x=1",
            "/public;/x",
            "/x//../admin",
            "/ADMIN",
            "/Public/a",
            "/;/admin",
            "/%41dmin",
        ] {
            assert!(routes.find("h.example", path).is_err(), "{path}");
        }
        for (path, expected) in [
            ("/admin", 1),
            ("/%61dmin", 1),
            ("/public/a;b=c", 2),
            ("/public//a", 2),
            ("/x%20y", 0),
            ("/100%25", 0),
            ("/x;y", 0),
            ("/caf%C3%A9", 0),
            ("/.well-known/x", 0),
            ("/...", 0),
            ("/public/A", 2),
        ] {
            assert_eq!(routes.find("h.example", path).unwrap().unwrap().0, expected, "{path}");
        }
    }

    #[test]
    fn an_application_of_a_whole_host_takes_every_path() {
        let routes = routes(&["h.example"]);
        for path in ["/a/../b", "//x", "/%2f", "*"] {
            assert_eq!(routes.find("h.example", path).unwrap().unwrap().0, 0, "{path}");
        }
    }

    #[test]
    fn two_applications_cannot_share_a_pattern() {
        let pattern = |text: &str| text.parse::<Pattern>().unwrap();
        let (_, conflicts) =
            Routes::build([(pattern("h.example/a"), 1), (pattern("h.example/A"), 2), (pattern("h.example/a"), 1)]);
        assert_eq!(conflicts.len(), 1);
        assert_eq!((conflicts[0].kept, conflicts[0].refused), (1, 2));
    }

    #[test]
    fn a_host_header_is_one_name_and_at_most_a_port() {
        for (text, host) in [
            ("A.Example.com:8443", Some("a.example.com")),
            ("a.example.", Some("a.example")),
            ("127.0.0.1:9443", Some("127.0.0.1")),
            ("[::1]:9443", Some("::1")),
            ("a.example:", Some("a.example")),
            ("a.example:80:90", None),
            ("a.example:x", None),
            ("a.example@evil.example", None),
            ("a.example/evil", None),
            ("a.example, b.example", None),
            ("a..example", None),
            ("[::1", None),
            ("[evil]", None),
            ("a.example\u{0}", None),
            ("", None),
        ] {
            assert_eq!(host_of(text).ok().as_deref(), host, "{text}");
        }
    }

    fn pattern() -> impl Strategy<Value = String> {
        let label = prop_oneof![3 => "[ab]", 1 => Just("*".to_owned()), 1 => Just("a*".to_owned())];
        let segment = prop_oneof![4 => "[ab]{1,2}", 1 => Just("*".to_owned()), 1 => Just("a*".to_owned())];
        (prop::collection::vec(label, 0..3), prop::collection::vec(segment, 0..4)).prop_map(|(labels, segments)| {
            let host: String = labels.iter().map(|label| format!("{label}.")).collect();
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            format!("{host}e.example{path}")
        })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_looking_at_every_pattern_finds(
            texts in prop::collection::btree_set(pattern(), 0..24),
            labels in prop::collection::vec("[ab]", 0..3),
            segments in prop::collection::vec("[ab]{1,3}", 0..5),
        ) {
            let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let (routes, _) = Routes::build(patterns.iter().cloned().enumerate().map(|(index, pattern)| (pattern, index)));
            let host: String = labels.iter().map(|label| format!("{label}.")).collect::<String>() + "e.example";
            let path = format!("/{}", segments.join("/"));
            let naive = patterns
                .iter()
                .filter(|pattern| pattern.covers_host(&host) && pattern.covers_path(&path))
                .max_by(|a, b| a.compare_specificity(b));
            prop_assert_eq!(routes.find(&host, &path).unwrap().map(|(_, pattern)| pattern), naive);
        }

        #[test]
        fn no_path_makes_the_index_panic(path in "[/a-bA.;%25c\\\\é\u{0}-]{0,24}") {
            let _ = routes(&["h.example", "h.example/a", "h.example/a/*/b"]).find("h.example", &path);
        }
    }
}
