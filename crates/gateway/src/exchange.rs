//! One request on its way: what is known about it, in owned form, and the facts rules read from it.
//!
//! It holds and borrows; deciding and sending are the stages'. Invariant: a fact is only known here once it really is,
//! and what a rule was told is what the origin is sent.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::Classification;
use expr::Map;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use jiff::Timestamp;
use net::upstream::ConnectionInfo;
use net::{Host, Origin, Scheme};
use policy::facts::{BodyFacts, ConnectionFacts, HeaderFacts, HostFacts, HttpFacts, RequestFacts, ResponseFacts};
use policy::hook::http::id as field;
use policy::package::Package;
use types::RequestId;

use crate::body::{Body, empty_body};
use crate::connection::{Client, Tunnel};
use crate::identity::{Caller, Person};
use crate::mcp::Mcp;
use crate::meaning;
use crate::snapshot::Snapshot;
use net::proxy::interim::Interim;

/// What has been seen of a body so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) types: Option<&'static [&'static str]>,
    pub(crate) size: Option<u64>,
}

/// The response an origin gave, held while rules look at it.
pub(crate) struct Arrived {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) has_body: bool,
    pub(crate) mime: Option<String>,
    /// An answer of ours in the place of the origin's; no rule looks at it.
    pub(crate) ours: bool,
    /// The origin's side of an upgrade.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// One request.
pub(crate) struct Exchange {
    pub(crate) client: Arc<Client>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tunnel: Option<Arc<Tunnel>>,
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) target: Target,
    /// What the target's host means to the snapshot's classifier.
    pub(crate) classification: Classification,
    /// A Worker sent it to another origin than the client did.
    pub(crate) moved: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) has_body: bool,
    pub(crate) mime: Option<String>,
    /// The protocol the client asks to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) on_upgrade: Option<OnUpgrade>,
    /// The upgrade was asked for by extended CONNECT (RFC 8441).
    pub(crate) extended: bool,
    /// Where interim responses go; absent when the client's protocol has no way for them, or a rule waits to judge the
    /// response.
    pub(crate) interim: Option<Interim>,
    pub(crate) upload: Seen,
    pub(crate) package: Option<Package>,
    pub(crate) mcp: Mcp,
    /// Addresses of the origin, once a rule asked for them or it was connected to.
    pub(crate) addresses: Option<Vec<IpAddr>>,
    pub(crate) connection: Option<Arc<ConnectionInfo>>,
    pub(crate) arrived: Option<Arrived>,
    pub(crate) download: Seen,
}

/// Where a request goes: the origin, and the URL as rules read it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// The host without port or brackets.
    pub(crate) host: String,
    /// The whole URL, without the scheme's own port.
    pub(crate) url: String,
    path_at: usize,
    query_at: Option<usize>,
}

impl Target {
    pub(crate) fn new(origin: Origin, path_and_query: &str) -> Self {
        use std::fmt::Write;

        let host = match &origin.host {
            Host::Name(name) => name.to_string(),
            Host::Address(address) => address.to_string(),
        };
        let mut url = String::with_capacity(16 + host.len() + path_and_query.len());
        // Writing to a String cannot fail.
        let _ = write!(url, "{}://{}", origin.scheme.as_str(), origin.host);
        if origin.port != origin.scheme.default_port() {
            let _ = write!(url, ":{}", origin.port);
        }
        let path_at = url.len();
        if !path_and_query.starts_with('/') {
            url.push('/');
        }
        // `OPTIONS *` has no path of its own.
        url.push_str(path_and_query.trim_start_matches('*'));
        let query_at = url.get(path_at..).and_then(|rest| rest.find('?')).map(|at| path_at + at);
        Self { origin, host, url, path_at, query_at }
    }

    pub(crate) fn path(&self) -> &str {
        self.url.get(self.path_at..self.query_at.unwrap_or(self.url.len())).unwrap_or("/")
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.url.get(self.query_at? + 1..)
    }

    pub(crate) fn path_and_query(&self) -> &str {
        self.url.get(self.path_at..).unwrap_or("/")
    }
}

impl Exchange {
    /// Returns the id as it stands in records and on pages.
    pub(crate) fn id_text(&self) -> String {
        self.id.to_string()
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.client.source.ip().to_canonical()
    }

    pub(crate) fn person(&self) -> Option<&Person> {
        self.caller.person.as_deref()
    }

