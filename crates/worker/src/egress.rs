//! Decides whether a script's `fetch` may reach a URL. Pure: names only, no resolution.
//!
//! Everything is denied that no pattern permits. It deliberately says nothing about what a name resolves to: refusing
//! loopback, link-local and metadata addresses is the host's duty, after resolution.

use std::fmt;

use url::{Host, Url};

/// Most patterns one script may list.
const MAX_PATTERNS: usize = 256;

/// Why a list of patterns is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    #[error(
        "`{0}` is not a host pattern: expected `example.com`, `*.example.com`, optionally with `https://` before and `:port` after"
    )]
    Pattern(String),
    #[error("more than {MAX_PATTERNS} patterns")]
    TooMany,
}

/// The hosts a script may fetch from, beyond the origin of the request it handles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressList {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scheme: Option<Scheme>,
    host: HostPattern,
    /// Without a port, only the scheme's default port matches.
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// `*`: any name. Addresses must be listed one by one.
    AnyName,
    /// `*.example.com`: any name below it, not itself. Kept with its leading dot.
    Below(String),
    Exactly(Host<String>),
}

impl EgressList {
    /// Returns the list that permits nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Parses patterns such as `api.example.com`, `*.example.com`, `https://example.com`, `example.com:8443` and `*`.
    ///
    /// # Errors
    /// When a pattern is none of these, or there are too many.
    pub fn parse<I>(patterns: I) -> Result<Self, EgressError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut parsed = Vec::new();
        for text in patterns {
            if parsed.len() == MAX_PATTERNS {
                return Err(EgressError::TooMany);
            }
            parsed.push(Pattern::parse(text.as_ref()).ok_or_else(|| EgressError::Pattern(text.as_ref().to_owned()))?);
        }
        Ok(Self { patterns: parsed })
    }

    /// Whether `url` may be fetched.
    ///
    /// # Security
    /// Only `http` and `https` URLs with a host are ever permitted.
    #[must_use]
    pub fn permits(&self, url: &Url) -> bool {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return false,
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return false;
        };
        self.patterns.iter().any(|pattern| pattern.matches(scheme, &host, port))
    }

    /// Whether nothing is permitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl fmt::Display for EgressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.patterns.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{pattern}")?;
        }
        Ok(())
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return None,
            None => (None, text),
        };
        let (host, port) = split_port(rest)?;
        let host = match host {
            "*" => HostPattern::AnyName,
            _ => match host.strip_prefix("*.") {
                Some(domain) => HostPattern::Below(format!(".{}", domain_name(domain)?)),
                None => HostPattern::Exactly(exact_host(host)?),
            },
        };
        Some(Self { scheme, host, port })
    }

    fn matches(&self, scheme: Scheme, host: &Host<&str>, port: u16) -> bool {
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        self.scheme.is_none_or(|wanted| wanted == scheme)
            && self.port.unwrap_or(default) == port
            && match (&self.host, host) {
                (HostPattern::AnyName, Host::Domain(_)) => true,
                (HostPattern::Below(suffix), Host::Domain(name)) => {
                    let name = name.strip_suffix('.').unwrap_or(name);
                    name.len() > suffix.len() && name.ends_with(suffix.as_str())
                }
                (HostPattern::Exactly(Host::Domain(wanted)), Host::Domain(name)) => {
                    name.strip_suffix('.').unwrap_or(name) == wanted
                }
                (HostPattern::Exactly(Host::Ipv4(wanted)), Host::Ipv4(address)) => wanted == address,
                (HostPattern::Exactly(Host::Ipv6(wanted)), Host::Ipv6(address)) => wanted == address,
                (HostPattern::AnyName | HostPattern::Below(_) | HostPattern::Exactly(_), _) => false,
            }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Some(Scheme::Http) => f.write_str("http://")?,
            Some(Scheme::Https) => f.write_str("https://")?,
            None => {}
        }
        match &self.host {
            HostPattern::AnyName => f.write_str("*")?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Exactly(host) => write!(f, "{host}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Splits `host[:port]`, where an IPv6 host stands in brackets.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let colon = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|at| bracket + at),
        None => text.find(':'),
    };
    match colon {
        Some(at) => Some((&text[..at], Some(text[at + 1..].parse().ok().filter(|port| *port != 0)?))),
        None => Some((text, None)),
    }
}

/// Parses one host; a name must look like one, so that a mistyped pattern is an error and not a dead entry.
fn exact_host(text: &str) -> Option<Host<String>> {
    match Host::parse(text).ok()? {
        Host::Domain(name) => domain_name(&name).map(Host::Domain),
        address @ (Host::Ipv4(_) | Host::Ipv6(_)) => Some(address),
    }
}

fn domain_name(text: &str) -> Option<String> {
    let Ok(Host::Domain(name)) = Host::parse(text) else {
        return None;
    };
    let name = name.strip_suffix('.').unwrap_or(&name);
    let plain = name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{EgressError, EgressList};

    fn permits(patterns: &[&str], url: &str) -> bool {
        EgressList::parse(patterns).unwrap().permits(&url.parse().unwrap())
    }

    #[test]
    fn only_what_a_pattern_names_is_permitted() {
        for (patterns, url, permitted) in [
            (&[][..], "https://example.com/", false),
            (&["example.com"], "https://example.com/a?b", true),
            (&["example.com"], "http://example.com/", true),
            (&["example.com"], "https://EXAMPLE.com./", true),
            (&["example.com"], "https://example.com:8443/", false),
            (&["example.com"], "http://example.com:443/", false),
            (&["example.com:8443"], "https://example.com:8443/", true),
            (&["example.com:8443"], "https://example.com/", false),
            (&["https://example.com"], "http://example.com/", false),
            (&["example.com"], "https://sub.example.com/", false),
            (&["example.com"], "https://notexample.com/", false),
            (&["example.com"], "https://example.com.evil.net/", false),
            (&["example.com"], "https://example.com@evil.net/", false),
            (&["*.example.com"], "https://a.b.example.com/", true),
            (&["*.example.com"], "https://example.com/", false),
            (&["*.example.com"], "https://badexample.com/", false),
            (&["*"], "https://anything.net/", true),
            (&["*"], "https://10.0.0.1/", false),
            (&["*"], "https://[::1]/", false),
            (&["*"], "ftp://anything.net/", false),
            (&["*"], "data:text/plain,hi", false),
            (&["10.0.0.1"], "http://10.0.0.1/", true),
            (&["10.0.0.1"], "http://0x0a000001/", true),
            (&["10.0.0.1"], "http://10.0.0.2/", false),
            (&["[2001:db8::1]:8080"], "http://[2001:db8:0::1]:8080/", true),
            (&["bücher.example"], "https://xn--bcher-kva.example/", true),
        ] {
            assert_eq!(permits(patterns, url), permitted, "{patterns:?} {url}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for text in [
            "",
            "*.",
            "*.*",
            "a..b",
            "exa mple.com",
            "ftp://a.com",
            "a.com/path",
            "a.com:0",
            "a.com:99999",
            "*a.com",
            "a.*.com",
            "user@a.com",
        ] {
            assert_eq!(EgressList::parse([text]), Err(EgressError::Pattern(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn printed_patterns_parse_to_the_same_list() {
        let list = EgressList::parse(["https://*.Example.com:8443", "a.example", "[2001:db8::1]", "*"]).unwrap();
        let printed = list.to_string();
        assert_eq!(printed, "https://*.example.com:8443, a.example, [2001:db8::1], *");
        assert_eq!(EgressList::parse(printed.split(", ")).unwrap(), list);
    }
}
