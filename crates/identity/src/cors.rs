//! Cross-origin requests to an application (reference section 2.9).
//!
//! Decides what a preflight is answered before anybody has signed in, and which headers a response gets. A preflight
//! never carries a cookie, so without rules it is refused. Invariant: an answer that allows credentials names one origin,
//! never `*` (Fetch Standard, CORS protocol and credentials).

use serde::{Deserialize, Serialize};

use crate::document::{Problem, Problems};

const MAX_ITEMS: usize = 256;

/// `cors_headers` as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CorsDocument {
    pub allow_all_headers: bool,
    pub allow_all_methods: bool,
    pub allow_all_origins: bool,
    pub allow_credentials: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// Seconds, -1 to 86400.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<f64>,
}

/// What holds for cross-origin requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CorsRules {
    /// Preflights are refused.
    #[default]
    Refuse,
    /// Preflights go to the origin, unauthenticated.
    Bypass,
    Answer(Box<CorsAnswer>),
}

/// Rules by which preflights are answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorsAnswer {
    pub any_origin: bool,
    pub any_method: bool,
    pub any_header: bool,
    pub credentials: bool,
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    /// In lower case.
    pub headers: Vec<String>,
    pub max_age: Option<i32>,
}

impl CorsRules {
    /// Reads the rules of an application.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(document: Option<&CorsDocument>, bypass: bool) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let Some(document) = document.filter(|document| **document != CorsDocument::default()) else {
            return Ok(if bypass { Self::Bypass } else { Self::Refuse });
        };
        if bypass {
            problems.add("/options_preflight_bypass", "cannot be combined with `cors_headers`");
        }
        if document.allow_all_origins && document.allow_credentials {
            problems.add(
                "/cors_headers/allow_all_origins",
                "cannot be combined with `allow_credentials`; name the origins",
            );
        }
        if !document.allow_all_origins && document.allowed_origins.is_empty() {
            problems.add("/cors_headers/allowed_origins", "must name an origin");
        }
        let mut origins = Vec::new();
        for (index, text) in document.allowed_origins.iter().enumerate().take(MAX_ITEMS) {
            match origin(text) {
                Some(origin) => origins.push(origin),
                None => problems.add(
                    format!("/cors_headers/allowed_origins/{index}"),
                    "must be an origin such as `https://a.example`",
                ),
            }
        }
        for (member, list) in
            [("allowed_headers", &document.allowed_headers), ("allowed_methods", &document.allowed_methods)]
        {
            let token = |text: &String| {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            };
            if list.len() > MAX_ITEMS || !list.iter().all(token) {
                problems.add(format!("/cors_headers/{member}"), format!("must hold at most {MAX_ITEMS} plain names"));
            }
        }
        let max_age = document.max_age.and_then(|seconds| {
            let fits = (-1.0..=86_400.0).contains(&seconds) && seconds.fract() == 0.0;
            if !fits {
                problems.add("/cors_headers/max_age", "must be a whole number between -1 and 86400");
            }
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
            fits.then_some(seconds as i32)
        });
        problems.finish(Self::Answer(Box::new(CorsAnswer {
            any_origin: document.allow_all_origins,
            any_method: document.allow_all_methods,
            any_header: document.allow_all_headers,
            credentials: document.allow_credentials,
            origins,
            methods: document.allowed_methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
            headers: document.allowed_headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            max_age,
        })))
    }
}

fn origin(text: &str) -> Option<String> {
    let url = crate::document::link(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    bare.then(|| url.origin().ascii_serialization())
}

/// A preflight request's own headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preflight<'a> {
    pub origin: &'a str,
    /// `Access-Control-Request-Method`.
    pub method: &'a str,
    /// `Access-Control-Request-Headers`.
    pub headers: Option<&'a str>,
}