    /// Hands everything known to `read`, as facts.
    pub(crate) fn with_facts<T>(&self, read: impl FnOnce(&HttpFacts<'_>) -> T) -> T {
        let request_headers = HeaderFacts::new(&self.headers);
        let empty = HeaderMap::new();
        let response_headers = HeaderFacts::new(self.arrived.as_ref().map_or(&empty, |arrived| &arrived.headers));
        let facts = HttpFacts {
            connection: connection_facts(
                &self.client,
                &self.caller,
                Some(&self.target.host),
                meaning::facts(&self.snapshot.classifier, self.classification),
                Some(self.target.origin.port),
                self.addresses.as_deref(),
            ),
            request: Some(self.request_facts(&request_headers)),
            mcp: self.mcp.facts(),
            request_body: BodyFacts { types: self.upload.types, size: self.upload.size },
            response: self.arrived.as_ref().map(|arrived| ResponseFacts {
                status: arrived.status.as_u16(),
                headers: &response_headers,
                has_body: arrived.has_body,
                mime: arrived.mime.as_deref(),
            }),
            response_body: BodyFacts { types: self.download.types, size: self.download.size },
        };
        read(&facts)
    }

    fn request_facts<'a>(&'a self, headers: &'a dyn Map) -> RequestFacts<'a> {
        RequestFacts {
            method: self.method.as_str(),
            scheme: self.target.origin.scheme.as_str(),
            port: self.target.origin.port,
            version: version_text(self.version),
            uri: &self.target.url,
            path: self.target.path(),
            query: self.target.query(),
            path_and_query: self.target.path_and_query(),
            headers,
            has_body: self.has_body,
            mime: self.mime.as_deref(),
            package: self.package.as_ref(),
        }
    }

    /// Returns what the target's host means.
    pub(crate) fn meaning(&self) -> catalog::classify::Meaning<'_> {
        self.snapshot.classifier.meaning(self.classification)
    }

    /// Looks up what the target's host means.
    pub(crate) fn classify(&mut self) {
        self.classification = self.client.first_host.classify(&self.snapshot.classifier, &self.target.host);
    }

    /// Names the package that the target is of, if a rule asks for any part of it.
    pub(crate) fn recognise_package(&mut self) {
        let parts = [field::PKG_ECOSYSTEM, field::PKG_NAMESPACE, field::PKG_NAME, field::PKG_VERSION, field::PKG_PURL];
        let asked = self.snapshot.http.fields();
        self.package = parts
            .iter()
            .any(|part| asked.contains(*part))
            .then(|| policy::package::recognise(&self.target.host, self.target.path()))
            .flatten();
    }

    /// Looks at the head for signs of MCP, once more when a Worker changed it.
    pub(crate) fn recognise_mcp(&mut self) {
        let places = &self.snapshot.mcp;
        self.mcp = Mcp::of(&self.target, &self.method, &self.headers, self.has_body, self.mime.as_deref(), places);
    }

    /// Takes the request body out, leaving none.
    pub(crate) fn take_body(&mut self) -> Body {
        std::mem::replace(&mut self.body, empty_body())
    }
}

/// What is known about a connection before any request on it.
pub(crate) fn connection_facts<'a>(
    client: &Client,
    caller: &'a Caller,
    host: Option<&'a str>,
    meaning: HostFacts<'a>,
    port: Option<u16>,
    addresses: Option<&'a [IpAddr]>,
) -> ConnectionFacts<'a> {
    ConnectionFacts {
        host: host.map(policy::facts::Host),
        meaning: Some(meaning),
        src_ip: client.source.ip().to_canonical(),
        src_port: client.source.port(),
        dst_ips: addresses,
        dst_port: port,
        proxy_endpoint: caller.endpoint.as_deref(),
        detected_protocol: None,
        person: caller.person.as_deref().map(person_facts),
    }
}

fn person_facts(person: &Person) -> policy::facts::Person<'_> {
    policy::facts::Person {
        id: &person.id,
        email: &person.email,
        name: &person.name,
        group_ids: &person.group_ids,
        group_names: &person.group_names,
        group_emails: &person.group_emails,
    }
}

/// The version as rules and records spell it.
pub(crate) fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// The media type of a message in lower case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split(';').next().unwrap_or_default().trim();
    (!media.is_empty()).then(|| media.to_ascii_lowercase())
}

/// The declared length of a message.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Says whether the scheme of a URI is one that is proxied.
pub(crate) fn scheme(uri: &http::Uri) -> Option<Scheme> {
    match uri.scheme_str()? {
        "http" | "ws" => Some(Scheme::Http),
        "https" | "wss" => Some(Scheme::Https),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use net::{Host, Origin, Scheme};

    use super::{Target, media_type};

    #[test]
    fn a_target_is_taken_apart_as_rules_read_it() {
        for (scheme, host, port, path, url, expected_path, query) in [
            (Scheme::Https, "a.example", 443, "/x?y=1?z", "https://a.example/x?y=1?z", "/x", Some("y=1?z")),
            (Scheme::Http, "a.example", 8080, "/", "http://a.example:8080/", "/", None),
            (Scheme::Https, "[2001:db8::1]", 443, "", "https://[2001:db8::1]/", "/", None),
            (Scheme::Http, "a.example", 80, "*", "http://a.example/", "/", None),
            (Scheme::Http, "a.example", 80, "?q", "http://a.example/?q", "/", Some("q")),
        ] {
            let target = Target::new(Origin::new(scheme, Host::parse(host).unwrap(), port), path);
            assert_eq!((target.url.as_str(), target.path(), target.query()), (url, expected_path, query));
        }
    }

    #[test]
    fn a_media_type_is_lower_case_without_parameters() {
        let mut headers = HeaderMap::new();
        assert_eq!(media_type(&headers), None);
        headers.insert("content-type", "Text/HTML; Charset=x".parse().unwrap());
        assert_eq!(media_type(&headers).as_deref(), Some("text/html"));
    }
}
