//! `WWW-Authenticate` of a server that wants somebody to sign in, or more of what they allowed.
//!
//! Decides what of it is used (RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1). Invariant: whatever a
//! server writes, reading it ends, and nothing that is not an address or a scope comes out.

use url::Url;

use super::{address, plain_error, scopes};

/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 16 << 10;

/// What a server asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the server describes what it protects.
    pub resource_metadata: Option<Url>,
    /// Words with spaces between them.
    pub scope: Option<String>,
    /// `invalid_token`, `insufficient_scope`.
    pub error: Option<String>,
}

impl Challenge {
    /// Reads the header: its Bearer challenge, or the first that names where the resource is described.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let mut found: Option<Self> = None;
        for (scheme, parameters) in challenges(header.get(..header.len().min(MAX_HEADER)).unwrap_or_default()) {
            let read = Self::of(&parameters);
            if scheme.eq_ignore_ascii_case("bearer") {
                return read;
            }
            found = found.or(Some(read).filter(|read| read.resource_metadata.is_some()));
        }
        found.unwrap_or_default()
    }

    fn of(parameters: &[(String, String)]) -> Self {
        let named = |name: &str| parameters.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        Self {
            resource_metadata: named("resource_metadata").and_then(|text| address(text)),
            scope: named("scope").and_then(|text| scopes(text.split(' '))),
            error: named("error").map(|text| plain_error(text)).filter(|text| !text.is_empty()),
        }
    }

    /// Whether the server took the token and wants one that reaches further.
    #[must_use]
    pub fn is_step_up(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// Splits a header into challenges: a scheme, and its parameters.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| " \t,=\"".contains(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // A sign where a word should begin.
            let Some(first) = rest.chars().next() else { return found };
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            found.push((word.to_owned(), Vec::new()));
            rest = after;
            continue;
        };
        let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
        rest = after;
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((word.to_owned(), value));
        }
    }
}

/// Reads a token or a quoted string, and returns what comes behind it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Challenge;

    #[test]
    fn the_bearer_challenge_counts_among_others() {
        let at = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
        for (header, metadata, scope, error) in [
            ("Bearer", None, None, None),
            (&*format!("Bearer resource_metadata=\"{at}\""), Some(at), None, None),
            (
                &format!("bearer realm=\"OAuth, \\\"x\\\"\", resource_metadata=\"{at}\", scope=\"a b\""),
                Some(at),
                Some("a b"),
                None,
            ),
            (
                &format!(
                    "Basic realm=\"x\", Bearer error=insufficient_scope, scope=\"a a  b\", resource_metadata = \"{at}\""
                ),
                Some(at),
                Some("a b"),
                Some("insufficient_scope"),
            ),
            (&format!("Cloudflare-Access resource_metadata=\"{at}\""), Some(at), None, None),
            (&format!("DPoP resource_metadata=\"{at}\", Bearer scope=x"), None, Some("x"), None),
            ("Bearer resource_metadata=\"http://mcp.example.com/x\"", None, None, None),
            ("Bearer resource_metadata=\"http://localhost:3000/x\"", Some("http://localhost:3000/x"), None, None),
            ("Bearer resource_metadata=\"https://u:p@mcp.example.com/x\"", None, None, None),
            ("Bearer error=\"<script>\"", None, None, Some("script")),
            ("Bearer scope=\"unended", None, Some("unended"), None),
            ("=,=\"", None, None, None),
        ] {
            let read = Challenge::parse(header);
            assert_eq!(read.resource_metadata.as_ref().map(url::Url::as_str), metadata, "{header}");
            assert_eq!((read.scope.as_deref(), read.error.as_deref()), (scope, error), "{header}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_writes_is_read_to_its_end(header in "[ -~\u{80}\u{fffd}]{0,200}") {
            let read = Challenge::parse(&header);
            prop_assert!(read.scope.is_none_or(|scope| scope.len() <= super::super::MAX_SCOPE));
        }
    }
}