/// What becomes of a preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreflightAnswer {
    /// 403.
    Refused(&'static str),
    /// To the origin, without identity.
    Forward,
    /// 200 with these headers.
    Allowed(Vec<(&'static str, String)>),
}

impl CorsRules {
    /// Decides a preflight.
    #[must_use]
    pub fn preflight(&self, request: &Preflight<'_>) -> PreflightAnswer {
        let answer = match self {
            Self::Refuse => return PreflightAnswer::Refused("the application answers no cross-origin requests"),
            Self::Bypass => return PreflightAnswer::Forward,
            Self::Answer(answer) => answer,
        };
        let Some(allowed) = answer.allowed_origin(request.origin) else {
            return PreflightAnswer::Refused("the origin is not among those the application allows");
        };
        let method = request.method;
        // Fetch: these three need no listing.
        let simple = matches!(method, "GET" | "HEAD" | "POST");
        if !simple && !answer.any_method && !answer.methods.iter().any(|known| known == method) {
            return PreflightAnswer::Refused("the method is not among those the application allows");
        }
        let mut headers = vec![("access-control-allow-origin", allowed)];
        let methods = if answer.any_method { vec![method.to_owned()] } else { answer.methods.clone() };
        if !methods.is_empty() {
            headers.push(("access-control-allow-methods", methods.join(", ")));
        }
        if answer.credentials {
            headers.push(("access-control-allow-credentials", "true".to_owned()));
        }
        match request.headers {
            Some(wanted) if answer.any_header && is_header_list(wanted) => {
                headers.push(("access-control-allow-headers", wanted.to_owned()));
            }
            _ if !answer.headers.is_empty() => {
                headers.push(("access-control-allow-headers", answer.headers.join(", ")))
            }
            _ => {}
        }
        if let Some(seconds) = answer.max_age {
            headers.push(("access-control-max-age", seconds.to_string()));
        }
        headers.push(("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers".to_owned()));
        PreflightAnswer::Allowed(headers)
    }

    /// Returns the headers an answer to `origin` gets.
    #[must_use]
    pub fn response_headers(&self, origin: &str) -> Vec<(&'static str, String)> {
        let Self::Answer(answer) = self else { return Vec::new() };
        let mut headers = vec![("vary", "Origin".to_owned())];
        if let Some(allowed) = answer.allowed_origin(origin) {
            headers.push(("access-control-allow-origin", allowed));
            if answer.credentials {
                headers.push(("access-control-allow-credentials", "true".to_owned()));
            }
        }
        headers
    }
}

impl CorsAnswer {
    fn allowed_origin(&self, origin: &str) -> Option<String> {
        if self.origins.iter().any(|known| known == origin) {
            return Some(origin.to_owned());
        }
        (self.any_origin && !self.credentials).then(|| "*".to_owned())
    }
}

/// Outside text that is echoed must not be able to end its header.
fn is_header_list(text: &str) -> bool {
    text.len() <= 2_048 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_, ".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::{CorsDocument, CorsRules, Preflight, PreflightAnswer};

    fn rules(document: CorsDocument) -> CorsRules {
        CorsRules::parse(Some(&document), false).unwrap()
    }

    #[test]
    fn a_preflight_is_refused_unless_something_says_otherwise() {
        let request = Preflight { origin: "https://a.example", method: "PUT", headers: None };
        assert!(matches!(CorsRules::Refuse.preflight(&request), PreflightAnswer::Refused(_)));
        assert_eq!(CorsRules::Bypass.preflight(&request), PreflightAnswer::Forward);
        let rules = rules(CorsDocument {
            allowed_origins: vec!["https://a.example/".into()],
            allowed_methods: vec!["put".into()],
            allow_credentials: true,
            allow_all_headers: true,
            ..CorsDocument::default()
        });
        for (origin, method, allowed) in [
            ("https://a.example", "PUT", true),
            ("https://a.example", "GET", true),
            ("https://a.example", "DELETE", false),
            ("https://b.example", "PUT", false),
            ("https://a.example.evil.example", "PUT", false),
            ("null", "PUT", false),
        ] {
            let answer = rules.preflight(&Preflight { origin, method, headers: Some("x-a, x-b") });
            assert_eq!(matches!(answer, PreflightAnswer::Allowed(_)), allowed, "{origin} {method}");
        }
        let PreflightAnswer::Allowed(headers) =
            rules.preflight(&Preflight { headers: Some("x-a\r\nset-cookie: a=b"), ..request })
        else {
            panic!("allowed")
        };
        assert!(!headers.iter().any(|(name, _)| *name == "access-control-allow-headers"));
    }

    #[test]
    fn any_origin_never_goes_with_credentials() {
        let both = CorsDocument { allow_all_origins: true, allow_credentials: true, ..CorsDocument::default() };
        assert!(CorsRules::parse(Some(&both), false).is_err());
        assert!(
            CorsRules::parse(Some(&CorsDocument { allow_all_origins: true, ..CorsDocument::default() }), true).is_err()
        );
        let open = rules(CorsDocument { allow_all_origins: true, ..CorsDocument::default() });
        assert!(open.response_headers("https://x.example").contains(&("access-control-allow-origin", "*".to_owned())));
    }
}
