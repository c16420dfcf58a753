//! Where an application's requests go: `portunus.origin`, ours.
//!
//! Decides only whether the document names an origin; connecting to it is the plane's, whether its address may be
//! reached the guard's. Invariant: an [`Origin`] has a host or a socket path, and trust settings only where TLS is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::document::{Problem, Problems};

/// `portunus.origin` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginDocument {
    /// `http://host:port`, `https://host:port` or `unix:/path/to.sock`.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<OriginTlsDocument>,
    /// The `Host` header the origin sees; absent keeps the one the person asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
}

/// `portunus.origin.tls` as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginTlsDocument {
    /// PEM certificates that are trusted for this origin alone, instead of the public roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    pub verify: bool,
}

impl Default for OriginTlsDocument {
    fn default() -> Self {
        Self { ca: None, server_name: None, verify: true }
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub target: OriginTarget,
    pub host_header: Option<String>,
}

/// How an origin is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginTarget {
    Http {
        host: String,
        port: u16,
    },
    Https {
        host: String,
        port: u16,
        tls: OriginTls,
    },
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

/// How an origin's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OriginTls {
    /// PEM; `None`: the public roots.
    pub ca: Option<String>,
    /// `None`: the host of the URL.
    pub server_name: Option<String>,
    /// The author asked that the certificate is not checked.
    pub insecure: bool,
}

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(document: &OriginDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let target = target(document, &mut problems);
        let host_header = document.host_header.clone().filter(|host| !host.is_empty());
        if host_header.as_deref().is_some_and(|host| !is_authority(host)) {
            problems.add("/host_header", "must be a host name, with a port or without");
        }
        match target {
            Some(target) => problems.finish(Self { target, host_header }),
            None => Err(problems.into_vec()),
        }
    }
}

fn is_authority(text: &str) -> bool {
    text.len() <= 255 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

fn target(document: &OriginDocument, problems: &mut Problems) -> Option<OriginTarget> {
    let wanted = "must be `http://host:port`, `https://host:port` or `unix:/path`";
    if let Some(path) = document.url.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.len() > 107 || path.contains('\0') || path.split('/').any(|part| part == "..")
        {
            problems.add("/url", "a socket is an absolute path of at most 107 bytes without `..`");
            return None;
        }
        if document.tls.is_some() {
            problems.add("/tls", "a Unix socket has no TLS");
        }
        return Some(OriginTarget::Unix(PathBuf::from(path)));
    }
    let url = problems.check("/url", Url::parse(&document.url).map_err(|_| wanted))?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !bare || url.path() != "/" {
        problems.add("/url", "name only scheme, host and port: requests keep their own path");
        return None;
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        problems.add("/url", wanted);
        return None;
    };
    let host = host.to_owned();
    match url.scheme() {
        "http" if document.tls.is_some() => {
            problems.add("/tls", "an origin by http has no TLS; write https");
            None
        }
        "http" => Some(OriginTarget::Http { host, port }),
        "https" => {
            let tls = document.tls.clone().unwrap_or_default();
            if let Some(ca) = &tls.ca {
                problems.check("/tls/ca", crate::certificate::authorities(ca));
            }
            if tls.server_name.as_deref().is_some_and(|name| !is_authority(name) || name.contains(':')) {
                problems.add("/tls/server_name", "must be a host name");
            }
            let tls = OriginTls { ca: tls.ca, server_name: tls.server_name, insecure: !tls.verify };
            Some(OriginTarget::Https { host, port, tls })
        }
        _ => {
            problems.add("/url", wanted);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, OriginDocument, OriginTarget, OriginTlsDocument};

    #[test]
    fn an_origin_is_a_url_without_a_path_or_a_socket() {
        for (url, valid) in [
            ("http://10.0.0.5:8080", true),
            ("https://wiki.internal", true),
            ("unix:/run/wiki.sock", true),
            ("unix:///run/wiki.sock", true),
            ("unix:run/wiki.sock", false),
            ("unix:/run/../etc/x", false),
            ("ftp://x", false),
            ("https://a:b@x", false),
            ("https://x/path", false),
            ("https://x?q", false),
            ("", false),
        ] {
            let document = OriginDocument { url: url.to_owned(), ..OriginDocument::default() };
            assert_eq!(Origin::parse(&document).is_ok(), valid, "{url}");
        }
    }

    #[test]
    fn trust_settings_belong_to_tls() {
        let tls = Some(OriginTlsDocument { server_name: Some("a.example".into()), ..OriginTlsDocument::default() });
        let document = |url: &str| OriginDocument { url: url.into(), tls: tls.clone(), host_header: None };
        assert!(Origin::parse(&document("http://x")).is_err());
        assert!(Origin::parse(&document("unix:/x")).is_err());
        let origin = Origin::parse(&document("https://x:8443")).unwrap();
        let OriginTarget::Https { port: 8443, tls, .. } = origin.target else { panic!("{origin:?}") };
        assert!(!tls.insecure);
    }
}
